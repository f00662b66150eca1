import asyncio
import logging
import time

import pytest

from semantic_service.api import overload as module
from semantic_service.api.overload import LATE_S, LOOK_S, Overload
from semantic_service.engine.workers import QueueFullError


class Crowded:
    """Workers that have refused a post lately, and have no place for another."""

    is_crowded = True

    def check(self):
        if self.is_crowded:
            raise QueueFullError(9, 0.1)


@pytest.fixture
def workers():
    return Crowded()


@pytest.fixture
def overload(workers):
    return Overload(workers)


def refuse(overload):
    with pytest.raises(QueueFullError), overload.noted():
        raise QueueFullError(9, 0.1)


async def fall_behind():
    """Keep the loop busy across the moment at which it wants to look."""
    time.sleep(LOOK_S + 10 * LATE_S)  # noqa: ASYNC251 - that is the point
    for _ in range(2):  # to see that the moment has come, and to look
        await asyncio.sleep(0)


def test_posts_are_read_while_the_loop_keeps_up(overload):
    async def run():
        overload.check()
        refuse(overload)
        overload.check()

    asyncio.run(run())


def test_posts_are_refused_unread_while_the_loop_is_behind_and_the_queue_is_full(overload, workers):
    async def run():
        refuse(overload)
        await fall_behind()
        with pytest.raises(QueueFullError):
            overload.check()
        workers.check = int  # a thread has taken something up
        overload.check()

    asyncio.run(run())


def test_nobody_looks_any_more_once_it_is_calm(overload, workers, monkeypatch):
    monkeypatch.setattr(module, "CATCHES_UP_S", 0.0)

    async def run():
        refuse(overload)
        workers.is_crowded = False
        await fall_behind()
        workers.is_crowded = True
        await fall_behind()
        overload.check()

    asyncio.run(run())


def test_refusals_share_a_log_line_those_of_unread_posts_too(overload, caplog, monkeypatch):
    monkeypatch.setattr(module, "LOGGED_S", 0.0)

    async def run():
        refuse(overload)
        await fall_behind()
        for _ in range(3):
            with pytest.raises(QueueFullError):
                overload.check()
        refuse(overload)
        await asyncio.sleep(0.001)

    with caplog.at_level(logging.WARNING, module.__name__):
        asyncio.run(run())
    assert [record.requests for record in caplog.records] == [1, 4]
