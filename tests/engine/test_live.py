import os
from dataclasses import replace

import pytest

from semantic_service.contract.bundle import BundleError, SelfCheck, SelfCheckError
from semantic_service.contract.registry import Change, Registry
from semantic_service.contract.verdict import Policy, PolicyError, Suggestion
from semantic_service.engine.live import Live, Reload, Source, read_policy
from tests.tiny_model import build_bundle

OLD = '[lexicon]\ndeny = ["天气"]\n'
NEW = "[scenes.kids]\nreview_at = 0.05\n"
BROKEN = {
    "not TOML": (b"deny = ", "not TOML"),
    "not UTF-8": ("deny = 天气".encode("gbk"), "utf-8"),
    "an unknown table": (b"[scene.kids]\n", "unknown table [scene]"),
    "a value out of range": (b"[scenes.kids]\nblock_at = 80\n", "block_at must lie in (0, 1], got 80"),
    "a word for a number": (b'[scenes.kids]\nreview_at = "0.1"\n', "review_at must be a number"),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(OLD, encoding="utf-8")
    return path


@pytest.fixture
def live(tiny_bundle, file):
    return Live(Source(tiny_bundle.path), file, uncertain_max=0.6)


def suggestion(live, scene="default"):
    return live.moderator.judge("今天天气真好", scene).verdict.suggestion


def test_a_bundle_is_opened_with_its_policy(tiny_bundle, file):
    live = Live(Source(tiny_bundle.path), file, 0.6)
    assert live.moderator.model_version == "tiny-1"
    assert live.bundle.manifest == tiny_bundle.manifest
    assert (suggestion(live), live.policy_error) == (Suggestion.BLOCK, None)


def test_without_a_file_the_default_policy_counts(tiny_bundle):
    live = Live(Source(tiny_bundle.path), None, uncertain_max=0.6)
    live.refresh_policy()
    assert (live.moderator.policy, live.policy_error) == (Policy(), None)


def test_what_is_uncertain_is_the_operators_choice(tiny_bundle):
    answers = [Live(Source(tiny_bundle.path), None, uncertain_max).moderator.judge("今天天气真好") for uncertain_max in (0.6, 1.0)]
    assert [answer.verdict.uncertain for answer in answers] == [False, True]


def test_a_changed_file_is_taken_up(live, file):
    file.write_text(NEW, encoding="utf-8")
    live.refresh_policy()
    assert (suggestion(live), suggestion(live, "kids")) == (Suggestion.PASS, Suggestion.REVIEW)
    assert live.policy_error is None


def test_a_file_put_in_by_rename_is_taken_up(live, file, tmp_path):
    aside = tmp_path / "aside"
    aside.write_text(NEW.ljust(len(OLD.encode()) - 1) + "\n", encoding="utf-8")
    stamp = file.stat()
    os.utime(aside, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    aside.replace(file)
    live.refresh_policy()
    assert suggestion(live) is Suggestion.PASS


def test_an_unchanged_file_is_not_read_again(live):
    before = live.moderator
    live.refresh_policy()
    assert live.moderator is before


def test_a_request_under_way_keeps_the_policy_it_began_with(live, file):
    taken = live.moderator
    file.write_text(NEW, encoding="utf-8")
    live.refresh_policy()
    assert taken.judge("今天天气真好").verdict.suggestion is Suggestion.BLOCK


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_keeps_the_old_policy_and_says_why(live, file, name, caplog):
    content, reason = BROKEN[name]
    file.write_bytes(content)
    live.refresh_policy()
    assert suggestion(live) is Suggestion.BLOCK
    assert str(file) in live.policy_error
    assert reason in live.policy_error
    assert live.policy_error in caplog.text


def test_a_deleted_file_keeps_the_old_policy_and_says_why(live, file):
    file.unlink()
    live.refresh_policy()
    assert suggestion(live) is Suggestion.BLOCK
    assert live.policy_error == f"{file}: can't be read (No such file or directory)"


def test_a_mended_file_clears_the_error(live, file):
    for content in ("deny = ", NEW):
        file.write_text(content, encoding="utf-8")
        live.refresh_policy()
    assert (suggestion(live), live.policy_error) == (Suggestion.PASS, None)


def test_a_file_that_comes_back_clears_the_error(live, file):
    file.unlink()
    live.refresh_policy()
    file.write_text(OLD, encoding="utf-8")
    live.refresh_policy()
    assert (suggestion(live), live.policy_error) == (Suggestion.BLOCK, None)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_stops_the_start(tiny_bundle, file, name):
    content, reason = BROKEN[name]
    file.write_bytes(content)
    with pytest.raises(PolicyError) as raised:
        Live(Source(tiny_bundle.path), file, uncertain_max=0.6)
    assert str(file) in str(raised.value)
    assert reason in str(raised.value)


@pytest.mark.parametrize("name", ["missing.toml", "long" * 100])
def test_a_file_that_can_not_be_had_stops_the_start(tiny_bundle, tmp_path, name):
    with pytest.raises(PolicyError, match=f"{name}: can't be read"):
        Live(Source(tiny_bundle.path), tmp_path / name, uncertain_max=0.6)


def test_a_folder_is_no_policy(tmp_path):
    with pytest.raises(PolicyError, match="can't be read"):
        read_policy(tmp_path)


def test_a_missing_bundle_stops_the_start(tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json: no such file"):
        Live(Source(tmp_path / "nothing"), None, 0.6)


def test_the_self_check_tells_a_model_that_answers_otherwise(live, tiny_bundle):
    live.self_check()
    drifted = replace(live.bundle.manifest, self_check=(SelfCheck("来赌一把", (0.9, 0.1, 0.0)),))
    live._loaded = replace(live._loaded, bundle=replace(live.bundle, manifest=drifted))
    with pytest.raises(SelfCheckError, match="off by"):
        live.self_check()


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models")


@pytest.fixture
def following(tiny_bundle, registry):
    """A model in use that follows a registry, still without a champion."""
    return Live(Source(tiny_bundle.path, registry), None, uncertain_max=0.6)


@pytest.fixture
def promote(registry, tmp_path):
    def promoted(version, **changes):
        bundle = build_bundle(tmp_path / version, model_version=version, **changes)
        with registry.locked():
            registry.add(bundle)
            registry.change(Change("promote", version, registry.pointer(), "me", "2026-01-02T03:04:05+00:00", "better"))

    return promoted


def test_until_there_is_a_champion_the_named_model_serves(following):
    assert following.refresh_model() is Reload.UNCHANGED
    assert following.moderator.model_version == "tiny-1"


def test_a_promoted_model_is_taken_up_once(following, promote):
    taken = following.moderator
    promote("tiny-2")
    assert [following.refresh_model() for _ in range(2)] == [Reload.LOADED, Reload.UNCHANGED]
    assert (following.moderator.model_version, following.bundle.manifest.model_version) == ("tiny-2", "tiny-2")
    assert taken.judge("今天天气真好").model_version == "tiny-1"


def spoil(registry, version):
    (registry.folder(version) / "model.onnx").write_bytes(b"half a mod")


def test_a_champion_that_can_not_be_served_is_refused_once_and_the_old_one_stays(following, promote, registry, caplog):
    promote("tiny-2")
    spoil(registry, "tiny-2")
    assert [following.refresh_model() for _ in range(3)] == [Reload.REFUSED, Reload.UNCHANGED, Reload.UNCHANGED]
    assert following.moderator.model_version == "tiny-1"
    assert "sha256" in following.model_error
    assert caplog.text.count("model refused") == 1


def test_a_mended_champion_is_taken_up_when_told_to_look_again(following, promote, registry, tmp_path):
    promote("tiny-2")
    spoil(registry, "tiny-2")
    following.refresh_model()
    (registry.folder("tiny-2") / "model.onnx").write_bytes((tmp_path / "tiny-2" / "model.onnx").read_bytes())
    assert following.refresh_model() is Reload.UNCHANGED
    assert following.refresh_model(again=True) is Reload.LOADED
    assert (following.moderator.model_version, following.model_error) == ("tiny-2", None)


def test_going_back_to_the_model_in_use_clears_the_error(following, promote, registry):
    promote("tiny-2")
    following.refresh_model()
    promote("tiny-3")
    spoil(registry, "tiny-3")
    following.refresh_model()
    with registry.locked():
        registry.change(Change("rollback", "tiny-2", "tiny-3", "me", "2026-01-02T03:04:06+00:00", "broken"))
    assert following.refresh_model() is Reload.UNCHANGED
    assert (following.moderator.model_version, following.model_error) == ("tiny-2", None)


def test_a_pointer_that_can_not_be_read_keeps_the_model_and_says_why(following, promote, registry):
    promote("tiny-2")
    following.refresh_model()
    for content in ("../elsewhere\n", "tiny-2\n"):
        (registry.path / "current").write_text(content, encoding="utf-8")
        following.refresh_model()
        assert following.moderator.model_version == "tiny-2"
        assert (following.model_error is None) == (content == "tiny-2\n")


def test_a_new_model_keeps_the_policy_in_use(tiny_bundle, registry, promote, file):
    live = Live(Source(tiny_bundle.path, registry), file, uncertain_max=0.6)
    promote("tiny-2")
    live.refresh_model()
    assert suggestion(live) is Suggestion.BLOCK
