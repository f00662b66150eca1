"""An annotator labels a post on Label Studio's page, in a real browser, with the keys."""

import json

import pytest

from annotation.tasks import to_answer, to_task
from semantic_service.contract.answers import Purpose
from semantic_service.contract.labels import Label
from semantic_service.contract.verdict import Hit
from tests.annotation.label_studio import EMAIL, PASSWORD, needs_label_studio
from tests.browser import browsing, needs_chromium
from tests.deadline import until
from tests.reviewed import review

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), needs_label_studio, needs_chromium]

PATIENCE_S = 300.0
POST = "<b>加微信</b><img src=x onerror='document.title=1'>领彩金 &amp; 日赚三千\n第二行"


def log_in(page):
    until(lambda: page.run("Boolean(document.querySelector('input[name=email]'))"), PATIENCE_S)
    for name, value in {"email": EMAIL, "password": PASSWORD}.items():
        page.run(f"document.querySelector('input[name={name}]').value = {json.dumps(value)}")
    page.run("document.querySelector('input[name=email]').form.submit()")
    until(lambda: page.run("location.pathname + document.readyState") == "/complete", PATIENCE_S)


def test_a_post_is_read_and_labelled_with_the_keys(server, studio, tmp_path):
    found = POST.index("领彩金")
    studio.add([to_task(review(POST, hits=(Hit("领彩金", "deny", found, found + 3),)), Purpose.UNCERTAIN)])
    studio.rank_by_score()
    with browsing(f"{server.url}/user/login/", tmp_path, "--window-size=1400,900") as page:
        log_in(page)
        page.open(f"{studio.page}/data?labeling=1")
        until(lambda: page.run("Boolean(document.querySelector('.post') && document.querySelector('input[type=radio]'))"), PATIENCE_S)
        assert page.run("document.querySelector('.post').textContent") == POST
        assert page.run("document.querySelectorAll('.post *').length") == 1
        assert page.run("document.querySelector('.post mark.deny').textContent") == "领彩金"
        assert "疑似 suspicious（合规 30% · 疑似 50% · 违规 20%）" in page.run("document.body.innerText")
        page.press("3")
        until(lambda: page.run("document.querySelectorAll('input[type=radio]')[2].checked"), PATIENCE_S)
        page.press("Enter", ctrl=True)
        [task] = until(lambda: list(studio.answered()), PATIENCE_S)
        assert page.run("document.title") != "1"
    [annotation] = task["annotations"]
    answer = to_answer(task, annotation, EMAIL)
    assert (answer.label, answer.text, answer.model_label) == (Label.VIOLATION, POST, Label.SUSPICIOUS)
    assert answer.seconds > 0
