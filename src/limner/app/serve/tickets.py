"""A job as a route sees it: events to wait for, and nobody left waiting once the client has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest

from limner.app.serve.events import Done, Event, Failed
from limner.app.serve.jobs import Gone, Job

if TYPE_CHECKING:
    from limner.app.serve.engine import Engine


class Ticket:
    """What a route holds of a job. Made on the event loop, before the job is let in."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._job: Job | None = None

    def tell(self, event: Event) -> None:
        """Called from the engine's threads."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def enter(self, engine: Engine, job: Job) -> None:
        """Let the job in; raises what `Engine.submit` raises."""
        self._job = job
        await run_in_threadpool(engine.submit, job)

    async def events(self) -> AsyncIterator[Event]:
        """All events but `Failed`, which is raised. Raises Gone, and gives the job up, once the client has left."""
        job = self._job
        assert job is not None
        gone = asyncio.ensure_future(_left(self.request))
        open_ = len(job.seeds) if job.choosing is None else 1
        try:
            while open_:
                event = await self._next(gone)
                if isinstance(event, Failed):
                    raise event.error
                open_ -= isinstance(event, Done)
                yield event
        finally:
            gone.cancel()
            if open_:
                job.cancel()

    async def answers(self) -> list[Done]:
        """Every row's end, in order."""
        done = [event async for event in self.events() if isinstance(event, Done)]
        return sorted(done, key=lambda event: event.row)

    async def _next(self, gone: asyncio.Future[None]) -> Event:
        waiting = asyncio.ensure_future(self._events.get())
        try:
            await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            raise Gone
        finally:
            waiting.cancel()


async def _left(request: HttpRequest) -> None:
    """Ends when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
