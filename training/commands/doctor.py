"""`doctor`: check data files before training."""

import argparse
import json
from pathlib import Path

from semantic_service.contract.tasks import Task
from training.commands.options import Commands, add_columns, columns


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    doctor = commands.add_parser(
        "doctor",
        help="check data files",
        description="Count, and find empty, duplicate, conflicting and leaking rows, and labels that are probably wrong.",
        epilog="example: python -m training doctor train.jsonl test.jsonl --label-errors suspects.jsonl",
    )
    doctor.add_argument("files", type=Path, nargs="+", metavar="FILE", help="labelled JSONL, CSV or TSV")
    doctor.add_argument(
        "--label-errors",
        type=Path,
        metavar="OUT.jsonl",
        help="judge each label by a model of the other rows, and write the doubtful ones here, for annotators",
    )
    doctor.add_argument("--strict", action="store_true", help="exit 1 if there is any problem")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument(
        "--task",
        action="append",
        default=[],
        type=_task,
        dest="tasks",
        metavar="NAME=LABEL,LABEL",
        help="a further task that rows may have labels of, e.g. category=none,abuse,advert; may be given several times",
    )
    add_columns(doctor)
    doctor.set_defaults(command=_doctor)


def _task(value: str) -> Task:
    name, _, labels = value.partition("=")
    try:
        return Task(name, tuple(labels.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _doctor(options: argparse.Namespace) -> int:
    from training.diagnosis import to_markdown
    from training.doctor import examine

    read_by = columns(options, tuple(options.tasks))
    diagnosis = examine(options.files, read_by)
    suspects = None
    if options.label_errors is not None:
        from training.label_errors import find_label_errors

        suspects = find_label_errors(options.files, read_by, options.label_errors)
    if options.json:
        found = diagnosis.as_dict() | ({} if suspects is None else {"label_errors": suspects.as_dict()})
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print("\n\n".join([to_markdown(diagnosis), *([] if suspects is None else [suspects.to_markdown()])]))
    return 1 if options.strict and diagnosis.problems else 0
