"""Batches on processes of their own, killed at will."""

import json
import os
import signal
from concurrent.futures import BrokenExecutor, Future
from contextlib import closing
from pathlib import Path

import pytest

from semantic_service.batch.errors import BatchError
from semantic_service.batch.places import Shard
from semantic_service.batch.pools import MAX_DEATHS, PARTS_AHEAD, Processes, Work, in_order
from semantic_service.batch.scoring import Scored
from semantic_service.batch.tables import PART_ROWS, Part
from tests.deadline import PATIENCE_S, until
from tests.dumps import job_of, recipe_of, score_dump
from tests.kills import KillsAfter
from tests.served import killed_in_the_end, start
from tests.tiny_model import build_bundle

TEXTS = ("今天天气真好", "有点可疑的消息", "来赌一把", "")
ROWS = 20 * PART_ROWS + 3


def write_dump(path, rows=ROWS):
    path.write_text("id\ttext\n" + "".join(f"{number}\t{TEXTS[number % 4]}\n" for number in range(rows)), encoding="utf-8")
    return path


@pytest.fixture
def dump(tmp_path):
    return write_dump(tmp_path / "dump.tsv")


@pytest.fixture
def whole(dump, moderator):
    score_dump(dump, dump.with_name("whole.tsv"), moderator)
    return dump.with_name("whole.tsv").read_bytes()


class Mortal:
    """A pool whose workers have died for the first `deaths` times that a part was sent."""

    workers = 2

    def __init__(self, deaths):
        self.deaths = deaths
        self.restarts = 0
        self.sent = []

    def submit(self, layout, part):
        future = Future()
        self.sent.append(part.end)
        if self.restarts < self.deaths:
            future.set_exception(BrokenExecutor())
        else:
            future.set_result(Scored(b"", part.end, 0))
        return future

    def restart(self):
        self.restarts += 1


def works(count):
    return (Work(number, None, Part((), 1, number)) for number in range(count))


@pytest.mark.parametrize("deaths", range(MAX_DEATHS))
def test_parts_come_back_once_and_in_order_whoever_died(deaths):
    done = list(in_order(Mortal(deaths), works(40)))
    assert [(work.owner, scored.rows) for work, scored in done] == [(number, number) for number in range(40)]


def test_workers_that_die_again_and_again_end_the_batch():
    with pytest.raises(BatchError, match=f"the workers died {MAX_DEATHS} times in a row"):
        list(in_order(Mortal(MAX_DEATHS), works(3)))


def test_no_more_is_read_ahead_than_the_workers_need():
    pool = Mortal(0)
    taken = in_order(pool, works(1000))
    for number in range(50):
        next(taken)
        assert len(pool.sent) <= number + 2 + PARTS_AHEAD * pool.workers


@pytest.mark.slow
def test_processes_write_what_threads_write_although_one_is_killed(dump, whole, moderator, tiny_bundle):
    target = dump.with_name("scored.tsv")
    with closing(Processes(recipe_of(moderator, tiny_bundle.path), 2)) as pool:
        killer = KillsAfter(pool, 8, lambda: os.kill(next(iter(pool._executor._processes)), signal.SIGKILL))
        totals = job_of([dump], target, moderator).run(killer)
    assert killer.has_killed
    assert totals.rows == ROWS
    assert target.read_bytes() == whole


@pytest.mark.slow
def test_a_model_that_is_another_by_now_stops_the_batch(dump, moderator, tmp_path):
    other = build_bundle(tmp_path / "other", model_version="other-1")
    message = "holds other-1 here, the batch began with tiny-1"
    with closing(Processes(recipe_of(moderator, other.path), 1)) as pool, pytest.raises(BatchError, match=message):
        job_of([dump], dump.with_name("scored.tsv"), moderator).run(pool)


@pytest.fixture
def running(tiny_bundle, tmp_path):
    """Run the command with two processes on a long dump, once it has written something."""
    dump, target = write_dump(tmp_path / "long.tsv", 400_000), tmp_path / "long.scored.tsv"
    arguments = [dump, target, "--workers", 2]
    with killed_in_the_end(start(tiny_bundle.path, tmp_path / "log", module="semantic_service.batch", arguments=arguments)) as process:
        until(Shard(str(dump), str(target)).checkpoint.exists)
        yield process


def children(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()


@pytest.mark.slow
def test_a_batch_that_is_killed_leaves_no_process_behind(running):
    workers = children(running)
    assert len(workers) >= 2
    running.kill()
    until(lambda: not [worker for worker in workers if is_alive(worker)])


def is_alive(number):
    stat = Path(f"/proc/{number}/stat")
    try:
        return stat.read_text("utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(running, tmp_path):
    workers = children(running)
    for number in [running.pid, *map(int, workers)]:  # a terminal sends it to all of them
        os.kill(number, signal.SIGINT)
    assert running.wait(PATIENCE_S) == 130
    log = (tmp_path / "log").read_text("utf-8")
    assert log.endswith("stopped: the same command with --resume goes on\n")
    assert "Traceback" not in log
    until(lambda: not [worker for worker in workers if is_alive(worker)])
    checkpoint = json.loads((tmp_path / "long.scored.tsv.checkpoint").read_text("utf-8"))
    assert (tmp_path / "long.scored.tsv.partial").stat().st_size >= checkpoint["output_end"]
