from contextlib import ExitStack
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from semantic_service.api.app import create_app
from semantic_service.engine.live import Live, Source
from semantic_service.engine.workers import Workers


@pytest.fixture(scope="session")
def live(tiny_bundle):
    return Live(Source(tiny_bundle.path), None, uncertain_max=0.6)


@pytest.fixture(scope="module")
def client(live):
    with TestClient(create_app(live, Workers(threads=2, bound=512))) as client:
        yield client


@pytest.fixture
def serve(tiny_bundle):
    """Serve with a moderator, a policy file or a bound of the test's own."""
    with ExitStack() as stack:

        def start(  # noqa: PLR0913 - each a test's own
            moderator=None, *, policy=None, threads=2, bound=512, bundle=None, models=None, challenger=None, archive=None
        ):
            live = Live(Source(tiny_bundle.path, models), policy, uncertain_max=0.6)
            live._loaded = replace(live._loaded, bundle=bundle or live.bundle)
            live.moderator = moderator or live.moderator
            app = create_app(live, Workers(threads=threads, bound=bound), challenger=challenger, archive=archive)
            return stack.enter_context(TestClient(app))

        yield start
