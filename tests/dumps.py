"""Dumps to score, and what scores them."""

from contextlib import closing
from pathlib import Path

from semantic_service.batch.job import Job, Reading
from semantic_service.batch.places import shards
from semantic_service.batch.pools import Threads
from semantic_service.batch.scoring import Recipe
from semantic_service.batch.tsv import Dialect

TEXT = Reading(Dialect("text"))


def recipe_of(moderator, model=Path("unused")):
    return Recipe(model, None, moderator.model_version, moderator.policy, moderator.uncertain_max, moderator.tasks)


def job_of(inputs, output, moderator, reading=TEXT):
    return Job(shards([str(name) for name in inputs], str(output)), reading, recipe_of(moderator))


def score_dump(dump, scored, moderator, reading=TEXT, **more):
    """Score one file on threads, as the command does."""
    with closing(Threads(moderator, more.get("threads", 1))) as pool:
        return job_of([dump], scored, moderator, reading).run(pool, resume=more.get("resume", False))


class Stopped(Threads):
    """One thread, stopped before the given number of parts."""

    def __init__(self, moderator, parts):
        super().__init__(moderator, 1)
        self._left = parts

    def submit(self, layout, part):
        if not self._left:
            self.close()
            raise InterruptedError
        self._left -= 1
        return super().submit(layout, part)
