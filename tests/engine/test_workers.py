import asyncio
import threading
from concurrent.futures import CancelledError
from functools import partial
from itertools import groupby

import numpy as np
import pytest

from semantic_service.contract.bundle import TOGETHER
from semantic_service.engine import workers as module
from semantic_service.engine.lanes import SINGLES_IN_A_ROW, Job, Lanes
from semantic_service.engine.workers import BURST, CALM_S, SHORT_QUEUE, TOLD_AT_ONCE, QueueFullError, Workers, call_on
from tests.deadline import PATIENCE_S
from tests.engine.jobs import submit


@pytest.fixture
def gate():
    opened = threading.Event()
    yield opened
    opened.set()


@pytest.fixture
def one(gate):
    workers = Workers(threads=1, bound=3)
    yield workers
    gate.set()
    workers.close()


def wait_for(gate, answer="done"):
    assert gate.wait(PATIENCE_S)
    return answer


def test_answers_come_in_the_order_of_the_work(one):
    jobs = submit(one, [partial(int, number) for number in range(3)])
    assert [job.result().answer for job in jobs] == [0, 1, 2]


def test_the_oldest_work_runs_first(one, gate):
    order = []
    held = submit(one, [partial(wait_for, gate)])
    rest = [job for number in range(2) for job in submit(one, [partial(order.append, number)])]
    gate.set()
    assert all(job.result() for job in held + rest)
    assert order == [0, 1]


def test_waiting_time_is_measured(one, gate):
    first, second = submit(one, [partial(wait_for, gate), int])
    gate.set()
    assert 0 <= first.result().queue_s <= second.result().queue_s


def test_more_than_the_bound_is_refused_and_nothing_of_it_runs(one, gate):
    ran = []
    submit(one, [partial(wait_for, gate)] * 2)
    with pytest.raises(QueueFullError, match="2 texts are waiting"):
        submit(one, [partial(ran.append, number) for number in range(2)])
    gate.set()
    one.close()
    assert ran == []


def test_a_refused_submit_takes_no_slot(one, gate):
    submit(one, [partial(wait_for, gate)] * 2)
    with pytest.raises(QueueFullError):
        submit(one, [int, int])
    assert len(submit(one, [int])) == 1


def test_finished_work_frees_its_slots(one, gate):
    jobs = submit(one, [partial(wait_for, gate)] * 3)
    gate.set()
    assert all(job.ended.wait(PATIENCE_S) for job in jobs)
    assert len(submit(one, [int] * 3)) == 3


def test_a_failure_reaches_who_asked_and_frees_its_slot(one, gate):
    def fail():
        wait_for(gate)
        raise LookupError("no such model")

    jobs = submit(one, [fail, partial(wait_for, gate, "fine"), fail])
    gate.set()
    assert all(job.ended.wait(PATIENCE_S) for job in jobs)
    assert isinstance(jobs[0].error(), LookupError)
    assert jobs[1].result().answer == "fine"
    assert [job.result().answer for job in submit(one, [int] * 3)] == [0, 0, 0]


def test_cancelled_work_never_runs_and_frees_its_slot(one, gate):
    ran = []
    _, waiting, _ = submit(one, [partial(wait_for, gate), partial(ran.append, 1), int])
    waiting.cancel()
    assert isinstance(waiting.error(), CancelledError)
    assert len(submit(one, [int])) == 1
    gate.set()
    one.close()
    assert ran == []


def test_closing_finishes_what_waits(one, gate):
    jobs = submit(one, [partial(wait_for, gate, number) for number in range(3)])
    gate.set()
    one.close()
    assert [job.result().answer for job in jobs] == [0, 1, 2]


def test_closed_workers_take_nothing(one):
    one.close()
    with pytest.raises(RuntimeError, match="closed"):
        submit(one, [int])


def test_as_much_runs_at_once_as_there_are_threads():
    meeting = threading.Barrier(2)
    workers = Workers(threads=2, bound=2)
    jobs = submit(workers, [partial(meeting.wait, PATIENCE_S)] * 2)
    assert sorted(job.result().answer for job in jobs) == [0, 1]
    workers.close()


def test_no_thread_count_means_one_a_core():
    workers = Workers(threads=0, bound=1)
    assert submit(workers, [int])[0].result().answer == 0
    workers.close()


def test_the_bound_holds_under_many_callers(gate):
    workers, accepted, refused = Workers(threads=2, bound=10), [], []

    def call():
        try:
            accepted.extend(submit(workers, [partial(wait_for, gate)] * 3))
        except QueueFullError as error:
            refused.append(error)

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE_S)
    assert (len(accepted), len(refused)) == (9, 5)
    gate.set()
    workers.close()
    assert all(job.result().answer == "done" for job in accepted)


def ran(workers, gate, single, batches):
    """Let single posts and batches wait behind the gate, open it, and give the order in which they ran."""
    order = []
    jobs = submit(workers, [partial(wait_for, gate)])
    for number, batch in enumerate(batches):
        jobs += submit(workers, [partial(order.append, f"{number}{text}") for text in range(batch)])
    for _ in range(single):
        jobs += submit(workers, [partial(order.append, "single")])
    gate.set()
    assert all(job.result() for job in jobs)
    return order


@pytest.fixture
def wide(gate):
    workers = Workers(threads=1, bound=100)
    yield workers
    gate.set()
    workers.close()


def test_single_posts_run_before_a_batch_that_came_first(wide, gate):
    assert ran(wide, gate, 3, [2]) == ["single"] * 3 + ["00", "01"]


def test_a_batch_never_starves(wide, gate):
    order = ran(wide, gate, 3 * SINGLES_IN_A_ROW, [4])
    turns = [place for place, text in enumerate(order) if text != "single"]
    assert turns[0] <= SINGLES_IN_A_ROW
    assert turns[1] - turns[0] == turns[2] - turns[1] == SINGLES_IN_A_ROW + 1


def test_batches_take_turns_text_by_text(wide, gate):
    assert ran(wide, gate, 0, [3, 2]) == ["00", "10", "01", "11", "02"]


@pytest.fixture
def timed(gate):
    """One thread on which a text has lately taken 10 ms, and a single post may wait 0.4 s."""
    workers = Workers(threads=1, bound=100, max_wait_s=0.4)
    workers._text_s = 0.01
    yield workers
    gate.set()
    workers.close()


def fill(workers, gate, waiting):
    """Let one post run, and so many wait."""
    running = threading.Event()
    submit(workers, [lambda: running.set() or wait_for(gate)])
    assert running.wait(PATIENCE_S)
    return [job for _ in range(waiting) for job in submit(workers, [int])]


def test_a_post_that_would_wait_too_long_is_refused(timed, gate):
    fill(timed, gate, 41)
    with pytest.raises(QueueFullError, match="42 texts are waiting, which would take about 410 ms"):
        submit(timed, [int])


def test_however_slow_the_model_is_a_burst_may_wait(timed, gate):
    timed._text_s = 10.0
    fill(timed, gate, BURST + 1)
    with pytest.raises(QueueFullError):
        submit(timed, [int])


def test_what_came_a_moment_ago_is_refused_too_once_too_much_comes(timed, gate):
    waiting = fill(timed, gate, 41)
    with pytest.raises(QueueFullError):
        submit(timed, [int])
    assert [job.ended.is_set() for job in waiting] == [False] * SHORT_QUEUE + [True] * (41 - SHORT_QUEUE)
    assert isinstance(waiting[-1].error(), QueueFullError)
    with pytest.raises(QueueFullError):
        fill_up(timed)


def fill_up(workers):
    for _ in range(SHORT_QUEUE + 2):
        submit(workers, [int])


def test_who_has_waited_a_while_is_answered_and_not_refused(timed, gate, monkeypatch):
    monkeypatch.setattr(module, "FRESH_S", -1.0)
    waiting = fill(timed, gate, 41)
    with pytest.raises(QueueFullError):
        submit(timed, [int])
    gate.set()
    assert all(job.result().answer == 0 for job in waiting)


def test_after_a_while_without_a_refusal_the_queue_may_be_long_again(timed, gate, monkeypatch):
    monkeypatch.setattr(module, "CALM_S", 0.0)
    fill(timed, gate, 41)
    with pytest.raises(QueueFullError):
        submit(timed, [int])
    fill_up(timed)


def test_the_queue_is_long_now_and_then_whoever_is_refused_but_less_and_less_often(timed):
    was_long = []
    for moment in [*np.arange(1000, 1120, CALM_S / 2), *np.arange(1150, 1164, CALM_S / 2)]:
        if moment >= timed._crowded_until:
            was_long.append(moment)
        timed._crowd(moment)
    assert was_long == [1000, 1004, 1012, 1028, 1060, 1092, 1150, 1154, 1162]


def test_who_asks_beforehand_hears_of_a_full_queue_only_while_it_is_crowded(timed, gate):
    fill(timed, gate, 41)
    timed.check()
    assert not timed.is_crowded
    with pytest.raises(QueueFullError):
        submit(timed, [int])
    assert timed.is_crowded
    timed.check()  # a place has been left, see above
    submit(timed, [int])
    with pytest.raises(QueueFullError, match=f"would take about {10 * (SHORT_QUEUE + 1)} ms"):
        timed.check()


def test_what_the_caller_would_not_wait_for_is_refused_and_nobody_else(timed, gate):
    fill(timed, gate, 3)
    with pytest.raises(QueueFullError):
        submit(timed, [int], within_s=0.025)
    with pytest.raises(QueueFullError):
        submit(timed, [int] * 10, within_s=0.1)
    assert submit(timed, [int], within_s=0.035)
    assert submit(timed, [int] * 10)
    fill_up(timed)


def hold(workers, gate):
    """Keep the only thread busy until the gate opens."""
    has_begun = threading.Event()
    submit(workers, [lambda: has_begun.set() or wait_for(gate)])
    assert has_begun.wait(PATIENCE_S)


def test_while_many_wait_answers_are_given_together_and_else_at_once(wide, gate):
    events, jobs = [], []
    hold(wide, gate)
    for _ in range(SHORT_QUEUE + 2 * TOGETHER - 1):
        jobs += submit(wide, [partial(events.append, "run")], told=partial(events.append, "told"))
    gate.set()
    assert jobs[-1].ended.wait(PATIENCE_S)
    groups = [(what, len(list(group))) for what, group in groupby(events)]
    assert groups == [("run", TOGETHER), ("told", TOGETHER)] * 2 + [("run", 1), ("told", 1)] * (SHORT_QUEUE - 1)


class Sums:
    """Work that is done for several items in one call."""

    def __init__(self, workers):
        self._workers = workers
        self.calls, self.told_after, self.jobs, self._left = [], [], [], threading.Semaphore(0)

    def prepare(self, items):
        return partial(self.add, items)

    def add(self, items):
        self.calls.append(items)
        return [item + 1 for item in items]

    def ask(self, *items, is_short=False):
        self.jobs += [Job(self.prepare, item, self._told, is_short=is_short) for item in items]
        self._workers.submit(self.jobs[-len(items) :])

    def _told(self, _):
        self.told_after.append(len(self.calls))
        self._left.release()

    def outcomes(self):
        assert all(self._left.acquire(timeout=PATIENCE_S) for _ in self.jobs)
        return [job.outcome if isinstance(job.outcome, Exception) else job.result().answer for job in self.jobs]


def test_what_many_wait_for_is_done_for_several_at_once_and_one_failure_is_one_jobs(wide, gate):
    hold(wide, gate)
    sums = Sums(wide)
    for item in (0, 1, "two", 3, 4, 5, 6):
        sums.ask(item)
    gate.set()
    numbers = sums.outcomes()
    assert isinstance(numbers.pop(2), TypeError)
    assert numbers == [1, 2, 4, 5, 6, 7]
    assert sums.calls == [[0, 1, "two", 3], [0], [1], ["two"], [3], [4, 5, 6]]


@pytest.mark.parametrize(("is_short", "told_after"), [(True, [2] * 8 + [3] * 4), (False, [1] * 4 + [2] * 4 + [3] * 4)])
def test_answers_wait_for_others_only_while_many_wait_and_what_comes_next_is_short(wide, gate, is_short, told_after):
    hold(wide, gate)
    sums = Sums(wide)
    for item in range(3 * TOGETHER + SHORT_QUEUE - 1):
        sums.ask(item, is_short=is_short)
    gate.set()
    assert sums.outcomes() == list(range(1, len(sums.jobs) + 1))
    assert list(map(len, sums.calls)) == [TOGETHER] * 3 + [1] * (SHORT_QUEUE - 1)
    assert sums.told_after == [*told_after, 4, 5]


def test_no_answer_is_kept_by_workers_that_close(wide, gate):
    hold(wide, gate)
    sums = Sums(wide)
    for item in range(TOLD_AT_ONCE + SHORT_QUEUE):
        sums.ask(item, is_short=True)
    gate.set()
    wide.close()
    assert len(sums.told_after) == len(sums.jobs)


class Unready(Sums):
    """Items that are not numbers can't be made ready."""

    def prepare(self, items):
        return partial(self.add, list(map(int, items)))


def test_what_cannot_be_made_ready_is_one_jobs_failure(wide, gate):
    hold(wide, gate)
    sums = Unready(wide)
    for item in (0, 1, "two", 3):
        sums.ask(item)
    gate.set()
    numbers = sums.outcomes()
    assert isinstance(numbers.pop(2), ValueError)
    assert numbers == [1, 2, 4]


def test_unlike_work_is_not_done_in_one_call(wide, gate):
    hold(wide, gate)
    sums, others = Sums(wide), Sums(wide)
    for each in (sums, others, others, sums):
        each.ask(1)
    gate.set()
    assert (sums.outcomes(), others.outcomes()) == ([2, 2], [2, 2])
    assert (sums.calls, others.calls) == ([[1], [1]], [[1, 1]])


def test_a_batch_is_done_several_at_once_unless_single_posts_come_too(wide, gate):
    sums = Sums(wide)
    sums.ask(*range(9))
    assert sums.outcomes() == list(range(1, 10))
    assert list(map(len, sums.calls)) == [4, 4, 1]
    hold(wide, gate)
    beside = Sums(wide)
    beside.ask(*range(9))
    gate.set()
    assert beside.outcomes() == list(range(1, 10))
    assert list(map(len, beside.calls)) == [1] * 9


def test_a_failure_does_not_end_the_thread(one):
    def fail():
        raise SystemExit

    assert isinstance(submit(one, [fail])[0].error(), SystemExit)
    assert submit(one, [int])[0].result().answer == 0


def test_a_single_post_that_was_given_up_hides_no_batch():
    lanes, given_up, batch = Lanes(), Job.alone(int, int), [Job.alone(int, int), Job.alone(int, int)]
    lanes.put([given_up])
    lanes.put(batch)
    given_up.is_waiting = False
    assert [lanes.take() for _ in range(3)] == [*batch, None]


def test_work_for_an_event_loop_that_has_been_closed_ends_no_thread(one):
    loop = asyncio.new_event_loop()
    loop.close()
    one.submit([Job.alone(int, partial(call_on, loop, print))])
    assert submit(one, [int])[0].result().answer == 0


def test_a_batch_that_was_given_up_takes_nobodys_turn(wide, gate):
    jobs = submit(wide, [partial(wait_for, gate)])
    given_up = submit(wide, [int] * 20)
    for job in given_up:
        job.cancel()
    order = []
    for _ in range(SINGLES_IN_A_ROW):
        jobs += submit(wide, [partial(order.append, "single")])
    jobs += submit(wide, [partial(order.append, "batch")] * 2)
    jobs += submit(wide, [partial(order.append, "single")])
    gate.set()
    assert all(job.result() for job in jobs)
    assert "batch" in order[: SINGLES_IN_A_ROW + 1]
