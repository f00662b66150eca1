"""Merging and exporting as stages of their own; what they make appears when it is complete."""

from pathlib import Path
from typing import assert_never

from semantic_service.contract.bundle import Bundle
from semantic_service.contract.text import normalise
from training.artifacts import Kind, base_of, find_adapter, publish, run_config, workshop
from training.config import ModelConfig, TrainConfig
from training.errors import ConfigError
from training.heads import tasks_of
from training.merge import merge
from training.package import SELF_CHECK_TEXTS, package
from training.pipeline import Model, export_checked, export_whole, measure_sets, merge_run, product_of
from training.precision import choose
from training.pretrained import load_base, saved_outputs
from training.quantise import METHODS, quantise
from training.runs import Run
from training.sets import read_sets
from training.sources import fold_graph


def merged_model(what: Path, base: str | None = None) -> Model:
    """Merge a run's adapter as its config says, or an adapter as it is; load a model that is merged already.

    Args:
        what: a run, an adapter or a merged model.
        base: where the adapter's base is, if it is not where the adapter, or the run's config, says.

    Raises:
        ConfigError: it is none of these, or the run has no adapter yet.
        BaseModelError: the base, or an adapter, can't be loaded.

    """
    match Kind.of(what):
        case Kind.RUN:
            config = run_config(what, *([] if base is None else [f"model.base={base}"]))
            train = [] if config.export.vocabulary_size is None else read_sets(config).train
            return merge_run(config, find_adapter(what), train)
        case Kind.ADAPTER:
            return merge(base_of(what, base), what, outputs=saved_outputs(what))
        case Kind.MERGED:
            return load_base(str(what), outputs=saved_outputs(what))
        case Kind.BUNDLE:
            raise ConfigError(f"{what} is a bundle, which torch can't load: give the run, the adapter or the merged model it was made from")
        case other:
            assert_never(other)


def merge_to(what: Path, base: str | None, out: Path) -> None:
    """Merge a run's adapter, or an adapter, into a folder that transformers loads.

    Raises:
        ConfigError: it is neither, or `out` is there already.
        BaseModelError: the base, or an adapter, can't be loaded.

    """
    with workshop(out) as work:
        find_adapter(what)  # what is merged already is refused
        save_merged(merged_model(what, base), work / "merged")
        publish(work / "merged", out)


def save_merged(merged: Model, folder: Path) -> None:
    """Write safetensors, config and tokenizer."""
    for part in merged:
        part.save_pretrained(folder)


def export_graph(merged: Path, out: Path, precision: str) -> None:
    """Export a merged model to a folder with model.onnx, tokenizer.json and config.json; int8 as is, without measuring what it costs.

    Raises:
        ConfigError: `out` is there already.
        ParityError: the graph does not compute what torch does.

    """
    with workshop(out) as work:
        texts = [normalise(text).text for text in SELF_CHECK_TEXTS]
        model, tokenizer = merged_model(merged)
        max_tokens = min(ModelConfig().max_tokens, getattr(model.config, "max_position_embeddings", ModelConfig().max_tokens))
        export_checked(model, tokenizer, work / "fp32", texts, max_tokens)
        fold_graph(work / "fp32", tasks_of(model.config), max_tokens, texts)
        if precision == "int8":
            quantise(work / "fp32", work / "int8", METHODS[0])
        publish(work / precision, out)


def export_bundle(what: Path, config: TrainConfig, out: Path) -> Bundle:
    """Export a run, or a merged model with the config that it was trained by, to a calibrated and measured bundle, named like `out`.

    Raises:
        ConfigError: `out` is there already, or the data files have other rows than the run was trained on.
        DataError: a file or a row can't be used.
        ParityError: the graph does not compute what torch does.

    """
    with workshop(out) as work:
        sets = read_sets(config)
        if Kind.of(what) is Kind.RUN:
            Run(what).keep_data(sets.digest)
            merged = merge_run(config, find_adapter(what), sets.train)
        else:
            merged = merged_model(what)
        export_whole(config, merged, work / "fp32", sets)
        chosen = choose(work / "fp32", config, sets.validation)
        return package(config, out.name, out, product_of(chosen, measure_sets(config, chosen, sets), sets))
