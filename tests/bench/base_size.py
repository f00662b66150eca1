"""Make a bundle of base size with random weights, to measure with: `.venv/train/bin/python -m tests.bench.base_size var/bench/base`.

It has the embedded model's tokenizer and window, and 12 layers x 768 instead of x 384; then `python -m tests.bench --model var/bench/base`.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from semantic_service.contract import bundle as bundles
from semantic_service.contract.bundle import Bundle
from semantic_service.settings import EMBEDDED_MODEL
from tests import tiny_model
from training.arrange import arrange
from training.export import export
from training.quantise import METHODS, quantise


def main() -> None:
    """Export, quantise and seal."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.base_size", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path, help="a folder that does not exist yet")
    target = parser.parse_args().target
    embedded = Bundle.read(EMBEDDED_MODEL)
    config = AutoConfig.from_pretrained(EMBEDDED_MODEL, num_hidden_layers=12, hidden_size=768, intermediate_size=3072)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(embedded.file(bundles.TOKENIZER_FILE)), pad_token="<pad>")
    with TemporaryDirectory() as folder:
        floats, staging = Path(folder, "floats"), Path(folder, "staging")
        export(model, tokenizer, floats)
        quantise(floats, staging, METHODS[0])
        arrange(staging)
        shutil.copyfile(embedded.file(bundles.CARD_FILE), staging / bundles.CARD_FILE)
        described = replace(embedded.manifest, model_version="random-base", tasks=(), metrics={})
        bundles.seal(staging, replace(described, self_check=tiny_model.self_check(staging, described)), target)
    print(target)


if __name__ == "__main__":
    main()
