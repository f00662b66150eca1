"""Batches on a Ray cluster of two machines, which are processes here; one is lost half way."""

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from semantic_service.batch.errors import BatchError
from semantic_service.batch.on_ray import OnRay
from semantic_service.batch.tables import PART_ROWS
from tests.deadline import until
from tests.dumps import job_of, recipe_of, score_dump
from tests.kills import KillsAfter
from tests.tiny_model import build_bundle

ray = pytest.importorskip("ray", reason="Ray is an extra: requirements/ray.txt")
from ray.cluster_utils import Cluster  # noqa: E402 - only where there is a Ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.filterwarnings("default")]  # Ray's own warnings are not ours to mend

PARTS = 40
ROWS = PARTS * PART_ROWS + 3
TEXTS = ("今天天气真好", "有点可疑的消息", "来赌一把", "")


@pytest.fixture(scope="module")
def cluster():
    """Give a cluster of one machine with one CPU."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def dump(tmp_path):
    path = tmp_path / "dump.tsv"
    path.write_text("id\ttext\n" + "".join(f"{number}\t{TEXTS[number % 4]}\n" for number in range(ROWS)), encoding="utf-8")
    return path


def test_a_cluster_writes_what_one_machine_writes_although_a_machine_is_lost_half_way(cluster, dump, moderator, tiny_bundle):
    lost = cluster.add_node(num_cpus=1)
    score_dump(dump, dump.with_name("whole.tsv"), moderator)
    with closing(OnRay(recipe_of(moderator, tiny_bundle.path), cluster.address)) as pool:
        assert pool.workers == 2
        killer = KillsAfter(pool, PARTS // 2, lambda: cluster.remove_node(lost, allow_graceful=False))
        totals = job_of([dump], dump.with_name("scored.tsv"), moderator).run(killer)
    assert killer.has_killed
    assert (totals.rows, totals.errors) == (ROWS, ROWS // 4)
    assert dump.with_name("scored.tsv").read_bytes() == dump.with_name("whole.tsv").read_bytes()
    cluster.wait_for_nodes()  # until the loss is known: the next test counts machines


def test_a_cluster_of_one_cpu_is_enough_although_its_worker_is_killed(cluster, dump, moderator, tiny_bundle):
    score_dump(dump, dump.with_name("whole.tsv"), moderator)
    with closing(OnRay(recipe_of(moderator, tiny_bundle.path), cluster.address)) as pool:
        assert pool.workers == 1
        killer = KillsAfter(pool, PARTS // 2, kill_workers)
        job_of([dump], dump.with_name("scored.tsv"), moderator).run(killer)
    assert killer.has_killed
    assert dump.with_name("scored.tsv").read_bytes() == dump.with_name("whole.tsv").read_bytes()


def kill_workers():
    """Kill -9 what judges, as soon as something does."""
    for number in until(judging):
        os.kill(number, signal.SIGKILL)


def judging():
    """Find the processes of workers: Ray names them ray::NAME while they are at it."""
    commands = {path.parent.name: path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [int(number) for number, command in commands.items() if command.startswith(b"ray::score_elsewhere")]


def test_a_model_that_is_another_elsewhere_stops_the_batch_in_a_line(cluster, dump, moderator, tmp_path):
    other = build_bundle(tmp_path / "other", model_version="other-1")
    message = r"^\S+: holds other-1 here, the batch began with tiny-1: put the same bundle everywhere$"
    with closing(OnRay(recipe_of(moderator, other.path), cluster.address)) as pool, pytest.raises(BatchError, match=message):
        job_of([dump], dump.with_name("scored.tsv"), moderator).run(pool)


def test_a_cluster_that_is_not_there_is_named(moderator):
    with pytest.raises(BatchError, match=r"no Ray cluster at 127\.0\.0\.1:1: "):
        OnRay(recipe_of(moderator), "127.0.0.1:1")
