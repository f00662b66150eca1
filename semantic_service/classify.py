"""Judge one text, lines from a prompt or a pipe, or a few examples: `python -m semantic_service.classify`."""

import argparse
import json
import sys
import time
from collections.abc import Sequence

from semantic_service.contract.bundle import BundleError
from semantic_service.contract.labels import Label
from semantic_service.contract.tasks import TaskVerdict
from semantic_service.contract.verdict import DEFAULT_SCENE, Decider, PolicyError, Suggestion
from semantic_service.engine.live import Live
from semantic_service.engine.moderator import EmptyTextError, Judgement, Moderator
from semantic_service.settings import Settings, SettingsError
from semantic_service.terminal import EXAMPLES, bars, confidence, never_fail_on_encoding, posts, title

EPILOG = """examples:
  python -m semantic_service.classify "今天天气真好"
  python -m semantic_service.classify --demo
  python -m semantic_service.classify --json < posts.txt     one post a line in, one JSON object a line out
  python -m semantic_service.classify -- "-5 折起"            a text that starts with a dash

The model and the policy are the service's own: MODERATION_MODEL, MODERATION_POLICY, MODERATION_UNCERTAIN_MAX.
Exit status: 0 all judged, 1 a text was empty, 2 wrong use or no model could be loaded.
"""

_SUGGESTION_CHINESE = {Suggestion.PASS: "通过", Suggestion.REVIEW: "人工复核", Suggestion.BLOCK: "拦截"}


def main(argv: Sequence[str] | None = None) -> int:
    """Judge what the command line asks for; give the exit status."""
    never_fail_on_encoding()
    arguments = _parser().parse_args(argv)
    try:
        settings = Settings.from_environment()
        moderator = Live(settings.source(), settings.policy, settings.uncertain_max).moderator
    except (SettingsError, BundleError, PolicyError) as error:
        print(error, file=sys.stderr)
        return 2
    return _judge_all(moderator, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m semantic_service.classify",
        description="Judge Chinese posts: 合规 compliant, 疑似 suspicious or 违规 violation. Without TEXT it asks for posts "
        "until an empty line or Ctrl-D, or reads one post a line from a pipe.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("text", nargs="?", metavar="TEXT", help="the post to judge")
    source.add_argument("--demo", action="store_true", help=f"judge {len(EXAMPLES)} invented posts")
    parser.add_argument("--json", action="store_true", help="print one JSON object a text")
    parser.add_argument("--scene", default=DEFAULT_SCENE, metavar="S", help="the board whose thresholds count (default: %(default)s)")
    return parser


def _judge_all(moderator: Moderator, arguments: argparse.Namespace) -> int:
    status = 0
    for post in posts([] if arguments.text is None else [arguments.text], demo=arguments.demo):
        started = time.perf_counter()
        try:
            judgement = moderator.judge(post.text, arguments.scene)
        except EmptyTextError as error:
            print(f"{post.heading}: {error}" if post.heading else error, file=sys.stderr)
            status = 1
            continue
        latency_ms = (time.perf_counter() - started) * 1000
        if arguments.json:
            print(_json(judgement), flush=True)
        else:
            print(_report(judgement, post.heading, latency_ms, in_colour=sys.stdout.isatty()), flush=True)
    return status


def _json(judgement: Judgement) -> str:
    verdict = judgement.verdict
    values = {
        "label": verdict.label.english,
        "label_id": int(verdict.label),
        "confidence": verdict.confidence,
        "probabilities": {label.english: verdict.probabilities[label] for label in Label},
        "suggestion": verdict.suggestion.value,
        "uncertain": verdict.uncertain,
        "decided_by": verdict.decided_by.value,
        "model_version": judgement.model_version,
    }
    if judgement.tasks:
        values["tasks"] = {answer.task.name: _task(answer) for answer in judgement.tasks}
    return json.dumps(values, ensure_ascii=False)


def _task(answer: TaskVerdict) -> dict[str, object]:
    probabilities = dict(zip(answer.task.labels, answer.probabilities, strict=True))
    return {"label": answer.label, "confidence": answer.confidence, "probabilities": probabilities}


def _report(judgement: Judgement, heading: str, latency_ms: float, *, in_colour: bool) -> str:
    verdict = judgement.verdict
    marks = [title(verdict.label, in_colour=in_colour), confidence(verdict.confidence)]
    if verdict.uncertain:
        marks.append("不确定 uncertain")
    if verdict.decided_by is Decider.LEXICON:
        marks.append("词表决定 decided by lexicon")
    if judgement.truncated:
        marks.append("已截断 truncated")
    tasks = [f"  {answer.task.name}: {answer.label} {answer.confidence:.1%}" for answer in judgement.tasks]
    suggestion = f"  建议 suggestion: {_SUGGESTION_CHINESE[verdict.suggestion]} {verdict.suggestion.value} · {latency_ms:.1f} ms"
    lines = [" · ".join(marks), *bars(verdict.probabilities, in_colour=in_colour), *tasks, suggestion, ""]
    return "\n".join([heading, *lines] if heading else lines)


if __name__ == "__main__":
    sys.exit(main())
