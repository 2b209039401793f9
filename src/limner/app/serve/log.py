"""The server's log: one JSON line an event on standard error, with the id of the request that it belongs to."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar

LOG = logging.getLogger("limner.serve")
REQUEST: ContextVar[str | None] = ContextVar("request", default=None)  # the id of the request in hand


class JsonLines(logging.Formatter):
    """A record as a JSON line: time (UTC), level, event, the request's id, what stands in ``extra={"about": ...}``, and
    a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = {"time": stamp, "level": record.levelname.lower(), "event": record.getMessage()}
        request = REQUEST.get()
        line |= {} if request is None else {"request_id": request}
        line |= getattr(record, "about", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def to_standard_error() -> None:
    """Have the server's log, and what uvicorn warns of, written to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("limner.serve", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
