import json

import pytest

pytest.importorskip("matplotlib", reason="the curves need the train extra: pip install -r requirements/train.txt")

from training.__main__ import main
from training.config import TrainConfig
from training.runs import Run


@pytest.fixture
def make(tmp_path):
    """Make a run's folder as the pipeline leaves it."""

    def run(name, *, rank=16, macro_f1=0.5, steps=2):
        config = TrainConfig.model_validate({"model": {"base": "some/base"}, "lora": {"rank": rank}, "data": {"train": ["posts.jsonl"]}})
        made = Run.open(config, tmp_path / "runs" / name)
        made.set_status("finished")
        for step in range(1, steps + 1):
            made.log_metrics({"current_steps": step, "total_steps": 2, "loss": 1 / step})
        made.log_metrics({"current_steps": steps, "total_steps": 2, "eval_loss": 0.4, "eval_macro_f1": macro_f1})
        metrics = {"accuracy": 0.75, "macro_f1": macro_f1, "ece": 0.1, "flagged": {"accuracy": 0.8, "false_positive_rate": None}}
        (made.path / "report").mkdir()
        (made.path / "report" / "report.json").write_text(json.dumps({"files": {"<cold>.test": metrics}}), encoding="utf-8")
        return made.path

    return run


def run(capsys, *arguments):
    status = main(list(map(str, arguments)))
    said = capsys.readouterr()
    return status, said.out, said.err


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_runs_lists_each_with_its_stage_and_best_epoch(make, tmp_path, capsys):
    make("20260102-000000-base", macro_f1=0.625)
    make("20260101-000000-base", steps=1)
    status, out, _ = run(capsys, "runs", "--runs", tmp_path / "runs")
    assert status == 0
    rows = [cells(line) for line in out.splitlines()[2:]]
    assert [(row[0], row[1], row[3], row[4], row[5], row[6]) for row in rows] == [
        ("20260101-000000-base", "finished", "base", "1/2", "1.0000", "0.5000"),
        ("20260102-000000-base", "finished", "base", "2/2", "0.5000", "0.6250"),
    ]


def test_a_run_killed_at_its_start_is_listed_too(tmp_path, capsys):
    config = TrainConfig.model_validate({"data": {"train": ["posts.jsonl"]}})
    Run.open(config, tmp_path / "runs" / "new")
    assert cells(run(capsys, "runs", "--runs", tmp_path / "runs")[1].splitlines()[2])[4:] == ["–", "–", "–"]


def test_compare_shows_what_differs_and_what_it_brought(make, tmp_path, capsys):
    status, out, _ = run(capsys, "compare", make("a"), make("b", rank=8, macro_f1=0.625), "--html", tmp_path / "page.html")
    assert status == 0
    rows = {tuple(cells(line)) for line in out.splitlines() if line.startswith("|")}
    assert ("lora.rank", "16", "8") in rows
    assert not any(row[0] == "model.base" for row in rows)
    assert ("<cold>.test: macro_f1", "0.5000", "0.6250", "+0.1250") in rows
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;cold&gt;.test: macro_f1" in page
    assert "data:image/png;base64,iVBOR" in page


def test_a_folder_that_is_no_run_is_named(make, tmp_path, capsys):
    status, _, err = run(capsys, "compare", make("a"), tmp_path)
    assert (status, err) == (2, f"training: {tmp_path} is no run: it has no config.yaml\n")
