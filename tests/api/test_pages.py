import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from semantic_service.api import service
from semantic_service.contract.bundle import SelfCheck, write_atomically
from semantic_service.contract.labels import LABEL_NAMES
from semantic_service.contract.registry import Change, Registry
from tests.api.answers import error_of
from tests.deadline import until
from tests.tiny_model import build_bundle

SNAPSHOT = Path(__file__).with_name("openapi.json")


@pytest.fixture
def drifted(tiny_bundle):
    """A bundle whose model answers otherwise than on the day it was made."""
    manifest = replace(tiny_bundle.manifest, self_check=(SelfCheck("来赌一把", (0.9, 0.1, 0.0)),))
    return replace(tiny_bundle, manifest=manifest)


def test_the_probes_say_alive_and_ready(client):
    assert client.get("/live").json() == {"status": "alive"}
    assert client.get("/ready").json() == {"status": "ready"}


def test_a_model_that_fails_its_self_check_is_alive_but_not_ready(serve, drifted, caplog):
    client = serve(bundle=drifted)
    response = client.get("/ready")
    assert error_of(response, 503) == "not_ready"
    assert str(drifted.path) not in response.text
    assert "self-check text 1 is off by" in caplog.text
    assert response.headers["Retry-After"]
    assert client.get("/live").status_code == 200


def test_the_model_in_use_is_described(client, tiny_bundle):
    manifest = tiny_bundle.manifest
    assert client.get("/models/current").json() == {
        "model_version": "tiny-1",
        "created": manifest.created,
        "labels": list(LABEL_NAMES),
        "tasks": {},
        "max_tokens": manifest.max_tokens,
        "temperature": manifest.temperature,
        "precision": "fp32",
        "normaliser_version": manifest.normaliser_version,
        "data_digest": manifest.data_digest,
        "git_revision": manifest.git_revision,
        "metrics": {"accuracy": 1.0},
        "scenes": ["default"],
        "model_error": None,
        "policy_error": None,
    }


def test_a_changed_policy_is_taken_up_without_a_restart(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "POLL_S", 0.01)
    policy = tmp_path / "policy.toml"
    policy.write_text("", encoding="utf-8")
    client = serve(policy=policy)
    write_atomically(policy, '[lexicon]\ndeny = ["天气"]\n')
    until(lambda: client.post("/classify", json={"text": "今天天气真好"}).json()["suggestion"] == "block")
    write_atomically(policy, "deny = 天气")
    until(lambda: client.get("/models/current").json()["policy_error"])
    assert "policy.toml" in client.get("/models/current").json()["policy_error"]
    assert client.post("/classify", json={"text": "今天天气真好"}).json()["suggestion"] == "block"


def promote(registry, bundle):
    with registry.locked():
        registry.add(bundle)
        registry.change(Change("promote", bundle.manifest.model_version, registry.pointer(), "me", "2026-01-02T03:04:05+00:00", ""))


def test_another_champion_is_taken_up_without_a_restart(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "POLL_S", 0.01)
    registry = Registry(tmp_path / "models")
    client = serve(models=registry)
    promote(registry, build_bundle(tmp_path / "tiny-2", model_version="tiny-2"))
    until(lambda: client.post("/classify", json={"text": "今天天气真好"}).json()["model_version"] == "tiny-2")
    said = client.get("/metrics").text
    assert 'moderation_model_info{version="tiny-2"} 1.0' in said
    assert 'moderation_model_info{version="tiny-1"} 0.0' in said
    assert 'moderation_model_reload_total{result="loaded"} 1.0' in said


def test_a_reload_does_not_wait_for_the_next_look_and_says_what_is_wrong(serve, tmp_path):
    registry = Registry(tmp_path / "models")
    client = serve(models=registry)
    promote(registry, build_bundle(tmp_path / "tiny-2", model_version="tiny-2"))
    graph = registry.folder("tiny-2") / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(b"half a mod")
    refused = client.post("/models/reload").json()
    assert refused["model_version"] == "tiny-1"
    assert "sha256" in refused["model_error"]
    assert client.get("/models/current").json() == refused
    graph.write_bytes(whole)
    mended = client.post("/models/reload").json()
    assert (mended["model_version"], mended["model_error"]) == ("tiny-2", None)
    assert 'moderation_model_reload_total{result="refused"} 1.0' in client.get("/metrics").text


def test_the_page_loads_nothing_from_elsewhere_and_lets_nobody_frame_it(client):
    response = client.get("/")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(rule.split(" ", 1) for rule in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert {policy[rule] for rule in ("frame-ancestors", "base-uri", "form-action")} == {"'none'"}
    namespace = "xmlns='http://www.w3.org/2000/svg'"  # a name, never fetched
    assert not re.findall(r"(?:https?:|wss?:)?//\w[^\s\"']*", response.text.replace(namespace, "").replace("// ", ""))


def test_the_docs_load_nothing_from_elsewhere(client):
    page = client.get("/docs")
    assert page.status_code == 200
    sources = re.findall(r"(?:src|href)=[\"']([^\"']+)", page.text)
    assert sources
    assert [client.get(source).status_code for source in sources] == [200] * len(sources)
    assert all(source.startswith("/") and not source.startswith("//") for source in sources)


def test_the_api_is_described_as_in_the_snapshot(client, tmp_path):
    described = client.get("/openapi.json").json()
    fresh = tmp_path / SNAPSHOT.name
    fresh.write_text(json.dumps(described, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    recorded = json.loads(SNAPSHOT.read_text(encoding="utf-8")) if SNAPSHOT.exists() else None
    assert described == recorded, f"The API has changed. If that is meant, renew the snapshot: cp {fresh} {SNAPSHOT}"
