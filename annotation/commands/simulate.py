"""`simulate`: what a label buys."""

import argparse
from pathlib import Path


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    simulate = commands.add_parser(
        "simulate",
        help="replay the loop on a labelled set: how many labels does a good choice save?",
        description="Start with a few labels, choose the next ones by each strategy, train, test, and go on, from several seeds. Writes "
        "curves.png, report.md and report.json into the config's output folder, and prints the table. A killed simulation goes on where "
        "it was.",
        epilog="examples\n"
        "  python -m annotation simulate annotation/configs/simulate.yaml\n"
        "  python -m annotation simulate annotation/configs/simulate.yaml --set train=posts.jsonl --set test=held-out.jsonl --set out=mine",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    simulate.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file, see annotation/configs/")
    simulate.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override a key; VALUE is YAML")
    simulate.set_defaults(command=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    from annotation.simulate import curves, simulate
    from annotation.simulate_config import SimulationConfig
    from annotation.simulate_data import load
    from annotation.simulate_fine_tune import fine_tune
    from annotation.simulate_report import Results, write_report
    from annotation.simulate_statistics import measure

    config = SimulationConfig.load(options.config, options.overrides)
    data = load(config)
    replays = simulate(config, data)
    found = curves(config, replays)
    measured = measure(found, config.levels)
    print(write_report(config, data, Results(found, measured, fine_tune(config, data, replays, measured))))
    return 0
