"""What every request passes: an id, a key, a limit of bytes, a line in the log, a count."""

import base64
import json
import logging
import re
import socket
import threading

import openai
import pytest
from live import Held, http, serving, until

from limner.app.serve.log import JsonLines

BODY = {"model": "echo", "prompt": "a red cat"}


@pytest.fixture(scope="module")
def locked(models):
    with serving({"echo": models["echo"]}, api_key="sesame", body=100_000) as live:
        yield live


def test_every_answer_has_an_id_and_a_clients_own_is_kept(served):
    given = http.get(f"{served.base}/health", headers={"X-Request-ID": "mine-7"})
    assert given.headers["x-request-id"] == "mine-7"
    for odd in ("a b", "x" * 200, 'a"b'):
        made = http.get(f"{served.base}/nothing", headers={"X-Request-ID": odd})
        assert re.fullmatch(r"req_[0-9a-f]{24}", made.headers["x-request-id"])


def test_without_the_key_nothing_is_told(locked):
    for path in ("/v1/models", "/metrics", "/openapi.json", "/docs", "/anything"):
        refused = http.get(locked.base + path)
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
    assert http.get(f"{locked.base}/health").status_code == 200
    with locked.client("guess") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_with_the_key_everything_is_answered(locked):
    with locked.client("sesame") as client:
        assert [model.id for model in client.models.list()] == ["echo"]
    password = base64.b64encode(b"anyone:sesame").decode()
    assert http.get(f"{locked.base}/metrics", headers={"Authorization": f"Basic {password}"}).status_code == 200
    for wrong in ("Basic !!", "Basic " + base64.b64encode(b"a:b").decode(), "Bearer", "sesame", "Bearer s\xe4same"):
        refused = http.get(f"{locked.base}/metrics", headers={b"Authorization": wrong.encode("latin-1")})
        assert refused.status_code == 401


def test_a_browser_is_asked_for_the_key_but_not_under_v1(locked):
    assert "www-authenticate" in http.get(f"{locked.base}/").headers
    assert "www-authenticate" not in http.get(f"{locked.base}/v1/models").headers


def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(locked):
    headers = {"Authorization": "Bearer sesame", "Content-Type": "application/json"}
    content = json.dumps(BODY | {"user": "x" * 200_000}).encode()
    pieces = (content[i : i + 5000] for i in range(0, len(content), 5000))
    for sent in (content, pieces):
        refused = http.post(f"{locked.base}/v1/images/generations", content=sent, headers=headers)
        assert refused.status_code == 413 and refused.json()["error"]["code"] == "request_too_large"


def test_a_request_is_one_json_line_in_the_log(served, caplog):
    caplog.handler.setFormatter(JsonLines())
    with caplog.at_level(logging.INFO, logger="limner.serve"):
        http.post(f"{served.base}/v1/images/generations", json=BODY, headers={"X-Request-ID": "logged-1"})
        until(lambda: "logged-1" in caplog.text)
    (line,) = [json.loads(line) for line in caplog.text.splitlines() if "logged-1" in line]
    assert line["event"] == "request" and line["request_id"] == "logged-1" and line["level"] == "info"
    assert line["method"] == "POST" and line["path"] == "/v1/images/generations" and line["status"] == 200
    assert line["seconds"] > 0 and line["client_left"] is False
    assert "red cat" not in caplog.text, "what people ask for is not logged"


def test_what_fails_is_logged_with_its_request_and_its_traceback(served, caplog, monkeypatch):
    caplog.handler.setFormatter(JsonLines())
    monkeypatch.setattr(type(served.engine("echo").limner.model), "_hidden_colours", lambda *_: 1 / 0)
    with caplog.at_level(logging.INFO, logger="limner.serve"):
        told = http.post(f"{served.base}/v1/images/generations", json=BODY, headers={"X-Request-ID": "logged-2"})
        until(lambda: caplog.text.count("logged-2") == 2)
    lines = [json.loads(line) for line in caplog.text.splitlines() if "logged-2" in line]
    assert told.status_code == 500 and [line["level"] for line in lines] == ["error", "info"]
    assert "ZeroDivisionError" in lines[0]["error"] and "ZeroDivisionError" not in told.text


def test_a_server_that_shuts_down_says_so(models):
    with serving({"echo": models["echo"]}) as live, live.client() as client:
        live.engine("echo").close()
        with pytest.raises(openai.InternalServerError) as caught:
            client.images.generate(**BODY)
    assert caught.value.status_code == 503 and caught.value.code == "shutting_down"


SAMPLE = re.compile(r'(?P<name>[a-z_]+)(\{(?P<labels>[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*)\})? (?P<value>[0-9.e+-]+)')


def numbers(served):
    """Every sample of /metrics; fails on a line that is none."""
    answer = http.get(f"{served.base}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found, typed = {}, set()
    for line in answer.text.splitlines():
        if line.startswith("# TYPE"):
            typed.add(line.split()[2])
        if line.startswith("#"):
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        base = re.sub(r"_(bucket|sum|count)$", "", match["name"])
        assert match["name"] in typed or base in typed, line
        found[line.rpartition(" ")[0]] = float(match["value"])
    return found


def test_what_happens_is_counted(served):
    path = 'path="/v1/images/generations"'
    before = numbers(served)
    for body in (BODY, BODY | {"n": 0}):
        http.post(f"{served.base}/v1/images/generations", json=body)
    after = numbers(served)

    def more(name):
        return after[name] - before.get(name, 0)

    assert more(f'limner_requests_total{{{path},status="200"}}') == 1
    assert more(f'limner_requests_total{{{path},status="400"}}') == 1
    assert more(f"limner_request_seconds_count{{{path}}}") == 2
    assert more(f'limner_request_seconds_bucket{{{path},le="+Inf"}}') == 2
    assert more("limner_steps_total") > 0 and after['limner_rows_inside{model="echo"}'] == 0
    buckets = [value for name, value in after.items() if name.startswith(f"limner_request_seconds_bucket{{{path}")]
    assert buckets == sorted(buckets)


def test_paths_that_do_not_exist_are_counted_as_one(served):
    for name in ("a", "b"):
        assert http.get(f"{served.base}/no/{name}").json()["error"]["code"] == "unknown_url"
    assert not [name for name in numbers(served) if "/no/" in name]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_place(models, stream, monkeypatch):
    held = Held(monkeypatch)
    with serving({"echo": models["echo"]}) as live:
        engine = live.engine("echo")
        try:
            with socket.create_connection(("127.0.0.1", live.port)) as client:
                client.sendall(_asked(BODY | {"stream": stream}))
                until(lambda: engine.in_work == 1)
                (job,) = {row.job for row in engine._stepping()}
                assert not job.gone
            until(lambda: job.gone)
            before = held.steps
            held.go(1)  # the step that had begun when the client left
            until(lambda: engine.inside == 0)
            assert held.steps - before <= 1
        finally:
            held.go()


def test_a_stream_that_openais_client_closes_frees_its_place(models, monkeypatch):
    held = Held(monkeypatch)
    with serving({"echo": models["echo"]}) as live, live.client() as client:
        engine = live.engine("echo")
        try:
            stream = client.images.generate(**BODY, stream=True)
            until(lambda: engine.in_work == 1)
            stream.close()
            (job,) = {row.job for row in engine._stepping()}
            until(lambda: job.gone)
            held.go(1)
            until(lambda: engine.inside == 0)
        finally:
            held.go()


def _asked(body):
    """A request as it goes over the wire."""
    content = json.dumps(body).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: here\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + content


def test_too_many_are_told_to_come_again(models, monkeypatch):
    held = Held(monkeypatch)
    with serving({"echo": models["echo"]}, rows=1, queue=1) as live, live.client() as client:
        engine = live.engine("echo")
        waiting = [threading.Thread(target=client.images.generate, kwargs=BODY) for _ in range(2)]
        for thread in waiting:
            thread.start()
        try:
            until(lambda: engine.inside == 2)
            with pytest.raises(openai.RateLimitError) as caught:
                client.images.generate(**BODY)
            assert caught.value.code == "rate_limit_exceeded"
            assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
        finally:
            held.go()
            for thread in waiting:
                thread.join()
        assert len(client.images.generate(**BODY).data) == 1
