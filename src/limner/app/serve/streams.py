"""Server-sent events, as OpenAI's clients read them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

from limner.app.serve.errors import refusal
from limner.app.serve.jobs import Gone


def sse(value: dict[str, Any], event: str = "") -> str:
    """A value as one event."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(value)}\n\n"


async def _guarded(events: AsyncGenerator[str]) -> AsyncIterator[str]:
    """The events; what goes wrong on the way is the last of them."""
    try:
        async for event in events:
            yield event
    except Gone:
        return
    except Exception as error:
        yield sse(refusal(error).body(), "error")
    finally:
        await events.aclose()


def event_stream(events: AsyncGenerator[str]) -> StreamingResponse:
    """Events as a response."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_guarded(events), media_type="text/event-stream", headers=headers)
