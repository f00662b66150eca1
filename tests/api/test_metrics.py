import pytest
from prometheus_client.parser import text_string_to_metric_families

NAMES = {
    "moderation_requests_total",
    "moderation_request_seconds_bucket",
    "moderation_judgements_total",
    "moderation_confidence_bucket",
    "moderation_uncertain_total",
    "moderation_queue_seconds_bucket",
    "moderation_inference_seconds_bucket",
    "moderation_cache_total",
    "moderation_batch_texts_bucket",
    "moderation_batch_tokens_bucket",
    "moderation_model_info",
}
LABELS = {"route", "status", "label", "suggestion", "scene", "decided_by", "version", "le", "result"}


@pytest.fixture
def fresh(serve, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text("[scenes.kids]\nreview_at = 0.05\n", encoding="utf-8")
    return serve(policy=policy)


def samples(client):
    response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(response.text)
    return [sample for family in families for sample in family.samples if sample.name.startswith("moderation_")]


def value(client, name, **labels):
    return sum(sample.value for sample in samples(client) if sample.name == name and labels.items() <= sample.labels.items())


def values_of(client, label):
    return {sample.labels[label] for sample in samples(client) if label in sample.labels}


def test_the_contracts_metrics_are_there_and_have_its_labels_only(fresh):
    fresh.post("/classify", json={"text": "好"})
    found = samples(fresh)
    assert {sample.name for sample in found} >= NAMES
    assert {label for sample in found for label in sample.labels} == LABELS


def test_a_judgement_is_counted_once_under_its_verdict(fresh):
    fresh.post("/classify", json={"text": "来赌一把"})
    fresh.post("/classify/batch", json={"items": [{"text": "来赌一把"}, {"text": "中"}, {"text": ""}, {}]})
    verdict = {"label": "violation", "suggestion": "block", "scene": "default", "decided_by": "model"}
    assert value(fresh, "moderation_judgements_total", **verdict) == 2
    for counted in ("judgements_total", "confidence_count", "queue_seconds_count", "inference_seconds_count", "batch_tokens_count"):
        assert value(fresh, f"moderation_{counted}") == 3
    assert value(fresh, "moderation_uncertain_total") == 1
    assert value(fresh, "moderation_batch_texts_sum") == 3
    assert value(fresh, "moderation_model_info", version="tiny-1") == 1


def test_an_answer_is_counted_under_its_route_and_status(fresh):
    fresh.post("/classify", json={"text": "好"})
    fresh.post("/classify", json={"text": ""})
    assert value(fresh, "moderation_requests_total", route="/classify", status="200") == 1
    assert value(fresh, "moderation_requests_total", route="/classify", status="422") == 1
    assert value(fresh, "moderation_request_seconds_count", route="/classify") == 2


def test_scenes_no_policy_knows_are_counted_as_default(fresh):
    for number in range(20):
        fresh.post("/classify", json={"text": "好", "scene": f"board-{number}"})
    fresh.post("/classify", json={"text": "好", "scene": "kids"})
    assert values_of(fresh, "scene") == {"default", "kids"}
    assert value(fresh, "moderation_judgements_total", scene="default") == 20


def test_routes_nobody_knows_are_counted_as_one(fresh):
    for number in range(20):
        fresh.get(f"/secret-{number}")
        fresh.post(f"/classify/{number}", json={"text": "好"})
        fresh.request(f"VERB{number}", "/classify")
        fresh.get(f"/static-offline-docs/{number}")
    requests = [sample for sample in samples(fresh) if sample.name == "moderation_requests_total"]
    assert {sample.labels["route"] for sample in requests} <= {"unknown", "/classify", "/static-offline-docs"}
    assert {sample.labels["status"] for sample in requests} == {"404", "405"}
    assert sum(sample.value for sample in requests) == 80


def test_no_metric_holds_a_users_text_or_id(fresh):
    for body in ({"text": "用户的话", "data_id": "post-42"}, {"text": "", "用户的话": 1}, {"text": "好", "scene": "用户的话"}):
        fresh.post("/classify", json=body, headers={"X-Request-ID": "caller-7"})
    exposition = fresh.get("/metrics").text
    assert not [word for word in ("用户的话", "post-42", "caller-7") if word in exposition]
