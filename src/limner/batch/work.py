"""What a worker does with a row. The result depends on the row and the model alone, never on who does it or when."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.batch.manifest import Job

if TYPE_CHECKING:
    from limner.answer import Limner
    from limner.judges.verifier import Verifier


@dataclass(frozen=True)
class Setup:
    """What every worker is given once. ``threads`` are torch's: with another number sums may round otherwise."""

    model: str
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1


@dataclass(frozen=True)
class Done:
    """A row done: its result as JSON values, and its pictures as PNG files by name."""

    result: dict[str, Any]
    pictures: dict[str, bytes]


class Worker:
    """Loads the model once and does row after row. Judges are kept by name."""

    def __init__(self, setup: Setup) -> None:
        import torch

        from limner.answer import Limner

        torch.set_num_threads(setup.threads)
        self.limner: Limner = Limner.load(setup.model, device=setup.device, dtype=setup.dtype)
        self.device = setup.device
        self.judges: dict[str, Verifier] = {}

    def whoami(self) -> dict[str, Any]:
        """Where this worker runs."""
        return {"pid": os.getpid(), "host": socket.gethostname()}

    def do(self, job: Job) -> Done:
        """The row's result. What goes wrong with a row is its result too, as ``error``; the worker goes on."""
        ways: dict[str, Callable[[Job], Done]] = {
            "generate": self._generate, "verify": self._verify, "judge": self._judge, "mine": self._mine,
        }  # fmt: skip
        try:
            return ways[job.do](job)
        except Exception as error:  # told in the result, and counted
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            return failed(job, f"{kind}{error}")

    def _generate(self, job: Job) -> Done:
        from limner.request import Request, read_content

        wish = dict(job.wish)
        seed, n = wish.pop("seed", 0), wish.pop("n", 1)
        wish["image"] = read_content(job.picture) if job.picture else None
        prompt, think = wish.pop("prompt"), wish.pop("think", True)
        answers = self.limner.answer(Request("generate", prompt, think, **wish), range(seed, seed + n))
        return self._drawn(job, answers)

    def _verify(self, job: Job) -> Done:
        wish = {"n": 20} | dict(job.wish)
        judge = wish.pop("judge", "self")
        answer = self.limner.verified(wish.pop("prompt"), wish.pop("verify", "parm"), wish.pop("n"),
                                      judge=judge if judge == "self" else self._named(judge), **wish)  # fmt: skip
        answer.request["verify"].pop("cost", None)  # seconds differ from run to run
        return self._drawn(job, [answer])

    def _drawn(self, job: Job, answers: list[Any]) -> Done:
        pictures, made = {}, []
        for answer in answers:
            name = f"{job.id}-{answer.seed}.png"
            pictures[name] = answer.png()
            made.append({"seed": answer.seed, "thinking": answer.thinking, "picture": f"pictures/{name}",
                         "sha256": hashlib.sha256(pictures[name]).hexdigest(), "request": answer.request})  # fmt: skip
        return Done(_head(job) | {"answers": made}, pictures)

    def _named(self, name: str) -> Verifier:
        from limner.judges.named import find_verifier

        if name not in self.judges:
            self.judges[name] = find_verifier(name, self.limner.model, device=self.device)
        return self.judges[name]

    def _task(self, job: Job) -> Any:
        """The row's prompt as a task; the scene judge needs facts, which a plan such as 'two red apples' gives."""
        from limner.judges.named import SCENES
        from limner.judges.scenes import facts_of
        from limner.parts import Task, user

        prompt, facts = job.wish["prompt"].strip(), job.wish.get("facts")
        if facts is None and job.wish.get("judge", SCENES) == SCENES:
            facts = facts_of(prompt)
            if facts is None:
                raise ValueError(f"the judge {SCENES} cannot tell what {prompt!r} asks for; give the row's facts")
        return Task((user(prompt),), facts or {}, id=job.id)

    def _judge(self, job: Job) -> Done:
        from limner.parts import Image, Sample
        from limner.request import read_content

        assert job.picture is not None
        sample = Sample(self._task(job), (Image(read_content(job.picture)),))
        (opinion,) = self._named(job.wish.get("judge", "scenes"))("outcome", [sample])
        return Done(_head(job) | {"score": opinion.yes, "why": opinion.text}, {})

    def _mine(self, job: Job) -> Done:
        from limner.request import Request
        from limner.train.mining import by_verifier, candidates

        wish = {name: job.wish[name] for name in ("steps", "guidance", "size", "fast") if name in job.wish}
        task = self._task(job)
        request = Request("generate", job.wish["prompt"], job.wish.get("think", False), **wish)
        plan = self.limner.prepare(request)
        judge = by_verifier(self._named(job.wish.get("judge", "scenes")))
        (row,) = candidates(self.limner.model, [(0, task)], plan, judge, job.wish.get("n", 8), job.wish.get("seed", 0))
        return Done(_head(job) | row, {})


def _head(job: Job) -> dict[str, Any]:
    return {"id": job.id, "do": job.do}


def failed(job: Job, why: str) -> Done:
    """The result of a row that could not be done."""
    return Done(_head(job) | {"error": " ".join(why.split())}, {})
