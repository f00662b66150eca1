import os
from dataclasses import replace

import pytest

from semantic_service.contract.bundle import BundleError, SelfCheck, SelfCheckError
from semantic_service.contract.verdict import Policy, PolicyError, Suggestion
from semantic_service.engine.live import Live, read_policy

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
def live(tiny_bundle, classifier, file):
    return Live(tiny_bundle, classifier, file, uncertain_max=0.6)


def suggestion(live, scene="default"):
    return live.moderator.judge("今天天气真好", scene).verdict.suggestion


def test_a_bundle_is_opened_with_its_policy(tiny_bundle, file):
    live = Live.open(tiny_bundle.path, file, 0.6)
    assert live.moderator.model_version == "tiny-1"
    assert live.bundle.manifest == tiny_bundle.manifest
    assert (suggestion(live), live.policy_error) == (Suggestion.BLOCK, None)


def test_without_a_file_the_default_policy_counts(tiny_bundle, classifier):
    live = Live(tiny_bundle, classifier, None, uncertain_max=0.6)
    live.refresh_policy()
    assert (live.moderator.policy, live.policy_error) == (Policy(), None)


def test_what_is_uncertain_is_the_operators_choice(tiny_bundle, classifier):
    answers = [Live(tiny_bundle, classifier, None, uncertain_max).moderator.judge("今天天气真好") for uncertain_max in (0.6, 1.0)]
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
def test_a_broken_file_stops_the_start(tiny_bundle, classifier, file, name):
    content, reason = BROKEN[name]
    file.write_bytes(content)
    with pytest.raises(PolicyError) as raised:
        Live(tiny_bundle, classifier, file, uncertain_max=0.6)
    assert str(file) in str(raised.value)
    assert reason in str(raised.value)


@pytest.mark.parametrize("name", ["missing.toml", "long" * 100])
def test_a_file_that_can_not_be_had_stops_the_start(tiny_bundle, classifier, tmp_path, name):
    with pytest.raises(PolicyError, match=f"{name}: can't be read"):
        Live(tiny_bundle, classifier, tmp_path / name, uncertain_max=0.6)


def test_a_folder_is_no_policy(tmp_path):
    with pytest.raises(PolicyError, match="can't be read"):
        read_policy(tmp_path)


def test_a_missing_bundle_stops_the_start(tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json: no such file"):
        Live.open(tmp_path / "nothing", None, 0.6)


def test_the_self_check_tells_a_model_that_answers_otherwise(live, tiny_bundle, classifier):
    live.self_check()
    drifted = replace(tiny_bundle.manifest, self_check=(SelfCheck("来赌一把", (0.9, 0.1, 0.0)),))
    with pytest.raises(SelfCheckError, match="off by"):
        Live(replace(tiny_bundle, manifest=drifted), classifier, None, 0.6).self_check()
