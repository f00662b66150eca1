import json
import re

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract import bundle as bundles
from semantic_service.contract.labels import Label
from semantic_service.contract.registry import Change, Registry
from tests.tiny_model import DOUBTFUL, VIOLATING, VOCABULARY, build_bundle, manifest, stage, weights, write_model
from training.__main__ import main
from training.config import GateConfig
from training.gate import _check
from training.promote import EMBEDDED_MODEL

POSTS = {Label.COMPLIANT: "今天天气真好", Label.SUSPICIOUS: f"{DOUBTFUL}有消息", Label.VIOLATION: f"来{VIOLATING[0]}一把"}


def build_worse(target, token, logits):
    """Seal a bundle in which a token adds other logits than it should."""
    staging = stage(target.with_name(f"{target.name}.staging"))
    table = weights()
    table[VOCABULARY[token]] = logits
    write_model(staging / bundles.MODEL_FILE, table)
    return bundles.seal(staging, manifest(staging, model_version=target.name), target)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return {
        "good": build_bundle(folder / "good", model_version="good"),
        "alike": build_bundle(folder / "alike", model_version="alike"),
        "blind": build_worse(folder / "blind", VIOLATING[0], (4, 0, 0)),
        "nervous": build_worse(folder / "nervous", "[UNK]", (0, 4, 0)),
    }


@pytest.fixture
def gate(tmp_path):
    def lines(name, *rows):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    labelled = [{"text": f"{number}号,{text}", "label": label.english} for label, text in POSTS.items() for number in range(20)]
    ordinary = [{"text": f"第{number}楼,{POSTS[Label.COMPLIANT]}"} for number in range(20)]
    disguised = [{"text": f"{number}楼{VIOLATING[0]}*", "label": "violation"} for number in range(20)]
    config = {
        "test": [lines("test.jsonl", *labelled)],
        "benign": [lines("ordinary.jsonl", *ordinary)],
        "evasion": [lines("evasion.jsonl", *disguised)],
    }
    path = tmp_path / "gate.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@pytest.fixture
def registry(tmp_path, made):
    """A registry whose champion is the good model."""
    registry = Registry(tmp_path / "models")
    with registry.locked():
        registry.add(made["good"])
        registry.change(Change("promote", "good", None, "me", "2026-01-02T03:04:05+00:00", ""))
    return registry


@pytest.fixture
def run(registry, gate, made, capsys):
    def command(name, *arguments):
        where = ["--models", str(registry.path)]
        if name == "promote":
            challenger, *arguments = arguments
            where += ["--gate", str(gate), str(made[challenger].path)]
        status = main([name, *where, *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


def test_a_challenger_as_good_as_the_champion_takes_its_place(run, registry):
    status, out, _ = run("promote", "alike", "--reason", "newer")
    assert status == 0
    assert out.splitlines()[-1] == "champion: alike, before it good"
    assert registry.champion().manifest.model_version == "alike"
    promoted = registry.history()[-1]
    assert (promoted.action, promoted.version, promoted.previous, promoted.reason) == ("promote", "alike", "good", "newer")
    assert {check["name"]: (check["champion"], check["challenger"]) for check in promoted.reports["gate"]} == {
        "test.jsonl: recall of compliant": (1, 1),
        "test.jsonl: recall of suspicious": (1, 1),
        "test.jsonl: recall of violation": (1, 1),
        "ordinary.jsonl: ordinary posts left alone": (1, 1),
        "evasion.jsonl: disguised posts flagged": (1, 1),
    }


@pytest.mark.parametrize(
    ("challenger", "failing"),
    [
        ("blind", {"recall of violation", "disguised posts flagged"}),
        ("nervous", {"recall of compliant", "ordinary posts left alone"}),
    ],
)
def test_a_worse_challenger_is_refused_with_the_reason(challenger, failing, run, registry):
    status, out, err = run("promote", challenger)
    assert status == 1
    assert {line.split(": ")[1].split("  ")[0].split(" |")[0] for line in out.splitlines() if line.endswith("NO |")} == failing
    assert re.search(rf"not promoted: \w+\.jsonl: ({'|'.join(failing)}) falls from 1\.0000 to 0\.0000, more than the 0\.0\d tolerated", err)
    assert "--force --reason" in err
    assert (registry.pointer(), len(registry.history()), registry.versions()) == ("good", 1, ["good"])


def test_force_promotes_a_worse_challenger_and_the_history_says_so(run, registry):
    assert run("promote", "blind", "--force", "--reason", "the good one leaks memory")[0] == 0
    assert registry.pointer() == "blind"
    assert (registry.history()[-1].reason, registry.history()[-1].reports["forced"]) == ("the good one leaks memory", True)


def test_force_without_a_reason_is_refused(run, registry):
    status, _, err = run("promote", "blind", "--force")
    assert (status, registry.pointer()) == (2, "good")
    assert "--force needs --reason TEXT" in err


def test_the_champion_promoted_again_changes_nothing(run, registry):
    status, out, _ = run("promote", "good")
    assert (status, len(registry.history())) == (0, 1)
    assert out == "good is the champion already\n"


def test_rollback_goes_back_one_promotion_at_a_time(run, registry):
    run("promote", "alike")
    run("promote", "blind", "--force", "--reason", "a try")
    for version in ("alike", "good"):
        assert run("rollback", "--reason", "worse")[0] == 0
        assert registry.pointer() == version
    status, _, err = run("rollback", "--reason", "worse")
    assert (status, registry.pointer()) == (2, "good")
    assert "nothing came before good, name a version with --to" in err


def test_rollback_to_a_version_that_is_not_there_is_refused(run, registry):
    status, _, err = run("rollback", "--to", "gone", "--reason", "worse")
    assert (status, registry.pointer()) == (2, "good")
    assert "gone/manifest.json: no such file" in err


def test_models_lists_every_bundle_and_marks_the_champion(run):
    run("promote", "alike")
    status, out, _ = run("models")
    assert status == 0
    assert [("good" in line, "champion" in line) for line in out.splitlines()[2:]] == [(False, True), (True, False)]


def test_without_a_champion_the_embedded_model_is_the_one_to_beat(made, gate, tmp_path, capsys):
    status = main(
        ["promote", "--models", str(tmp_path / "new"), "--gate", str(gate), str(made["good"].path), "--force", "--reason", "tiny"]
    )
    assert status == 0
    embedded = bundles.Bundle.read(EMBEDDED_MODEL).manifest.model_version
    assert sorted(Registry(tmp_path / "new").versions()) == sorted([embedded, "good"])
    assert main(["rollback", "--models", str(tmp_path / "new"), "--reason", "tiny"]) == 0
    assert Registry(tmp_path / "new").pointer() == embedded
    assert capsys.readouterr().out.splitlines()[-2:] == [f"champion: good, before it {embedded}", f"champion: {embedded}, before it good"]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("tests=[]", "unknown key tests: did you mean test?"),
        ("test=[]", "at least 1 item"),
        ("risk=0", "greater than 0"),
        ("test=[gone.jsonl]", "gone.jsonl: can't be read"),
    ],
)
def test_a_gate_that_can_not_be_used_says_why(override, reason, run, registry):
    status, _, err = run("promote", "alike", "--set", override)
    assert (status, registry.pointer()) == (2, "good")
    assert reason in err


def check(champion, challenger, tolerance=0.02, risk=0.5):
    gate = GateConfig.model_validate({"test": ["a.jsonl"], "risk": risk, "resamples": 2000})
    return _check("some", [np.array(champion), np.array(challenger)], tolerance, gate, np.random.default_rng(7))


pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200)


@given(pairs)
def test_who_is_right_wherever_the_champion_is_passes_whatever_the_risk(some):
    champion, challenger = zip(*((first, first or second) for first, second in some), strict=True)
    passed = check(champion, challenger, tolerance=0, risk=1e-9)
    assert (passed.holds, passed.risk) == (True, 0)
    assert passed.gain[0] >= 0


@given(pairs)
def test_a_gain_for_one_is_a_loss_for_the_other(some):
    champion, challenger = zip(*some, strict=True)
    there, back = check(champion, challenger), check(challenger, champion)
    assert there.challenger - there.champion == back.champion - back.challenger
    assert there.gain[0] <= there.challenger - there.champion <= there.gain[1]


def test_more_rows_make_the_same_fall_surer():
    few, many = (check([True] * 20 * times, ([True] * 19 + [False]) * times, tolerance=0.03) for times in (1, 50))
    assert 0.5 < few.risk < many.risk


def test_a_stricter_risk_refuses_what_can_not_be_proved():
    champion, challenger = [True] * 50 + [False] * 50, [True] * 49 + [False] * 50 + [True]
    assert check(champion, challenger).holds
    assert not check(champion, challenger, tolerance=0, risk=0.05).holds
