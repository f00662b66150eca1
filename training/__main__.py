"""`python -m training COMMAND`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from semantic_service.contract.bundle import Bundle, BundleError, write_atomically
from semantic_service.contract.registry import Registry
from training.config import GateConfig, TrainConfig
from training.dataset import Columns
from training.errors import ConfigError, DataError, TrainingError

_EPILOG = """examples
  python -m training doctor posts.jsonl                                       look at the data first
  python -m training run training/configs/base.yaml --set data.train=[posts.jsonl] --quick
  python -m training run training/configs/embedded.yaml
  python -m training evaluate semantic_service/default_model test.jsonl --json
  python -m training runs                                                     what is there, how far it is
  python -m training promote runs/20261122-034500-e5-small-zh                 gate it, and make it the champion
  python -m training rollback --reason "it blocks recipes"

exit status: 0 done, 1 what was checked does not hold, 2 wrong use or unusable input"""


GATE = Path("training/configs/gate.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; give its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except (TrainingError, BundleError) as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, TrainingError) else 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Fine-tune a model on labelled posts and make a bundle that the service loads.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run", help="train from a config; prints the bundle's path last", description="Train, export, check and bundle."
    )
    run.add_argument("config", type=Path, help="a YAML file, see training/configs/")
    run.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", dest="overrides", help="override a key; VALUE is YAML")
    run.add_argument("--run-dir", type=Path, metavar="DIR", help="where the run goes (default: runs/<time>-<base>)")
    run.add_argument(
        "--resume",
        default="auto",
        metavar="auto|none|PATH",
        help="auto (default): carry on with the newest unfinished run of this config, from its newest checkpoint; none: start anew; "
        "PATH: a checkpoint",
    )
    run.add_argument("--quick", action="store_true", help="a few hundred rows, one epoch: does everything work?")
    run.set_defaults(command=_run)
    evaluate = commands.add_parser(
        "evaluate", help="measure a bundle on labelled files", description="Measure a bundle, with the serving engine."
    )
    evaluate.add_argument("bundle", type=Path, help="a bundle's folder, e.g. semantic_service/default_model")
    evaluate.add_argument("files", type=Path, nargs="+", metavar="FILE", help="labelled JSONL, CSV or TSV")
    evaluate.add_argument("--benign", action="store_true", help="the files are ordinary texts, labelled or not: how many are flagged?")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    _add_columns(evaluate)
    evaluate.set_defaults(command=_evaluate)
    doctor = commands.add_parser(
        "doctor", help="check data files", description="Count, and find empty, duplicate, conflicting and leaking rows."
    )
    doctor.add_argument("files", type=Path, nargs="+", metavar="FILE", help="labelled JSONL, CSV or TSV")
    doctor.add_argument("--strict", action="store_true", help="exit 1 if there is any problem")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    _add_columns(doctor)
    doctor.set_defaults(command=_doctor)
    _add_run_commands(commands)
    _add_registry_commands(commands)
    return parser


def _add_run_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    runs = commands.add_parser("runs", help="list the runs", description="List every run with its stage, steps and best epoch.")
    runs.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the folder of the runs (default: %(default)s)")
    runs.set_defaults(command=_runs)
    compare = commands.add_parser(
        "compare", help="put two runs side by side", description="Show the config keys in which two runs differ, and what was measured."
    )
    compare.add_argument("first", type=Path, metavar="A", help="a run's folder")
    compare.add_argument("second", type=Path, metavar="B", help="another one")
    compare.add_argument("--html", type=Path, metavar="FILE", help="write a page with both losses as well")
    compare.set_defaults(command=_compare)


def _add_registry_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    promote = commands.add_parser(
        "promote",
        help="make a bundle the champion, if it passes the gate",
        description="Compare a bundle with the champion on the gate's files; if no share of right answers falls by more than is tolerated, "
        "copy it into the registry and point to it. Servers with MODERATION_MODELS take it up within seconds.",
    )
    promote.add_argument("bundle", type=Path, metavar="RUN|BUNDLE", help="a run's folder, or a bundle's")
    promote.add_argument("--gate", type=Path, default=GATE, metavar="FILE", help="what to compare on (default: %(default)s)")
    promote.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", dest="overrides", help="override a key of the gate")
    promote.add_argument("--force", action="store_true", help="promote though the gate does not hold; needs --reason")
    promote.add_argument("--reason", default="", metavar="TEXT", help="kept in the history")
    promote.set_defaults(command=_promote)
    rollback = commands.add_parser(
        "rollback", help="go back to an earlier champion", description="Make the champion before the current one the champion again."
    )
    rollback.add_argument("--to", metavar="VERSION", help="another version of the registry")
    rollback.add_argument("--reason", required=True, metavar="TEXT", help="kept in the history")
    rollback.set_defaults(command=_rollback)
    models = commands.add_parser("models", help="list the registry", description="List every bundle of the registry, the champion marked.")
    models.set_defaults(command=_models)
    for command in (promote, rollback, models):
        command.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help="the registry (default: %(default)s)")


def _add_columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text-column", default="text", metavar="C", help="(default: %(default)s; content is understood too)")
    parser.add_argument("--label-column", default="label", metavar="C", help="(default: %(default)s)")


def _run(options: argparse.Namespace) -> int:
    from training.pipeline import QUICK, run_pipeline
    from training.runs import Run

    config = TrainConfig.load(options.config, [*(QUICK if options.quick else ()), *options.overrides])
    bundle = run_pipeline(config, Run.open(config, options.run_dir, anew=options.resume == "none"), options.resume)
    print(bundle.path)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from semantic_service.engine.classifier import OnnxClassifier
    from training.dataset import read_benign, read_examples
    from training.evaluate import measure, score
    from training.tables import LEGEND, summary_table

    columns = Columns(options.text_column, options.label_column)
    read = read_benign if options.benign else read_examples
    sets = {str(file): read([file], columns) for file in options.files}
    if empty := [name for name, examples in sets.items() if not examples]:
        raise DataError(f"{empty[0]}: has no row")
    bundle = Bundle.read(options.bundle)
    classifier = OnnxClassifier.load(bundle)
    metrics = {name: measure(score(classifier, examples, name), bundle.manifest.temperature) for name, examples in sets.items()}
    if options.json:
        answer = {"model_version": bundle.manifest.model_version, "files": {name: value.as_dict() for name, value in metrics.items()}}
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        print(summary_table(metrics), LEGEND, sep="\n\n")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from training.doctor import examine, to_markdown

    diagnosis = examine(options.files, Columns(options.text_column, options.label_column))
    print(json.dumps(diagnosis.as_dict(), ensure_ascii=False, indent=2) if options.json else to_markdown(diagnosis))
    return 1 if options.strict and diagnosis.problems else 0


def _runs(options: argparse.Namespace) -> int:
    from training.runs import runs_table

    print(runs_table(options.runs))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from training.compare import compare, to_html, to_markdown

    tables = compare(options.first, options.second)
    print(to_markdown(tables))
    if options.html is not None:
        write_atomically(options.html, to_html(tables, options.first, options.second))
    return 0


def _promote(options: argparse.Namespace) -> int:
    from training.promote import Order, find_bundle, promote

    if options.force and not options.reason:
        raise ConfigError("--force needs --reason TEXT: the history must say why")
    challenger = Bundle.read(find_bundle(options.bundle))
    gate = GateConfig.load(options.gate, options.overrides)
    previous = promote(Registry(options.models), challenger, gate, Order(options.reason, options.force))
    version = challenger.manifest.model_version
    print(f"{version} is the champion already" if version == previous else f"champion: {version}, before it {previous}")
    return 0


def _rollback(options: argparse.Namespace) -> int:
    from training.promote import Order, roll_back

    change = roll_back(Registry(options.models), options.to, Order(options.reason))
    print(f"champion: {change.version}, before it {change.previous}")
    return 0


def _models(options: argparse.Namespace) -> int:
    from training.promote import models_table

    print(models_table(Registry(options.models)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
