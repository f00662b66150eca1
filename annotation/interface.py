"""What annotators see: Label Studio's labelling interface, made from our labels, and a post as HTML that shows the matched terms."""

import html
from collections.abc import Iterable

from semantic_service.contract.labels import Label
from semantic_service.contract.verdict import Hit

LABEL_CONTROL = "label"  # the names of the interface's parts, which annotations refer to
POST_OBJECT = "post"
CANT_TELL = "cant_tell"  # the alias of the choice for what can't be judged

_HINTS = {
    Label.COMPLIANT: "正常内容 nothing wrong with it",
    Label.SUSPICIOUS: "可能违规，需要人工复核 may break the rules, a moderator should look",
    Label.VIOLATION: "明显违规 breaks the rules",
}
_STYLE = """
    .post {font-size: 18px; line-height: 1.7; padding: 12px 16px; white-space: pre-wrap; overflow-wrap: anywhere;
           max-height: 55vh; overflow-y: auto}
    .post mark {padding: 1px 2px; border-radius: 3px; background: #ffd6d6; color: #a40000}
    .post mark.allow {background: #d9f2dc; color: #1b5e20}
"""


def labelling_config() -> str:
    """Write the interface as Label Studio's XML (https://labelstud.io/tags)."""
    choices = "\n".join(_choice(label.chinese, label.english, label.english, int(label) + 1, _HINTS[label]) for label in Label)
    cant_tell = _choice("无法判断", "can't tell", CANT_TELL, len(Label) + 1, "看不懂或缺少上下文 unclear, or it needs context")
    return f"""<View>
  <Style>{_STYLE}</Style>
  <Header value="$scene_line" size="6"/>
  <HyperText name="{POST_OBJECT}" value="$html" inline="true" selectionEnabled="false"/>
  <Header value="$guess" size="6"/>
  <Choices name="{LABEL_CONTROL}" toName="{POST_OBJECT}" choice="single-radio" showInline="true"
           required="true" requiredMessage="请选择 choose: 1, 2, 3, 4">
{choices}
{cant_tell}
  </Choices>
</View>"""


def _choice(chinese: str, english: str, alias: str, hotkey: int, hint: str) -> str:
    value, hint = html.escape(f"{chinese} {english}"), html.escape(hint)
    return f'    <Choice value="{value}" alias="{alias}" hotkey="{hotkey}" hint="{hint}"/>'


def to_html(text: str, hits: Iterable[Hit]) -> str:
    """Show a post as HTML: its own markup stays text, terms are marked. Where terms overlap, the first one's mark covers both."""
    parts, end = [], 0
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
        if hit.end <= end:
            continue
        start = max(hit.start, end)
        parts.append(html.escape(text[end:start]))
        parts.append(f'<mark class="{hit.kind}">{html.escape(text[start : hit.end])}</mark>')
        end = hit.end
    parts.append(html.escape(text[end:]))
    return f'<div class="post">{"".join(parts)}</div>'
