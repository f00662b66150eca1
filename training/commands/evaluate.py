"""`evaluate`: measure a bundle on labelled files."""

import argparse
import json
from pathlib import Path

from semantic_service.contract.bundle import Bundle
from training.commands.options import Commands, add_columns, columns
from training.errors import DataError

_EPILOG = """examples
  python -m training evaluate semantic_service/default_model test.jsonl other.csv
  python -m training evaluate runs/20261122-034500-e5-small-zh ordinary.tsv --benign --text-column content --json"""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a bundle on labelled files",
        description="Measure a bundle with the serving engine, each file by itself, with 95 %% bootstrap intervals.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("bundle", type=Path, metavar="RUN|BUNDLE", help="a run's folder, or a bundle's")
    evaluate.add_argument("files", type=Path, nargs="+", metavar="FILE", help="labelled JSONL, CSV or TSV")
    evaluate.add_argument("--benign", action="store_true", help="the files are ordinary texts, labelled or not: how many are flagged?")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    add_columns(evaluate)
    evaluate.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from semantic_service.engine.classifier import OnnxClassifier
    from training.artifacts import find_bundle
    from training.dataset import read_benign, read_examples
    from training.evaluate import measure, score
    from training.tables import LEGEND, summary_table, task_table

    bundle = Bundle.read(find_bundle(options.bundle))
    read = read_benign if options.benign else read_examples
    sets = {str(file): read([file], columns(options, bundle.manifest.tasks)) for file in options.files}
    if empty := [name for name, examples in sets.items() if not examples]:
        raise DataError(f"{empty[0]}: has no row")
    if bare := [name for name, examples in sets.items() if all(example.label is None for example in examples)]:
        raise DataError(f"{bare[0]}: has no row with a severity, only with labels of further tasks")
    classifier = OnnxClassifier.load(bundle)
    metrics = {name: measure(score(classifier, examples, name), bundle.manifest.temperature) for name, examples in sets.items()}
    if options.json:
        answer = {"model_version": bundle.manifest.model_version, "files": {name: value.as_dict() for name, value in metrics.items()}}
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        tasks = [task_table(metrics)] if any(values.tasks for values in metrics.values()) else []
        print(summary_table(metrics), LEGEND, *tasks, sep="\n\n")
    return 0
