"""What every request passes on its way in and out: an id, a key, a limit of bytes, a line in the log, a count."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limner.app.serve.errors import GONE, Refused, refusal, response
from limner.app.serve.log import LOG, REQUEST
from limner.app.serve.meter import Meter
from limner.app.serve.settings import Settings

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
OPEN = ("/health",)  # needs no key


class Gate:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, settings: Settings, meter: Meter) -> None:
        self.app, self.settings, self.meter = app, settings, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "websocket" and not self._known(Headers(scope=scope)):
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Passage(self, scope, receive, send).go()

    def _known(self, headers: Headers) -> bool:
        """Whether the key is right: as a bearer token, or as the password of basic authentication, for browsers."""
        key = self.settings.api_key
        if not key:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given.strip(), validate=True).decode("utf-8").partition(":")[2]
            except (binascii.Error, ValueError):
                return False
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode(), key.encode())


class _Passage:
    """One HTTP request on its way."""

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self.gate, self.scope, self.receive, self.send = gate, scope, receive, send
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        self.begun, self.status, self.read, self.left = time.perf_counter(), 0, 0, False

    async def go(self) -> None:
        """Pass it on, or refuse it."""
        mark = REQUEST.set(self.id)
        try:
            refused = self._refused()
            if refused is not None:
                await response(refused)(self.scope, self.receive, self._send)
            else:
                await self.gate.app(self.scope, self._receive, self._send)
        except Exception as error:
            if self.status:
                raise
            await response(refusal(error))(self.scope, self.receive, self._send)
        finally:
            self._note()
            REQUEST.reset(mark)

    def _refused(self) -> Refused | None:
        if self.scope["path"] not in OPEN and not self.gate._known(self.headers):
            challenge = {} if self.scope["path"].startswith("/v1/") else {"WWW-Authenticate": "Basic realm=limner"}
            told = "give the server's key: Authorization: Bearer KEY"
            return Refused(told, status=401, code="invalid_api_key", headers=challenge)
        length = self.headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > self.gate.settings.body:
            return self._too_large()
        return None

    def _too_large(self) -> Refused:
        most = self.gate.settings.body
        return Refused(f"the body is too large; at most {most} bytes are read", status=413, code="request_too_large")

    async def _receive(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self.left = True
        self.read += len(message.get("body", b""))
        if self.read > self.gate.settings.body:
            raise self._too_large()
        return message

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(raw=message["headers"])["X-Request-ID"] = self.id
        await self.send(message)

    def _note(self) -> None:
        seconds = time.perf_counter() - self.begun
        status = self.status or (GONE if self.left else 500)
        route = self.scope.get("route")
        path = getattr(route, "path", None) or ("/page" if status < 400 else "unknown")
        self.gate.meter.answered(path, status, seconds)
        about = {
            "method": self.scope["method"],
            "path": self.scope["path"],
            "status": status,
            "seconds": round(seconds, 4),
            "client_left": self.left,
        }
        LOG.info("request", extra={"about": about})
