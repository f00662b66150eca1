import os
import uuid

import pytest

from annotation.settings import Settings
from semantic_service.store.store import Store
from tests.annotation.label_studio import TOKEN, label_studio, migrated


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in [name for name in os.environ if name.startswith("ANNOTATION_")]:  # noqa: TID251 - what a developer may have set
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Give a real Label Studio; each test has a project of its own on it."""
    with label_studio(migrated(tmp_path_factory.mktemp("label-studio"))) as running:
        yield running


@pytest.fixture
def variables(server, tmp_path, monkeypatch):
    """Set the environment for a project that is not there yet; gives what was set."""
    values = {
        "ANNOTATION_URL": server.url,
        "ANNOTATION_TOKEN": TOKEN,
        "ANNOTATION_PROJECT": f"test {uuid.uuid4().hex[:12]}",
        "ANNOTATION_DATABASE_URL": f"sqlite:///{tmp_path}/reviews.db",
        "ANNOTATION_STATE": str(tmp_path / "state"),
        "ANNOTATION_DATA": str(tmp_path / "labels"),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def settings(variables):
    return Settings.from_environment()


@pytest.fixture
def store(settings):
    opened = Store.open(settings.database_url)
    yield opened
    opened.close()


@pytest.fixture
def studio(settings):
    """Give the test's project, new and empty."""
    from annotation.studio import Studio  # noqa: PLC0415 - the SDK takes seconds, and only the slow tests need it

    with Studio.init(settings) as made:
        yield made
