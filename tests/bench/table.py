"""Results as Markdown, to be pasted into the README as it is."""

from collections.abc import Mapping, Sequence

from tests.bench.claims import Claim, Figures
from tests.bench.results import Figure

_HEAD = ["| measurement | texts/s (range) | of the engine's best | p50 ms | p99 ms | and |", "|---|---:|---:|---:|---:|---|"]
_FURTHER = {
    "tokens_s": "{:,.0f} tokens/s",
    "beyond_ms": "{:.2f} ms beyond inference",
    "refused_s": "{:,.0f} refused/s",
    "refusal_p99_ms": "refused within {:.1f} ms (p99)",
    "failed": "{:,.0f} failed",
    "batch_texts_s": "the batches {:,.0f} texts/s",
    "start_s": "{:.2f} s to the first verdict",
    "pss_mb": "{:,.0f} MB (PSS)",
    "uss_mb": "{:,.0f} MB its own (USS)",
    "peak_rss_mb": "at most {:,.0f} MB (RSS)",
    "generator": "generator {:.0%} of a core",
}


def as_table(about: Mapping[str, str], figures: Figures) -> str:
    """Write a row for each measurement, under when, where and how it was made."""
    return "\n".join([made(about), "", *_HEAD, *(_row(name, row) for name, row in figures.items())])


def made(about: Mapping[str, str]) -> str:
    """Say when, where, by which command and of what."""
    return f"{about['date']}, {about['machine']}, `{about['command']}`, revision {about['revision']}, ONNX Runtime {about['onnxruntime']}"


def _row(name: str, row: Mapping[str, Figure]) -> str:
    rate = row.get("texts_s")
    cells = [
        name,
        f"{rate.median:,.0f} ({rate.least:,.0f}-{rate.most:,.0f})" if rate else "",
        f"{row['of_engine'].median:.2f}" if "of_engine" in row else "",
        *(f"{row[key].median:,.1f}" if key in row else "" for key in ("p50_ms", "p99_ms")),
        ", ".join(text.format(row[key].median) for key, text in _FURTHER.items() if key in row and row[key].median != 0),
    ]
    return f"| {' | '.join(cells)} |"


def as_list(claims: Sequence[Claim]) -> str:
    """Write a line for each promise."""
    lines = []
    for claim in claims:
        bound = f"{'at least' if claim.at_least else 'at most'} {claim.bound:g}"
        figure = "not measured" if claim.figure is None else f"{claim.figure:.2f}"
        lines.append(f"- {'kept' if claim.is_kept else 'NOT kept'}: {claim.promise}: {figure} ({bound})")
    return "\n".join(lines)
