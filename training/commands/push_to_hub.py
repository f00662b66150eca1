"""`push-to-hub`: send a model to a Hugging Face repository."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_service.contract.bundle import CARD_FILE, Bundle
from training.commands.options import Commands, hush_transformers

if TYPE_CHECKING:
    from training.hub import Form

_EPILOG = """examples
  python -m training push-to-hub runs/20261122-034500-e5-small-zh --repo me/moderation --dry-run      what would be sent?
  python -m training push-to-hub runs/20261122-034500-e5-small-zh --repo me/moderation --private
  python -m training push-to-hub training/adapters/embedded --repo me/moderation-lora --base intfloat/multilingual-e5-small

Sent are the model, its tokenizer and a generated card: never a row of the training data, the optimiser's state or a path of this machine.
The token is where `hf auth login` put it, or in HF_TOKEN; HF_ENDPOINT names another hub."""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    push = commands.add_parser(
        "push-to-hub",
        help="send a model to a Hugging Face repository",
        description="Send an adapter, a merged model or a bundle to a Hugging Face repository, with a generated model card.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    push.add_argument("model", type=Path, metavar="RUN|BUNDLE|ADAPTER", help="a run's folder, a bundle's, or an adapter's")
    push.add_argument("--repo", required=True, metavar="USER/NAME", help="made if it is not there")
    push.add_argument(
        "--what",
        choices=("adapter", "merged", "onnx"),
        help="which form of the model (default: of a run and a bundle onnx, of an adapter adapter)",
    )
    push.add_argument("--base", metavar="NAME", help="the base's Hugging Face name, where it was trained from a local folder")
    push.add_argument("--private", action="store_true", help="make the repository private; one that is there must be")
    push.add_argument("--dry-run", action="store_true", help="list what would be sent, and send nothing")
    push.set_defaults(command=_push)


def _push(options: argparse.Namespace) -> int:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from training.artifacts import Kind
    from training.hub import require_token, send

    default: dict[Kind, Form] = {Kind.RUN: "onnx", Kind.BUNDLE: "onnx", Kind.ADAPTER: "adapter", Kind.MERGED: "merged"}
    form: Form = options.what or default[Kind.of(options.model)]
    if not options.dry_run:
        require_token()
    with tempfile.TemporaryDirectory(prefix="push-") as work:
        folder = Path(work) / form
        _lay_out(options, form, folder)
        for file in sorted(folder.iterdir()):
            print(f"{file.name:28} {file.stat().st_size:13,} bytes")
        if options.dry_run:
            print(f"nothing was sent; without --dry-run this goes to {options.repo}")
            return 0
        if not sys.stderr.isatty():
            disable_progress_bars()
        print(send(HfApi(), folder, options.repo, private=options.private))
    return 0


def _lay_out(options: argparse.Namespace, form: "Form", folder: Path) -> None:
    from training.artifacts import find_adapter, find_bundle
    from training.hub import lay_out_adapter, lay_out_bundle, model_card, origin_of

    origin = origin_of(options.model, options.base)
    card = model_card(form, options.repo, origin)
    if form == "onnx":
        lay_out_bundle(Bundle.read(find_bundle(options.model)), folder, card)
        return
    if form == "adapter":
        lay_out_adapter(find_adapter(options.model), folder, card, options.base)
        if origin.base is not None and "/" not in origin.base:
            print(
                f"the base is called {origin.base} only: others can load the adapter if --base gives its Hugging Face name", file=sys.stderr
            )
        return
    from training.stages import merged_model, save_merged

    hush_transformers()
    save_merged(merged_model(options.model), folder)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
