"""A challenger that disagrees with the tiny model, and what is kept of it."""

import json

from semantic_service.contract import bundle as bundles
from semantic_service.contract.labels import Label
from tests.tiny_model import DOUBTFUL, STRENGTH, VOCABULARY, manifest, stage, weights, write_model


def build_challenger(target):
    """Seal a bundle that takes what is doubtful for compliant; its version is the folder's name."""
    staging = stage(target.with_name(f"{target.name}.staging"))
    table = weights()
    table[VOCABULARY[DOUBTFUL]] = 0
    table[VOCABULARY[DOUBTFUL], Label.COMPLIANT] = STRENGTH
    write_model(staging / bundles.MODEL_FILE, table)
    return bundles.seal(staging, manifest(staging, model_version=target.name), target)


def lines(path):
    """Read the disagreements; fail on a line that is not whole."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
