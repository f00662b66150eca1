"""deploy/kubernetes/ says what our programs and Kubernetes understand."""

import shlex
import shutil
import subprocess

import pytest
import yaml

from semantic_service.__main__ import GRACE_S
from semantic_service.api.metrics import Metrics
from semantic_service.batch.__main__ import _options
from semantic_service.contract.verdict import Policy
from semantic_service.settings import EMBEDDED_MODEL, Settings
from tests.served import PROJECT

FOLDER = PROJECT / "deploy" / "kubernetes"
DEFAULTS = Settings.model_fields


def read(name):
    return {item["kind"]: item for item in yaml.safe_load_all((FOLDER / name).read_text("utf-8"))}


DEPLOYMENT, SERVICE = read("service.yaml").values()
SCALER, BUDGET = read("autoscaling.yaml").values()
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
JOB = read("batch.yaml")["RayJob"]
HEAD = JOB["spec"]["rayClusterSpec"]["headGroupSpec"]
(GROUP,) = JOB["spec"]["rayClusterSpec"]["workerGroupSpecs"]


def mounts(container):
    return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}


def test_the_settings_are_ones_that_the_service_takes(monkeypatch):
    given = {item["name"]: item.get("value", "postgresql://u:p@h/n") for item in CONTAINER["env"]}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    assert str(settings.threads) == CONTAINER["resources"]["requests"]["cpu"]
    folders = {str(path.parent) for path in (settings.keys, settings.policy, settings.spill_file)}
    assert folders <= set(mounts(CONTAINER))
    assert set(mounts(CONTAINER).values()) == {volume["name"] for volume in POD["volumes"]}


def test_the_ports_are_the_services_own():
    (port,) = CONTAINER["ports"]
    (outside,) = SERVICE["spec"]["ports"]
    assert port["containerPort"] == outside["port"] == DEFAULTS["port"].default
    probes = [CONTAINER[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {probe["port"] for probe in probes} | {outside["targetPort"]} == {port["name"]}
    assert [probe["path"] for probe in probes] == ["/ready", "/ready", "/live"]


def test_a_pod_that_goes_has_time_to_answer():
    wait_s = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    ready = CONTAINER["readinessProbe"]
    assert wait_s >= ready["periodSeconds"]
    assert POD["terminationGracePeriodSeconds"] > wait_s + GRACE_S
    assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_a_pod_may_do_no_more_than_it_needs():
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] >= 10_000
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_autoscaler_looks_at_a_metric_that_there_is():
    (queue,) = [metric["pods"] for metric in SCALER["spec"]["metrics"] if metric["type"] == "Pods"]
    exposed = {family.name for family in Metrics("m-1").registry.collect()}
    (rule,) = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text("utf-8"))["rules"]["custom"]
    assert queue["metric"]["name"] == rule["name"]["as"]
    assert queue["metric"]["name"] in exposed
    assert f"{queue['metric']['name']}_sum" in rule["seriesQuery"]
    assert SCALER["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    assert SCALER["spec"]["minReplicas"] > BUDGET["spec"]["maxUnavailable"]


def test_the_policy_can_be_used():
    Policy.parse((FOLDER / "policy.toml").read_text("utf-8"))


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kustomize comes with kubectl")
def test_kustomize_and_kubernetes_take_it():
    done = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    items = list(yaml.safe_load_all(done.stdout))
    assert sorted(item["kind"] for item in items) == [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "Service",
    ]
    built = {item["kind"]: item for item in items}
    labels = built["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert built["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert built["Service"]["spec"]["selector"] == built["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    (policy,) = [volume["configMap"]["name"] for volume in POD["volumes"] if "configMap" in volume]
    assert built["ConfigMap"]["metadata"]["name"] == policy
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="in requirements/dev.txt")
    for item in items:
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


@pytest.fixture
def batch(tmp_path):
    """Give what the batch command understands of the job's entrypoint."""
    command, judged = JOB["spec"]["entrypoint"].split("; ")
    assert judged == "test $? -le 1"
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "semantic_service.batch"]
    return _options(words[3:])


def test_the_job_reads_and_writes_where_its_head_has_a_volume(batch):
    (container,) = HEAD["template"]["spec"]["containers"]
    assert {path.split("/")[1] for path in (*batch.inputs, batch.output)} == {path.strip("/") for path in mounts(container)}
    (volume,) = HEAD["template"]["spec"]["volumes"]
    assert volume["name"] in mounts(container).values()


def test_the_job_runs_on_the_cluster_and_a_retry_goes_on(batch):
    assert (batch.engine, batch.address, batch.resume) == ("ray", None, True)  # the operator sets RAY_ADDRESS
    assert JOB["spec"]["backoffLimit"] > 0
    assert HEAD["rayStartParams"] == {"num-cpus": "0"}
    assert GROUP["replicas"] > 0


def test_the_workers_have_memory_for_a_model_each():
    (container,) = GROUP["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    model_bytes = sum(path.stat().st_size for path in EMBEDDED_MODEL.iterdir())
    assert int(limits["memory"].removesuffix("Gi")) * 2**30 > 2 * 2**30 + int(limits["cpu"]) * 4 * model_bytes


def test_nothing_is_paid_for_after_the_jobs_end():
    assert JOB["spec"]["shutdownAfterJobFinishes"] is True
    assert JOB["spec"]["activeDeadlineSeconds"] > 0


def test_the_cluster_runs_the_ray_that_its_image_has():
    version = JOB["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"FROM rayproject/ray:{version}-py311 AS batch\n" in (PROJECT / "deploy" / "ray" / "Dockerfile").read_text("utf-8")
