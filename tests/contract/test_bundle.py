import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract import bundle as bundles
from semantic_service.contract.bundle import BUNDLE_FILES, MANIFEST_FILE, Bundle, BundleError, Manifest, SelfCheck
from semantic_service.contract.tasks import Task
from tests.tiny_model import build_bundle, copy_of, manifest, stage

REVERSED = ("violation", "suspicious", "compliant")
VALID = Manifest(
    model_version="v1",
    created="2026-01-02T03:04:05+00:00",
    max_tokens=128,
    temperature=1.5,
    precision="int8",
    metrics={"macro_f1": 0.9},
    data_digest="d",
    git_revision="g",
    train_config={},
    self_check=(SelfCheck("今天", (0.7, 0.2, 0.1)),),
    sha256=dict.fromkeys(BUNDLE_FILES, "0"),
)


def names(folder):
    return {path.name for path in folder.iterdir()}


def changed(**values):
    return json.dumps(json.loads(VALID.to_json()) | values)


def spoil(folder, **values):
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")
    return folder


@given(
    st.builds(
        replace,
        st.just(VALID),
        model_version=st.text(),
        max_tokens=st.integers(8, 8192),
        temperature=st.floats(0.01, 100),
        metrics=st.dictionaries(st.text(), st.floats(0, 1)),
    )
)
def test_a_manifest_survives_its_json(described):
    assert Manifest.from_json(described.to_json()) == described


@given(st.text() | st.sampled_from(["", "{", "[]", "null", "3", "{}", '"text"']))
def test_what_is_no_manifest_is_refused_as_incomplete(text):
    with pytest.raises(bundles.IncompleteBundleError, match=r"manifest\.json: not a complete manifest"):
        Manifest.from_json(text)


@pytest.mark.parametrize("key", [field.name for field in fields(Manifest) if field.name != "tasks"])
def test_a_missing_key_is_named(key):
    values = json.loads(VALID.to_json())
    del values[key]
    with pytest.raises(bundles.IncompleteBundleError, match=rf"manifest\.json.*{key}"):
        Manifest.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("format_version", 2, "format_version is 2, this version of the service needs 1"),
        ("labels", REVERSED, r"labels is \['violation'.*needs \['compliant'"),
        ("labels", ["compliant", "violation"], "labels is"),
        ("normaliser_version", 999, "normaliser_version is 999, this version of the service needs"),
    ],
)
def test_another_format_label_order_or_normaliser_is_incompatible(key, value, reason):
    with pytest.raises(bundles.IncompatibleBundleError, match=reason):
        Manifest.from_json(changed(**{key: value}))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("temperature", 0, "temperature must be above 0, got 0"),
        ("temperature", float("nan"), "temperature must be above 0, got nan"),
        ("temperature", "1", "TypeError"),
        ("max_tokens", 7, "max_tokens must be at least 8, got 7"),
        ("max_tokens", "128", "TypeError"),
        ("self_check", [], "self_check must hold at least one text"),
        ("self_check", [{"text": "今天"}], "probabilities"),
        ("self_check", [{"text": "今天", "probabilities": [0.5, 0.5]}], "ValueError"),
        ("sha256", {}, "sha256 lacks model.onnx"),
        ("sha256", None, "TypeError"),
        ("labels", None, "labels"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_reason(key, value, reason):
    with pytest.raises(BundleError, match=rf"manifest\.json.*{reason}"):
        Manifest.from_json(changed(**{key: value}))


CATEGORY = Task("category", ("none", "abuse"), 1.5)
WITH_TASKS = replace(VALID, tasks=(CATEGORY, Task("topic", ("games", "sports"))), self_check=(SelfCheck("今天", (0.1,) * 7),))


def test_a_manifest_of_several_tasks_survives_its_json():
    assert Manifest.from_json(WITH_TASKS.to_json()) == WITH_TASKS


def test_a_manifest_without_tasks_is_written_as_before_there_were_any():
    assert "tasks" not in json.loads(VALID.to_json())
    assert VALID.tasks == ()


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ([{"name": "category", "labels": ["none", "abuse"], "temperature": 0}], "temperature must be above 0, got 0"),
        ([{"name": "category", "labels": ["none"], "temperature": 1}], "must have 2 to 64 labels"),
        ([{"name": "category", "labels": ["none", "abuse"], "temperature": 1}] * 2, "two have one name"),
        ([{"name": "category", "labels": ["none", "abuse"], "temperature": 1}], "self_check must hold 5 probabilities of each text, got 7"),
        ([{"name": "category", "labels": ["none", "abuse"]}, {"labels": ["a", "b"]}], "name"),
        ([{"name": "category", "labels": None}], "TypeError"),
        ([{"name": "category", "labels": ["none", "abuse"], "threshold": 1}], "threshold"),
        (3, "TypeError"),
        ([], "self_check must hold 3 probabilities of each text, got 7"),
    ],
)
def test_tasks_that_can_not_be_served_are_refused(tasks, reason):
    with pytest.raises(bundles.IncompleteBundleError, match=rf"manifest\.json.*{reason}"):
        Manifest.from_json(json.dumps(json.loads(WITH_TASKS.to_json()) | {"tasks": tasks}))


def test_an_unknown_manifest_key_is_refused():
    with pytest.raises(bundles.IncompleteBundleError, match="threshold"):
        Manifest.from_json(changed(threshold=0.5))


@pytest.mark.parametrize(
    ("key", "value"), [("sha256", list(BUNDLE_FILES)), ("sha256", dict.fromkeys(BUNDLE_FILES, 5)), ("max_tokens", 128.5)]
)
def test_a_manifest_value_of_another_type_is_refused(key, value, tiny_bundle, tmp_path):
    with pytest.raises(BundleError, match=MANIFEST_FILE):
        Bundle.read(spoil(copy_of(tiny_bundle, tmp_path / "b"), **{key: value}))


def test_a_sealed_bundle_is_read_back(tiny_bundle):
    again = Bundle.read(tiny_bundle.path)
    assert again == tiny_bundle
    assert names(again.path) == {*BUNDLE_FILES, MANIFEST_FILE}
    assert dict(again.manifest.sha256) == {name: bundles.file_sha256(again.file(name)) for name in BUNDLE_FILES}


@pytest.mark.parametrize("name", [*BUNDLE_FILES, MANIFEST_FILE])
def test_a_missing_file_is_named(name, tiny_bundle, tmp_path):
    folder = copy_of(tiny_bundle, tmp_path / "b")
    (folder / name).unlink()
    with pytest.raises(bundles.IncompleteBundleError, match=f"{folder / name}: .*(no such file|missing)"):
        Bundle.read(folder)


@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_a_touched_file_is_named(name, tiny_bundle, tmp_path):
    folder = copy_of(tiny_bundle, tmp_path / "b")
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(bundles.CorruptBundleError, match=f"{folder / name}: sha256 is .*the manifest says"):
        Bundle.read(folder)


@pytest.mark.parametrize("spoiled", [b"{", b"", b"\xff\xfe"])
def test_a_broken_manifest_is_refused_with_its_folder(spoiled, tiny_bundle, tmp_path):
    folder = copy_of(tiny_bundle, tmp_path / "b")
    (folder / MANIFEST_FILE).write_bytes(spoiled)
    with pytest.raises(bundles.IncompleteBundleError, match=f"{folder}.*{MANIFEST_FILE}: not "):
        Bundle.read(folder)


@pytest.mark.parametrize(("key", "value"), [("format_version", 2), ("labels", REVERSED), ("normaliser_version", 0)])
def test_an_incompatible_bundle_is_refused_with_its_folder(key, value, tiny_bundle, tmp_path):
    folder = spoil(copy_of(tiny_bundle, tmp_path / "b"), **{key: value})
    with pytest.raises(bundles.IncompatibleBundleError, match=f"{folder}: {MANIFEST_FILE}: {key} is "):
        Bundle.read(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(bundles.IncompleteBundleError, match=r"no such file; is .* a bundle"):
        Bundle.read(tmp_path / "nowhere")


def test_staging_left_by_a_kill_before_the_manifest_is_refused(tmp_path):
    staging = stage(tmp_path / "staging")
    with pytest.raises(bundles.IncompleteBundleError, match=f"{staging / MANIFEST_FILE}: no such file"):
        Bundle.read(staging)


def test_sealing_moves_the_staging_folder(tmp_path):
    bundle = build_bundle(tmp_path / "models" / "tiny-2", model_version="tiny-2")
    assert bundle.manifest.model_version == "tiny-2"
    assert names(tmp_path / "models") == {"tiny-2"}


@pytest.mark.parametrize("taken", ["folder", "empty folder", "file"])
def test_sealing_never_overwrites(taken, tiny_bundle, tmp_path):
    staging, target = stage(tmp_path / "staging"), tmp_path / "target"
    if taken == "folder":
        copy_of(tiny_bundle, target)
    elif taken == "file":
        target.write_text("mine", "utf-8")
    else:
        target.mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match=f"{target} exists"):
        bundles.seal(staging, manifest(staging), target)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_sealing_an_incomplete_folder_leaves_nothing(name, tmp_path):
    staging, target = stage(tmp_path / "staging"), tmp_path / "target"
    described = manifest(staging)
    (staging / name).unlink()
    with pytest.raises(bundles.IncompleteBundleError, match=f"{staging / name}: missing"):
        bundles.seal(staging, described, target)
    assert not target.exists()
    assert not (staging / MANIFEST_FILE).exists()


@pytest.mark.parametrize("refused", [{"self_check": ()}, {"max_tokens": 7}, {"normaliser_version": 0}, {"labels": REVERSED}])
def test_sealing_never_publishes_what_would_be_refused(refused, tmp_path):
    staging, target = stage(tmp_path / "staging"), tmp_path / "target"
    with pytest.raises(BundleError):
        bundles.seal(staging, replace(manifest(staging), **refused), target)
    assert not target.exists()


def test_a_bundle_that_could_not_be_signed_is_not_published(tmp_path):
    def fail(folder):
        assert Bundle.read(folder).manifest.model_version == "tiny-1"  # all is there to be signed
        raise OSError("no space left")

    staging, target = stage(tmp_path / "staging"), tmp_path / "target"
    with pytest.raises(OSError, match="no space left"):
        bundles.seal(staging, manifest(staging), target, fail)
    assert not target.exists()


def test_an_atomic_write_replaces_the_content_and_leaves_nothing_aside(tmp_path):
    path = tmp_path / "current"
    for content in ("一", "二"):
        bundles.write_atomically(path, content)
        assert path.read_text("utf-8") == content
    assert names(tmp_path) == {"current"}
