import threading
from functools import partial

import pytest

from semantic_service.engine.workers import QueueFullError, Workers

PATIENCE_S = 10  # a test that waits longer has failed


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


def released(future):
    """Tell when a piece of work that still waits has given its slot back."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())  # runs after the slot's own callback
    return done


def test_answers_come_in_the_order_of_the_work(one):
    futures = one.submit([partial(int, number) for number in range(3)])
    assert [future.result(PATIENCE_S).answer for future in futures] == [0, 1, 2]


def test_the_oldest_work_runs_first(one, gate):
    order = []
    held = one.submit([partial(wait_for, gate)])
    rest = [future for number in range(2) for future in one.submit([partial(order.append, number)])]
    gate.set()
    assert all(future.result(PATIENCE_S) for future in held + rest)
    assert order == [0, 1]


def test_waiting_time_is_measured(one, gate):
    first, second = one.submit([partial(wait_for, gate), int])
    gate.set()
    assert 0 <= first.result(PATIENCE_S).queue_s <= second.result(PATIENCE_S).queue_s


def test_more_than_the_bound_is_refused_and_nothing_of_it_runs(one, gate):
    ran = []
    one.submit([partial(wait_for, gate)] * 2)
    with pytest.raises(QueueFullError, match="2 texts are waiting, the bound is 3"):
        one.submit([partial(ran.append, number) for number in range(2)])
    gate.set()
    one.close()
    assert ran == []


def test_a_refused_submit_takes_no_slot(one, gate):
    one.submit([partial(wait_for, gate)] * 2)
    with pytest.raises(QueueFullError):
        one.submit([int, int])
    assert len(one.submit([int])) == 1


def test_finished_work_frees_its_slots(one, gate):
    futures = one.submit([partial(wait_for, gate)] * 3)
    freed = [released(future) for future in futures]
    gate.set()
    assert all(event.wait(PATIENCE_S) for event in freed)
    assert len(one.submit([int] * 3)) == 3


def test_a_failure_reaches_its_future_and_frees_its_slot(one, gate):
    def fail():
        wait_for(gate)
        raise LookupError("no such model")

    futures = one.submit([fail, partial(wait_for, gate, "fine"), fail])
    freed = [released(future) for future in futures]
    gate.set()
    assert all(event.wait(PATIENCE_S) for event in freed)
    assert isinstance(futures[0].exception(PATIENCE_S), LookupError)
    assert futures[1].result(PATIENCE_S).answer == "fine"
    assert [future.result(PATIENCE_S).answer for future in one.submit([int] * 3)] == [0, 0, 0]


def test_cancelled_work_never_runs_and_frees_its_slot(one, gate):
    ran = []
    _, waiting, _ = one.submit([partial(wait_for, gate), partial(ran.append, 1), int])
    assert waiting.cancel()
    assert len(one.submit([int])) == 1
    gate.set()
    one.close()
    assert ran == []


def test_closing_finishes_what_waits(one, gate):
    futures = one.submit([partial(wait_for, gate, number) for number in range(3)])
    gate.set()
    one.close()
    assert [future.result(0).answer for future in futures] == [0, 1, 2]


def test_closed_workers_take_nothing(one):
    one.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        one.submit([int])


def test_as_much_runs_at_once_as_there_are_threads():
    meeting = threading.Barrier(2)
    workers = Workers(threads=2, bound=2)
    futures = workers.submit([partial(meeting.wait, PATIENCE_S)] * 2)
    assert sorted(future.result(PATIENCE_S).answer for future in futures) == [0, 1]
    workers.close()


def test_no_thread_count_means_one_a_core():
    workers = Workers(threads=0, bound=1)
    assert workers.submit([int])[0].result(PATIENCE_S).answer == 0
    workers.close()


def test_the_bound_holds_under_many_callers(gate):
    workers, accepted, refused = Workers(threads=2, bound=10), [], []

    def call():
        try:
            accepted.extend(workers.submit([partial(wait_for, gate)] * 3))
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
    assert all(future.result(0).answer == "done" for future in accepted)
