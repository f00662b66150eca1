"""Two runs side by side: how they differ in config and in outcome."""

import base64
import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.curves import draw_losses, save
from training.errors import DataError
from training.report import REPORT_JSON
from training.runs import Run
from training.tables import cell, decimal, markdown_table

_MEASURED = (("accuracy",), ("macro_f1",), ("ece",), ("flagged", "accuracy"), ("flagged", "false_positive_rate"))
_STYLE = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem}table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.2em .6em}"
Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of texts."""

    title: str
    names: Row
    rows: Sequence[Row]


def compare(first: Path, second: Path) -> list[Table]:
    """Give the config keys in which two runs differ, and what was measured of both.

    Raises:
        DataError: a path is no run.

    """
    runs = [Run(first), Run(second)]
    for run in runs:
        if not run.config.is_file():
            raise DataError(f"{run.path} is no run: it has no config.yaml")
    names = [run.id for run in runs]
    configs, measured = ([dict(read(run)) for run in runs] for read in (lambda run: _flat(run.keys()), _measured))
    differing = [[key, *(_text(config.get(key)) for config in configs)] for key in sorted({*configs[0], *configs[1]})]
    rows = [[key, *(decimal(values.get(key)) for values in measured), _difference(key, measured)] for key in {**measured[0], **measured[1]}]
    return [
        Table("Config", ["key", *names], [row for row in differing if row[1] != row[2]]),
        Table("Measured", ["set and measure", *names, "difference"], rows),
    ]


def to_markdown(tables: Sequence[Table]) -> str:
    """Write the tables for a terminal."""
    return "\n\n".join(f"## {table.title}\n\n{markdown_table(table.names, table.rows)}" for table in tables)


def to_html(tables: Sequence[Table], first: Path, second: Path) -> str:
    """Write the tables and both runs' losses as one page that needs no other file."""
    image = io.BytesIO()
    save(draw_losses({run.id: run.metrics() for run in (Run(first), Run(second))}), image)
    parts = [f"<h2>{html.escape(table.title)}</h2>{_html_table(table)}" for table in tables]
    picture = f'<img alt="Loss" src="data:image/png;base64,{base64.b64encode(image.getvalue()).decode()}">'
    title = f"{html.escape(Run(first).id)} / {html.escape(Run(second).id)}"
    page = f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
    return page + "".join(parts) + f"<h2>Loss</h2>{picture}\n"


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}" for name in table.names)
    return f"<table><tr>{head}{''.join('<tr>' + ''.join(f'<td>{html.escape(value)}' for value in row) for row in table.rows)}</table>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _measured(run: Run) -> Iterator[tuple[str, float]]:
    path = run.path / "report" / REPORT_JSON
    files = json.loads(path.read_text(encoding="utf-8"))["files"] if path.exists() else {}
    for name, metrics in files.items():
        for keys in _MEASURED:
            value: Any = metrics
            for key in keys:
                value = value[key]
            if value is not None:
                yield f"{name}: {' '.join(keys)}", value


def _difference(key: str, measured: Sequence[Mapping[str, float]]) -> str:
    return f"{measured[1][key] - measured[0][key]:+.4f}" if all(key in values for values in measured) else "–"


def _text(value: object) -> str:
    return cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
