"""Several processes that train one model together, as torchrun and accelerate start them: the first writes, all compute."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TypeVar

import torch
from accelerate import PartialState
from torch import distributed

from training.errors import TrainingError

T = TypeVar("T")


@contextmanager
def joined() -> Iterator[bool]:
    """Meet the other processes, if there are any, and tell whether this is the first of all, which alone prints.

    What stops all of them is said by the first process of each machine.
    """
    state = PartialState(cpu=not torch.cuda.is_available())
    with ExitStack() as stack:
        stack.callback(leave)
        if not is_first():
            stack.enter_context(redirect_stdout(io.StringIO()))
        try:
            yield is_first()
        except TrainingError as error:
            if state.is_local_main_process:
                raise
            raise SystemExit(error.exit_status) from error


def leave() -> None:
    """Part from the other processes: the first goes on alone."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this process writes the run's files: the first of several, or the only one."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def first_decides(decide: Callable[[], T]) -> T:
    """Give every process what the call gives on the first one.

    Raises:
        TrainingError: the first one's.

    """
    answers: list[T | TrainingError | None] = [None]
    if is_first():
        try:
            answers = [decide()]
        except TrainingError as error:
            answers = [error]
    if distributed.is_initialized():
        distributed.broadcast_object_list(answers)
    (answer,) = answers
    if isinstance(answer, TrainingError):
        raise answer
    return answer  # type: ignore[return-value]  # not None: the first one's


def any_of(claim: bool, device: torch.device) -> bool:  # noqa: FBT001 - the one thing asked
    """Whether a claim holds in any process; every process asks at once."""
    if not distributed.is_initialized():
        return claim
    holds = torch.tensor(float(claim), device=device)
    distributed.all_reduce(holds, distributed.ReduceOp.MAX)
    return bool(holds)
