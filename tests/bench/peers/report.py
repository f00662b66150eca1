"""Peers beside us as Markdown, as promises kept or not, and as a picture."""

from collections.abc import Mapping
from pathlib import Path

from tests.bench.claims import Claim, Figures
from tests.bench.peers.catalogue import NAIVE, PEERS, TUNED
from tests.bench.peers.contest import CONCURRENCIES, row
from tests.bench.servers import OURS
from tests.bench.table import made

COMPARED_AT = 32  # clients


def as_table(about: Mapping[str, str], figures: Figures, dropped: Mapping[str, str]) -> str:
    """Write a row for each server, under when, where and how they were measured."""
    at = " / ".join(map(str, CONCURRENCIES))
    head = [
        f"| server | texts/s at concurrency {at} | p99 ms at {at} | MB (PSS) | start s | same labels |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines = [_line(name, figures) for name in _measured(figures)]
    missing = [f"- not measured: {name}: {reason.strip().splitlines()[-1]}" for name, reason in dropped.items()]
    footnote = ["", "\\* some requests were refused or failed"] if any("*" in line for line in lines) else []
    return "\n".join([made(about), "", *head, *lines, *footnote, *(["", *missing] if missing else [])])


def _measured(figures: Figures) -> list[str]:
    return [name for name in (OURS, *(peer.name for peer in PEERS)) if name in figures]


def _line(name: str, figures: Figures) -> str:
    each = [figures[row(name, concurrency)] for concurrency in CONCURRENCIES]
    rates = " / ".join(f"{figure['texts_s'].median:,.0f}" + ("*" if figure["failed"].most else "") for figure in each)
    p99_ms = " / ".join(f"{figure['p99_ms'].median:,.0f}" for figure in each)
    own = figures[name]
    labels = "random weights" if name == NAIVE.name else f"{own['same_labels'].median:.1%}"
    return f"| {name} | {rates} | {p99_ms} | {own['pss_mb'].median:,.0f} | {own['start_s'].median:.1f} | {labels} |"


def claims(figures: Figures) -> list[Claim]:
    """Check what is promised of us beside whoever was measured."""
    checked = [_times(figures, peer.name, 3.0) for peer in PEERS if peer.batches and peer.name in figures]
    if NAIVE.name in figures:
        checked.append(_times(figures, NAIVE.name, 8.0))
    if TUNED.name in figures:
        later = _at(figures, OURS, "p99_ms") / _at(figures, TUNED.name, "p99_ms")
        memory = figures[OURS]["pss_mb"].median / figures[TUNED.name]["pss_mb"].median
        checked += [
            _times(figures, TUNED.name, 1.2),
            Claim(f"p99 over that of {TUNED.name}", later, 1.0, at_least=False),
            Claim(f"memory over that of {TUNED.name}", memory, 0.6, at_least=False),
        ]
    return checked


def _times(figures: Figures, name: str, bound: float) -> Claim:
    times = _at(figures, OURS, "texts_s") / _at(figures, name, "texts_s")
    return Claim(f"texts/s at concurrency {COMPARED_AT} over {name}", times, bound, at_least=True)


def _at(figures: Figures, name: str, figure: str) -> float:
    return figures[row(name, COMPARED_AT)][figure].median


def plot(figures: Figures, about: Mapping[str, str], target: Path) -> None:
    """Draw throughput against p99, a line a server over its concurrencies."""
    from matplotlib.figure import Figure as Picture  # noqa: PLC0415 - not in the serving environment, which the tests have
    from matplotlib.ticker import LogLocator, NullFormatter  # noqa: PLC0415 - the same

    picture = Picture(figsize=(9, 6), layout="constrained")
    axes = picture.add_subplot()
    for name in _measured(figures):
        each = [figures[row(name, concurrency)] for concurrency in CONCURRENCIES]
        p99_ms, rates = [figure["p99_ms"].median for figure in each], [figure["texts_s"].median for figure in each]
        axes.plot(p99_ms, rates, marker="o", linewidth=3 if name == OURS else 1.2, label=name)
        for concurrency, x, y in zip(CONCURRENCIES, p99_ms, rates, strict=True):
            axes.annotate(str(concurrency), (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7)
    axes.set(xscale="log", xlabel="p99 of a request, ms", ylabel="texts a second")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"1 to 64 clients, {about['machine']}, {about['date']}")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    picture.savefig(target, dpi=120)
