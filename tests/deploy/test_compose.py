"""deploy/compose.yaml says what our programs, and the tests' Label Studio, understand."""

import re
import shutil
import subprocess

import pytest
import yaml

from annotation.settings import Settings as AnnotationSettings
from semantic_service.settings import Settings as ServiceSettings
from tests.served import PROJECT

DEPLOY = PROJECT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
EXAMPLE = (DEPLOY / "compose.env.example").read_text("utf-8")
VALUES = dict(line.split("=", 1) for line in EXAMPLE.splitlines() if line and not line.startswith("#"))


def filled(text, values):
    """Put values in the place of ${NAME}, ${NAME:-default} and ${NAME:?message}, as Compose does."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", lambda match: values.get(match[1], match[2] or ""), text)


def environment(service):
    values = VALUES | dict.fromkeys((name for name, value in VALUES.items() if value == "CHANGE"), "a-secret-of-24-characters")
    return {name: filled(str(value), values) for name, value in COMPOSE["services"][service]["environment"].items()}


@pytest.mark.parametrize(
    ("service", "settings", "expected"),
    [
        ("service", ServiceSettings, {"database_url": "postgresql://moderation:a-secret-of-24-characters@database/moderation"}),
        ("annotation", AnnotationSettings, {"url": "http://label-studio:8080", "service_url": "http://service:8000"}),
    ],
)
def test_the_settings_are_ones_that_our_programs_take(service, settings, expected, monkeypatch):
    for name, value in environment(service).items():
        monkeypatch.setenv(name, value)
    read = settings.from_environment()
    assert {name: getattr(read, name) for name in expected} == expected


def test_every_variable_is_explained_and_every_secret_has_to_be_given():
    named = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text("utf-8")))
    assert named == set(VALUES)
    secrets = {name for name, value in VALUES.items() if value == "CHANGE"}
    assert {name for name in secrets if f"${{{name}:?" not in (DEPLOY / "compose.yaml").read_text("utf-8")} == set()


def test_what_it_mounts_and_builds_is_there():
    for service in COMPOSE["services"].values():
        for name in service.get("env_file", []):
            assert (DEPLOY / name).is_file()
        if "build" in service:
            assert f" AS {service['build']['target']}\n" in (PROJECT / "Dockerfile").read_text("utf-8")
    assert (DEPLOY / "label-studio.sql").is_file()


def has_compose():
    return (
        shutil.which("docker") is not None
        and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not has_compose(), reason="Compose itself reads the file only where it is installed")
def test_compose_itself_reads_it():
    command = ["docker", "compose", "-f", DEPLOY / "compose.yaml", "--env-file", DEPLOY / "compose.env.example", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
