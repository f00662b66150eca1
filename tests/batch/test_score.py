import os
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from semantic_service.batch.__main__ import main
from semantic_service.batch.errors import BatchError
from semantic_service.batch.job import Reading
from semantic_service.batch.places import Shard
from semantic_service.batch.pools import Threads
from semantic_service.batch.tables import JUDGEMENT_COLUMNS, PART_ROWS
from semantic_service.batch.tsv import Dialect
from semantic_service.contract.verdict import Policy
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.engine.moderator import Moderator
from tests.dumps import TEXT, job_of, score_dump

ROWS = 3 * PART_ROWS + 7
TEXTS = ("今天天气真好", "有点可疑的消息", "来赌一把", "", "\u200b")
TABLE = ["id\ttext", *(f"{number}\t{TEXTS[number % 5]}" for number in range(ROWS))]
KILLS = (0, 1, PART_ROWS - 1, PART_ROWS, PART_ROWS + 1, 2 * PART_ROWS, 3 * PART_ROWS, ROWS - 1)


class KilledError(Exception):
    """What stands for a kill."""


class KilledModerator:
    """Judges until it has been asked for so many texts; then does something, such as dying."""

    def __init__(self, moderator, texts, kill):
        self._moderator = moderator
        self._left = texts
        self._kill = kill

    def __getattr__(self, name):
        return getattr(self._moderator, name)

    def judge_all(self, texts):
        if self._left < len(texts):
            self._kill()
        self._left -= len(texts)
        return self._moderator.judge_all(texts)


class Watched(Threads):
    """One thread; `watch` is called before each part that it is given."""

    def __init__(self, moderator, watch):
        super().__init__(moderator, 1)
        self._watch = watch

    def submit(self, layout, part):
        self._watch()
        return super().submit(layout, part)


@dataclass
class Dump:
    """One dump and where its output goes."""

    input: Path
    output: Path
    moderator: Moderator
    reading: Reading = TEXT

    @property
    def shard(self):
        return Shard(str(self.input), str(self.output))

    def run(self, moderator=None, *, resume=False):
        return score_dump(self.input, self.output, moderator or self.moderator, self.reading, resume=resume)

    def kill_after(self, texts):
        with pytest.raises(KilledError):
            self.run(KilledModerator(self.moderator, texts, kill))

    def left(self):
        return sorted(path.name for path in self.output.parent.iterdir())


def kill():
    raise KilledError


def kill_checkpoint(path, *, missing_ok=False):
    if path.suffix == ".checkpoint":
        kill()


@pytest.fixture
def job(tmp_path, moderator):
    return job_in(tmp_path, moderator)


def job_in(folder, moderator):
    source = folder / "dump.tsv"
    source.write_text("\n".join(TABLE), encoding="utf-8")
    return Dump(source, folder / "scored.tsv", moderator)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, moderator):
    job = job_in(tmp_path_factory.mktemp("whole"), moderator)
    job.run()
    return job.output.read_bytes()


def test_every_row_comes_out_judged_in_order(uninterrupted, moderator):
    header, *rows = uninterrupted.decode().splitlines()
    assert header == "\t".join(("id", "text", *JUDGEMENT_COLUMNS))
    assert [row.rsplit("\t", len(JUDGEMENT_COLUMNS))[0] for row in rows] == TABLE[1:]
    labels = {text: moderator.judge(text).verdict.label.english if text.strip("\u200b") else "" for text in TEXTS}
    for row in rows:
        _, text, label, *values = row.split("\t")
        assert label == labels[text]
        assert bool(values[-1]) is (label == "")
        assert values[-1].startswith("empty_text: " if not label else "")


def test_what_was_done_is_counted_and_nothing_else_is_left(job):
    done = job.run()
    empty = sum(number % 5 > 2 for number in range(ROWS))
    assert (done.rows, done.errors) == (ROWS, empty)
    assert job.left() == ["dump.tsv", "scored.tsv"]


@pytest.mark.parametrize("texts", KILLS)
def test_a_batch_killed_anywhere_and_resumed_equals_one_run(job, uninterrupted, texts):
    job.kill_after(texts)
    assert not job.output.exists()
    done = job.run(resume=True)
    assert job.output.read_bytes() == uninterrupted
    assert done.rows == ROWS
    assert job.left() == ["dump.tsv", "scored.tsv"]


def test_a_batch_killed_again_and_again_equals_one_run(job, uninterrupted):
    job.kill_after(PART_ROWS + 1)
    for _ in range(2):
        with pytest.raises(KilledError):
            job.run(KilledModerator(job.moderator, PART_ROWS + 1, kill), resume=True)
    job.run(resume=True)
    assert job.output.read_bytes() == uninterrupted


@pytest.mark.parametrize("texts", [PART_ROWS, 2 * PART_ROWS + 1])
@pytest.mark.parametrize("torn", [b"12\t\xe4\xbb", b"a whole row\n" * 60_000])
def test_what_was_written_behind_the_checkpoint_is_written_anew(job, uninterrupted, texts, torn):
    job.kill_after(texts)
    with job.shard.partial.open("ab") as partial:
        partial.write(torn)
    job.run(resume=True)
    assert job.output.read_bytes() == uninterrupted


def test_the_files_as_they_lie_before_any_step_can_be_resumed(job, uninterrupted, tmp_path_factory):
    copies = []

    def copy():
        copies.append(tmp_path_factory.mktemp("copy") / "all")
        shutil.copytree(job.input.parent, copies[-1])

    with closing(Watched(job.moderator, copy)) as pool:
        job_of([job.input], job.output, job.moderator).run(pool)
    assert job.output.read_bytes() == uninterrupted
    assert len(copies) > ROWS / PART_ROWS
    for folder in copies:
        copied = replace(job, input=folder / "dump.tsv", output=folder / "scored.tsv")
        copied.run(resume=True)
        assert copied.output.read_bytes() == uninterrupted


def test_a_batch_killed_between_its_last_two_steps_is_complete(job, uninterrupted, monkeypatch):
    monkeypatch.setattr(Path, "unlink", kill_checkpoint)
    with pytest.raises(KilledError):
        job.run()
    assert job.left() == ["dump.tsv", "scored.tsv", "scored.tsv.checkpoint"]
    monkeypatch.undo()
    assert job.run(resume=True).rows == ROWS
    assert job.output.read_bytes() == uninterrupted


@pytest.mark.parametrize("spoil", [Path.unlink, lambda partial: os.truncate(partial, 99)], ids=["removed", "cut"])
def test_a_partial_that_lacks_what_the_checkpoint_counts_on_is_refused(job, spoil):
    job.kill_after(PART_ROWS + 1)
    spoil(job.shard.partial)
    with pytest.raises(BatchError, match=r"scored\.tsv\.partial .*scored\.tsv\.checkpoint.* start over"):
        job.run(resume=True)


def test_resume_may_always_be_given(job, uninterrupted):
    for _ in range(2):
        job.run(resume=True)
        assert job.output.read_bytes() == uninterrupted


def test_an_unfinished_output_is_not_overwritten_unasked(job):
    job.kill_after(PART_ROWS + 1)
    before = job.shard.partial.read_bytes()
    with pytest.raises(BatchError, match=r"scored\.tsv\.checkpoint is left from an earlier run: give --resume to go on, or remove"):
        job.run()
    assert job.shard.partial.read_bytes() == before


@pytest.mark.parametrize(
    "other",
    [
        lambda job: replace(job, reading=Reading(Dialect("id"))),
        lambda job: replace(job, reading=Reading(Dialect("text", "gb18030"))),
        lambda job: replace(job, reading=Reading(Dialect("text", mysql=True))),
        lambda job: job.input.write_text("\n".join(TABLE).replace("天气", "天色"), encoding="utf-8"),
        lambda job: job.input.write_text("\n".join((*TABLE, "more\ttext")), encoding="utf-8"),
    ],
    ids=["column", "encoding", "mysql", "changed input", "longer input"],
)
def test_another_input_or_option_can_not_go_on(job, other):
    job.kill_after(PART_ROWS + 1)
    job = changed if isinstance(changed := other(job), Dump) else job
    with pytest.raises(BatchError, match="belongs to another input, option, model or policy: remove it to start over"):
        job.run(resume=True)


@pytest.mark.parametrize(
    ("version", "policy", "uncertain_max"),
    [("tiny-2", Policy(), 0.6), ("tiny-1", Policy(deny=("天气",)), 0.6), ("tiny-1", Policy(), 0.9)],
    ids=["model", "policy", "uncertain_max"],
)
def test_another_model_or_policy_can_not_go_on(job, classifier, version, policy, uncertain_max):
    job.kill_after(PART_ROWS + 1)
    with pytest.raises(BatchError, match="belongs to another input, option, model or policy: remove it to start over"):
        job.run(Moderator(classifier, version, policy, uncertain_max), resume=True)


def test_the_number_of_threads_changes_nothing(job, uninterrupted):
    score_dump(job.input, job.output, job.moderator, threads=3)
    assert job.output.read_bytes() == uninterrupted


def test_the_input_is_never_overwritten(job):
    job.output = job.input.parent / ".." / job.input.parent.name / "dump.tsv"
    with pytest.raises(BatchError, match="the output must be another file than the input"):
        job.run()
    assert job.input.read_text(encoding="utf-8").splitlines()[1:] == TABLE[1:]


def test_a_header_alone_gives_a_header(job):
    job.input.write_bytes(b"id\ttext\n")
    assert job.run().rows == 0
    assert job.output.read_text("utf-8") == "\t".join(("id", "text", *JUDGEMENT_COLUMNS)) + "\n"


def test_a_mysql_dump_in_gb18030_is_scored_row_by_row(job):
    job.input.write_bytes("id\ttext\n1\t小籠包\n2\t来\\n赌一把\n3\t\\N\n".encode("gb18030"))
    job.reading = Reading(Dialect("text", "gb18030", mysql=True))
    assert (job.run().rows, job.run().errors) == (3, 1)
    rows = job.output.read_bytes().decode("gb18030").splitlines()[1:]
    assert [row.split("\t")[:3] for row in rows] == [["1", "小籠包", "compliant"], ["2", r"来\n赌一把", "violation"], ["3", r"\N", ""]]


def test_an_unfinished_output_is_2_and_resume_ends_it(job, uninterrupted, tiny_bundle, monkeypatch, capsys):
    monkeypatch.setenv("MODERATION_MODEL", str(tiny_bundle.path))
    files = [str(job.input), str(job.output)]
    job.kill_after(PART_ROWS + 1)
    assert main(files) == 2
    assert "give --resume to go on" in capsys.readouterr().err
    assert main([*files, "--resume"]) == 1
    assert job.output.read_bytes() == uninterrupted


def test_each_further_task_of_the_model_has_a_column_behind_the_others(tasks_bundle, tmp_path):
    dump, scored = tmp_path / "in.tsv", tmp_path / "out.tsv"
    dump.write_text("id\ttext\n1\t来赌一把\n2\t\n", encoding="utf-8")
    moderator = Moderator(OnnxClassifier.load(tasks_bundle), "tiny-tasks", Policy(), 0.6)
    score_dump(dump, scored, moderator)
    header, judged, failed = (line.split("\t") for line in scored.read_text("utf-8").splitlines())
    assert header == ["id", "text", *JUDGEMENT_COLUMNS, "task_category"]
    assert (judged[-2:], failed[-1]) == (["", "gambling"], "")
    assert failed[-2].startswith("empty_text")
