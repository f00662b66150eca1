"""Work for `Workers` whose answers a test can wait for."""

import math
import threading
from dataclasses import dataclass, field

from semantic_service.engine.lanes import Job
from tests.deadline import PATIENCE_S


@dataclass
class Handed:
    """A job that has been handed over."""

    workers: object
    work: object
    told: object = None
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.job = Job.alone(self.work, self._end)

    def _end(self, _):
        if self.told is not None:
            self.told()
        self.ended.set()

    def result(self):
        assert self.ended.wait(PATIENCE_S)
        return self.job.result()

    def error(self):
        assert self.ended.wait(PATIENCE_S)
        return self.job.outcome

    def cancel(self):
        self.workers.cancel(self.job)


def submit(workers, works, within_s=math.inf, told=None):
    handed = [Handed(workers, work, told) for work in works]
    workers.submit([each.job for each in handed], within_s)
    return handed
