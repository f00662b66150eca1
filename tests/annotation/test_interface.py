import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from annotation.interface import CANT_TELL, labelling_config, to_html
from semantic_service.contract.labels import Label
from semantic_service.contract.verdict import Hit
from tests.strategies import any_text

SNAPSHOT = Path(__file__).with_name("labelling_config.xml")


class Read(HTMLParser):
    """What a browser would show of HTML: its text, its marks and its elements."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.text, self.elements, self.marked = "", [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)["class"]))
        if tag == "mark":
            self.marked.append("")
            self.marking = True

    def handle_endtag(self, tag):
        self.marking = False

    def handle_data(self, data):
        self.text += data
        if self.elements[-1][0] == "mark" and self.marking:
            self.marked[-1] += data


def test_the_interface_is_the_one_that_was_looked_at():
    """After a change look at the page, then write `labelling_config()` into the file."""
    assert labelling_config() == SNAPSHOT.read_text("utf-8").rstrip("\n")


def test_every_label_has_a_choice_and_its_number_as_hotkey():
    choices = [choice.attrib for choice in ET.fromstring(labelling_config()).iter("Choice")]
    assert [choice["alias"] for choice in choices] == [*(label.english for label in Label), CANT_TELL]
    assert [choice["hotkey"] for choice in choices] == ["1", "2", "3", "4"]
    assert all(label.chinese in choice["value"] for label, choice in zip(Label, choices, strict=False))


def test_matched_terms_are_marked_where_they_stand():
    hits = [Hit("领彩金", "deny", 3, 6), Hit("微信", "allow", 1, 3)]
    assert to_html("加微信领彩金", hits[:1]) == '<div class="post">加微信<mark class="deny">领彩金</mark></div>'
    assert Read(to_html("加微信领彩金", hits)).marked == ["微信", "领彩金"]


@given(any_text, st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30), st.sampled_from(["allow", "deny"])), max_size=6))
def test_a_post_is_shown_as_it_is_and_injects_nothing(text, spans):
    text = f"<b>{text}</b><script>&amp;"
    hits = [Hit("x", kind, start, min(start + length, len(text))) for start, length, kind in spans if start < len(text)]
    html = to_html(text, hits)
    read = Read(html)
    assert {tag for tag, _ in read.elements} <= {"div", "mark"}
    assert read.text == text.replace("\r\n", "\n").replace("\r", "\n") or read.text == text
    shown = sum(map(len, read.marked))
    assert shown == len({place for hit in hits for place in range(hit.start, hit.end)})
    assert not re.search("<(?!/?(div|mark)\\b)", html)
