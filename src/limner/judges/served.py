"""A model behind an endpoint that speaks OpenAI's chat completions: one conversation in, the first choice out.

Errors of the connection, timeouts and a busy server are tried again; what cannot be mended is raised as one of
``WRONG``, which ``told`` puts into words.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from limner.parts import Conversation, Image

KEY = "OPENAI_API_KEY"
WRONG = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, IndexError)
BUSY = (408, 429, 500, 502, 503, 504)


class Unanswered(ValueError):
    """There was an answer, and it cannot be read."""


@dataclass(frozen=True)
class Served:
    """``model`` at ``url`` (up to and without ``/chat/completions``). The secret is read from the environment variable
    ``key``; ``timeout`` seconds are given to each of ``tries``."""

    url: str
    model: str
    timeout: float = 30.0
    tries: int = 2
    key: str = KEY

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the endpoint {self.url!r} must begin with http:// or https://")
        if self.timeout <= 0 or self.tries < 1:
            raise ValueError(f"timeout={self.timeout} and tries={self.tries} must be above 0")

    def first(self, put: Conversation, **options: Any) -> dict[str, Any]:
        """The first choice of a completion at temperature 0; ``options`` go into the request. Raises ``WRONG``."""
        messages = [{"role": m.role, "content": [content(part) for part in m.parts]} for m in put]
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
                if error.code not in BUSY or attempt == self.tries:
                    raise
            except OSError:
                if attempt == self.tries:
                    raise
        try:
            choice: dict[str, Any] = json.loads(text)["choices"][0]
        except (ValueError, KeyError, TypeError, IndexError):
            raise Unanswered(f"its answer is no completion: {text[:80]!r}") from None
        return choice


def content(part: Any) -> dict[str, Any]:
    """A part as the wire has it; pictures as PNG in a data URL."""
    if not isinstance(part, Image):
        return {"type": "text", "text": part.text}
    buffer = io.BytesIO()
    part.image.convert("RGB").save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def told(error: BaseException) -> str:
    """What went wrong, as a reason."""
    if isinstance(error, Unanswered):
        return str(error)
    if isinstance(error, urllib.error.HTTPError):
        return f"it answered {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {reason}"
