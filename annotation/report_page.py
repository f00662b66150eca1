"""The report as Markdown tables, in Chinese and English, for a terminal."""

from annotation.agreement import Annotator
from annotation.payoff import MIN_RUNS, WORTH, Payoff
from annotation.report import Report
from annotation.tables import markdown_table
from semantic_service.contract.labels import Label

UNKNOWN = "未知 not known"


def to_markdown(report: Report) -> str:
    """Write the report; no text of a post is in it."""
    return "\n\n".join(
        [*_labels(report), *_agreement(report), *_errors(report), "## 继续标注是否值得 Does labelling more pay", _payoff(report)]
    )


def _labels(report: Report) -> list[str]:
    states = report.states
    said = (
        f"回答 answers {report.answers:,}；定案 settled {states['settled']:,}，待他人 waiting {states['waiting']:,}，"
        f"有分歧 disputed {states['disputed']:,}，无法判断 undecided {states['undecided']:,}"
    )
    rows = [[week, *(f"{count:,}" for count in counts.values()), f"{sum(counts.values()):,}"] for week, counts in report.weeks.items()]
    if len(rows) > 1:
        totals = [sum(counts[label.english] for counts in report.weeks.values()) for label in Label]
        rows.append(["合计 all", *(f"{total:,}" for total in totals), f"{sum(totals):,}"])
    table = [markdown_table(["周 week", *(f"{label.chinese} {label.english}" for label in Label), "合计 all"], rows)] if rows else []
    return ["## 标注 Labels", said, *table]


def _agreement(report: Report) -> list[str]:
    agreement = report.agreement
    kappas = [["全部 all", _said(agreement.overall)]]
    kappas += [[f"{label.chinese} {label.english}", _said(agreement.labels[label.english])] for label in Label]
    parts = ["## 一致性 Agreement", markdown_table(["Fleiss kappa", "值 value（95 %；帖数 posts）"], kappas)]
    if agreement.pairs:
        pairs = [[f"{one} – {other}", _said(kappa)] for (one, other), kappa in agreement.pairs.items()]
        parts.append(markdown_table(["两人 pair, Cohen kappa", "值 value（帖数 posts）"], pairs))
    if agreement.annotators:
        names = ["标注员 annotator", "回答 answers", "无法判断 can't tell", "秒 s, median", "对他人 kappa", "金标正确率 right on gold"]
        parts.append(markdown_table(names, [_annotator(annotator) for annotator in agreement.annotators]))
    return parts


def _annotator(annotator: Annotator) -> list[str]:
    seconds = UNKNOWN if annotator.seconds is None else f"{annotator.seconds:.1f}"
    return [
        annotator.name,
        f"{annotator.answers:,}",
        f"{annotator.cant_tell:,}",
        seconds,
        _said(annotator.kappa),
        _said(annotator.gold),
    ]


def _errors(report: Report) -> list[str]:
    names = ["模型 model", "随机帖 random posts", "漏检 missed", "误报 false alarms"]
    rows = [[audit.model_version, f"{audit.posts:,}", _said(audit.missed), _said(audit.false_alarms)] for audit in report.audits]
    feedback = report.overturned
    return [
        "## 模型的错误 The model's errors",
        markdown_table(names, rows)
        if rows
        else f"漏检率 miss rate: {UNKNOWN}（还没有随机抽检的回答 no answer to a randomly drawn post yet）",
        f"被改判 overturned by moderators: {_said(feedback.corrected)}；被申诉 appealed: {_said(feedback.appealed)}",
        "漏检：人标为非合规而模型判为合规 missed: people flagged it, the model did not. 括号内 in brackets: 95 %，计数 counts.",
    ]


def _payoff(report: Report) -> str:
    found = report.payoff
    if found is None:
        return (
            f"{UNKNOWN}：需要 {MIN_RUNS} 次不同标注量、同一测试集的训练，现有 {report.runs} 次。\n"
            f"It takes {MIN_RUNS} finished runs on different numbers of labels, measured on one held-out set; there are {report.runs}."
        )
    gain = f"{found.gain:+.3f} ({found.low:+.3f}–{found.high:+.3f})"
    return (
        f"{_verdict(found)} 标注量翻倍预计使 {found.held_out} 的 macro-F1 变化 {gain}，依据 {found.runs} 次训练。\n"
        f"Twice as many labels should add {gain} to macro-F1 on {found.held_out}, by {found.runs} runs; worth it from {WORTH:+.3f} on."
    )


def _verdict(found: Payoff) -> str:
    return {True: "值得 It pays.", False: "不再值得 It has stopped paying.", None: "尚不能断定 It is not known yet."}[found.pays]


def _said(value: object | None) -> str:
    return UNKNOWN if value is None else str(value)
