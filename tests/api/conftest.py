from contextlib import ExitStack

import pytest
from starlette.testclient import TestClient

from semantic_service.api.app import create_app
from semantic_service.engine.live import Live
from semantic_service.engine.workers import Workers


@pytest.fixture(scope="session")
def live(tiny_bundle, classifier):
    return Live(tiny_bundle, classifier, None, uncertain_max=0.6)


@pytest.fixture(scope="module")
def client(live):
    with TestClient(create_app(live, Workers(threads=2, bound=512))) as client:
        yield client


@pytest.fixture
def serve(tiny_bundle, classifier):
    """Serve with a moderator, a policy file or a bound of the test's own."""
    with ExitStack() as stack:

        def start(moderator=None, *, policy=None, bound=512, bundle=tiny_bundle):
            live = Live(bundle, classifier, policy, uncertain_max=0.6)
            live.moderator = moderator or live.moderator
            return stack.enter_context(TestClient(create_app(live, Workers(threads=2, bound=bound))))

        yield start
