import asyncio
from functools import partial

import pytest

from semantic_service.api import afterwards as module
from semantic_service.api.afterwards import Afterwards
from tests.deadline import PATIENCE_S


async def follow(afterwards):
    """Wait until what has been put is done."""
    last = asyncio.Event()
    afterwards.put(last.set)
    await asyncio.wait_for(last.wait(), PATIENCE_S)


def test_what_is_put_is_done_a_moment_later_together_and_in_order(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    done = []

    async def run():
        afterwards = Afterwards()
        for number in range(3):
            afterwards.put(partial(done.append, number))
        at_once = list(done)
        for number in (3, 4):
            await follow(afterwards)
            afterwards.put(partial(done.append, number))
        await follow(afterwards)
        return at_once

    assert asyncio.run(run()) == []
    assert done == [0, 1, 2, 3, 4]


def test_what_waits_can_be_done_now():
    done = []

    async def run():
        afterwards = Afterwards()
        afterwards.put(partial(done.append, "waited"))
        afterwards.do()
        afterwards.do()

    asyncio.run(run())
    assert done == ["waited"]


def test_what_fails_keeps_nothing_else_from_being_done(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    done, failures = [], []

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
        afterwards = Afterwards()
        for number in range(2):
            afterwards.put(partial(int, "no number"))
            afterwards.put(partial(done.append, number))
        await follow(afterwards)
        afterwards.put(partial(int, "no number"))
        with pytest.raises(ValueError, match="no number"):
            afterwards.do()

    asyncio.run(run())
    assert done == [0, 1]
    assert [type(failure) for failure in failures] == [ValueError] * 2
