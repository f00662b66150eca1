import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from semantic_service.contract.bundle import BUNDLE_FILES, CARD_FILE, MANIFEST_FILE, MODEL_FILE, Bundle, seal
from semantic_service.engine.classifier import OnnxClassifier
from tests.hub_server import MAX_REGULAR_BYTES, TOKEN, hub
from tests.tiny_model import manifest, stage
from training.__main__ import main
from training.errors import HubError
from training.hub import TOKENIZER_FILES, lay_out_adapter, model_card, origin_of, public_name, send

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def bundle(folder):
    """Give a bundle whose manifest and card tell of paths, as a run leaves it."""
    staging = stage(folder / "staging")
    card = f"---\nlanguage: zh\n---\n# tiny-1\n\n- Base: `{SECRET}/bases/tiny-base`\n- Trained on: `{SECRET}/posts.jsonl` (9 rows)\n"
    (staging / CARD_FILE).write_text(card, encoding="utf-8")
    return seal(staging, manifest(staging, train_config=CONFIG), folder / "bundle")


@pytest.fixture(scope="module")
def adapter(folder):
    """Give an adapter's folder as fine-tuning leaves it, with what must not be sent."""
    path = folder / "adapter"
    path.mkdir()
    config = {"base_model_name_or_path": f"{SECRET}/bases/tiny-base", "peft_type": "LORA", "r": 4}
    (path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "adapter_model.safetensors").write_bytes(b"\1" * (MAX_REGULAR_BYTES + 1))
    for name in ("optimizer.pt", "trainer_state.json", "training_args.bin", "metrics.json", "posts.jsonl", *TOKENIZER_FILES[:3]):
        (path / name).write_text('"kept here"', encoding="utf-8")
    (path / CARD_FILE).write_text(f"base_model: {SECRET}/bases/tiny-base", encoding="utf-8")  # PEFT writes such a one
    return path


def push(url, *arguments, token=TOKEN):
    """Push by the command, as a process that knows the hub and the token by its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}  # noqa: TID251 - what the process is given
    given = {"HF_ENDPOINT": url, "HF_HOME": "/nowhere"} | ({} if token is None else {"HF_TOKEN": token})
    command = [sys.executable, "-m", "training", "push-to-hub", *map(str, arguments), "--repo", REPO]
    return subprocess.run(command, cwd=PROJECT, env=kept | given, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def sent_bundle(bundle):
    """Push a bundle to a private repository that is there; give the process, and the files that the hub has."""
    with hub() as running:
        running.repos[REPO] = True
        return push(running.url, bundle.path, "--private"), running.files[REPO]


@pytest.fixture(scope="module")
def sent_adapter(adapter):
    """Push an adapter to a repository that is not there yet."""
    with hub() as running:
        done = push(running.url, adapter)
        assert running.repos == {REPO: False}
        return done, running.files[REPO]


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def listed(capsys, *arguments):
    """Say which files a dry run lists."""
    assert main(["push-to-hub", *map(str, arguments), "--repo", REPO, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"nothing was sent; without --dry-run this goes to {REPO}"
    return {line.split()[0] for line in said[:-1] if line.endswith(" bytes")}


def test_a_bundle_is_sent_and_serves_from_where_it_is_downloaded(bundle, sent_bundle, tmp_path):
    done, files = sent_bundle
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].endswith(f"/{REPO}/commit/abc")
    assert set(files) == {*BUNDLE_FILES, MANIFEST_FILE}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    OnnxClassifier.load(Bundle.read(tmp_path))
    assert files[MODEL_FILE] == bundle.file(MODEL_FILE).read_bytes()


def test_nothing_but_the_adapter_its_tokenizer_and_a_card_is_sent(adapter, sent_adapter):
    done, files = sent_adapter
    assert done.returncode == 0
    assert set(files) == {"adapter_config.json", "adapter_model.safetensors", CARD_FILE, *TOKENIZER_FILES[:3]}
    assert files["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "tiny-base"
    assert "others can load the adapter if --base gives its Hugging Face name" in done.stderr


def test_no_path_of_this_machine_is_sent(sent_bundle, sent_adapter, folder):
    for _, files in (sent_bundle, sent_adapter):
        for name, content in files.items():
            assert not [path for path in (SECRET, "../secret", str(folder)) if path.encode() in content], name


def test_the_card_says_base_and_use(adapter):
    card = model_card("adapter", REPO, origin_of(adapter, "intfloat/multilingual-e5-small"))
    assert metadata(card) == {
        "language": "zh",
        "pipeline_tag": "text-classification",
        "library_name": "peft",
        "base_model": "intfloat/multilingual-e5-small",
    }
    assert f'from_pretrained("{REPO}", num_labels=3)' in card
    assert "合规" in card


def test_an_adapter_names_its_base_by_its_public_name(adapter, tmp_path):
    lay_out_adapter(adapter, tmp_path / "out", "# card", "intfloat/multilingual-e5-small")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text("utf-8"))
    assert config == {"base_model_name_or_path": "intfloat/multilingual-e5-small", "peft_type": "LORA", "r": 4}


def test_a_bundles_card_keeps_what_it_said_of_the_model(sent_bundle):
    card = sent_bundle[1][CARD_FILE].decode()
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


def test_without_a_token_nothing_is_begun(bundle, there):
    done = push(there.url, bundle.path, token=None)
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
