"""A served model asked yes or no: any endpoint that speaks OpenAI's chat completions.

Probabilities come from the first token's ``top_logprobs``; an endpoint without them is taken at its word (1 or 0).
Whatever goes wrong - no connection, a timeout, an error, garbage, another word than yes or no - leaves the candidate
unjudged with the reason. After a few failures in a row the rest of a call is not tried, so that a dead endpoint costs
seconds and not hours.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import math
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from limner.judges.asked import Wording, conversation
from limner.judges.verifier import About, Opinion, Question, unjudged
from limner.parts import Conversation, Image, Sample

FAILURES = 3  # in a row, before the rest of a call is given up
KEY = "OPENAI_API_KEY"
WRONG = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, IndexError)


class _Unanswered(ValueError):
    """There was an answer, and it cannot be read."""


@dataclass
class Endpoint:
    """A verifier behind ``url`` (up to and without ``/chat/completions``). The key is read from the environment
    variable ``key``; seconds are given to each of ``tries``; ``together`` questions are asked at a time."""

    url: str
    model: str
    timeout: float = 30.0
    tries: int = 2
    together: int = 4
    wording: Wording = Wording()
    key: str = KEY
    about: About = field(default_factory=lambda: About("an endpoint"))

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the endpoint {self.url!r} must begin with http:// or https://")
        if self.timeout <= 0 or self.tries < 1 or self.together < 1:
            raise ValueError(f"timeout={self.timeout}, tries={self.tries} and together={self.together} must be above 0")

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        found: list[Opinion] = []
        with ThreadPoolExecutor(self.together) as pool:
            for begin in range(0, len(samples), self.together):
                last = found[-FAILURES:]
                if len(last) == FAILURES and not any(opinion.judged for opinion in last):
                    why = f"not asked, because {FAILURES} questions in a row had no answer ({last[-1].text})"
                    found += [unjudged(why)] * (len(samples) - begin)
                    break
                some = samples[begin : begin + self.together]
                found += pool.map(lambda sample: self._one(question, sample), some)
        return found

    def _one(self, question: Question, sample: Sample) -> Opinion:
        try:
            put = conversation(self.wording, question, sample)
            opinion = self._read(self._ask(put, {"max_tokens": 1, "logprobs": True, "top_logprobs": 20}))
        except WRONG as error:
            return unjudged(f"{self.url}: {_told(error)}")
        if question != "reflection" or opinion.says or not self.wording.critique:
            return opinion
        try:
            put = conversation(self.wording, question, sample, self.wording.critique)
            text = str(self._ask(put, {"max_tokens": 60})["message"]["content"]).strip()
        except WRONG as error:
            return replace(opinion, text=f"no critique: {_told(error)}")
        return replace(opinion, text=text)

    def _ask(self, put: Conversation, options: dict[str, Any]) -> dict[str, Any]:
        """The first choice of a completion. Errors of the connection are tried again, others are not."""
        messages = [{"role": m.role, "content": [_content(part) for part in m.parts]} for m in put]
        body = json.dumps({"model": self.model, "messages": messages, "temperature": 0, **options}).encode()
        headers = {"Content-Type": "application/json"}
        secret = os.environ.get(self.key)
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", body, headers)
        for attempt in range(1, self.tries + 1):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    text = answer.read()
                break
            except urllib.error.HTTPError as error:
                if error.code not in (408, 429, 500, 502, 503, 504) or attempt == self.tries:
                    raise
            except OSError:
                if attempt == self.tries:
                    raise
        try:
            choice: dict[str, Any] = json.loads(text)["choices"][0]
        except (ValueError, KeyError, TypeError, IndexError):
            raise _Unanswered(f"its answer is no completion: {text[:80]!r}") from None
        return choice

    def _read(self, choice: dict[str, Any]) -> Opinion:
        """The share of yes among the likeliest first tokens, or the word itself."""
        tokens = ((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs") or []
        shares = {"yes": 0.0, "no": 0.0}
        for token in tokens:
            word = str(token["token"]).strip().lower()
            if word in shares:
                shares[word] += math.exp(float(token["logprob"]))
        total = shares["yes"] + shares["no"]
        if total > 0 and math.isfinite(total):
            return Opinion(shares["yes"] / total)
        said = str(choice["message"]["content"]).strip()
        word = said.lower().strip(" .!,").split(" ")[0]
        if word not in shares:
            raise _Unanswered(f"it answered {said[:40]!r} where yes or no was asked for")
        return Opinion(float(word == "yes"))


def _content(part: Any) -> dict[str, Any]:
    if not isinstance(part, Image):
        return {"type": "text", "text": part.text}
    buffer = io.BytesIO()
    part.image.convert("RGB").save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def _told(error: BaseException) -> str:
    if isinstance(error, _Unanswered):
        return str(error)
    if isinstance(error, urllib.error.HTTPError):
        return f"it answered {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {reason}"
