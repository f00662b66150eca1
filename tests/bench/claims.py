"""What is promised of the service's speed, and whether the figures keep it."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench import rows
from tests.bench.results import Figure

Figures = Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True, slots=True)
class Claim:
    """A promise, the figure it is about (none: not measured), and the bound: `at_least` or at most."""

    promise: str
    figure: float | None
    bound: float
    at_least: bool

    @property
    def is_kept(self) -> bool:
        """Whether the figure is within the bound."""
        if self.figure is None:
            return False
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound


def claims(figures: Figures) -> list[Claim]:
    """Check every promise."""

    def least(promise: str, row: str, name: str, bound: float) -> Claim:
        return Claim(promise, figures[row][name].median, bound, at_least=True)

    def most(promise: str, row: str, name: str, bound: float) -> Claim:
        figure = figures[row].get(name)  # where nothing was refused, no refusal has a time
        return Claim(promise, None if figure is None else figure.median, bound, at_least=False)

    return [
        least("HTTP at concurrency 32 over the bare engine's best", rows.http(32), "of_engine", 0.9),
        most("a lone request beyond inference, p50 in ms", rows.http(1), "beyond_ms", 1.0),
        least("concurrency 64 over 16", rows.http(64), "of_16", 0.95),
        most("p99 of the accepted at 1000 % over that at 80 %", rows.arrival(1000), "of_80", 2.0),
        most("p99 of the refusals at 1000 % in ms", rows.arrival(1000), "refusal_p99_ms", 20.0),
        most("p99 of single posts beside batches over that without", rows.BESIDE_BATCHES, "of_50", 1.5),
        most("seconds from process start to the first verdict", rows.START, "start_s", 2.0),
    ]
