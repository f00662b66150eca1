"""Send a model to a Hugging Face repository. What is sent is laid out in a folder first; nothing else goes."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError

from semantic_service.contract.bundle import CARD_FILE, Bundle, seal
from semantic_service.contract.labels import Label
from training.artifacts import ADAPTER_CONFIG, Kind, find_bundle, is_local, named_base, run_config
from training.errors import ConfigError, HubError
from training.runs import Run

Form = Literal["adapter", "merged", "onnx"]
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)

_LIBRARIES = {"adapter": "peft", "merged": "transformers", "onnx": "onnx"}
_USE = {
    "adapter": """The LoRA adapter and the head; the base is loaded with them.

```python
from peft import AutoPeftModelForSequenceClassification

model = AutoPeftModelForSequenceClassification.from_pretrained("{repo}", num_labels={labels})
```""",
    "merged": """The adapter merged into its base.

```python
from transformers import pipeline

pipeline("text-classification", "{repo}")("你好")
```""",
    "onnx": """A bundle for the moderation service: download it into a folder, and name the folder in `MODERATION_MODEL`.

    hf download {repo} --local-dir bundle""",
}
_LABELS = ", ".join(f"{label.english} {label.chinese} ({int(label)})" for label in Label)
_REASONS = {
    401: "the token is not accepted: make a new one with write access, then `hf auth login` or HF_TOKEN",
    403: "the token may not write there: give it write access to the repository, or choose another --repo",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a card can tell: the base by its public name, a text about the model, and the config it was trained by, if they are known."""

    base: str | None
    about: str
    train_config: Mapping[str, Any]

    def in_public(self, text: str) -> str:
        """Name files and folders of this machine in a text without saying where they lie."""
        for path in sorted(filter(is_local, _texts(self.train_config)), key=len, reverse=True):
            text = text.replace(path, public_name(path))
        return text


def public_name(name: str) -> str:
    """Give a path's last part; a Hugging Face name stays."""
    if not is_local(name):
        return name
    return (PureWindowsPath(name) if "\\" in name else PurePosixPath(name)).name or name


def origin_of(what: Path, base: str | None = None) -> Origin:
    """Find what can be told of a model; `base` names its base in public, where that was a folder.

    Raises:
        ConfigError: the path names no model.
        BundleError: its bundle is broken.

    """
    kind = Kind.of(what)
    if kind is Kind.BUNDLE or (kind is Kind.RUN and Run(what).bundle.is_dir()):
        return _origin_of_bundle(Bundle.read(find_bundle(what)), base)
    if kind is Kind.RUN:
        base = base or public_name(run_config(what).model.base)
    if kind is Kind.ADAPTER:
        base = base or public_name(named_base(what))
    lines = [f"# {what.name}", "", f"Judges Chinese forum posts: {_LABELS}.", "", *([] if base is None else [f"- Base: `{base}`"])]
    return Origin(base, "\n".join(lines), {})


def _origin_of_bundle(bundle: Bundle, base: str | None) -> Origin:
    """Take what the bundle's own card and manifest tell."""
    config = bundle.manifest.train_config
    card = bundle.file(CARD_FILE).read_text(encoding="utf-8")
    about = card.split("---\n", 2)[2] if card.startswith("---\n") else card
    trained_on = config.get("model", {}).get("base")
    public = base or (trained_on and public_name(trained_on))
    return Origin(public, about.replace(f"`{trained_on}`", f"`{public}`"), config)


def model_card(form: Form, repo: str, origin: Origin) -> str:
    """Write the repository's README.md: metadata, what the model is, how to use it."""
    lines = ["---", "language: zh", "pipeline_tag: text-classification", f"library_name: {_LIBRARIES[form]}"]
    if origin.base is not None and "/" in origin.base:  # the hub takes no other name for a base
        lines.append(f"base_model: {origin.base}")
    use = _USE[form].format(repo=repo, labels=len(Label))
    return "\n".join([*lines, "---", origin.in_public(origin.about).strip(), "", "## Use", "", use]) + "\n"


def lay_out_adapter(adapter: Path, folder: Path, card: str, base: str | None = None) -> None:
    """Copy an adapter and its tokenizer; its config names the base as `base`, or by the last part of its path.

    Raises:
        ConfigError: the run fine-tuned the whole model.

    """
    if Kind.of(adapter) is not Kind.ADAPTER:
        raise ConfigError(f"{adapter} is {Kind.of(adapter).value}, there is no adapter to send: use --what merged")
    folder.mkdir()
    for name in (ADAPTER_WEIGHTS, *TOKENIZER_FILES):
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, folder / name)
    named = {"base_model_name_or_path": base or public_name(named_base(adapter))}
    config = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8")) | named
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


def lay_out_bundle(bundle: Bundle, folder: Path, card: str) -> None:
    """Copy a bundle with another card, and seal it anew: it serves from wherever it is downloaded."""
    staging = folder.with_name(f"{folder.name}.partial")
    staging.mkdir()
    for name in bundle.names:
        shutil.copyfile(bundle.file(name), staging / name)
    (staging / CARD_FILE).write_text(card, encoding="utf-8")
    seal(staging, replace(bundle.manifest, train_config=_in_public(bundle.manifest.train_config)), folder)


def _in_public(value: Any) -> Any:
    if isinstance(value, str):
        return public_name(value)
    if isinstance(value, Mapping):
        return {_in_public(key): _in_public(inner) for key, inner in value.items()}
    return [_in_public(inner) for inner in value] if isinstance(value, list) else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in (*value, *value.values()) if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def require_token() -> None:
    """Refuse to begin without a token; the library knows where they lie.

    Raises:
        HubError: there is none.

    """
    if get_token() is None:
        raise HubError("no Hugging Face token: `hf auth login`, or set HF_TOKEN to one with write access (huggingface.co/settings/tokens)")


def send(api: HfApi, folder: Path, repo: str, *, private: bool) -> str:
    """Make the repository, if it is not there, and send the folder's files in one commit; gives the commit's address.

    Raises:
        HubError: the hub can't be reached or refuses; or the repository is there and public, and was to be private.

    """
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.repo_info(repo).private:
            raise HubError(f"--private, but {repo} is there already and public: make it private, or choose another --repo")
        return api.upload_folder(repo_id=repo, folder_path=folder, commit_message=f"Upload {folder.name}").commit_url
    except HfHubHTTPError as error:
        reason = _REASONS.get(getattr(error.response, "status_code", 0)) or error.server_message or error
        raise HubError(f"{repo} was refused by {api.endpoint}: {reason}") from error
    except (OSError, RuntimeError) as error:  # no network, or it went: requests' errors, and those of the library's way to send big files
        raise HubError(f"{api.endpoint} can't be reached, or broke off; the same command tries again ({error})") from error
    except ValueError as error:
        raise HubError(f"--repo {repo}: {error}") from error
