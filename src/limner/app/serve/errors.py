"""Everything that goes wrong, in the shape that OpenAI's clients read:
`{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException as Unanswered
from starlette.responses import Response

from limner.app.serve.jobs import Busy, Closing, Gone
from limner.app.serve.log import LOG

GONE = 499  # the status of an answer for which nobody waits any more
MOST = 500  # characters of a message: it may quote what was sent

# status -> what OpenAI calls such an error
TYPES: dict[int, str] = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable_error",
}


class Refused(HTTPException):
    """A request that cannot be answered, with its status and, where one is to blame, the parameter."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.param, self.code = param, code

    def body(self) -> dict[str, Any]:
        """The error as plain JSON values."""
        message = str(self.detail)
        message = message if len(message) <= MOST else message[: MOST - 3] + "..."
        kind = TYPES.get(self.status_code, "invalid_request_error")
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}


def refusal(error: Exception) -> Refused:
    """An error as its refusal; what nobody foresaw is logged and tells nothing of the inside."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, Busy):
        headers = {"Retry-After": str(error.after)}
        return Refused(str(error), status=429, code="rate_limit_exceeded", headers=headers)
    if isinstance(error, Closing):
        return Refused(str(error), status=503, code="shutting_down", headers={"Retry-After": "5"})
    if isinstance(error, ValueError):
        return Refused(" ".join(str(error).split()), code="invalid_value")
    LOG.error("an answer failed", exc_info=error)
    return Refused("something went wrong in the server; its log tells what", status=500, code="internal_error")


def response(error: Refused) -> Response:
    """A refusal as a response; its JSON is ASCII, so that anything can be quoted."""
    content = json.dumps(error.body()).encode("ascii")
    return Response(content, error.status_code, error.headers, "application/json")


def from_validation(error: RequestValidationError | ValidationError) -> Refused:
    """What is wrong first with what was sent."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part != "body"]
    param = ".".join(where) or None
    if first["type"] == "extra_forbidden":
        return Refused(f"there is no parameter {param!r} here", param=param, code="unknown_parameter")
    message = str(first.get("ctx", {}).get("error") or first["msg"])
    if first["type"] == "json_invalid":
        return Refused(f"the body is no JSON: {message}", code="invalid_json")
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return Refused(f"{param}: {message}" if param else message, param=param, code=code)


def install(app: FastAPI) -> None:
    """Have an application answer every error in this shape."""

    async def refused(request: Request, error: Exception) -> Response:
        return response(refusal(error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return response(from_validation(error))

    async def status(request: Request, error: Exception) -> Response:
        assert isinstance(error, Unanswered)
        code = {404: "unknown_url", 405: "method_not_allowed"}.get(error.status_code)
        path = request.scope["path"]
        told = {404: f"there is nothing at {path}", 405: f"{path} does not take {request.method}"}
        message = told.get(error.status_code, str(error.detail))
        return response(Refused(message, status=error.status_code, code=code, headers=error.headers))

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=GONE)

    for kind in (Refused, Busy, Closing, ValueError):
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(Gone, gone)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Unanswered, status)
