import pytest

from semantic_service.contract.json_lines import JsonLines
from semantic_service.engine.shadow import Challenger
from tests.api.test_metrics import samples
from tests.deadline import until
from tests.shadowed import build_challenger, lines

POSTS = {"a": "今天天气真好", "b": "有点可疑的消息", "c": "来赌一把"}


@pytest.fixture(scope="module")
def challenging(tmp_path_factory):
    return build_challenger(tmp_path_factory.mktemp("challenger") / "tiny-2")


@pytest.fixture
def shadowed(serve, challenging, tmp_path):
    return serve(challenger=Challenger.load(challenging, 1.0, JsonLines(tmp_path / "shadow.jsonl")))


def counts(client):
    return {sample.labels["result"]: sample.value for sample in samples(client) if sample.name == "moderation_shadow_total"}


def test_a_rate_can_be_taken_before_the_first_comparison(shadowed):
    assert counts(shadowed) == {"agree": 0, "disagree": 0, "dropped": 0, "error": 0}
    assert {sample.labels["version"] for sample in samples(shadowed) if sample.name == "moderation_shadow_info"} == {"tiny-2"}


def test_every_post_of_a_batch_is_compared_once_and_its_ids_are_kept(shadowed, client, tmp_path):
    body = {"items": [*({"text": text, "data_id": data_id} for data_id, text in POSTS.items()), {"text": ""}, {"text": "\u200b"}, {}]}
    sent = {"X-Request-ID": "of-the-batch"}
    assert (
        shadowed.post("/classify/batch", json=body, headers=sent).json() == client.post("/classify/batch", json=body, headers=sent).json()
    )
    until(lambda: counts(shadowed) == {"agree": 2, "disagree": 1, "dropped": 0, "error": 0})
    assert [(row["request_id"], row["data_id"]) for row in lines(tmp_path / "shadow.jsonl")] == [("of-the-batch", "b")]


def test_without_a_challenger_nothing_is_counted(client):
    assert counts(client) == {}


def test_a_failing_file_fails_no_request(serve, challenging, tmp_path):
    client = serve(challenger=Challenger.load(challenging, 1.0, JsonLines(tmp_path)))
    assert client.post("/classify", json={"text": POSTS["b"]}).json()["label"] == "suspicious"
    until(lambda: counts(client)["error"] == 1)
    assert client.post("/classify", json={"text": POSTS["b"]}).status_code == 200
