"""The Ray job file: what Kubernetes and `training run` would make of it."""

import shlex
from pathlib import Path

import pytest
import yaml

from training.__main__ import _parser
from training.config import TrainConfig

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def job():
    return yaml.safe_load((PROJECT / "deploy" / "ray" / "retrain.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def worker(job):
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return group["template"]["spec"]


@pytest.fixture(scope="module")
def training(job):
    """What `python -m training` understands of the entrypoint."""
    folder, command = job["spec"]["entrypoint"].split(" && ")
    assert folder == "cd /app"
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "training"]
    return _parser().parse_args(words[3:])


def test_it_is_a_ray_job(job):
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")


def test_it_trains_with_a_config_that_is_there(training):
    config = TrainConfig.load(PROJECT / training.config, training.overrides)
    assert {path.parent for path in config.data.train} == {Path("/data")}


def test_a_retry_finds_the_run_that_it_is_to_resume(job, training, worker):
    assert job["spec"]["backoffLimit"] > 0
    assert training.run_dir.parent == Path("runs")
    assert training.resume == "auto"
    mounted = {mount["name"] for mount in worker["containers"][0]["volumeMounts"] if mount["mountPath"] == "/app/runs"}
    claimed = {volume["name"] for volume in worker["volumes"] if "persistentVolumeClaim" in volume}
    assert mounted == {"runs"} <= claimed


def test_the_worker_and_not_the_head_has_the_gpu_that_the_entrypoint_asks_for(job, worker):
    (head,) = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    assert job["spec"]["entrypointNumGpus"] == worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in head["resources"]["limits"]


def test_nothing_is_paid_for_after_the_end(job):
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert job["spec"]["activeDeadlineSeconds"] > 0


def test_the_cluster_runs_the_ray_that_its_image_has(job):
    version = job["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"FROM rayproject/ray:{version}-py311-gpu AS training\n" in (PROJECT / "deploy" / "ray" / "Dockerfile").read_text("utf-8")
