"""A run from config to bundle, stage by stage; a stage that a killed run finished is not done again."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE, Bundle
from semantic_service.engine.classifier import OnnxClassifier
from training.adjustment import described
from training.config import TrainConfig
from training.dataset import Example
from training.evaluate import Metrics, Scored, measure, score
from training.export import check_parity, export
from training.finetune import finetune
from training.first_token import keep_first_token, last_layer_rows
from training.heads import output_names, tasks_of
from training.merge import merge
from training.ngrams import add_ngrams
from training.package import Product, package
from training.precision import Candidate, choose
from training.processes import leave
from training.report import Report, write_report
from training.runs import Run, git_revision
from training.sets import Sets, read_sets, say_sets
from training.sign import signer
from training.vocabulary import shrink_vocabulary

Model = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def run_pipeline(config: TrainConfig, run: Run, resume: str = "auto") -> Bundle:
    """Fine-tune, merge, export, quantise, calibrate, evaluate and seal; `resume` as in `finetune`.

    Raises:
        ConfigError: the files have other rows than when this run was fine-tuned, or there is no checkpoint to resume.
        DataError: a file or a row can't be used.
        BaseModelError: the base can't be loaded, or is too short.
        LossError: the loss became NaN.
        InterruptedRunError: told to stop; the same command carries on.
        ParityError: the ONNX graph does not compute what torch does.
        SigningError: the signing key can't be used.

    """
    signer(config)  # a key that can't sign is said before hours of training
    sets = read_sets(config)
    say_sets(sets)
    run.keep_data(sets.digest)
    if not run.adapter.exists():
        run.set_status("fine-tuning")
        finetune(config, (sets.train, sets.validation), run, resume)
    leave()
    if not run.exported.exists():
        run.set_status("exporting")
        export_whole(config, merge_run(config, run.adapter, sets.train), run.exported, sets)
    run.set_status("choosing the precision")
    chosen = choose(run.exported, config, sets.validation)
    run.set_status("evaluating")
    measured = measure_sets(config, chosen, sets)
    texts = len({example.id for example in sets.train})
    facts = {
        "base": config.model.base,
        "texts": texts,
        "precision": chosen.folder.name,
        "last layer's rows": last_layer_rows(chosen.folder / MODEL_FILE),
        **({"added to the sources' logits": described(chosen.adjustment, config.sources)} if chosen.adjustment else {}),
        "git revision": git_revision(),
    }
    write_report(run.path / "report", Report(run.id, measured, chosen.temperature, run.metrics(), facts))
    bundle = package(config, run.id, run.bundle, product_of(chosen, measured, sets))
    run.set_status("finished")
    return bundle


def assist(config: TrainConfig, run: Run, resume: str = "auto") -> None:
    """Fine-tune beside the first of several processes, which runs the whole pipeline."""
    if not run.adapter.exists():
        sets = read_sets(config)
        finetune(config, (sets.train, sets.validation), run, resume)


def merge_run(config: TrainConfig, adapter: Path, train: Iterable[Example]) -> Model:
    """Merge an adapter as its config says; `train` tells which pieces of a vocabulary are used, where it is to be shrunk.

    Raises:
        BaseModelError: the base, or an adapter, can't be loaded.

    """
    outputs = output_names(config.outputs)
    model, tokenizer = merge(config.model.base, adapter, config.export.average_with, config.logit_adjustment, outputs)
    if config.export.vocabulary_size is None:
        return model, tokenizer
    return shrink_vocabulary(model, tokenizer, {example.text for example in train}, config.export.vocabulary_size)


def export_checked(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, texts: Sequence[str], max_tokens: int) -> None:
    """Export to `folder`, which appears when the graph has been proved, on some of the texts, to compute what torch does.

    Its last layer is computed for the first token alone where that is the same.

    Raises:
        ParityError: it does not.

    """
    aside = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    export(model, tokenizer, aside)
    opened = partial(OnnxClassifier, tokenizer=aside / TOKENIZER_FILE, max_tokens=max_tokens, tasks=tasks_of(model.config))
    difference = check_parity(model, opened(aside / MODEL_FILE), texts)
    print(f"parity: torch and ONNX logits differ by at most {difference:.2g}", flush=True)
    moved = keep_first_token(aside / MODEL_FILE, opened, texts)
    print(
        "last layer: every token's rows" if moved is None else f"last layer: the first token's row, logits differ by {moved:.2g}",
        flush=True,
    )
    aside.rename(folder)


def export_whole(config: TrainConfig, merged: Model, folder: Path, sets: Sets) -> None:
    """Export a merged model, with the n-grams that the config asks for, to a folder that appears when all is proved.

    Raises:
        ParityError: the graph does not compute what torch and the n-grams do.

    """
    encoder, texts = folder.with_name("encoder"), [example.text for example in sets.validation]
    shutil.rmtree(encoder, ignore_errors=True)
    export_checked(*merged, encoder, texts, config.model.max_tokens)
    if config.ngrams.buckets:
        weight = add_ngrams(encoder, config, sets.train, sets.validation)
        print(f"n-grams: their logits are added with weight {weight:.3f}", flush=True)
    encoder.rename(folder)


def measure_sets(config: TrainConfig, chosen: Candidate, sets: Sets) -> dict[str, tuple[Scored, Metrics]]:
    """Score and measure every held-out set with the chosen graph, by the set's name."""
    model, tokenizer = chosen.folder / MODEL_FILE, chosen.folder / TOKENIZER_FILE
    classifier = OnnxClassifier(model, tokenizer, config.model.max_tokens, chosen.temperature, chosen.tasks)
    named = {"validation": sets.validation, **sets.test, **({"benign": sets.benign} if sets.benign else {})}
    scored = {name: score(classifier, examples, name) for name, examples in named.items()}
    return {name: (rows, measure(rows, chosen.temperature)) for name, rows in scored.items()}


def product_of(chosen: Candidate, measured: Mapping[str, tuple[Scored, Metrics]], sets: Sets) -> Product:
    """Gather what a bundle tells of its model."""
    rows = Counter(example.file for example in sets.train)
    return Product(chosen, {name: metrics for name, (_, metrics) in measured.items()}, sets.digest, rows)
