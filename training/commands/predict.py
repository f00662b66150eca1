"""`predict`: ask a bundle, a run, or adapters about texts."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_service.contract.bundle import write_atomically
from semantic_service.contract.text import normalise
from semantic_service.terminal import never_fail_on_encoding, posts
from training.commands.options import Commands, hush_transformers
from training.errors import ConfigError

if TYPE_CHECKING:
    from training.predict import Judge

_EPILOG = """examples
  python -m training predict semantic_service/default_model "加微信领彩金"
  python -m training predict runs/20261122-034500-e5-small-zh --demo
  python -m training predict training/adapters/embedded --base PATH "加微信领彩金"         an adapter, and where its base is
  python -m training predict PATH --adapter training/adapters/embedded --adapter runs/20261122-034500-e5-small-zh/adapter --demo
  python -m training predict runs/20261122-034500-e5-small-zh --file posts.csv --out judged.jsonl

A bundle, and a run that has one, is judged by the serving engine. Adapters and merged models are judged by torch: their probabilities
are not calibrated yet, and whole dumps take long. No lexicon and no policy has a say here.

exit status: 0 all judged, 1 a text was empty or a row broken (it comes with its `error`), 2 wrong use or unusable input"""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    predict = commands.add_parser(
        "predict",
        usage="%(prog)s [-h] WHAT [TEXT ...] [options]",
        help="ask a bundle, a run or adapters about texts",
        description="Judge texts: 合规 compliant, 疑似 suspicious or 违规 violation. Without TEXT, --file and --demo it asks for posts "
        "until an empty line or Ctrl-D, or reads one post a line from a pipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("model", metavar="WHAT", help="a bundle, a run's folder, an adapter, a merged model; or, with --adapter, a base")
    texts = predict.add_argument("texts", nargs="+", default=[], metavar="TEXT", help="a post to judge")
    texts.required = False  # nargs="*" would take no TEXT that an option parts from WHAT
    predict.add_argument(
        "--file", type=Path, metavar="FILE", help="JSONL, CSV or TSV, labelled or not; or, of another ending, a post a line"
    )
    predict.add_argument("--out", type=Path, metavar="FILE", help="write the JSON lines of --file here, when all are judged")
    predict.add_argument("--demo", action="store_true", help="judge a few invented posts")
    predict.add_argument("--json", action="store_true", help="print one JSON object a text and model (--file always does)")
    predict.add_argument("--base", metavar="BASE", help="the base of an adapter, if it is not where the adapter says")
    predict.add_argument(
        "--adapter",
        type=Path,
        action="append",
        default=[],
        dest="adapters",
        metavar="DIR",
        help="an adapter, or a run with one, to put on the base WHAT; give several to see their answers side by side",
    )
    predict.add_argument("--text-column", default="text", metavar="C", help="(default: %(default)s; content is understood too)")
    predict.set_defaults(command=_predict)


def _predict(options: argparse.Namespace) -> int:
    if sum(map(bool, (options.texts, options.file, options.demo))) > 1:
        raise ConfigError("give TEXT, --file or --demo: one of them")
    if options.out is not None and options.file is None:
        raise ConfigError("--out is for the answers to --file")
    if options.out is not None and options.out.exists():
        raise ConfigError(f"--out {options.out} exists already: choose another name, or remove it")
    if options.base is not None and options.adapters:
        raise ConfigError("with --adapter the base is WHAT: leave --base out")
    never_fail_on_encoding()
    return _judge_posts(options) if options.file is None else _judge_file(options)


def _judge_posts(options: argparse.Namespace) -> int:
    from training.predict import EMPTY, show

    judge, status = _judge(options), 0
    for post in posts(options.texts, demo=options.demo):
        text = normalise(post.text).text
        if not text:
            print(f"{post.heading}: {EMPTY}" if post.heading else EMPTY, file=sys.stderr)
            status = 1
            continue
        answers = judge.judge(text)
        if options.json:
            for answer in answers:
                print(json.dumps({"text": post.text, "predicted": answer.as_dict()}, ensure_ascii=False), flush=True)
        else:
            print(*filter(None, [post.heading, show(answers, in_colour=sys.stdout.isatty())]), sep="\n", flush=True)
    return status


def _judge_file(options: argparse.Namespace) -> int:
    from training.dataset import Columns
    from training.predict import judge_rows, read_texts

    rows = read_texts(options.file, Columns(options.text_column))
    has_bar = options.out is not None or not sys.stdout.isatty()  # a bar among the answers on a terminal would be torn
    lines = (json.dumps(row, ensure_ascii=False) for row in judge_rows(_judge(options), rows, has_bar=has_bar))
    if options.out is None:
        for line in lines:
            print(line, flush=True)
    else:
        write_atomically(options.out, "".join(f"{line}\n" for line in lines))
    return 1 if any(not row.text for row in rows) else 0


def _judge(options: argparse.Namespace) -> "Judge":
    from training.artifacts import Kind, base_of, find_adapter, find_bundle, window_of
    from training.predict import BundleJudge
    from training.runs import Run

    path = Path(options.model)
    kind = Kind.ADAPTER if options.adapters else Kind.of(path)
    if kind is Kind.RUN and not Run(path).bundle.is_dir():
        path = find_adapter(path)
        kind = Kind.of(path)  # a model that was fine-tuned whole lies there as a merged one does
    if options.base is not None and kind is not Kind.ADAPTER:
        raise ConfigError(f"{path} has no base to put it on: leave --base out")
    if kind in {Kind.RUN, Kind.BUNDLE}:
        return BundleJudge(find_bundle(path))
    from training.adapted import AdapterJudge, merged_judge

    hush_transformers()
    if kind is Kind.MERGED:
        return merged_judge(path, window_of(path))
    adapters = [find_adapter(adapter) for adapter in options.adapters or [path]]
    return AdapterJudge(options.model if options.adapters else base_of(adapters[0], options.base), adapters, window_of(adapters[0]))
