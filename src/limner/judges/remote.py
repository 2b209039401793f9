"""A judge in another process, over HTTP: any reward model in any language, one schema.

    POST URL/judge   {"question": "outcome", "samples": [SAMPLE, ...]}  ->  {"verdicts": [VERDICT, ...]}
    GET URL/about    {"name": "...", "metric": "...", "prompts": "..."}

    SAMPLE    {"prompt": [MESSAGE, ...], "reply": [PART, ...], "facts": {...}, "id": "...", "progress": 1.0}
    VERDICT   {"score": 0.0 to 1.0, or any number a reward may be, or null: could not be judged, "why": "..."}

MESSAGE and PART are as `limner.parts` writes them: {"role", "content": [{"type": "text" or "thinking", "text"} or
{"type": "image", "png": base64}]}. There is one verdict a sample, in order. ``question`` is one of `QUESTIONS`; a
reward model that judges whole replies answers "outcome" and gives null to the others. An answer with another status
than 200 has {"error": "..."}. `docs/batch.md` has the schema with an example.
"""

from __future__ import annotations

import http.client
import json
import math
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from limner.judges.verifier import QUESTIONS, About, Opinion, Question, Verifier, unjudged
from limner.parts import Sample, Task, message_from_json, message_to_json, part_from_json, part_to_json

MOST_BYTES = 256 * 2**20  # of a question with all its pictures
TOGETHER = 16  # samples in one question
_LOST = (OSError, http.client.HTTPException)


def sample_to_json(sample: Sample) -> dict[str, Any]:
    """A sample as the schema has it."""
    return {
        "prompt": [message_to_json(message) for message in sample.task.prompt],
        "reply": [part_to_json(part) for part in sample.reply],
        "facts": dict(sample.task.facts),
        "id": sample.task.id,
        "progress": sample.progress,
    }


def sample_from_json(value: Mapping[str, Any]) -> Sample:
    """The sample that the schema says. Raises ValueError, KeyError or TypeError for what is none."""
    prompt = tuple(message_from_json(message) for message in value["prompt"])
    task = Task(prompt, value.get("facts", {}), id=value.get("id", ""))
    return Sample(task, tuple(part_from_json(part) for part in value["reply"]), progress=value.get("progress", 1.0))


@dataclass
class Remote:
    """The judge behind a URL, as a verifier. What goes wrong leaves samples unjudged with the reason."""

    url: str
    timeout: float = 120.0
    tries: int = 3
    about: About = field(init=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the judge {self.url!r} must begin with http:// or https://")
        self.url = self.url.rstrip("/")
        try:
            told = self._ask("about", None)
        except (*_LOST, ValueError) as error:
            raise ValueError(f"no judge answers at {self.url}: {error}") from None
        self.about = About(*(str(told.get(name, "")) for name in ("name", "metric", "prompts")))

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        found: list[Opinion] = []
        for begin in range(0, len(samples), TOGETHER):
            some = samples[begin : begin + TOGETHER]
            try:
                answer = self._ask("judge", {"question": question, "samples": [sample_to_json(each) for each in some]})
                found += _opinions(answer, len(some))
            except (*_LOST, ValueError, KeyError, TypeError) as error:
                found += [unjudged(f"{self.url}: {error}")] * len(some)
        return found

    def _ask(self, what: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """What the judge answers; a connection that fails is tried again. Raises ValueError for what is no answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{what}", data, {"Content-Type": "application/json"})
        for attempt in range(1, self.tries + 1):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                    answer = json.loads(reply.read())
                break
            except urllib.error.HTTPError as error:
                raise ValueError(f"it answered {error.code}: {error.read(500).decode(errors='replace')}") from None
            except _LOST:
                if attempt == self.tries:
                    raise
        if not isinstance(answer, dict):
            raise ValueError(f"it answered {str(answer)[:80]!r} where an object was asked for")
        return answer


def _opinions(answer: Mapping[str, Any], number: int) -> list[Opinion]:
    verdicts = answer["verdicts"]
    if not isinstance(verdicts, list) or len(verdicts) != number:
        raise ValueError(f"it gave {len(verdicts)} verdicts for {number} samples")
    found = []
    for verdict in verdicts:
        score, why = verdict["score"], str(verdict.get("why", ""))
        if score is not None and not (isinstance(score, int | float) and math.isfinite(score)):
            raise ValueError(f"its score {score!r} is no number")
        found.append(Opinion(None if score is None else float(score), text=why))
    return found


def server(verifier: Verifier, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """A verifier behind the schema, ready for `serve_forever`; port 0 takes a free one (`server_address` says which).
    Questions are answered one at a time."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, status: int, value: dict[str, Any]) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            if self.path != "/about":
                return self._answer(404, {"error": f"there is no {self.path}; there are: GET /about, POST /judge"})
            about = verifier.about
            self._answer(200, {"name": about.name, "metric": about.metric, "prompts": about.prompts})

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > MOST_BYTES:
                self.close_connection = True
                return self._answer(413, {"error": f"give a Content-Length of at most {MOST_BYTES} bytes"})
            body = self.rfile.read(int(length))
            if self.path != "/judge":
                return self._answer(404, {"error": f"there is no {self.path}; there are: GET /about, POST /judge"})
            try:
                asked = json.loads(body)
                question = asked.get("question", "outcome")
                if question not in QUESTIONS:
                    raise ValueError(f"question {question!r} is not one of: {', '.join(QUESTIONS)}")
                samples = [sample_from_json(each) for each in asked["samples"]]
            except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
                return self._answer(400, {"error": f"this is no question of the schema: {error!r}"})
            with lock:
                opinions = verifier(question, samples)
            self._answer(200, {"verdicts": [{"score": each.yes, "why": each.text} for each in opinions]})

        def log_message(self, *args: object) -> None:
            return None

    return ThreadingHTTPServer((host, port), Handler)
