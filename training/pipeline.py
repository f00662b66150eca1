"""A run from config to bundle, stage by stage; a stage that a killed run finished is not done again."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from semantic_service.contract.bundle import MODEL_FILE, TOKENIZER_FILE, Bundle
from semantic_service.contract.labels import Label
from semantic_service.engine.classifier import OnnxClassifier
from training.config import TrainConfig
from training.dataset import Example, deduplicate, digest, read_benign, read_examples, split, without
from training.errors import ConfigError, DataError
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
from training.sign import signer
from training.sources import fold_graph, leave_to_last
from training.tasks import require_every_label, require_task
from training.vocabulary import shrink_vocabulary

Model = tuple[PreTrainedModel, PreTrainedTokenizerBase]

QUICK_ROWS = 800
QUICK_EVALUATION_ROWS = 200
QUICK = (f"train.max_rows={QUICK_ROWS}", "train.epochs=1", "train.logging_steps=5")


@dataclass(frozen=True, slots=True)
class Sets:
    """The examples of a run; no validation or test text is in `train`."""

    train: list[Example]
    validation: list[Example]
    test: dict[str, list[Example]]  # by the file's stem
    benign: list[Example]
    left_out: int = 0  # training texts that a later source has nearly alike

    @property
    def digest(self) -> str:
        """Digest what a model learns and is calibrated from."""
        return digest([*self.train, *self.validation])


def read_sets(config: TrainConfig) -> Sets:
    """Read, de-duplicate and split a config's files.

    Raises:
        ConfigError: two sets would have one name in the report.
        DataError: a file or a row can't be used, or a set has no row.

    """
    data, most = config.data, config.train.max_rows
    columns = config.columns
    names = Counter(["train", "validation", "benign", *(path.stem for path in data.test)])
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(f"data.test: two sets would be called {twice[0]!r}: rename a file")
    by_file = {str(path): name for name, paths in data.sources.items() for path in paths}
    test = {path.stem: _with_sources(read_examples([path], columns), by_file) for path in data.test}
    benign = read_benign(data.benign, columns)
    held_out = [example for examples in (*test.values(), benign) for example in examples]
    train = without(deduplicate(_with_sources(read_examples(data.train, columns), by_file)), held_out)
    own = leave_to_last(train, held_out, config.sources)
    left_out, train = len(train) - len(own), own
    if isinstance(data.validation, float):
        train, validation = split(train, data.validation)
    else:
        shares = data.validation if isinstance(data.validation, dict) else dict.fromkeys(data.validation, 1.0)
        drawn = [example for path, share in shares.items() for example in split(read_examples([path], columns), share)[1]]
        validation = without(deduplicate(_with_sources(drawn, by_file)), held_out)
        train = without(train, validation)
    require_every_label([example.tasks for example in train], config.further_tasks)
    for key, named, known in (("repeat", map(str, data.repeat), data.train), ("sources", by_file, (*data.train, *data.test))):
        if absent := [path for path in named if Path(path) not in known]:
            raise ConfigError(f"data.{key} names {absent[0]}, which is not in data.train")
    times = {str(path): number for path, number in data.repeat.items()}
    repeated = [example for example in _some(train, most) for _ in range(_copies(example, times.get(example.file, 1)))]
    few = most and QUICK_EVALUATION_ROWS
    sets = Sets(repeated, _some(validation, few), {stem: _some(rows, few) for stem, rows in test.items()}, _some(benign, few), left_out)
    _refuse_empty(sets)
    for task in config.further_tasks:
        require_task([example.tasks for example in sets.validation], task, "validation")  # its temperature is fitted on them
    return sets


def _with_sources(examples: Iterable[Example], by_file: Mapping[str, str]) -> list[Example]:
    return [replace(example, source=by_file.get(example.file, "")) for example in examples]


def _copies(example: Example, times: float) -> int:
    """Round `times` up for the share of texts, chosen by hash, that its fraction stands for, else down."""
    whole = int(times)
    return whole + (int(example.id, 16) < (times - whole) * 2**64)


def _refuse_empty(sets: Sets) -> None:
    named = {"train": sets.train, "validation": sets.validation, **sets.test}
    if empty := [name for name, examples in named.items() if not examples]:
        raise DataError(f"{empty[0]} has no row: add some (a text of validation, test or benign files is taken out of train)")
    if bare := [name for name, examples in named.items() if all(example.label is None for example in examples)]:
        raise DataError(f"{bare[0]} has no row with a severity, only with labels of further tasks: add some that have it")


def _some(examples: list[Example], most: int | None) -> list[Example]:
    return examples if most is None else sorted(examples, key=lambda example: example.id)[:most]


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
    _say_sets(sets)
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


def _say_sets(sets: Sets) -> None:
    named = {"train": sets.train, "validation": sets.validation, **sets.test, "benign": sets.benign}
    for name, examples in named.items():
        counts = Counter(example.label for example in examples)
        further = Counter(task for example in examples for task in example.tasks)
        named_counts = {label.english: counts[label] for label in Label} | further
        print(f"{name:24} {len(examples):7,} rows  " + "  ".join(f"{what} {count:,}" for what, count in named_counts.items()), flush=True)
    if sets.left_out:
        print(f"left out: {sets.left_out:,} training texts that a source named later in data.sources has nearly alike", flush=True)


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
    """Export a merged model, with the n-grams that the config asks for and its sources folded, to a folder that appears when all is proved.

    Raises:
        ParityError: the graph does not compute what torch and the n-grams do.

    """
    encoder, texts = folder.with_name("encoder"), [example.text for example in sets.validation]
    shutil.rmtree(encoder, ignore_errors=True)
    export_checked(*merged, encoder, texts, config.model.max_tokens)
    if config.ngrams.buckets:
        weight = add_ngrams(encoder, config, sets.train, sets.validation)
        print(f"n-grams: their logits are added with weight {weight:.3f}", flush=True)
    fold_graph(encoder, config.outputs, config.model.max_tokens, texts)
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
