import itertools
import os

import pytest

from semantic_service.store.store import Store
from tests.postgres import Postgres

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    with Postgres.started(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Give the address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/var/moderation.db"
    return request.getfixturevalue("postgres").database(f"test_{os.getpid()}_{next(NUMBERS)}")


@pytest.fixture
def store(url):
    opened = Store.open(url)
    yield opened
    opened.close()
