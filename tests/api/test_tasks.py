import pytest
from starlette.testclient import TestClient

from semantic_service.api.app import create_app
from semantic_service.engine.live import Live, Source
from semantic_service.engine.workers import Workers
from tests.tiny_model import CATEGORY

TEXTS = {"今天天气真好": "none", "来赌一把": "gambling", "双色球彩": "lottery"}


@pytest.fixture(scope="module")
def answering(tasks_bundle):
    """A client of a service whose model answers a category."""
    with TestClient(create_app(Live(Source(tasks_bundle.path), None, uncertain_max=0.6), Workers(threads=2, bound=64))) as client:
        yield client


@pytest.mark.parametrize(("text", "category"), TEXTS.items())
def test_an_answer_has_the_label_and_the_probabilities_of_each_task(answering, text, category):
    answer = answering.post("/classify", json={"text": text}).json()
    assert set(answer["tasks"]) == {"category"}
    said = answer["tasks"]["category"]
    assert list(said) == ["label", "confidence", "probabilities"]
    assert list(said["probabilities"]) == list(CATEGORY.labels)
    assert (said["label"], said["confidence"]) == (category, max(said["probabilities"].values()))
    assert sum(said["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_beside_its_tasks_an_answer_is_as_without_them(answering, client):
    for text in TEXTS:
        several, one = (some.post("/classify", json={"text": text}).json() for some in (answering, client))
        del several["tasks"]
        assert several == one | {"request_id": several["request_id"], "model_version": "tiny-tasks"}


def test_a_batch_answers_the_tasks_of_each_post(answering):
    items = [{"text": text} for text in TEXTS]
    results = answering.post("/classify/batch", json={"items": [*items, {}]}).json()["results"]
    assert [result["tasks"]["category"]["label"] for result in results[:-1]] == list(TEXTS.values())
    assert "tasks" not in results[-1]


def test_a_model_without_tasks_says_nothing_of_them(client):
    assert "tasks" not in client.post("/classify", json={"text": "来赌一把"}).json()
    assert "tasks" not in client.post("/classify/batch", json={"items": [{"text": "来赌一把"}]}).json()["results"][0]


def test_the_model_in_use_names_its_tasks(answering):
    assert answering.get("/models/current").json()["tasks"] == {"category": list(CATEGORY.labels)}
