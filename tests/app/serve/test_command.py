"""`limner serve` as a process."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import httpx2
import openai
import pytest
from live import until

from limner.app.cli import main, parse
from limner.app.serve.settings import Settings


class Process:
    """A server that was started from the command line."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "limner.app.cli", "serve", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.line = self.process.stdout.readline()
        found = re.search(r"http://(?P<host>[\d.]+):(?P<port>\d+)/v1", self.line)
        assert found, self.process.stderr.read()
        self.host, self.port = found["host"], int(found["port"])
        self.base = found[0]

    def client(self):
        return openai.OpenAI(base_url=self.base, api_key="none", max_retries=0, timeout=300)

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(120)
        return self.process.communicate()[1]


def ready(base):
    for _ in range(2000):
        try:
            return httpx2.get(base.replace("/v1", "/health"), timeout=300).json()
        except httpx2.TransportError:
            time.sleep(0.01)
    raise AssertionError("the server never answered")


def test_killed_in_the_middle_and_begun_again_it_answers_as_before(echo, tmp_path):
    first = Process(echo, "--port", "0")
    assert ready(first.base)["status"] == "ok" and first.host == "127.0.0.1"
    with first.client() as client:
        before = client.images.generate(prompt="a red cat", extra_body={"seed": 3}).data[0].b64_json
        ends, answered = [], []

        def ask_on():
            while not ends:
                try:
                    answered.append(client.images.generate(prompt="a red cat", n=4))
                except (openai.APIError, httpx2.TransportError) as error:
                    ends.append(error)

        asking = [threading.Thread(target=ask_on) for _ in range(4)]
        for thread in asking:
            thread.start()
        until(lambda: len(answered) >= 4)
        first.end(signal.SIGKILL)
        for thread in asking:
            thread.join()
        assert ends
    second = Process(echo, "--port", str(first.port), "--json")
    assert json.loads(second.line) == {"models": [echo], "url": first.base, "page": first.base.replace("/v1", "/page")}
    try:
        ready(second.base)
        with second.client() as client:
            assert client.images.generate(prompt="a red cat", extra_body={"seed": 3}).data[0].b64_json == before
    finally:
        log = second.end(signal.SIGINT)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert lines[-1]["path"] == "/v1/images/generations" and lines[-1]["status"] == 200
    assert "Traceback" not in log
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_models_can_be_called_by_another_name(echo):
    assert dict(parse(["serve", f"small={echo}"])._named(text) for text in (f"small={echo}", echo)) == {
        "small": echo,
        echo: echo,
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "no model called 'nowhere'"),
        (["--port", "99999"], "port=99999"),
        (["--rows", "0"], "rows=0"),
        (["a=tiny-mmada", "a=tiny-mmada"], "the same name"),
    ],
    ids=str,
)
def test_what_is_impossible_is_told_in_one_line(arguments, told, capsys):
    assert main(["serve", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_port_that_is_taken_is_told_in_one_line(echo, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", echo, "--port", str(taken.getsockname()[1])]) == 2
    assert "nothing can listen" in capsys.readouterr().err


def test_the_key_may_stand_in_the_environment(monkeypatch):
    monkeypatch.setenv("LIMNER_API_KEY", "sesame")
    assert parse(["serve"]).settings() == Settings(api_key="sesame")
    assert parse(["serve", "--api-key", "other"]).settings().api_key == "other"
    assert os.environ["LIMNER_API_KEY"] not in repr(parse(["serve"]))
