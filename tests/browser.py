"""A real browser, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import base64
import json
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager
from itertools import count

import pytest
from websockets.sync.client import connect

from tests.deadline import until
from tests.served import killed_in_the_end

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE_S = 120.0  # a heavy page on a busy machine
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="the page is tried in Chromium: apt-get install chromium")


class Page:
    """One tab."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = count(1)

    def call(self, method, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(PATIENCE_S))).get("id") != number:
            pass
        return answer.get("result", {})  # without one where the page has just gone elsewhere

    def run(self, script):
        return self.call("Runtime.evaluate", expression=script, returnByValue=True).get("result", {}).get("value")

    def open(self, url):
        self.call("Page.navigate", url=url)

    def press(self, key, *, ctrl=False):
        """Press a key as a person does."""
        code = {"Enter": ("Enter", 13)}.get(key, (f"Digit{key}", ord(key[0])))
        held = {"key": key, "code": code[0], "windowsVirtualKeyCode": code[1], "modifiers": 2 if ctrl else 0}
        written = {} if ctrl or key == "Enter" else {"text": key}
        self.call("Input.dispatchKeyEvent", type="keyDown", **held, **written)
        self.call("Input.dispatchKeyEvent", type="keyUp", **held)

    def save_picture(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browsing(url, folder, *options):
    """Show a page until the block ends; `folder` gets the profile and what the browser says."""
    profile = folder / "profile"
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--accept-lang=zh-CN",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        *options,
        url,
    ]
    with (folder / "browser").open("wb") as said, killed_in_the_end(subprocess.Popen(command, stdout=said, stderr=said)) as browser:
        chosen = profile / "DevToolsActivePort"
        until(lambda: browser.poll() is not None or (chosen.exists() and chosen.read_text().count("\n")))
        tabs = f"http://127.0.0.1:{chosen.read_text().split()[0]}/json"
        tab = until(lambda: next((tab for tab in json.load(urllib.request.urlopen(tabs)) if tab["type"] == "page"), None))
        with connect(tab["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Page(socket)
