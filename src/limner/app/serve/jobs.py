"""What an engine is asked to do: jobs, and the rows that they are made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from limner.app.serve.events import Event, Failed
from limner.parts import Ask, Conversation, Plan
from limner.request import ALTERS, Request

if TYPE_CHECKING:
    from limner.models.base import Reply


class Busy(Exception):
    """There is no place left; ``after`` is the number of seconds after which it is worth asking again."""

    def __init__(self, after: int) -> None:
        self.after = after
        super().__init__(f"the server is busy; ask again in {after} s")


class Gone(Exception):
    """Nobody waits for the answer any more."""


class Closing(Exception):
    """The server is shutting down."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down; ask again later")


@dataclass(frozen=True)
class Choosing:
    """One of ``n`` pictures is chosen by a method of `limner.algorithms.verify.run.METHODS`, within ``budget``
    seconds (None: as long as it takes)."""

    method: str
    n: int
    judge: str = "self"
    budget: float | None = None


@dataclass(eq=False)
class Job:
    """A request with a seed for each wanted answer. ``tell`` is called with every event, from the engine's threads.

    ``plan`` is what the model makes where that is not the request's own. ``previews`` pictures in the making are told
    (None: after every step), and with ``words`` the words as they come.
    """

    request: Request
    seeds: tuple[int, ...]
    tell: Callable[[Event], None]
    plan: Plan | None = None
    previews: int | None = 0
    words: bool = False
    choosing: Choosing | None = None
    gone: bool = field(default=False, init=False)

    def cancel(self) -> None:
        """Nobody waits any more; the places are free before the next step."""
        self.gone = True

    def fail(self, error: Exception) -> None:
        """Tell that the job cannot be finished, once."""
        if not self.gone:
            self.gone = True
            self.tell(Failed(error))

    @property
    def apart(self) -> bool:
        """Whether it is more than rows of a plan: windows, blanks, or a search."""
        return self.request.command in (*ALTERS, "fill") or self.choosing is not None

    def extra(self) -> dict[str, Any]:
        """What an answer depends on beside its request, as plain JSON values."""
        if self.plan is None:
            return {}
        return {"plan": [{k: v for k, v in asdict(ask).items() if v is not None} for ask in self.plan]}


@dataclass(eq=False)
class Row:
    """One answer in the making."""

    job: Job
    number: int
    seed: int
    plan: Plan
    conversation: Conversation
    painter: int = 0  # which of the engine's threads turns its values into pictures
    reply: Reply = ()
    told: str = ""  # words of the part in work that were told
    prompt_tokens: int = 0
    tokens: list[tuple[str, int]] = field(default_factory=list)
    ended: bool = True
    timings: dict[str, float] = field(default_factory=dict)
    begun: float = field(default_factory=time.perf_counter)

    @property
    def ask(self) -> Ask:
        """The part that comes next."""
        return self.plan[len(self.reply)]

    @property
    def complete(self) -> bool:
        """Whether every part is there."""
        return len(self.reply) == len(self.plan)


def shown_steps(previews: int | None, steps: int) -> frozenset[int]:
    """The steps after which a picture in the making is shown: all but the last, or that many evenly spread."""
    if previews is None or previews >= steps - 1:
        return frozenset(range(1, steps))
    return frozenset(steps * (i + 1) // (previews + 1) for i in range(previews))
