import pytest

from semantic_service.api.schemas import MAX_ITEMS, MAX_TEXT_CHARS
from tests.api.answers import ERROR_KEYS, error_of
from tests.tiny_model import NEUTRAL

LABEL_IDS = {"今天天气真好": 0, "有点可疑的消息": 1, "来赌一把": 2}
KEYS = [
    "request_id", "data_id", "label", "label_id", "confidence", "probabilities", "suggestion", "uncertain", "decided_by", "hits",
    "truncated", "scene", "model_version",
]  # fmt: skip


def texts_of(answer):
    return [result.get("label_id", result.get("error", {}).get("code")) for result in answer["results"]]


def test_an_answer_has_exactly_what_the_contract_says(client, moderator):
    response = client.post("/classify", json={"text": "来赌一把", "scene": "default", "data_id": "post-42"})
    verdict = moderator.judge("来赌一把").verdict
    assert response.status_code == 200
    answer = response.json()
    assert list(answer) == KEYS
    assert list(answer["probabilities"]) == ["compliant", "suspicious", "violation"]
    assert list(answer["probabilities"].values()) == pytest.approx(verdict.probabilities, abs=1e-6)
    assert answer["confidence"] == answer["probabilities"]["violation"]
    assert answer == answer | {
        "request_id": response.headers["X-Request-ID"],
        "data_id": "post-42",
        "label": "violation",
        "label_id": 2,
        "suggestion": "block",
        "uncertain": False,
        "decided_by": "model",
        "hits": [],
        "truncated": False,
        "scene": "default",
        "model_version": "tiny-1",
    }


@pytest.mark.parametrize(("text", "label_id"), LABEL_IDS.items())
def test_a_post_gets_its_label(client, text, label_id):
    assert client.post("/classify", json={"text": text}).json()["label_id"] == label_id


def test_scene_and_data_id_may_be_left_out(client):
    answer = client.post("/classify", json={"text": "今天天气真好"}).json()
    assert (answer["scene"], answer["data_id"]) == ("default", None)


def test_an_uncertain_post_is_said_to_be(client):
    answer = client.post("/classify", json={"text": NEUTRAL}).json()
    assert (answer["uncertain"], answer["suggestion"]) == (True, "review")


def test_a_text_cut_at_the_hard_limit_is_said_to_be(client):
    answer = client.post("/classify", json={"text": "今天" * (MAX_TEXT_CHARS // 2)}).json()
    assert answer["truncated"] is True


def test_a_hit_points_into_the_text_as_it_was_sent(serve, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text('[lexicon]\ndeny = ["彩金"]\n', encoding="utf-8")
    answer = serve(policy=policy).post("/classify", json={"text": "送彩\u200b金"}).json()
    assert answer["hits"] == [{"term": "彩金", "kind": "deny", "start": 1, "end": 4}]
    assert (answer["label"], answer["suggestion"], answer["decided_by"]) == ("violation", "block", "lexicon")


def test_a_scene_has_its_own_thresholds(serve, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text("[scenes.kids]\nreview_at = 0.05\n", encoding="utf-8")
    client = serve(policy=policy)
    answers = [client.post("/classify", json={"text": "今天天气真好", "scene": scene}).json() for scene in ("kids", "default", "unknown")]
    assert [answer["suggestion"] for answer in answers] == ["review", "pass", "pass"]
    assert [answer["scene"] for answer in answers] == ["kids", "default", "unknown"]


def test_results_come_in_the_order_of_the_items(client):
    items = [{"text": text, "data_id": str(number)} for number, text in enumerate(list(LABEL_IDS) * (MAX_ITEMS // 3))]
    answer = client.post("/classify/batch", json={"items": items}).json()
    assert list(answer) == ["results", "model_version"]
    assert answer["model_version"] == "tiny-1"
    assert [result["data_id"] for result in answer["results"]] == [item["data_id"] for item in items]
    assert texts_of(answer) == [LABEL_IDS[item["text"]] for item in items]
    assert all(list(result) == KEYS for result in answer["results"])


def test_a_post_in_a_batch_is_judged_as_alone(client):
    for text in LABEL_IDS:
        alone = client.post("/classify", json={"text": text}).json()
        together = client.post("/classify/batch", json={"items": [{"text": "赌" * 60}, {"text": text}]}).json()["results"][1]
        assert together == alone | {"request_id": together["request_id"]}


def test_a_bad_item_keeps_its_place_and_spoils_no_other(client):
    bad = [{"text": ""}, {"text": "\u200b", "data_id": "b"}, {"text": 7, "data_id": "c"}, {}, "text", None, {"text": "好", "what": 1}]
    bad += [
        {"text": "好" * (MAX_TEXT_CHARS + 1)},
        {"text": "好", "data_id": 7},
        {"text": "好", "scene": ""},
        [],
        {"text": "好", "scene": None},
    ]
    items = [item for each in bad for item in (each, {"text": "来赌一把"})]
    response = client.post("/classify/batch", json={"items": items})
    assert response.status_code == 200
    answer = response.json()
    assert texts_of(answer)[1::2] == [2] * len(bad)
    invalid = "invalid_field"
    codes = ["empty_text", "empty_text", *[invalid] * 5, "text_too_long", *[invalid] * 4]
    assert texts_of(answer)[::2] == codes
    for result in answer["results"][::2]:
        assert set(result) == {"data_id", "error"}
        assert set(result["error"]) == ERROR_KEYS
        assert result["error"]["request_id"] == response.headers["X-Request-ID"]
    assert [result["data_id"] for result in answer["results"][:6:2]] == [None, "b", "c"]


def test_a_batch_of_bad_items_alone_is_answered(client):
    assert texts_of(client.post("/classify/batch", json={"items": [{}, {"text": ""}]}).json()) == ["invalid_field", "empty_text"]


def test_a_batch_takes_256_items_and_no_more(client):
    item = {"text": "好"}
    assert len(client.post("/classify/batch", json={"items": [item] * 256}).json()["results"]) == 256
    refused = client.post("/classify/batch", json={"items": [item] * 257})
    assert error_of(refused, 422) == "invalid_field"
    assert "256" in refused.json()["error"]["message"]


@pytest.mark.parametrize("body", [{"items": []}, {"items": {}}, {"items": "text"}, {}, [], {"items": [{"text": "好"}], "scene": "kids"}])
def test_a_batch_without_a_list_of_items_is_refused(client, body):
    assert error_of(client.post("/classify/batch", json=body), 422) == "invalid_field"
