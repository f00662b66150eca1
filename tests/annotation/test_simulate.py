import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.__main__ import main
from annotation.errors import SimulationError
from annotation.ranking import Strategy
from annotation.simulate import JOURNAL, simulate
from annotation.simulate_config import SimulationConfig
from annotation.simulate_data import load
from annotation.simulate_statistics import RANDOM, Curves, labels_needed, measure

PROJECT = Path(__file__).parents[2]
READY = PROJECT / "annotation/configs/simulate.yaml"
SHARES = {"compliant": 0.8, "suspicious": 0.1, "violation": 0.1}
SIGNS = 12  # that a label has


def write(path, count, seed):
    """Write posts, most of them compliant; each has one of its label's signs, which only labels can teach, and is noise otherwise."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        (label,) = draw.choices(list(SHARES), SHARES.values())
        sign = chr(0x6000 + 100 * list(SHARES).index(label) + draw.randrange(SIGNS))
        before, after = ("".join(chr(0x4E00 + draw.randrange(300)) for _ in range(10)) for _ in range(2))
        lines.append(json.dumps({"text": before + sign + after, "label": label}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return {"train": write(folder / "train.jsonl", 800, 1), "test": write(folder / "test.jsonl", 400, 2)}


@pytest.fixture(scope="module")
def config(sets, tmp_path_factory):
    values = {"start": 60, "batch": 60, "budget": 300, "seeds": 2, "out": tmp_path_factory.mktemp("out")}
    return SimulationConfig(**sets, **values, strategies={RANDOM: Strategy(random_share=1), "default": Strategy()})


@pytest.fixture(scope="module")
def data(config):
    return load(config)


@pytest.fixture(scope="module")
def replays(config, data):
    return simulate(config, data)


def test_a_replay_labels_no_text_twice_and_starts_where_random_starts(config, replays):
    assert [(replay.strategy, replay.seed) for replay in replays] == [(name, seed) for seed in (0, 1) for name in (RANDOM, "default")]
    for replay in replays:
        assert len(set(replay.labelled)) == len(replay.labelled) == config.budget
        assert len(replay.scores) == len(config.points)
    baseline, default = replays[:2]
    assert baseline.labelled[: config.start] == default.labelled[: config.start]
    assert baseline.scores[0] == default.scores[0]


def test_choosing_beats_random_where_few_posts_are_worth_a_label(config, replays):
    last = {name: np.mean([replay.scores[-1] for replay in replays if replay.strategy == name]) for name in config.strategies}
    assert last["default"] > last[RANDOM] + 0.05  # 0.62 against 0.55


def test_a_killed_simulation_goes_on_where_it_was(config, data, replays, tmp_path):
    lines = [line for line in (config.out / JOURNAL).read_text().splitlines() if line]
    assert len(lines) == 4
    (tmp_path / JOURNAL).write_text("\n".join([*lines[:3], lines[3][:50]]))
    moved = config.model_copy(update={"out": tmp_path})
    kept = json.loads(lines[0]) | {"scores": [0.5] * len(config.points)}  # to be recognised by
    (tmp_path / JOURNAL).write_text("\n".join([json.dumps(kept), *lines[1:3], lines[3][:50]]))
    assert [replay.scores for replay in simulate(moved, data)] == [kept["scores"], *(replay.scores for replay in replays[1:])]
    assert simulate(moved, data)[3] == replays[3]
    assert len([line for line in (tmp_path / JOURNAL).read_text().splitlines() if line]) == 5


def test_a_strategy_under_another_name_is_not_replayed_again(config, data, replays):
    renamed = {name if name == RANDOM else "mine": strategy for name, strategy in config.strategies.items()}
    again = simulate(config.model_copy(update={"strategies": renamed}), data)
    assert [replay.scores for replay in again] == [replay.scores for replay in replays]
    assert {replay.strategy for replay in again} == {RANDOM, "mine"}
    assert len([line for line in (config.out / JOURNAL).read_text().splitlines() if line]) == len(replays)


def test_the_pool_holds_no_test_text_and_no_near_duplicate(sets, config, tmp_path):
    train = tmp_path / "train.jsonl"
    test = sets["test"].read_text().splitlines()
    twin = json.loads(sets["train"].read_text().splitlines()[0])
    twin["text"] += "！１２３"
    train.write_text("\n".join([sets["train"].read_text(), test[0], json.dumps(twin)]))
    copied = load(config.model_copy(update={"train": train}))
    assert copied.pool == load(config).pool
    assert json.loads(test[0])["text"] not in copied.pool


def test_the_ready_config_runs_and_says_what_labels_bought(sets, tmp_path, capsys):
    settings = {"train": sets["train"], "test": sets["test"], "out": tmp_path, "start": 60, "batch": 120, "budget": 300, "seeds": 2}
    settings |= {"levels": "[0.4, 0.999]", "encoder": "null"}
    assert main(["simulate", str(READY), *(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "report.md").read_text() in printed
    assert "> 300 (> 300 to > 300)" in printed
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["labels"] == [60, 180, 300]
    assert report["measured"]["default"]["needed"]["0.999"]["value"] is None
    assert set(report["scores"]) == set(report["measured"]) == set(SimulationConfig.load(READY).strategies)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("start=5", "start: Input should be greater than or equal to 10"),
        ("starts=5", "starts: Extra inputs are not permitted"),
        ("strategies={random: {random_share: 0.5}}", "strategies must hold `random: {random_share: 1}`"),
        ("strategies={random: {random_share: 1}, mine: {measur: margin}}", "mine.measur: Unexpected keyword argument"),
        ("budget=100", "must be above start"),
        ("train=none.jsonl", "none.jsonl: can't be read"),
        ("budget=700", "different texts, which is less than the budget of 700"),
        ("encoder=none", "none holds no Hugging Face encoder"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_words(sets, tmp_path, capsys, setting, said):
    fixed = [f"train={sets['train']}", f"test={sets['test']}", f"out={tmp_path}", "pool_rows=500", "budget=400", "encoder=null", setting]
    assert main(["simulate", str(READY), *(part for value in fixed for part in ("--set", value))]) == 2
    assert said in capsys.readouterr().err


def test_a_bad_row_is_named_by_its_line_without_its_text(config, tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "好", "label": "compliant"}\n{"text": "秘密", "label": "秘密"}\n')
    with pytest.raises(SimulationError, match=r"train\.jsonl:2: its label is none of ours") as caught:
        load(config.model_copy(update={"train": tmp_path / "train.jsonl"}))
    assert "秘密" not in str(caught.value)


def test_a_start_with_one_label_alone_is_refused(config, data):
    with pytest.raises(SimulationError, match="are all the same: raise `start`"):
        simulate(config.model_copy(update={"start": 1, "out": config.out / "one"}), data)


# What curves say


def test_labels_are_read_off_between_the_points():
    rising = np.array([0.5, 0.6, 0.6, 0.8])
    assert labels_needed((100, 200, 300, 400), rising, 0.55) == pytest.approx(150)
    assert labels_needed((100, 200, 300, 400), rising, 0.6) == 200
    assert labels_needed((100, 200, 300, 400), rising, 0.4) == 100
    assert labels_needed((100, 200, 300, 400), rising, 0.81) == float("inf")


@given(
    scores=st.lists(st.floats(0, 1), min_size=2, max_size=8).map(sorted),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_a_higher_score_never_takes_fewer_labels(scores, low, high):
    labels = tuple(range(0, 100 * len(scores), 100))
    low, high = sorted((low, high))
    assert labels_needed(labels, np.array(scores), low) <= labels_needed(labels, np.array(scores), high)


def test_a_strategy_that_is_twice_as_fast_needs_half_of_the_labels_whatever_the_seed():
    labels = tuple(range(100, 1001, 100))
    baseline = np.array([[0.4 + number / 4000 + shift for number in labels] for shift in (0, 0.01, 0.02)])
    twice = np.array([[0.4 + min(number / 2000, 0.25) + shift for number in labels] for shift in (0, 0.01, 0.02)])
    found = measure(Curves(labels, {RANDOM: baseline, "twice": twice}), [0.5, 0.9])
    assert found["twice"].needed_for_end.value == pytest.approx(500)
    assert (found["twice"].needed_for_end.low, found["twice"].needed_for_end.high) == pytest.approx((500, 500))
    assert found[RANDOM].needed_for_end.value == pytest.approx(1000)
    assert found["twice"].needed[0.5].low < found["twice"].needed[0.5].value < found["twice"].needed[0.5].high
    assert found["twice"].needed[0.9].low == float("inf")
    assert found["twice"].area.value > found[RANDOM].area.value


def test_one_lucky_point_does_not_make_a_strategy_fast():
    labels = (100, 200, 300, 400, 500)
    scores = {RANDOM: np.array([[0.5, 0.55, 0.6, 0.65, 0.7]] * 2), "lucky": np.array([[0.5, 0.71, 0.5, 0.6, 0.72]] * 2)}
    assert measure(Curves(labels, scores), [])["lucky"].needed_for_end.value > 400
