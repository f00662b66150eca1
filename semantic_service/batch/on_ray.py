"""A batch on a Ray cluster: each part is a task, which Ray runs again elsewhere when its worker or its machine is lost."""

import os
import socket
import sys
import time
from concurrent.futures import Future
from functools import partial

from semantic_service.batch.errors import BatchError
from semantic_service.batch.scoring import Recipe, Scored, score_elsewhere
from semantic_service.batch.tables import Layout, Part

MAX_RETRIES = 20  # of a part; a lost machine costs one each, a part that kills its worker must not go round for ever
ANSWER_S = 10.0
LOOK_S = 5.0  # between looks at the cluster's size


class OnRay:
    """A cluster's CPUs, with a model for each. Its work is tasks: actors hold their CPUs, and wait for ever where none is left."""

    def __init__(self, recipe: Recipe, address: str | None) -> None:
        """Join the cluster at `address`, or that of $RAY_ADDRESS, or start one on this machine.

        Raises:
            BatchError: Ray is not installed, or no cluster answers.

        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # noqa: TID251 - Ray reads it there; nothing is to be sent anywhere
        try:
            import ray  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise BatchError(f"Ray can't be imported here ({error}): python -m pip install -r requirements/ray.txt") from error
        _find(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="WARNING")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise BatchError(f"no Ray cluster at {address or 'this machine'}: {error}") from error
        self._ray = ray
        self._recipe = ray.put(recipe)
        self._score = ray.remote(num_cpus=1, max_retries=MAX_RETRIES, scheduling_strategy="SPREAD")(score_elsewhere)
        self._looked_s = float("-inf")
        self._workers = 1
        if not ray.cluster_resources().get("CPU"):
            print("the cluster has no CPU yet: waiting for its machines", file=sys.stderr)

    @property
    def workers(self) -> int:
        """The cluster's CPUs, as it grows and shrinks."""
        if time.monotonic() - self._looked_s > LOOK_S:
            self._workers = max(1, int(self._ray.cluster_resources().get("CPU", 0)))
            self._looked_s = time.monotonic()
        return self._workers

    def submit(self, layout: Layout, part: Part) -> Future[Scored]:
        """Have a part judged."""
        future: Future[Scored] = Future()
        self._score.remote(self._recipe, layout, part.content).future().add_done_callback(partial(_pass_on, future))
        return future

    def restart(self) -> None:
        """Do nothing: Ray replaces its workers."""

    def close(self) -> None:
        """Leave the cluster; parts that wait are given up."""
        self._ray.shutdown()


def _find(address: str | None) -> None:
    """Refuse at once an address where nobody listens: Ray tries for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except OSError as error:
        raise BatchError(f"no Ray cluster at {address}: {error.strerror or error}") from error


def _pass_on(future: Future[Scored], done: Future[Scored]) -> None:
    """Hand over what came of a part; an error without Ray's account of where it was raised."""
    error = done.exception()
    if error is None:
        future.set_result(done.result())
    else:
        future.set_exception(getattr(error, "cause", None) or BatchError(f"Ray gave a part up: {error}"))
