"""The front door in Python: ask a model for a picture or about one, and get an answer that can be kept and repeated.

    limner = load("tiny-mmada")
    answer = limner.generate("three red apples at night", seed=7)
    answer.save("apples.png")
    Answer.request_of("apples.png")     # all that is needed to make the same picture again

A picture depends on its request and its own seed alone: the third of `generate_many(prompt, n=4, seed=0)` has the
bytes of `generate(prompt, seed=2)`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image as pil
from PIL import PngImagePlugin

from limner import __version__, catalog
from limner.parts import Part, PartKind, Plan, Sample, Task
from limner.request import Request, open_picture, read_picture
from limner.turn import Step, stream

if TYPE_CHECKING:
    from limner.models.base import Model

BATCH = 16  # answers that are made at a time
METADATA = "limner"  # keyword of the PNG text chunk

OnStep = Callable[[Step], None]
_TIMED: dict[PartKind, str] = {"thinking": "think", "image": "draw", "text": "answer"}


@dataclass(frozen=True, eq=False)
class Answer:
    """A request answered. ``timings`` are seconds: think, draw, answer (as far as there was such a part) and total;
    answers made together share them. ``request`` are plain JSON values that name all that the answer depends on."""

    thinking: str | None
    image: pil.Image | None
    text: str | None
    seed: int
    model: str
    request: dict[str, Any]
    timings: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything but the picture, as plain JSON values."""
        return {
            "model": self.model,
            "request": self.request,
            "thinking": self.thinking,
            "text": self.text,
            "seed": self.seed,
            "timings": {name: round(seconds, 4) for name, seconds in self.timings.items()},
        }

    def save(self, path: str | Path) -> Path:
        """Write the picture as PNG with its request embedded; the file appears whole or not at all."""
        path = Path(path)
        if self.image is None:
            raise ValueError("this answer has no picture to save")
        if path.suffix.lower() != ".png":
            raise ValueError(f"a picture is saved as PNG, so {path.name!r} must end in .png")
        about = PngImagePlugin.PngInfo()
        about.add_text(
            METADATA, json.dumps({"version": __version__, "request": self.request, "thinking": self.thinking})
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self.image.save(beside, format="PNG", pnginfo=about)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        return path

    @staticmethod
    def request_of(path: str | Path) -> dict[str, Any]:
        """The request embedded in a picture that `save` wrote; ValueError for any other file."""
        with open_picture(path) as picture:
            picture.load()
            text = picture.info.get(METADATA)
        try:
            return dict(json.loads(text or "")["request"])
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{path} holds no request; only pictures saved by limner do") from None


@dataclass(frozen=True)
class Limner:
    """A loaded model behind the front door. ``name`` is what answers call it."""

    model: Model
    name: str

    @staticmethod
    def load(
        model: str | Path = catalog.DEFAULT, *, device: str = "cpu", dtype: str = "float32", **options: Any
    ) -> Limner:
        """The model of that name, in that checkpoint folder, or of that id on the hub; ValueError where there is none.

        ``options`` are the family's own, such as ``codec`` for the folder of a codec that stands elsewhere.
        """
        return Limner(catalog.load_model(model, device=device, dtype=dtype, **options), str(model))

    def generate(
        self,
        prompt: str,
        *,
        think: bool = True,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        size: int | None = None,
        on_step: OnStep | None = None,
    ) -> Answer:
        """Think about a prompt (if ``think``) and draw it.

        ``steps`` 1-1000, ``guidance`` 0-100, ``size`` in pixels; None leaves the choice to the model. ``on_step`` sees
        every step; `peek` shows what stands there so far. Raises ValueError for impossible wishes and for words that
        the model does not know.
        """
        request = Request("generate", prompt, think, steps, guidance, size)
        return self.answer(request, [seed], on_step)[0]

    def generate_many(
        self,
        prompt: str,
        n: int,
        *,
        think: bool = True,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        size: int | None = None,
        on_step: OnStep | None = None,
    ) -> list[Answer]:
        """``n`` answers with the seeds seed, seed + 1, ...; each as `generate` would make it."""
        if n < 1:
            raise ValueError(f"n={n} pictures cannot be made; give 1 or more")
        request = Request("generate", prompt, think, steps, guidance, size)
        return self.answer(request, range(seed, seed + n), on_step)

    def ask(
        self,
        image: pil.Image | str | Path,
        question: str,
        *,
        think: bool = False,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Answer:
        """Answer a question about a picture, or about the picture in a file."""
        picture = image if isinstance(image, pil.Image) else read_picture(image)
        return self.answer(Request("ask", question, think, image=picture), [seed], on_step)[0]

    def answer(self, request: Request, seeds: Sequence[int], on_step: OnStep | None = None) -> list[Answer]:
        """One answer a seed (0 to 2^63 - 1), `BATCH` at a time."""
        for seed in seeds:
            if not 0 <= seed < 2**63:
                raise ValueError(f"seed={seed} is impossible; give a whole number from 0 to 2^63 - 1")
        plan = self.prepare(request)
        answers: list[Answer] = []
        for begin in range(0, len(seeds), BATCH):
            answers += self._together(request, plan, list(seeds[begin : begin + BATCH]), on_step)
        return answers

    def prepare(self, request: Request) -> Plan:
        """The plan for a request; ValueError where the model cannot follow it. Makes nothing yet."""
        self.model.check_prompt(request.conversation)
        plan = request.plan(self.model)
        for ask in plan:
            self.model.settings(ask, 1).check()
        return plan

    def peek(self, step: Step) -> list[Part]:
        """The part in work as it stands at a step, one for each row."""
        return self.model.decode(step.ask.kind, step.process.view(step.state))

    def _together(self, request: Request, plan: Plan, seeds: list[int], on_step: OnStep | None) -> list[Answer]:
        timings: dict[str, float] = {}
        begin = mark = time.perf_counter()
        last: Step | None = None
        for last in stream(self.model, [request.conversation] * len(seeds), plan, seeds):
            now = time.perf_counter()
            name = _TIMED[last.ask.kind]
            timings[name] = timings.get(name, 0.0) + now - mark
            if on_step is not None:
                on_step(last)
            mark = time.perf_counter()  # the watcher's time is not the model's
        timings["total"] = time.perf_counter() - begin
        assert last is not None
        answers = []
        for reply, seed in zip(last.replies, seeds, strict=True):
            sample = Sample(Task(request.conversation), reply, seed)
            about = self._about(request, plan, seed)
            answers.append(Answer(sample.thinking, sample.image, sample.text, seed, self.name, about, timings))
        return answers

    def _about(self, request: Request, plan: Plan, seed: int) -> dict[str, Any]:
        about: dict[str, Any] = {"command": request.command, "model": self.name, "prompt": request.prompt.strip()}
        about |= {"think": request.think, "seed": seed}
        if request.image is not None:
            pixels = request.image.convert("RGB")
            about["image"] = {"size": list(pixels.size), "sha256": hashlib.sha256(pixels.tobytes()).hexdigest()}
        else:
            about |= {"steps": plan[-1].steps, "guidance": plan[-1].guidance, "size": plan[-1].size}
        return about
