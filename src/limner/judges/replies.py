"""A judge's replies in words, each asked for once: kept by content in a file, and read from there ever after.

The key of a reply is the hash of everything it depends on: the judge, the version of the rubric, the conversation with
its pictures' bytes, the limit, and the number of the attempt. So a run that was stopped asks only for what is missing,
judging again costs nothing, and ``replay`` needs no judge at all. What fails is not kept: it is asked again next time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from limner.judges.endpoint import FAILURES
from limner.judges.served import WRONG, Served, Unanswered, told
from limner.parts import Conversation, Image, Task

if TYPE_CHECKING:
    from limner.models.base import Model

Say = Callable[[Conversation, int], str]  # (conversation, most tokens) -> the reply; raises one of WRONG


@dataclass(frozen=True)
class Reply:
    """What a judge said, or why there is nothing (``text`` None)."""

    text: str | None
    why: str = ""


@dataclass(frozen=True)
class Put:
    """One conversation put to a judge under a rubric's version; ``attempt`` counts what could not be read before."""

    conversation: Conversation
    rubric: str
    limit: int
    attempt: int = 0

    def key(self, judge: str) -> str:
        """SHA-256 of all that the reply depends on."""
        messages = [[m.role, [_content(part) for part in m.parts]] for m in self.conversation]
        value = [judge, self.rubric, self.limit, self.attempt, messages]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _content(part: object) -> str:
    if not isinstance(part, Image):
        return "text " + str(getattr(part, "text", ""))
    picture = part.image.convert("RGB")
    return f"image {picture.size} {hashlib.sha256(picture.tobytes()).hexdigest()}"


@dataclass
class Judge:
    """A judge by its ``name`` (model and revision) whose replies are kept in ``path``.

    ``say`` None only replays. ``together`` conversations are put at a time; after ``FAILURES`` in a row without a reply
    the rest of a call is not tried. ``counts`` tells how many replies were remembered, asked for, and not given.
    """

    name: str
    say: Say | None
    path: Path
    together: int = 1
    counts: dict[str, int] = field(default_factory=lambda: {"remembered": 0, "asked": 0, "failed": 0})

    def __post_init__(self) -> None:
        self.known: dict[str, str] = {}
        if not self.path.exists():
            return
        if self.say is not None:  # the torn last line of a run that was killed makes room for a whole one
            with self.path.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
        for line in self.path.read_text(encoding="utf-8").split("\n")[:-1]:
            row = json.loads(line)
            self.known[row["key"]] = row["reply"]

    def __call__(self, puts: Sequence[Put]) -> list[Reply]:
        """A reply to each, in order."""
        keys = [put.key(self.name) for put in puts]
        new = list({key: put for key, put in zip(keys, puts, strict=True) if key not in self.known}.items())
        failures = {} if self.say is None else self._asked(new, self.say)
        self.counts["remembered"] += len(keys) - len(new)
        self.counts["failed"] += sum(key not in self.known for key, _ in new)
        nothing = f"{self.path.name} holds no reply of {self.name} to this"
        return [Reply(self.known[k]) if k in self.known else Reply(None, failures.get(k, nothing)) for k in keys]

    def _asked(self, new: Sequence[tuple[str, Put]], say: Say) -> dict[str, str]:
        """Ask for what is not known; why there is no reply, by key."""
        failures: dict[str, str] = {}
        row = 0

        def one(put: Put) -> Reply:
            try:
                return Reply(say(put.conversation, put.limit))
            except WRONG as error:
                return Reply(None, told(error))

        with ThreadPoolExecutor(self.together) as pool:
            for begin in range(0, len(new), self.together):
                if row >= FAILURES:
                    why = f"not asked, because {row} in a row had no answer ({next(reversed(failures.values()))})"
                    failures |= {key: why for key, _ in new[begin:]}
                    break
                some = new[begin : begin + self.together]
                for (key, put), reply in zip(some, pool.map(one, [put for _, put in some]), strict=True):
                    row = row + 1 if reply.text is None else 0
                    if reply.text is None:
                        failures[key] = reply.why
                    else:
                        self._keep(key, put, reply.text)
        return failures

    def _keep(self, key: str, put: Put, text: str) -> None:
        self.counts["asked"] += 1
        self.known[key] = text
        row = {"key": key, "judge": self.name, "rubric": put.rubric, "attempt": put.attempt, "reply": text}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())


def served(url: str, model: str, timeout: float = 60.0, tries: int = 3) -> Say:
    """The replies of a served model."""
    endpoint = Served(url, model, timeout, tries)

    def say(put: Conversation, limit: int) -> str:
        message = endpoint.first(put, max_tokens=limit).get("message")
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str):
            raise Unanswered(f"its answer holds no text: {str(message)[:80]!r}")
        return text

    return say


def local(model: Model) -> Say:
    """The replies of a model in this process."""
    from limner.turn import rollout

    def say(put: Conversation, limit: int) -> str:
        model.check_prompt(put)
        *before, last = model.plan(("text",))
        (sample,) = rollout(model, [Task(put)], (*before, replace(last, limit=min(limit, last.limit or limit))), [0])
        return sample.text or ""

    return say


def judges_in(path: Path) -> list[str]:
    """The judges whose replies a file holds."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; replaying needs the replies.jsonl of a run that was judged")
    return sorted({json.loads(line)["judge"] for line in path.read_text(encoding="utf-8").split("\n")[:-1]})
