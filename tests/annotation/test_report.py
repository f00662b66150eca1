import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.__main__ import main
from annotation.payoff import Point, payoff, read_points
from annotation.report import Sources, report
from annotation.report_page import to_markdown
from annotation.settle import Overlap
from annotation.tables import _width
from semantic_service.contract.answers import Purpose
from semantic_service.contract.records import Record
from semantic_service.contract.reviews import Feedback, FeedbackKind
from semantic_service.contract.text import text_id
from semantic_service.store.store import Store
from tests.annotation.answers import BAD, GOOD, answer, at, review

ALONE = Overlap(share=0)


def points(*runs, error=0.005, name="cold.test", rows=1000):
    return [Point(f"run-{number}", "base", texts, {name: (rows, f1, error)}) for number, (texts, f1) in enumerate(runs)]


def test_a_steep_curve_pays_and_a_flat_one_has_stopped():
    steep = payoff(points((1000, 0.60), (2000, 0.65), (4000, 0.70)))
    assert (steep.pays, steep.runs, steep.held_out) == (True, 3, "cold.test")
    assert steep.gain == pytest.approx(0.05)
    flat = payoff(points((1000, 0.700), (2000, 0.701), (4000, 0.700), error=0.001))
    assert flat.pays is False


def test_runs_that_could_be_luck_do_not_settle_it():
    assert payoff(points((1000, 0.70), (1100, 0.71), (1200, 0.72), error=0.02)).pays is None
    assert payoff(points((1000, 0.70), (2000, 0.80), (4000, 0.75), error=0.001)).pays is None


@pytest.mark.parametrize(
    "runs",
    [
        [],
        points((1000, 0.6), (2000, 0.7)),
        points((1000, 0.6), (1000, 0.6), (2000, 0.7)),
        points((100, 0.5), (2000, 0.6), (4000, 0.7)),  # the first tells of another part of the curve
        [*points((1000, 0.6), (2000, 0.7), rows=900), *points((4000, 0.7))],
        [*points((1000, 0.6), (2000, 0.7)), Point("run", "another", 4000, {"cold.test": (1000, 0.7, 0.01)})],
    ],
)
def test_too_few_comparable_runs_say_nothing(runs):
    assert payoff(runs) is None


curves = st.lists(st.tuples(st.integers(1000, 4000), st.floats(0, 1)), min_size=3, max_size=8, unique_by=lambda run: run[0])


@given(curves, st.floats(-0.2, 0.2))
def test_better_scores_all_along_change_nothing_of_the_gain(runs, more):
    one, other = payoff(points(*runs)), payoff(points(*((texts, f1 + more) for texts, f1 in runs)))
    assert (one is None) == (other is None)
    assert one is None or one.gain == pytest.approx(other.gain, abs=1e-6)


def test_a_runs_report_is_read_and_an_older_versions_is_left_out(tmp_path):
    metrics = {"rows": 500, "macro_f1": 0.7, "intervals": {"macro_f1": [0.65, 0.75]}}
    for name, facts in {"1-old": {"base": "b"}, "2-new": {"base": "b", "texts": 900}}.items():
        (tmp_path / name / "report").mkdir(parents=True)
        values = {"facts": facts, "files": {"validation": metrics, "benign": metrics}}
        (tmp_path / name / "report" / "report.json").write_text(json.dumps(values), "utf-8")
    [point] = read_points(tmp_path)
    assert (point.run, point.texts, list(point.scores)) == ("2-new", 900, ["validation"])
    assert point.scores["validation"][2] == pytest.approx(0.0255, abs=1e-4)


def sources(**values):
    return Sources(**{"answers": [], "reviews": [], "feedback": [], "gold": {}, "runs": [], "overlap": ALONE} | values)


def test_before_anybody_has_answered_everything_is_unknown():
    made = report(sources())
    assert (made.answers, made.agreement.overall, made.audits, made.overturned.corrected, made.payoff) == (0, None, [], None, None)
    page = to_markdown(made)
    assert "未知 not known" in page
    assert "0.0%" not in page
    json.dumps(made.as_dict())


def test_labels_are_counted_by_week():
    answers = [
        answer("一", "甲", BAD, updated_at="2026-11-22T23:59:59+00:00"),
        answer("二", "甲", GOOD, updated_at="2026-11-23T00:00:00+00:00"),
    ]
    assert report(sources(answers=answers)).weeks == {
        "2026-W47": {"compliant": 0, "suspicious": 0, "violation": 1},
        "2026-W48": {"compliant": 1, "suspicious": 0, "violation": 0},
    }


@pytest.fixture
def filled(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/store.db"
    store = Store.open(url)
    answers = [answer(f"秘密{number}", "甲|一", BAD if number < 4 else GOOD, Purpose.RANDOM, seconds=2.0) for number in range(20)]
    answers += [answer(f"秘密{number}", "乙", BAD if number < 3 else GOOD, Purpose.RANDOM) for number in range(20)]
    answers += [answer("金", "乙", BAD, Purpose.GOLD)]
    store.save_answers(answers)
    store.add([review("秘密", BAD)])
    store.add_feedback(Feedback(text_id("秘密"), FeedbackKind.CORRECTION, at(3), GOOD))
    store.close()
    (tmp_path / "gold.jsonl").write_text(Record("金", BAD, "gold", ("专家",), at(0)).to_json() + "\n", "utf-8")
    monkeypatch.setenv("ANNOTATION_DATABASE_URL", url)
    monkeypatch.setenv("ANNOTATION_GOLD", str(tmp_path / "gold.jsonl"))
    return ["report", "--runs", str(tmp_path / "runs")]


def test_the_command_shows_a_person_everything_but_the_posts(filled, capsys):
    assert main(filled) == 0
    out = capsys.readouterr().out
    assert "秘密" not in out
    for line in ("被改判 overturned by moderators: 100.0%", "甲\\|一", "有分歧 disputed 1", "100.0% (20.7%–100.0%; 1 / 1)"):
        assert line in out
    tables = [block.splitlines() for block in out.split("\n\n") if block.startswith("|")]
    assert tables
    for table in tables:
        assert len({_width(line) for line in table}) == 1


def test_the_command_gives_a_program_the_same_numbers(filled, capsys):
    assert main([*filled, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["answers"], values["states"]["disputed"], values["audits"][0]["missed"]["total"]) == (41, 1, 3)
    assert values["agreement"]["pairs"][0]["annotators"] == ["乙", "甲|一"]
    assert values["payoff"] is None


def test_a_database_that_can_not_be_used_is_told_in_words(capsys, monkeypatch):
    monkeypatch.setenv("ANNOTATION_DATABASE_URL", "mysql://nowhere")
    assert main(["report"]) == 2
    assert "mysql" in capsys.readouterr().err
