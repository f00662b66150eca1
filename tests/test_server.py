import http.client
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from semantic_service.api.middleware import MAX_BODY_BYTES
from semantic_service.batch.places import Shard
from semantic_service.contract import bundle as bundles
from semantic_service.contract.bundle import SelfCheck
from tests.deadline import PATIENCE_S, until
from tests.dumps import score_dump
from tests.served import LOOPBACK, free_port, killed_in_the_end, serving, start
from tests.tiny_model import copy_of, manifest, stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SECRET = "我的秘密手机号"
DUMP_ROWS = 100_000  # enough for several checkpoints, one of which is a second


@pytest.fixture
def server(tiny_bundle, tmp_path):
    with serving(tiny_bundle.path, tmp_path) as started:
        yield started


def begin(server, body):
    """Send the head of a request; once the service wants its body, the request is in flight."""
    connection = server.connect()
    head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue"
    connection.sendall(f"POST /classify HTTP/1.1\r\nHost: here\r\n{head}\r\n\r\n".encode())
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    return connection


def finish(connection, body):
    with connection:
        connection.sendall(body)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, json.loads(response.read())


def test_requests_in_flight_are_answered_before_the_process_ends(server):
    body = json.dumps({"text": "来赌一把"}).encode()
    flying = [begin(server, body) for _ in range(4)]
    server.process.send_signal(signal.SIGTERM)
    until(lambda: not server.listens())
    assert server.process.poll() is None
    answers = [finish(connection, body) for connection in flying]
    assert [(status, answer["label"]) for status, answer in answers] == [(200, "violation")] * 4
    assert server.process.wait(PATIENCE_S) == 0


def test_a_server_under_load_stops_with_every_request_answered_or_refused(server):
    with ThreadPoolExecutor(4) as callers:
        answers = callers.map(lambda number: outcome(server, "今天" * 4000 + str(number)), range(60))
        first = next(answers)
        assert server.stop() == 0
        outcomes = {first, *answers}
    assert 200 in outcomes
    assert outcomes <= {200, "refused"}


def outcome(server, text):
    try:
        return server.classify(text)[0]
    except ConnectionError:  # nothing had been sent, or nothing taken in: safe to send again elsewhere
        return "refused"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once_with_0(server, number):
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in server.log.read_text("utf-8")


def test_the_log_is_json_lines_without_a_users_text(server):
    assert server.classify(SECRET)[0] == 200
    assert server.ask("POST", "/classify", f'{{"{SECRET}": '.encode())[0] == 400
    assert server.ask("GET", f"/{'%E6%88%91' * 3}")[0] == 404
    assert server.stop() == 0
    lines = server.log.read_text("utf-8").splitlines()
    messages = [json.loads(line)["message"] for line in lines]
    assert messages.count("request") == 3
    assert not [line for line in lines if SECRET in line or "我" in line]


@pytest.mark.parametrize("length", ["many", "-1", "1e3", "9" * 30, "5000000000"])
def test_an_odd_length_is_refused(server, length):
    with server.connect() as connection:
        connection.sendall(f"POST /classify HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert server.classify("好")[0] == 200


def test_a_chunked_body_over_the_bound_is_refused(server):
    pieces = iter([b'{"text": "', *[b"a" * 65_536] * (MAX_BODY_BYTES // 65_536), b'"}'])
    status, answer = server.ask("POST", "/classify", pieces)  # http.client sends an iterator chunked
    assert (status, answer["error"]["code"]) == (413, "body_too_large")
    assert server.classify("好")[0] == 200


def test_a_caller_that_leaves_half_way_does_no_harm(server):
    for _ in range(3):
        begin(server, b"x" * 100).close()
    assert server.classify("来赌一把")[1]["label"] == "violation"
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text("utf-8")


def spoil(folder):
    model = folder / bundles.MODEL_FILE
    model.write_bytes(model.read_bytes()[:-1] + b"?")


BROKEN = {
    "model.onnx: sha256 is": spoil,
    "tokenizer.json: the manifest lists this file, but it is missing": lambda folder: (folder / bundles.TOKENIZER_FILE).unlink(),
    "manifest.json: no such file": lambda folder: (folder / bundles.MANIFEST_FILE).unlink(),
    "manifest.json: not a complete manifest": lambda folder: (folder / bundles.MANIFEST_FILE).write_text("{", encoding="utf-8"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_bundle_stops_the_start_with_one_line_that_names_the_file(tiny_bundle, tmp_path, reason):
    broken = copy_of(tiny_bundle, tmp_path / "broken")
    BROKEN[reason](broken)
    check_refused(broken, tmp_path / "log", reason)


def test_a_model_that_is_none_stops_the_start_with_one_line_that_names_it(tmp_path):
    staging = stage(tmp_path / "staging")
    described = manifest(staging, self_check=(SelfCheck("好", (1.0, 0.0, 0.0)),))
    (staging / bundles.MODEL_FILE).write_bytes(b"no graph")
    sealed = bundles.seal(staging, described, tmp_path / "sealed")
    check_refused(sealed.path, tmp_path / "log", "can't be opened")


def check_refused(model, log, reason):
    with killed_in_the_end(start(model, log, port=free_port())) as process:
        assert process.wait(PATIENCE_S) == 2
    [line] = log.read_text("utf-8").splitlines()
    assert line.startswith("can't start: ")
    assert str(model) in line
    assert reason in line


def test_a_setting_that_is_none_stops_the_start_with_one_line(tiny_bundle, tmp_path):
    log = tmp_path / "log"
    with killed_in_the_end(start(tiny_bundle.path, log, prot=1)) as process:
        assert process.wait(PATIENCE_S) == 2
    [line] = log.read_text("utf-8").splitlines()
    assert "MODERATION_PROT is not a setting: did you mean MODERATION_PORT?" in line


def test_a_port_in_use_stops_the_start(tiny_bundle, tmp_path):
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        with killed_in_the_end(start(tiny_bundle.path, tmp_path / "log", port=taken.getsockname()[1])) as process:
            assert process.wait(PATIENCE_S) != 0
    assert "address already in use" in (tmp_path / "log").read_text("utf-8")


def test_a_batch_killed_half_way_and_resumed_equals_one_run(tiny_bundle, moderator, tmp_path):
    dump, whole, scored = (tmp_path / name for name in ("dump.tsv", "whole.tsv", "scored.tsv"))
    texts = ("今天天气真好", "有点可疑的消息", "来赌一把", "")
    dump.write_text("id\ttext\n" + "".join(f"{number}\t{texts[number % 4]}\n" for number in range(DUMP_ROWS)), encoding="utf-8")
    score_dump(dump, whole, moderator, threads=0)
    checkpoint, arguments = Shard(str(dump), str(scored)).checkpoint, [dump, scored, "--resume"]

    def rows_done():
        return json.loads(checkpoint.read_text("utf-8"))["rows"] if checkpoint.exists() else 0

    with killed_in_the_end(start(tiny_bundle.path, tmp_path / "log", module="semantic_service.batch", arguments=arguments)) as process:
        until(lambda: rows_done() > DUMP_ROWS // 2)
    assert process.returncode == -signal.SIGKILL
    assert not scored.exists()
    with killed_in_the_end(start(tiny_bundle.path, tmp_path / "log", module="semantic_service.batch", arguments=arguments)) as process:
        assert process.wait(4 * PATIENCE_S) == 1
    assert scored.read_bytes() == whole.read_bytes()
    assert (tmp_path / "log").read_text("utf-8") == f"{DUMP_ROWS:,} rows, {DUMP_ROWS // 4:,} with an error: {scored}\n"
