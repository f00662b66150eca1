import itertools

import pytest

from semantic_service.store.store import Store

NUMBERS = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Give the address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/var/moderation.db"
    return request.getfixturevalue("postgres").empty(f"test_{next(NUMBERS)}")


@pytest.fixture
def store(url):
    opened = Store.open(url)
    yield opened
    opened.close()
