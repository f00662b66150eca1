"""Measure the bare engine and the HTTP service side by side: `make bench`.

Every round runs each measurement once, in turn and on the same texts, so that a change of the machine's speed touches all of them. The
table gives medians over the rounds with the least and the most. No two texts of a measurement are alike and no verdict comes from the
cache, but in the line that is about it. Client and server share the machine.
"""

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from semantic_service.contract.bundle import Bundle
from semantic_service.settings import EMBEDDED_MODEL
from tests.bench import texts as posts
from tests.bench.claims import claims
from tests.bench.results import Results, circumstances, write
from tests.bench.rounds import Rounds
from tests.bench.table import as_list, as_table

_EPILOG = """examples
  make bench                                                            # 5 rounds, about 7 minutes
  .venv/serve/bin/python -m tests.bench --quick                         # one short round: does the bench work?
  .venv/serve/bin/python -m tests.bench --model runs/ID/bundle --texts dump.tsv --out var/bench/mine.json"""


def main() -> None:
    """Run the rounds, write the JSON file, print the tables."""
    options = _parser().parse_args()
    rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
    results, started = Results(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        bench = Rounds(Bundle.read(options.model), posts.read(options.texts), seconds, Path(folder), results)
        bench.run(rounds)
    about = circumstances(f"make bench ({rounds} rounds of {seconds:g} s, {(time.perf_counter() - started) / 60:.0f} minutes)")
    figures = results.figures()
    made = claims(figures)
    write(options.out or Path(f"var/bench/{about['date']}.json"), about, results, claims=[asdict(claim) for claim in made])
    print(as_table(about, figures), as_list(made), sep="\n\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=EMBEDDED_MODEL, help="a bundle's folder (default: the embedded one)")
    parser.add_argument("--texts", type=Path, default=posts.POSTS, help="JSONL or TSV to make the texts from (default: data/annotations)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round of a second each")
    parser.add_argument("--out", type=Path, help="the JSON file (default: var/bench/DATE.json)")
    return parser


if __name__ == "__main__":
    main()
