"""A person tries a text on the page, in a real browser."""

import json
import shutil
import subprocess
import urllib.request
from itertools import count

import pytest
from websockets.sync.client import connect

from tests.deadline import PATIENCE_S, until
from tests.served import killed_in_the_end, serving

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="the page is tried in Chromium: apt-get install chromium"),
]
PHONE = "--window-size=360,640"


class Page:
    """One tab, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = count(1)

    def call(self, method, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(PATIENCE_S))).get("id") != number:
            pass
        return answer["result"]

    def run(self, script):
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")


@pytest.fixture
def page(tiny_bundle, tmp_path):
    profile = tmp_path / "profile"
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--accept-lang=zh-CN",
        "--remote-debugging-port=0",
        PHONE,
        f"--user-data-dir={profile}",
    ]
    with serving(tiny_bundle.path, tmp_path) as server, (tmp_path / "browser").open("wb") as said:
        url = f"http://127.0.0.1:{server.port}/"
        with killed_in_the_end(subprocess.Popen([CHROMIUM, *options, url], stdout=said, stderr=said)) as browser:
            chosen = profile / "DevToolsActivePort"
            until(lambda: browser.poll() is not None or (chosen.exists() and chosen.read_text().count("\n")))
            tabs = f"http://127.0.0.1:{chosen.read_text().split()[0]}/json"
            tab = until(lambda: next((tab for tab in json.load(urllib.request.urlopen(tabs)) if tab["url"] == url), None))
            with connect(tab["webSocketDebuggerUrl"], max_size=None) as socket:
                tried = Page(socket)
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
