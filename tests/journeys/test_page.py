"""A person tries a text on the page, in a real browser."""

import json

import pytest

from tests.browser import browsing, needs_chromium
from tests.deadline import until
from tests.served import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), needs_chromium]
PHONE = "--window-size=360,640"


@pytest.fixture
def page(tiny_bundle, tmp_path):
    with serving(tiny_bundle.path, tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}/"
        with browsing(url, tmp_path, PHONE) as tried:
            until(lambda: tried.run("location.href + document.readyState") == f"{url}complete")
            yield tried


def judge(page, text):
    page.run(f"document.getElementById('text').value = {json.dumps(text)}; document.getElementById('judge').click()")
    until(lambda: page.run("document.getElementById('judge').textContent") in {"判断", "Judge"} and page.run("Boolean(shown)"))
    return page.run("document.getElementById(document.getElementById('result').hidden ? 'alert' : 'result').innerText")


def test_a_post_gets_its_label_bars_and_latency_in_both_languages(page):
    shown = judge(page, "来赌一把")
    assert "违规 violation" in shown
    assert "tiny-1" in shown
    assert " ms" in shown
    bars = page.run("[...document.querySelectorAll('[role=meter]')].map((bar) => Number(bar.getAttribute('aria-valuenow')))")
    assert sum(bars) == pytest.approx(100, abs=0.2)
    page.run("document.getElementById('language').click()")
    assert page.run("document.documentElement.lang + document.getElementById('judge').textContent") == "enJudge"


def test_markup_in_a_post_stays_text(page):
    judge(page, "<img src=x onerror='document.title=1'>今天天气真好")
    assert page.run("document.querySelectorAll('main img').length") == 0


def test_nothing_typed_is_said_so(page):
    assert "请先输入一条帖子" in judge(page, "")


def test_a_phone_need_not_scroll_sideways(page):
    judge(page, "疑" * 300)
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_page_asks_nobody_else(page):
    judge(page, "今天天气真好")
    origins = page.run("[...new Set(performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin))]")
    assert origins == [page.run("location.origin")]
