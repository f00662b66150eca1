import hypothesis
import pytest

from semantic_service.contract.verdict import Policy
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.engine.moderator import Moderator
from tests.postgres import Postgres
from tests.tiny_model import build_bundle, build_tasks_bundle

hypothesis.settings.register_profile("ours", deadline=None)  # the machine may be busy
hypothesis.settings.load_profile("ours")


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    return build_bundle(tmp_path_factory.mktemp("models") / "tiny-1")


@pytest.fixture(scope="session")
def tasks_bundle(tmp_path_factory):
    """Give a bundle whose model answers a category beside the severity."""
    return build_tasks_bundle(tmp_path_factory.mktemp("models") / "tiny-tasks", model_version="tiny-tasks")


@pytest.fixture(scope="session")
def classifier(tiny_bundle):
    return OnnxClassifier.load(tiny_bundle)


@pytest.fixture(scope="session")
def moderator(classifier, tiny_bundle):
    return Moderator(classifier, tiny_bundle.manifest.model_version, Policy(), uncertain_max=0.6)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    with Postgres.started(tmp_path_factory.mktemp("postgres")) as server:
        yield server
