import os
import re
from pathlib import Path

import pytest

from semantic_service.settings import EMBEDDED_MODEL, Settings, SettingsError

EXAMPLE = Path(__file__).parents[1] / "deploy" / "env.example"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in list(os.environ):  # noqa: TID251 - the test's subject
        if name.upper().startswith("MODERATION_"):
            monkeypatch.delenv(name)


@pytest.fixture
def given(monkeypatch):
    def read(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"MODERATION_{name}", value)
        return Settings.from_environment()

    return read


def test_with_nothing_set_the_embedded_model_is_served_on_loopback(given):
    settings = given()
    assert (settings.host, settings.port, settings.model) == ("127.0.0.1", 8000, EMBEDDED_MODEL)
    assert (settings.signed_by, settings.shadow_model, settings.shadow_share) == (None, None, 0.1)
    assert (settings.policy, settings.uncertain_max, settings.threads) == (None, 0.6, 0)
    assert (settings.queue, settings.queue_ms, settings.cache_size) == (2048, 400, 20_000)


def test_every_setting_is_read(given):
    values = {"HOST": "0.0.0.0", "PORT": "9000", "MODEL": "models/1", "MODELS": "models", "POLICY": "policy.toml", "UNCERTAIN_MAX": "0.7"}
    values |= {"SIGNED_BY": "key.pem", "SHADOW_MODEL": "models/2", "SHADOW_SHARE": "0.5", "SHADOW_FILE": "seen.jsonl"}
    values |= {"DATABASE_URL": "", "SPILL_FILE": "spilt.jsonl", "AUDIT_SHARE": "0.02", "RETENTION_DAYS": "30"}
    settings = given(**values, WORKERS="2", THREADS="3", QUEUE="5", QUEUE_MS="6", CACHE_SIZE="7", LOG_LEVEL="debug")
    assert settings == Settings.model_construct(
        host="0.0.0.0",
        port=9000,
        model=Path("models/1"),
        models=Path("models"),
        signed_by=Path("key.pem"),
        policy=Path("policy.toml"),
        shadow_model=Path("models/2"),
        shadow_share=0.5,
        shadow_file=Path("seen.jsonl"),
        database_url="",
        spill_file=Path("spilt.jsonl"),
        audit_share=0.02,
        retention_days=30,
        uncertain_max=0.7,
        workers=2,
        threads=3,
        queue=5,
        queue_ms=6,
        cache_size=7,
        log_level="debug",
    )


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PROT", "MODERATION_PORT"),
        ("MODELL", "MODERATION_MODEL"),
        ("UNCERTAINTY", "MODERATION_UNCERTAIN_MAX"),
        ("LOGLEVEL", "MODERATION_LOG_LEVEL"),
        ("THREAD", "MODERATION_THREADS"),
    ],
)
def test_an_unknown_variable_names_the_nearest(given, name, nearest):
    with pytest.raises(SettingsError, match=f"MODERATION_{name} is not a setting: did you mean {nearest}"):
        given(**{name: "1"})


def test_a_variable_nothing_is_near_to_is_refused_too(given):
    with pytest.raises(SettingsError, match="MODERATION_ZZZ is not a setting"):
        given(ZZZ="")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PORT", "eighty", "integer"),
        ("PORT", "65536", "65535"),
        ("PORT", "-1", "0"),
        ("UNCERTAIN_MAX", "1.1", "1"),
        ("UNCERTAIN_MAX", "nan", ""),
        ("SHADOW_SHARE", "10", "1"),
        ("SHADOW_SHARE", "nan", ""),
        ("AUDIT_SHARE", "1.5", "1"),
        ("RETENTION_DAYS", "0", "1"),
        ("THREADS", "-1", "0"),
        ("THREADS", "1025", "1024"),
        ("QUEUE", "0", "1"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_accepted(given, name, value, reason):
    with pytest.raises(SettingsError) as raised:
        given(**{name: value})
    assert str(raised.value).startswith(f"MODERATION_{name}: ")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_bad_value_is_named_at_once(given):
    with pytest.raises(SettingsError, match=r"MODERATION_PORT: .*; MODERATION_QUEUE: "):
        given(PORT="x", QUEUE="x")


def test_variables_of_others_are_left_alone(given, monkeypatch):
    monkeypatch.setenv("MODERATOR_PORT", "9000")
    monkeypatch.setenv("PORT", "9000")
    assert given().port == 8000


def test_the_example_names_every_setting_and_gives_its_default(given):
    example = EXAMPLE.read_text(encoding="utf-8")
    assert {name.lower() for name in re.findall(r"^#?MODERATION_(\w+)=", example, re.MULTILINE)} == set(Settings.model_fields)
    defaults = dict(re.findall(r"^MODERATION_(\w+)=(.*)$", example, re.MULTILINE))
    assert given(**defaults) == Settings.model_construct()
