import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch", reason="planning needs the train extra: pip install -r requirements/train.txt")

import torch
from transformers import Qwen2Config, XLMRobertaConfig

from semantic_service.contract.labels import Label
from tests.tiny_base import POSITIONS, rows, word_piece, write_base, write_rows
from training import cost, plan
from training.__main__ import main
from training.config import LoraConfig, TrainConfig
from training.errors import BaseModelError, ConfigError
from training.estimate import LARGEST_BATCH, SAFE_SHARE, Needs, reckon
from training.hardware import device_and_dtype, flops_per_second, free_bytes
from training.methods import add_lora
from training.parameters import parameters_by_part
from training.pretrained import load_base
from training.runs import Run

PROJECT = Path(__file__).parents[2]
NEEDS = Needs(
    {"encoder": (0, 1000)}, activations_per_token=100, activations_per_pair=1, train_flops_per_token=1, score_flops_per_token=1, width=8
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Give a folder with a base, the same without its weights, posts, and a config for the base without weights."""
    folder = tmp_path_factory.mktemp("project")
    base = write_base(folder / "whole", word_piece(folder / "words"))
    shutil.copytree(base, folder / "base", ignore=lambda *_: ["model.safetensors"])
    write_rows(folder / "posts.jsonl", rows(240))
    write_rows(folder / "test.jsonl", rows(30, seed=8))
    config = {
        "model": {"base": str(folder / "base"), "max_tokens": POSITIONS},
        "lora": {"rank": 4},
        "data": {"train": [str(folder / "posts.jsonl")], "test": [str(folder / "test.jsonl")], "validation": 0.2},
        "train": {"batch_size": 8},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _short_benchmark(monkeypatch):
    monkeypatch.setattr("training.hardware.BENCHMARK_S", 0.0)


def load(project, *overrides):
    return TrainConfig.load(project / "config.yaml", overrides)


def ask(capsys, project, *overrides, more=()):
    status = main(["plan", str(project / "config.yaml"), *(part for override in overrides for part in ("--set", override)), *more])
    said = capsys.readouterr()
    assert said.err == ""
    return status, said.out


def test_a_sound_config_is_planned_without_its_weights(project, capsys):
    status, out = ask(capsys, project)
    assert status == 0
    assert "| test       |   30 | 10 (33.3%) | 10 (33.3%) | 10 (33.3%) |" in out
    assert "auto would take 64" in out
    assert "This is an estimate" in out
    assert out.count("None.") == 3


def test_the_plan_for_machines_is_the_plan_for_people(project, capsys):
    _, out = ask(capsys, project, more=["--json"])
    found = json.loads(out)
    assert found["cost"]["batch_size"] == 8
    assert found["cost"]["steps"] == 3 * -(-sum(found["sets"]["train"].values()) // 8)
    assert found["cost"]["seconds"] > 0
    assert sum(found["sets"]["train"].values()) + sum(found["sets"]["validation"].values()) == 240
    assert (found["stops"], found["problems"], found["warnings"]) == ([], [], [])


def test_the_parameters_are_those_of_the_model_that_trains(project):
    model = add_lora(load_base(str(project / "whole"))[0], LoraConfig(rank=4))
    needs = reckon(load(project))
    assert needs.parameters == parameters_by_part(model)
    assert needs.trainable == model.get_nb_trainable_parameters()[0]
    assert needs.parameters["encoder"][0] == 0 < needs.parameters["adapters"][0] == needs.parameters["adapters"][1]


def test_an_earlier_adapter_is_planned_with_its_own_settings(project, tmp_path):
    add_lora(load_base(str(project / "whole"))[0], LoraConfig(rank=2)).save_pretrained(str(tmp_path / "adapter"))
    again = reckon(load(project, f"model.adapter={tmp_path}/adapter"))
    assert again.parameters == reckon(load(project, "lora.rank=2")).parameters
    with pytest.raises(BaseModelError, match=r"model\.adapter"):
        reckon(load(project, f"model.adapter={tmp_path}/nowhere"))


@pytest.mark.parametrize("batch", [1, 4])
def test_the_activations_are_about_what_the_backward_pass_keeps(batch, project):
    model = add_lora(load_base(str(project / "whole"))[0], LoraConfig(rank=4)).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage, storage.nbytes()
        return tensor

    tokens = torch.full((batch, POSITIONS), 7)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    real = sum(size for _, size in kept.values())
    assert real * 0.8 < reckon(load(project)).activations(batch, POSITIONS) < real * 1.6


@pytest.mark.parametrize("kind", [XLMRobertaConfig, Qwen2Config])
def test_other_architectures_are_reckoned_from_their_config_alone(kind, project, tmp_path):
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 500}
    kind(**shape, max_position_embeddings=POSITIONS + 2).save_pretrained(tmp_path / "other")
    needs = reckon(load(project, f"model.base={tmp_path}/other"))
    assert needs.width == 64
    assert 0 < needs.trainable < needs.total
    assert needs.train_flops_per_token > 4 * 2 * 4 * 64 * 64


def test_a_window_that_robertas_padding_makes_too_long_is_refused(project, tmp_path):
    XLMRobertaConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=4, max_position_embeddings=POSITIONS).save_pretrained(
        tmp_path
    )
    with pytest.raises(BaseModelError, match=f"model.max_tokens is {POSITIONS}, but {tmp_path} has {POSITIONS - 2} positions"):
        reckon(load(project, f"model.base={tmp_path}"))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("model.base={project}/nowhere", "model.base '{project}/nowhere' can't be loaded, give a local folder or a Hugging Face name"),
        ("model.base={project}/two-labels", "model.base"),
        ("model.max_tokens=64", "model.max_tokens is 64, but {project}/base has 32 positions"),
        ("lora.target_modules=[q_proj]", "lora.target_modules"),
        ("data.test=[{project}/gone.jsonl]", "{project}/gone.jsonl: can't be read (No such file or directory)"),
        ("data.benign=[{project}/gone.jsonl]", "{project}/gone.jsonl: can't be read (No such file or directory)"),
        ("data.train=[{project}/broken.jsonl]", "{project}/broken.jsonl:241: unknown label 'spam'"),
        ("data.train=[{project}/two.jsonl]", "no training example is violation: add some"),
        ("data.validation=[]", "validation has no row: add some"),
    ],
)
def test_what_would_stop_the_run_is_told_with_all_the_rest_and_fails(override, reason, project, capsys):
    write_rows(project / "broken.jsonl", [*rows(240), {"text": "好", "label": "spam"}])
    write_rows(project / "two.jsonl", rows(80, (Label.COMPLIANT, Label.SUSPICIOUS)))
    (project / "two-labels").mkdir(exist_ok=True)
    (project / "two-labels" / "config.json").write_text("{}", encoding="utf-8")
    status, out = ask(capsys, project, override.format(project=project), more=["--json"])
    found = json.loads(out)
    assert status == 1
    assert any(reason.format(project=project) in stop for stop in found["stops"])
    assert len(set(found["stops"])) == len(found["stops"])
    assert found["sets"]
    assert (found["parameters"] is None) == override.startswith(("model", "lora"))


def test_a_leak_and_a_label_that_validation_lacks_stop_nothing(project, capsys):
    write_rows(project / "leaking.jsonl", [*rows(3), *rows(30, (Label.COMPLIANT, Label.SUSPICIOUS), seed=9)][1:])
    status, out = ask(capsys, project, f"data.validation=[{project}/leaking.jsonl]", "data.test=[]", more=["--json"])
    found = json.loads(out)
    assert (status, found["stops"]) == (0, [])
    assert any("texts in both" in problem for problem in found["problems"])
    write_rows(project / "lacking.jsonl", rows(30, (Label.COMPLIANT, Label.SUSPICIOUS), seed=9))
    found = plan.plan(load(project, f"data.validation=[{project}/lacking.jsonl]"))
    assert any(warning.startswith("validation has no row that is violation") for warning in found.warnings)


def test_a_batch_that_should_not_fit_is_a_warning(project, monkeypatch):
    monkeypatch.setattr(cost, "free_bytes", lambda _: int(reckon(load(project)).memory(4, POSITIONS) / SAFE_SHARE) + 1)
    found = plan.plan(load(project))
    assert found.stops == ()
    assert any(warning.startswith("train.batch_size 8 wants about") and warning.endswith("set it to auto") for warning in found.warnings)
    assert plan.plan(load(project, "train.batch_size=auto")).cost.batch_size == found.cost.largest_batch >= 4


@pytest.mark.parametrize("size", [1, 2, 32, LARGEST_BATCH])
def test_the_largest_batch_is_the_largest_power_of_two_that_fits(size):
    just = NEEDS.memory(size, tokens=10) / SAFE_SHARE
    assert NEEDS.largest_batch(10, int(just) + 1) == size
    if size > 1:
        assert NEEDS.largest_batch(10, int(just) - 1) == size // 2
    assert NEEDS.largest_batch(10, 10**15) == LARGEST_BATCH


def test_a_row_that_does_not_fit_is_refused_with_what_to_lower():
    with pytest.raises(ConfigError, match=r"one row of 10 tokens wants about .* lower model\.max_tokens, choose a smaller model\.base"):
        NEEDS.largest_batch(10, 10)


def test_the_machine_has_memory_and_speed():
    device, dtype = device_and_dtype()
    assert free_bytes(device) > 10**8
    assert flops_per_second(64, 64, device, dtype) > 10**6


def test_auto_is_chosen_once_and_kept(project, tmp_path):
    config = load(project, "train.batch_size=auto")
    chosen = []

    def choose(given):
        chosen.append(given)
        return 16

    first = Run.open(config, tmp_path / "run").settle(config, choose)
    assert first.train.batch_size == 16
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text("utf-8"))["train"]["batch_size"] == 16
    assert Run.open(config, tmp_path / "run").settle(config, choose) == first
    assert chosen == [config]
    with pytest.raises(ConfigError, match="another config"):
        Run.open(load(project, "train.batch_size=auto", "train.seed=8"), tmp_path / "run")
    Run.open(config, tmp_path / "run", anew=True).settle(config, choose)
    assert len(chosen) == 2


def test_a_kill_before_auto_is_settled_lets_it_be_chosen_again(project, tmp_path):
    config = load(project, "train.batch_size=auto")
    Run.open(config, tmp_path / "run")
    assert Run.open(config, tmp_path / "run").settle(config, lambda _: 4).train.batch_size == 4


def test_the_same_machine_chooses_the_same(project, monkeypatch, capsys):
    monkeypatch.setattr(cost, "free_bytes", lambda _: 10**7)
    config = load(project, "train.batch_size=auto")
    assert cost.choose_batch_size(config) == cost.choose_batch_size(config) == plan.plan(config).cost.batch_size
    assert "batch size: " in capsys.readouterr().out


IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]  # where anyone may mount
FULL_THEN_ROOMY = """
import subprocess, sys
from training import disk
from training.__main__ import main

disk._GRAPH_BYTES = disk._CHECKPOINT_BYTES = 0  # as where something else fills the disk while the run trains
folder, config = sys.argv[1:]
for size in ("size=260k", "remount,size=50m"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", folder], check=True)
    print("status", main(["run", config, "--run-dir", f"{folder}/run"]))
"""


def may_mount():
    return (
        shutil.which("unshare") is not None and subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not may_mount(), reason="mounting a small disk needs user namespaces")
def test_a_run_whose_disk_fills_says_so_and_carries_on_with_the_same_command(project, tmp_path):
    config = load(project, f"model.base={project}/whole", "train.epochs=1", "train.checkpoint_steps=10", "train.batch_size=auto")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    (tmp_path / "small").mkdir()
    ended = subprocess.run(
        [*IN_A_NAMESPACE, sys.executable, "-c", FULL_THEN_ROOMY, str(tmp_path / "small"), str(tmp_path / "config.yaml")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in ended.stderr.splitlines() if line.startswith("training: ")]
    assert len(said) == 1, ended.stderr
    assert said[0].startswith(f"training: the disk of {tmp_path}/small/run is full: make room")
    assert ended.stdout.splitlines()[-2:] == [f"{tmp_path}/small/run/bundle", "status 0"]
    assert "status 1" in ended.stdout.splitlines()
    assert "parity: torch and ONNX logits" not in ended.stdout.partition("status 1")[0]  # it had not come so far
