import os

import pytest

from semantic_service.batch.__main__ import main


@pytest.fixture
def dump(tmp_path):
    path = tmp_path / "dump.tsv"
    path.write_text("id\ttext\n1\t好\n2\t来赌一把\n", encoding="utf-8")
    return path


@pytest.fixture
def command(dump, tiny_bundle, monkeypatch, capsys):
    monkeypatch.setenv("MODERATION_MODEL", str(tiny_bundle.path))

    def run(*options, source=dump, target=None):
        return main([str(source), str(target or dump.with_name("scored.tsv")), *options]), capsys.readouterr().err

    return run


def test_without_errors_the_exit_status_is_0(dump, command):
    assert command() == (0, f"2 rows, 0 with an error: {dump.with_name('scored.tsv')}\n")
    assert dump.with_name("scored.tsv").read_text("utf-8").splitlines()[2].startswith("2\t来赌一把\tviolation\t0.9998\t")


def test_with_a_row_in_error_the_exit_status_is_1(dump, command):
    dump.write_text("正文\n好\n\n", encoding="utf-8")
    assert command("--text-column", "正文") == (1, f"2 rows, 1 with an error: {dump.with_name('scored.tsv')}\n")


def test_a_missing_column_is_2_and_says_which_there_are(dump, command):
    message = "no column 'content': the header has id, text; choose one with --text-column\n"
    assert command("--text-column", "content") == (2, f"batch: {dump}: {message}")
    assert list(dump.parent.iterdir()) == [dump]


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("MODEL", "nowhere", "nowhere/manifest.json: no such file"),
        ("POLICY", "nowhere.toml", "nowhere.toml"),
        ("PROT", "1", "MODERATION_PORT"),
        ("BACKEND", "cuda", "pip install onnxruntime-gpu"),
    ],
)
def test_what_can_not_be_used_is_2_and_named(command, monkeypatch, variable, value, reason):
    monkeypatch.setenv(f"MODERATION_{variable}", value)
    status, said = command()
    assert (status, said.count("\n")) == (2, 1)
    assert reason in said


def test_a_missing_input_is_2_and_named(dump, command):
    dump.unlink()
    assert command() == (2, f"batch: {dump}: No such file or directory\n")


def test_an_output_that_can_not_be_written_is_2_and_named(dump, command):
    target = dump.parent / "nowhere" / "out.tsv"
    assert command(target=target) == (2, f"batch: {target}.partial: No such file or directory\n")


def test_an_output_over_the_input_is_2(dump, command):
    before = dump.read_bytes()
    assert command(target=dump) == (2, f"batch: {dump}: the output must be another file than the input\n")
    assert dump.read_bytes() == before


def test_a_pipe_is_2_and_says_why(command):
    readable, writable = os.pipe()
    with os.fdopen(readable, "rb") as pipe, os.fdopen(writable, "wb"):
        status, said = command(source=f"/dev/fd/{pipe.fileno()}")
    assert status == 2
    assert "not seekable" in said


@pytest.mark.parametrize("arguments", [[], ["in.tsv"], ["in.tsv", "out.tsv", "--encoding", "latin-1"], ["in.tsv", "out.tsv", "--nonsense"]])
def test_wrong_use_is_2_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m semantic_service.batch" in capsys.readouterr().err
