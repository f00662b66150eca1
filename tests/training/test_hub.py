import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from semantic_service.contract.bundle import BUNDLE_FILES, CARD_FILE, MANIFEST_FILE, MODEL_FILE, Bundle, seal
from semantic_service.engine.classifier import OnnxClassifier
from tests.hub_server import MAX_REGULAR_BYTES, TOKEN, hub
from tests.tiny_model import build_bundle
from training.__main__ import main
from training.errors import HubError
from training.hub import TOKENIZER_FILES, public_name, send

PROJECT = Path(__file__).parents[2]
REPO = "me/moderation"
SECRET = "/home/somebody"
CONFIG = {
    "model": {"base": f"{SECRET}/bases/tiny-base", "adapter": None},
    "data": {"train": [f"{SECRET}/posts.jsonl"], "validation": {f"{SECRET}/held.jsonl": 0.5}, "repeat": {"../secret/posts.jsonl": 2}},
}


@pytest.fixture
def there():
    with hub() as running:
        yield running


@pytest.fixture
def bundle(tmp_path):
    """Give a bundle whose manifest and card tell of paths, as a run leaves it."""
    made = build_bundle(tmp_path / "bundle", train_config=CONFIG)
    card = f"---\nlanguage: zh\n---\n# tiny-1\n\n- Base: `{SECRET}/bases/tiny-base`\n- Trained on: `{SECRET}/posts.jsonl` (9 rows)\n"
    return rewritten(made, card)


def rewritten(made, card):
    staging = made.path.with_name("staging")
    shutil.copytree(made.path, staging)
    shutil.rmtree(made.path)
    (staging / CARD_FILE).write_text(card, encoding="utf-8")
    return seal(staging, replace(made.manifest, sha256={}), made.path)


@pytest.fixture
def adapter(tmp_path):
    """Give an adapter's folder as fine-tuning leaves it, with what must not be sent."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"base_model_name_or_path": f"{SECRET}/bases/tiny-base", "peft_type": "LORA", "r": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"\1" * (MAX_REGULAR_BYTES + 1))
    for name in ("optimizer.pt", "trainer_state.json", "training_args.bin", "metrics.json", "posts.jsonl", *TOKENIZER_FILES[:3]):
        (folder / name).write_text('"kept here"', encoding="utf-8")
    (folder / CARD_FILE).write_text(f"base_model: {SECRET}/bases/tiny-base", encoding="utf-8")  # PEFT writes such a one
    return folder


def pushed(there, tmp_path, *arguments, token=TOKEN):
    """Push by the command, as a process that knows the hub and the token by its environment."""
    given = {"HF_ENDPOINT": there.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}  # noqa: TID251 - what the process is given
    command = [sys.executable, "-m", "training", "push-to-hub", *map(str, arguments), "--repo", REPO]
    environment = kept | given | ({} if token is None else {"HF_TOKEN": token})
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def listed(capsys, *arguments):
    """Say which files a dry run lists."""
    assert main(["push-to-hub", *map(str, arguments), "--repo", REPO, "--dry-run"]) == 0
    return {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith(" bytes")}


def test_a_bundle_is_sent_and_serves_from_where_it_is_downloaded(bundle, there, tmp_path):
    done = pushed(there, tmp_path, bundle.path, "--private")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"{there.url}/{REPO}/commit/abc"
    assert there.repos == {REPO: True}
    assert set(there.files[REPO]) == {*BUNDLE_FILES, MANIFEST_FILE}
    downloaded = tmp_path / "downloaded"
    downloaded.mkdir()
    for name, content in there.files[REPO].items():
        (downloaded / name).write_bytes(content)
    OnnxClassifier.load(Bundle.read(downloaded))
    assert (downloaded / MODEL_FILE).read_bytes() == bundle.file(MODEL_FILE).read_bytes()


def test_nothing_but_the_adapter_its_tokenizer_and_a_card_is_sent(adapter, there, tmp_path):
    done = pushed(there, tmp_path, adapter)
    assert done.returncode == 0
    assert set(there.files[REPO]) == {"adapter_config.json", "adapter_model.safetensors", CARD_FILE, *TOKENIZER_FILES[:3]}
    assert there.files[REPO]["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
    assert json.loads(there.files[REPO]["adapter_config.json"])["base_model_name_or_path"] == "tiny-base"
    assert "others can load the adapter if --base gives its Hugging Face name" in done.stderr


def test_no_path_of_this_machine_is_sent(bundle, adapter, there, tmp_path):
    for what in (bundle.path, adapter):
        assert pushed(there, tmp_path, what).returncode == 0
        for name, content in there.files.pop(REPO).items():
            assert SECRET.encode() not in content, name
            assert b"../secret" not in content, name
            assert str(tmp_path).encode() not in content, name


def test_the_card_says_base_and_use(adapter, there, tmp_path):
    assert pushed(there, tmp_path, adapter, "--base", "intfloat/multilingual-e5-small").returncode == 0
    card = there.files[REPO][CARD_FILE].decode()
    assert metadata(card) == {
        "language": "zh",
        "pipeline_tag": "text-classification",
        "library_name": "peft",
        "base_model": "intfloat/multilingual-e5-small",
    }
    assert f'from_pretrained("{REPO}", num_labels=3)' in card
    assert json.loads(there.files[REPO]["adapter_config.json"])["base_model_name_or_path"] == "intfloat/multilingual-e5-small"


def test_a_bundles_card_keeps_what_it_said_of_the_model(bundle, there, tmp_path):
    assert pushed(there, tmp_path, bundle.path).returncode == 0
    card = there.files[REPO][CARD_FILE].decode()
    assert metadata(card)["library_name"] == "onnx"
    assert "base_model" not in metadata(card)  # a folder's name is none on the hub
    assert "- Base: `tiny-base`\n- Trained on: `posts.jsonl` (9 rows)" in card


def test_a_run_sends_its_bundle_or_its_adapter(bundle, adapter, tmp_path, capsys):
    run = tmp_path / "runs" / "tiny-1"
    shutil.copytree(bundle.path, run / "bundle")
    shutil.copytree(adapter, run / "adapter")
    (run / "config.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    assert MODEL_FILE in listed(capsys, run)
    assert "adapter_model.safetensors" in listed(capsys, run, "--what", "adapter")


def test_a_dry_run_needs_neither_token_nor_network(bundle, tmp_path, there):
    done = pushed(replace(there, url="http://127.0.0.1:1"), tmp_path, bundle.path, "--dry-run", token=None)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"nothing was sent; without --dry-run this goes to {REPO}" in done.stdout
    assert re.search(rf"^{MODEL_FILE} +[\d,]+ bytes$", done.stdout, re.MULTILINE)


def test_without_a_token_nothing_is_begun(bundle, there, tmp_path):
    done = pushed(there, tmp_path, bundle.path, token=None)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("training: no Hugging Face token: `hf auth login`, or set HF_TOKEN")
    assert not there.repos


def refused(api, folder, repo=REPO, *, private=False):
    with pytest.raises(HubError) as refusal:
        send(api, folder, repo, private=private)
    return str(refusal.value)


def test_a_repository_that_is_public_is_not_sent_what_is_private(bundle, there):
    there.repos[REPO] = False
    assert f"{REPO} is there already and public" in refused(HfApi(there.url, TOKEN), bundle.path, private=True)
    assert not there.files


def test_a_private_repository_that_is_there_is_committed_to(bundle, there, tmp_path):
    there.repos[REPO] = True
    assert pushed(there, tmp_path, bundle.path, "--private").returncode == 0
    assert MODEL_FILE in there.files[REPO]


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "the token is not accepted"), (403, "the token may not write there"), (500, "not you"), (400, "not you")]
)
def test_a_refusal_says_what_to_change(status, reason, bundle, there):
    there.status = status
    said = refused(HfApi(there.url, TOKEN), bundle.path)
    assert said.startswith(f"{REPO} was refused by {there.url}: ")
    assert reason in said


def test_a_token_that_is_none_is_refused_in_words(bundle, there):
    assert "the token is not accepted: make a new one" in refused(HfApi(there.url, "hf_other"), bundle.path)


def test_a_hub_that_is_not_there_is_named(bundle):
    assert refused(HfApi("http://127.0.0.1:1", TOKEN), bundle.path).startswith("http://127.0.0.1:1 can't be reached, or broke off")


def test_a_name_that_no_repository_can_have_is_refused(bundle, there):
    assert refused(HfApi(there.url, TOKEN), bundle.path, "a/b/c").startswith("--repo a/b/c: ")


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("hfl/rbt3", "hfl/rbt3"),
        ("/models/base", "base"),
        ("../shared/base/", "base"),
        ("~/base", "base"),
        ("C:\\models\\base", "base"),
        ("", ""),
        (".", "."),
    ],
)
def test_a_path_is_called_by_its_last_part_in_public(name, public):
    assert public_name(name) == public
