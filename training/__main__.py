"""`python -m training COMMAND`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from semantic_service.contract.bundle import Bundle, BundleError
from training.config import TrainConfig
from training.dataset import Columns
from training.errors import DataError, TrainingError

_EPILOG = """examples
  python -m training doctor posts.jsonl                                       look at the data first
  python -m training run training/configs/base.yaml --set data.train=[posts.jsonl] --quick
  python -m training run training/configs/embedded.yaml
  python -m training evaluate semantic_service/default_model test.jsonl --json

exit status: 0 done, 1 what was checked does not hold, 2 wrong use or unusable input"""


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
    return parser


def _add_columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text-column", default="text", metavar="C", help="(default: %(default)s; content is understood too)")
    parser.add_argument("--label-column", default="label", metavar="C", help="(default: %(default)s)")


def _run(options: argparse.Namespace) -> int:
    from training.pipeline import QUICK, run_pipeline
    from training.runs import Run

    config = TrainConfig.load(options.config, [*(QUICK if options.quick else ()), *options.overrides])
    bundle = run_pipeline(config, Run.open(config, options.run_dir))
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


if __name__ == "__main__":
    sys.exit(main())
