import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the curves need the train extra: pip install -r requirements/train.txt")

from semantic_service.contract.labels import LABEL_NAMES
from training.evaluate import Scored, measure
from training.report import Report, summary_table, write_report

PNG = b"\x89PNG\r\n\x1a\n"
KINDS = ("pr", "calibration", "confusion")
TEMPERATURE = 1.7
STEPS = [
    {"current_steps": 20, "loss": 1.1},
    {"current_steps": 40, "loss": 0.7},
    {"current_steps": 40, "eval_loss": 0.8, "eval_macro_f1": 0.5},
]


def scored(labels, rows=60):
    random = np.random.default_rng(7)
    truth = random.choice(labels, rows)
    weights = random.random((rows, 3)) + 2 * np.eye(3)[truth] * random.random((rows, 1))
    return Scored(weights / weights.sum(axis=1, keepdims=True), truth)


def measured(labels, rows=60):
    some = scored(labels, rows)
    return some, measure(some, TEMPERATURE)


@pytest.fixture(scope="module")
def files():
    return {"data/posts.jsonl": measured([0, 1, 2]), "cold.test": measured([0, 2], 2000), "正常 帖子.csv": measured([0], 5)}


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run" / "report"
    write_report(folder, Report("试验 7", files, TEMPERATURE, STEPS, {"base": Path("some|base"), "seed": 7, "files": ["a", "b"]}))
    return folder


def test_every_file_has_its_curves_and_nothing_else_is_left(folder):
    stems = ("posts", "cold.test", "正常 帖子")
    images = {"loss.png", *(f"{stem}-{kind}.png" for stem in stems for kind in KINDS)}
    assert {path.name for path in folder.iterdir()} == images | {"report.json", "report.md"}
    for name in images:
        content = (folder / name).read_bytes()
        assert content.startswith(PNG)
        assert len(content) < 100_000


def test_the_numbers_are_the_metrics(folder, files):
    values = json.loads((folder / "report.json").read_text("utf-8"))
    assert values["files"] == {name: metrics.as_dict() for name, (_, metrics) in files.items()}
    assert (values["title"], values["temperature"]) == ("试验 7", TEMPERATURE)
    assert values["facts"] == {"base": "some|base", "seed": 7, "files": ["a", "b"]}


def test_people_read_of_every_file_label_fact_and_image(folder, files):
    text = (folder / "report.md").read_text("utf-8")
    for name, (_, metrics) in files.items():
        assert f"\n## {name}\n" in text
        assert f"{metrics.accuracy:.4f}" in text
        assert f"{metrics.ece_before_calibration:.4f} -> {metrics.ece:.4f}" in text
    assert all(name in text for name in LABEL_NAMES)
    assert "some\\|base" in text
    assert "![Loss](loss.png)" in text
    assert all(f"(<{path.name}>)" in text for path in folder.glob("*-*.png"))


def test_what_a_file_can_not_say_is_a_dash(files):
    name = "正常 帖子.csv"
    row = summary_table({name: files[name][1]}).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == name
    assert (cells[5], cells[7]) == ("–", "–")
    assert cells[6].startswith(f"{files[name][1].flagged.false_positive_rate:.2%} (")


def test_without_training_there_is_no_loss_curve(tmp_path):
    write_report(tmp_path, Report("evaluation", {}, 1.0))
    assert not (tmp_path / "loss.png").exists()
    assert "loss.png" not in (tmp_path / "report.md").read_text("utf-8")


def test_a_loss_that_was_not_a_number_is_drawn_as_a_gap(tmp_path):
    write_report(tmp_path, Report("diverged", {}, 1.0, [*STEPS, {"current_steps": 60, "loss": float("nan")}]))
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


def test_files_of_one_name_keep_their_own_curves(tmp_path, files):
    rows = files["data/posts.jsonl"]
    write_report(tmp_path, Report("twins", dict.fromkeys(("a/posts.jsonl", "b/posts.jsonl", "b/posts.csv"), rows), TEMPERATURE))
    assert {path.name for path in tmp_path.glob("*-pr.png")} == {"posts-pr.png", "posts-2-pr.png", "posts-3-pr.png"}


def test_a_report_can_be_written_again(tmp_path):
    for title in ("first", "second"):
        write_report(tmp_path, Report(title, {}, TEMPERATURE, STEPS))
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["title"] == "second"
    assert (tmp_path / "report.md").read_text("utf-8").startswith("# second\n")
