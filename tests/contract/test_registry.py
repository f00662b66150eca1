import json
import shutil

import pytest

from semantic_service.contract.bundle import SIGNATURE_FILE, Bundle, BundleError
from semantic_service.contract.registry import Change, Registry, RegistryError
from tests.tiny_model import build_bundle, copy_of

AT = "2026-01-02T03:04:05+00:00"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return {version: build_bundle(folder / version, model_version=version) for version in ("v1", "v2", "v3")}


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models")


def change(version, previous, action="promote"):
    return Change(action, version, previous, "me", AT, "better", {"champion": {"recall": 0.5}})


@pytest.fixture
def promote(registry, bundles):
    def promoted(version):
        with registry.locked():
            registry.add(bundles[version])
            registry.change(change(version, registry.pointer()))

    return promoted


def test_an_empty_registry_has_no_champion(registry):
    assert (registry.pointer(), registry.versions(), registry.history()) == (None, [], [])
    with pytest.raises(RegistryError, match="no champion yet"):
        registry.champion()


def test_the_last_promoted_bundle_is_the_champion(registry, promote, bundles):
    promote("v1")
    promote("v2")
    assert registry.champion().manifest == bundles["v2"].manifest
    assert registry.versions() == ["v1", "v2"]
    assert registry.history() == [change("v1", None), change("v2", "v1")]
    assert (registry.path / "current").read_text(encoding="utf-8") == "v2\n"


def test_what_a_version_replaced_is_known_after_a_rollback_too(registry, promote):
    for version in ("v1", "v2", "v3"):
        promote(version)
    with registry.locked():
        registry.change(change("v2", "v3", "rollback"))
    assert [registry.before(version) for version in ("v3", "v2", "v1")] == ["v2", "v1", None]


def test_a_bundle_added_twice_is_one(registry, bundles):
    with registry.locked():
        first, second = registry.add(bundles["v1"]), registry.add(bundles["v1"])
    assert first == second == Bundle.read(registry.path / "v1")


def test_another_bundle_of_the_same_version_is_refused(registry, promote, tmp_path):
    promote("v1")
    other = build_bundle(tmp_path / "other", model_version="v1", temperature=2.0)
    with registry.locked(), pytest.raises(RegistryError, match="another bundle of the same version"):
        registry.add(other)


def test_a_broken_bundle_never_becomes_the_champion(registry, promote, bundles):
    promote("v1")
    with registry.locked():
        broken = registry.add(bundles["v2"])
        broken.file("model.onnx").write_bytes(b"half a mod")
        with pytest.raises(BundleError, match="sha256"):
            registry.change(change("v2", "v1"))
    assert registry.pointer() == "v1"
    assert len(registry.history()) == 1


@pytest.fixture
def signed(bundles, tmp_path):
    """A bundle of its own with something in the signature's place."""
    folder = copy_of(bundles["v1"], tmp_path / "signed")
    (folder / SIGNATURE_FILE).write_bytes(b"\x00 signed \xff")
    return Bundle.read(folder)


def test_a_signature_comes_with_the_bundle(registry, signed):
    with registry.locked():
        added = registry.add(signed)
    assert added.file(SIGNATURE_FILE).read_bytes() == signed.file(SIGNATURE_FILE).read_bytes()


def test_a_signature_made_later_comes_with_the_next_promotion_and_stays(registry, promote, signed, bundles):
    promote("v1")
    with registry.locked():
        for bundle in (signed, bundles["v1"], signed):
            added = registry.add(bundle)
            assert added.file(SIGNATURE_FILE).read_bytes() == signed.file(SIGNATURE_FILE).read_bytes()
    assert sorted(path.name for path in registry.path.iterdir()) == [".lock", "current", "history.jsonl", "v1"]


def test_a_signature_is_never_replaced(registry, signed):
    with registry.locked():
        added = registry.add(signed)
        signed.file(SIGNATURE_FILE).write_bytes(b"signed by another")
        with pytest.raises(RegistryError, match="signatures are never replaced"):
            registry.add(signed)
    assert added.file(SIGNATURE_FILE).read_bytes() == b"\x00 signed \xff"


@pytest.mark.parametrize("version", ["../v1", "", ".hidden", "a/b", "v" * 201, "版本"])
def test_a_version_is_a_name_and_never_a_path(registry, version):
    with pytest.raises(RegistryError, match="can't name a version"):
        registry.folder(version)
    registry.path.mkdir(exist_ok=True)
    (registry.path / "current").write_text(version + "\n", encoding="utf-8")
    with pytest.raises(RegistryError, match="wanted one line with a version's name"):
        registry.pointer()


def test_a_kill_between_history_and_pointer_is_made_good(registry, promote):
    promote("v1")
    promote("v2")
    (registry.path / "current").write_text("v1\n", encoding="utf-8")  # as a kill leaves it
    with registry.locked():
        assert registry.pointer() == "v2"


def test_a_kill_before_the_first_pointer_is_made_good(registry, promote):
    promote("v1")
    (registry.path / "current").unlink()
    with registry.locked():
        assert registry.pointer() == "v1"


def test_a_pointer_set_by_hand_is_left_alone(registry, promote):
    for version in ("v1", "v2", "v3"):
        promote(version)
    (registry.path / "current").write_text("v1\n", encoding="utf-8")
    with registry.locked():
        assert registry.pointer() == "v1"


def test_a_history_line_that_a_kill_cut_short_is_dropped(registry, promote):
    promote("v1")
    history = registry.path / "history.jsonl"
    with history.open("a", encoding="utf-8") as file:
        file.write('{"action": "promote", "version": "v9')
    assert registry.history() == [change("v1", None)]
    promote("v2")
    assert [json.loads(line)["version"] for line in history.read_text(encoding="utf-8").splitlines()] == ["v1", "v2"]


def test_a_broken_history_line_is_named(registry, promote):
    promote("v1")
    with (registry.path / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"action": "promote"}\n')
    with pytest.raises(RegistryError, match=r"history\.jsonl:2: not a change"):
        registry.history()


def test_what_a_killed_copy_left_is_cleared_away(registry, bundles):
    shutil.copytree(bundles["v1"].path, registry.path / ".v1.partial")
    assert registry.versions() == []
    with registry.locked():
        registry.add(bundles["v1"])
    assert sorted(path.name for path in registry.path.iterdir()) == [".lock", "v1"]


def test_two_commands_do_not_write_at_once(registry):
    with registry.locked(), pytest.raises(RegistryError, match="another command is changing it"), registry.locked():
        pass
