import re
from pathlib import Path

import pytest

from annotation.errors import SettingsError
from annotation.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "annotation.env.example"


@pytest.fixture
def given(monkeypatch):
    def read(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"ANNOTATION_{name}", value)
        return Settings.from_environment()

    return read


def test_the_example_names_every_setting_and_gives_its_default(given):
    example = EXAMPLE.read_text(encoding="utf-8")
    assert {name.lower() for name in re.findall(r"^#?ANNOTATION_(\w+)=", example, re.MULTILINE)} == set(Settings.model_fields)
    defaults = dict(re.findall(r"^ANNOTATION_(\w+)=(.*)$", example, re.MULTILINE))
    assert given(**defaults) == Settings.model_construct()


@pytest.mark.parametrize(("name", "nearest"), [("TOKNE", "ANNOTATION_TOKEN"), ("DATABASE", "ANNOTATION_DATABASE_URL")])
def test_an_unknown_variable_names_the_nearest(given, name, nearest):
    with pytest.raises(SettingsError, match=f"ANNOTATION_{name} is not a setting: did you mean {nearest}"):
        given(**{name: "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("SECOND_OPINION_SHARE", "1.1"), ("QUEUE", "0"), ("WEBHOOK_PORT", "65536"), ("PROJECT", "x"), ("WEBHOOK_SECRET", "short")],
)
def test_a_bad_value_is_refused_with_its_name(given, name, value):
    with pytest.raises(SettingsError) as raised:
        given(**{name: value})
    assert str(raised.value).startswith(f"ANNOTATION_{name}: ")
    assert name != "WEBHOOK_SECRET" or value not in str(raised.value)


def test_a_webhook_without_a_secret_is_refused(given):
    with pytest.raises(SettingsError, match="ANNOTATION_WEBHOOK_URL needs ANNOTATION_WEBHOOK_SECRET"):
        given(WEBHOOK_URL="http://127.0.0.1:8090/webhook")


def test_secrets_are_not_shown(given):
    shown = repr(given(TOKEN="secret-token", WEBHOOK_SECRET="secret-of-the-webhook", SERVICE_KEY="secret-key"))
    assert "secret-" not in shown
