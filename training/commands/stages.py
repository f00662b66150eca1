"""`merge` and `export`: two stages of a run, each by itself."""

import argparse
from pathlib import Path

from training.commands.options import Commands, hush_transformers
from training.errors import ConfigError

_MERGE_EPILOG = """examples
  python -m training merge runs/20261122-034500-e5-small-zh --out merged
  python -m training merge training/adapters/embedded --base PATH --out merged"""
_EXPORT_EPILOG = """examples
  python -m training export runs/20261122-034500-e5-small-zh --out bundles/second-try --precision int8     a bundle, to serve or promote
  python -m training export merged --out graph                              model.onnx, tokenizer.json and config.json
  python -m training export merged --config runs/x/config.yaml --out bundles/third      a bundle: the config has the rows to calibrate on

A bundle's name is its version. exit status: 0 done, 1 ONNX and torch disagree, 2 wrong use or unusable input"""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the commands."""
    merge = commands.add_parser(
        "merge",
        help="fold an adapter into its base, for transformers",
        description="Fold an adapter into its base: a folder with safetensors, config and tokenizer, that transformers loads without PEFT.",
        epilog=_MERGE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    merge.add_argument("model", type=Path, metavar="RUN|ADAPTER", help="a run's folder, or an adapter's")
    merge.set_defaults(command=_merge)
    export = commands.add_parser(
        "export",
        help="write ONNX, proved to compute what torch does",
        description="Export to ONNX and prove that the graph computes what torch does. A run, or a merged model with --config, becomes a "
        "bundle: calibrated on the validation rows, measured on the held-out files, sealed.",
        epilog=_EXPORT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("model", type=Path, metavar="RUN|MERGED", help="a run's folder, or one that `merge` wrote")
    export.add_argument("--config", type=Path, metavar="CONFIG", help="the config that MERGED was trained by")
    export.add_argument(
        "--precision",
        choices=("auto", "fp32", "int8"),
        help="auto: int8 where it costs little (default: as the config says; without a config fp32, and int8 is not measured)",
    )
    export.set_defaults(command=_export)
    merge.add_argument("--base", metavar="BASE", help="where the base is, if it is not where the adapter or the run says")
    for command in (merge, export):
        command.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write; must not be there yet")


def _merge(options: argparse.Namespace) -> int:
    from training.stages import merge_to

    hush_transformers()
    merge_to(options.model, options.base, options.out)
    print(options.out)
    return 0


def _export(options: argparse.Namespace) -> int:
    from training.artifacts import Kind, run_config
    from training.config import TrainConfig
    from training.stages import export_bundle, export_graph

    hush_transformers()
    kind = Kind.of(options.model)
    overrides = [] if options.precision is None else [f"export.precision={options.precision}"]
    if kind is Kind.RUN:
        if options.config is not None:
            raise ConfigError(f"{options.model} is a run, and has a config: leave --config out")
        export_bundle(options.model, run_config(options.model, *overrides), options.out)
    elif kind is not Kind.MERGED:
        raise ConfigError(f"{options.model} is {kind.value}: give a run, or what `python -m training merge` makes of an adapter")
    elif options.config is not None:
        export_bundle(options.model, TrainConfig.load(options.config, overrides), options.out)
    else:
        export_graph(options.model, options.out, "int8" if options.precision == "int8" else "fp32")
    print(options.out)
    return 0
