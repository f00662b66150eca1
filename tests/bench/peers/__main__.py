"""Measure this service beside what people would pick instead, all with the same model file: `make bench-peers`.

Each server gets an environment of its own, made once. In every round each is started, warmed, measured at 1, 16, 32 and 64 clients
on the same texts, weighed and stopped. Texts are normalised and fit into one window of the model, since a peer would cut the rest.
"""

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from semantic_service.contract.bundle import Bundle
from semantic_service.contract.labels import LABEL_NAMES
from semantic_service.engine.classifier import OnnxClassifier
from semantic_service.settings import EMBEDDED_MODEL
from tests.bench import servers
from tests.bench import texts as posts
from tests.bench.peers import report
from tests.bench.peers.catalogue import PEERS
from tests.bench.peers.contest import Contest
from tests.bench.peers.environments import InstallError, install
from tests.bench.results import Results, circumstances, write
from tests.bench.servers import Service
from tests.bench.table import as_list

COMPARED = 100  # texts whose labels must be the same

_EPILOG = """examples
  make bench-peers                                                                # installs what is missing, 3 rounds
  .venv/annotation/bin/python -m tests.bench.peers --quick --only mosec,litserve"""


def main() -> None:
    """Install, measure, write the JSON file and the picture, print the table."""
    options = _parser().parse_args()
    rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
    started = time.perf_counter()
    classifier = OnnxClassifier.load(Bundle.read(options.model))
    pool = [text for text in posts.read(options.texts) if len(classifier.windows(text)) == 1]
    labels = {text: LABEL_NAMES[classifier.score(text).probabilities.argmax()] for text in pool[:COMPARED]}
    results = Results()
    contest = Contest(pool, labels, seconds, results)
    with tempfile.TemporaryDirectory() as folder:
        contest.run(_services(options, Path(folder), contest.dropped), rounds)
    about = circumstances(f"make bench-peers ({rounds} rounds of {seconds:g} s, {(time.perf_counter() - started) / 60:.0f} minutes)")
    _publish(options, about, results, contest.dropped)


def _services(options: argparse.Namespace, folder: Path, dropped: dict[str, str]) -> list[Service]:
    """Give ours and each peer's that can be installed; the others' reasons go into `dropped`."""
    services = [servers.ours(options.model, folder, cache_size=0)]
    for peer in PEERS:
        if options.only and peer.folder not in options.only.split(","):
            continue
        try:
            environment = install(peer, options.environments)
        except InstallError as error:
            dropped[peer.name] = str(error)
        else:
            services.append(peer.service(environment, options.model, folder))
    return services


def _publish(options: argparse.Namespace, about: dict[str, str], results: Results, dropped: dict[str, str]) -> None:
    figures = results.figures()
    checked = report.claims(figures)
    out = options.out or Path(f"var/bench/{about['date']}-peers.json")
    write(out, about, results, dropped=dropped, claims=[asdict(claim) for claim in checked])
    report.plot(figures, about, options.plot)
    print(report.as_table(about, figures, dropped), as_list(checked), sep="\n\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.peers", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=EMBEDDED_MODEL, help="a bundle's folder (default: the embedded one)")
    parser.add_argument("--texts", type=Path, default=posts.POSTS, help="JSONL or TSV to make the texts from (default: data/annotations)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round of a second each")
    parser.add_argument("--only", metavar="FOLDER,...", help="of tests/bench/peers")
    parser.add_argument("--environments", type=Path, default=Path(".venv/peers"), help="where they are made (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="the JSON file (default: var/bench/DATE-peers.json)")
    parser.add_argument("--plot", type=Path, default=Path("var/bench/peers.png"), help="the picture (default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
