"""The front door in Python: ask a model for a picture or about one, and get an answer that can be kept and repeated.

    limner = load("tiny-mmada")
    answer = limner.generate("three red apples at night", seed=7)
    answer.save("apples.png")
    Answer.request_of("apples.png")     # all that is needed to make the same picture again

The other doors: `edit` changes a picture as words say, `say` answers in words, `fill` fills blanks in a text, `ask`
answers about a picture; `inpaint` makes a part of a picture anew and `extend` makes it larger, with every kept pixel as
it was.

A picture depends on its request and its own seed alone: the third of `generate_many(prompt, n=4, seed=0)` has the
bytes of `generate(prompt, seed=2)`.
"""

from __future__ import annotations

import hashlib
import io
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
from limner.algorithms.verify.run import method
from limner.algorithms.verify.run import verify as verify_jobs
from limner.algorithms.verify.search import Ledger, OnEvent, jobs_of
from limner.algorithms.verify.trace import Recorder
from limner.judges.named import SCENES, find_verifier
from limner.judges.scenes import facts_of
from limner.judges.verifier import Verifier
from limner.making import Making, OnPicture, OnStep, peek
from limner.parts import Conversation, Image, Part, Plan, Sample, Task, user
from limner.request import ALTERS, MOST_PIXELS, Request, a_picture, open_picture, what_is_free
from limner.turn import Step

if TYPE_CHECKING:
    from limner.models.base import Model, Reply

BATCH = 16  # answers that are made at a time
METADATA = "limner"  # keyword of the PNG text chunk

ImageLike = pil.Image | str | Path


@dataclass(frozen=True, eq=False)
class Answer:
    """A request answered. ``timings`` are seconds: think, draw, answer (as far as there was such a part) and total;
    answers made together share them. ``request`` are plain JSON values that name all that the answer depends on;
    ``reply`` are the parts as they were sampled."""

    thinking: str | None
    image: pil.Image | None
    text: str | None
    seed: int
    model: str
    request: dict[str, Any]
    timings: dict[str, float] = field(default_factory=dict)
    reply: Reply = ()

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

    def png(self) -> bytes:
        """The picture as a PNG file with its request embedded; ValueError for an answer without a picture."""
        if self.image is None:
            raise ValueError("this answer has no picture to save")
        about = PngImagePlugin.PngInfo()
        about.add_text(
            METADATA, json.dumps({"version": __version__, "request": self.request, "thinking": self.thinking})
        )
        file = io.BytesIO()
        self.image.save(file, format="PNG", pnginfo=about)
        return file.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the picture as PNG with its request embedded; the file appears whole or not at all."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise ValueError(f"a picture is saved as PNG, so {path.name!r} must end in .png")
        content = self.png()
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            beside.write_bytes(content)
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
        image: ImageLike | None = None,
        fast: str = "",
        on_step: OnStep | None = None,
    ) -> Answer:
        """Think about a prompt (if ``think``, and if the model was taught to) and draw it, with a picture to begin from
        if one is given.

        ``steps`` 1-1000, ``guidance`` 0-100, ``size`` in pixels; None leaves the choice to the model. ``fast`` makes
        words (here thoughts, elsewhere answers too) in fewer or cheaper passes, and so other words at times: some of
        `WAYS` as `Fast` explains, joined by +. ``on_step`` sees every step; `peek` shows what stands there so far.
        Raises ValueError for impossible wishes and for words that the model does not know.
        """
        shown = None if image is None else a_picture(image)
        request = Request("generate", prompt, think, steps, guidance, size, shown, fast=fast)
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
        fast: str = "",
        on_step: OnStep | None = None,
    ) -> list[Answer]:
        """``n`` answers with the seeds seed, seed + 1, ...; each as `generate` would make it."""
        if n < 1:
            raise ValueError(f"n={n} pictures cannot be made; give 1 or more")
        request = Request("generate", prompt, think, steps, guidance, size, fast=fast)
        return self.answer(request, range(seed, seed + n), on_step)

    def edit(
        self,
        image: ImageLike,
        instruction: str,
        *,
        think: bool = True,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        size: int | None = None,
        fast: str = "",
        on_step: OnStep | None = None,
    ) -> Answer:
        """Change a picture as an instruction says, after a thought where that was taught. The new one has the old one's
        shape where it can be drawn, and pixels as a square of ``size``. ValueError: it cannot edit; and as `generate`.
        """
        picture = a_picture(image)
        request = Request("edit", instruction, think, steps, guidance, size, picture, fast=fast)
        return self.answer(request, [seed], on_step)[0]

    def inpaint(
        self,
        image: ImageLike,
        prompt: str,
        *,
        mask: ImageLike | None = None,
        keep: ImageLike | None = None,
        think: bool = True,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        fast: str = "",
        on_step: OnStep | None = None,
    ) -> Answer:
        """Make a part of a picture anew: where ``mask`` is white, or everywhere but where ``keep`` is white.

        ``prompt`` describes the whole picture. The answer's picture has the size of ``image``, and every kept pixel is
        as it was. Raises ValueError for a mask of another size or one that marks nothing, and as `generate` does.
        """
        picture, free = a_picture(image), what_is_free(mask, keep)
        request = Request("inpaint", prompt, think, steps, guidance, image=picture, mask=free, fast=fast)
        return self.answer(request, [seed], on_step)[0]

    def extend(
        self,
        image: ImageLike,
        prompt: str,
        *,
        left: int = 0,
        right: int = 0,
        up: int = 0,
        down: int = 0,
        think: bool = True,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        fast: str = "",
        on_step: OnStep | None = None,
    ) -> Answer:
        """Make a picture larger by so many pixels; the old picture stands in the new one unchanged.

        Raises ValueError for pixels that are no multiple of one code's, and as `generate` does.
        """
        picture, margins = a_picture(image), (left, right, up, down)
        request = Request("extend", prompt, think, steps, guidance, image=picture, margins=margins, fast=fast)
        return self.answer(request, [seed], on_step)[0]

    def ask(
        self,
        image: ImageLike,
        question: str,
        *,
        think: bool = False,
        begin: str = "",
        seed: int = 0,
        temperature: float | None = None,
        fast: str = "",
        on_step: OnStep | None = None,
    ) -> Answer:
        """Answer a question about a picture, or about the picture in a file. ``begin`` is how the answer begins."""
        image = a_picture(image)
        request = Request("ask", question, think, image=image, begin=begin, temperature=temperature, fast=fast)
        return self.answer(request, [seed], on_step)[0]

    def say(
        self,
        prompt: str,
        *,
        think: bool = False,
        begin: str = "",
        seed: int = 0,
        temperature: float | None = None,
        fast: str = "",
        on_step: OnStep | None = None,
    ) -> Answer:
        """Answer in words. ``temperature`` 0-100, 0 always takes the likeliest; ``begin`` is how the answer begins."""
        request = Request("say", prompt, think, begin=begin, temperature=temperature, fast=fast)
        return self.answer(request, [seed], on_step)[0]

    def fill(
        self,
        text: str,
        *,
        question: str = "",
        image: ImageLike | None = None,
        blank: int | None = None,
        think: bool = False,
        seed: int = 0,
        temperature: float | None = None,
        fast: str = "",
        on_step: OnStep | None = None,
    ) -> Answer:
        """Fill the blanks of a text, each written as two or more underscores; the answer's text is the whole text.

        ``question`` is what the text replies to (default: its own words), about ``image`` if there is one. ``blank`` is
        the number of tokens in a blank, 1-64; None tries one to three and takes the likeliest. Raises ValueError for a
        model that writes from left to right only.
        """
        picture = None if image is None else a_picture(image)
        wish = Request(
            "fill", text, think, image=picture, question=question, blank=blank, temperature=temperature, fast=fast
        )
        return self.answer(wish, [seed], on_step)[0]

    def verified(
        self,
        prompt: str,
        verify: str = "parm",
        n: int = 20,
        *,
        judge: str | Verifier = "self",
        budget: float | None = None,
        official: bool = False,
        think: bool = True,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        size: int | None = None,
        fast: str = "",
        on_event: OnEvent | None = None,
        on_pass: Callable[[], None] | None = None,
        trace: str | Path | None = None,
    ) -> Answer:
        """The chosen one of ``n`` pictures with the seeds seed, seed + 1, ..., judged while they are made.

        ``verify`` is one of `METHODS` (none, random, oracle, orm, prm, parm, parm++, survey), ``judge`` a name that
        `find_verifier` knows or a verifier, ``budget`` the seconds that it may take; `on_event` sees every look, and
        `on_pass` is called before every pass and look. What the file ``trace`` holds is not asked again; what is asked
        is added to it. ``request["verify"]`` says what was chosen, why, and what it cost. Raises ValueError as
        `generate` does, and for names that are not known.
        """
        request = Request("generate", prompt, think, steps, guidance, size, fast=fast)
        plan = self.prepare(request)
        how = method(verify, n, budget, official=official)
        name = judge if isinstance(judge, str) else judge.about.name
        if verify == "oracle" and judge == "self":
            judge = name = SCENES
        facts = facts_of(request.conversation[-1].text) if judge == SCENES else {}
        if facts is None:
            raise ValueError(
                f"the judge {SCENES} cannot tell what {prompt!r} asks for; say it as a plan, such as 'three red apples'"
            )
        verifier: Verifier | None = None
        if how.policy.questions or how.rounds:
            verifier = find_verifier(judge, self.model, official=official) if isinstance(judge, str) else judge
        about: dict[str, Any] = {"model": self.name, "judge": name if verifier else "", "prompt": prompt.strip()}
        about["think"] = think and self.model.thinks
        recorder = Recorder(None if trace is None else Path(trace), about, on_event)
        begin = time.perf_counter()
        (job,) = jobs_of([Task(request.conversation, facts, id=prompt.strip())], n, [seed])
        ledger = Ledger()
        (found,) = verify_jobs(
            self.model,
            [job],
            plan,
            recorder.around(verifier),
            how,
            rows=BATCH,
            on_event=recorder,
            ledger=ledger,
            on_pass=on_pass,
        )
        timings = {"total": time.perf_counter() - begin}
        told = {"method": verify, "n": n, "budget": budget, "judge": about["judge"], "first_seed": seed}
        told |= {"path": found.choice.path, "why": found.choice.why, "rounds": found.rounds, "cost": ledger.to_json()}
        told |= {"looks": recorder.looks, "unjudged": recorder.unjudged, "unjudged_why": recorder.unjudged_why}
        own = self.about(request, plan, found.sample.seed) | {"verify": told}
        return self._told(found.sample, own, timings)

    def answer(
        self,
        request: Request,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        on_picture: OnPicture | None = None,
    ) -> list[Answer]:
        """One answer a seed (0 to 2^63 - 1), `BATCH` at a time. ``on_picture`` sees pictures at every step."""
        for seed in seeds:
            if not 0 <= seed < 2**63:
                raise ValueError(f"seed={seed} is impossible; give a whole number from 0 to 2^63 - 1")
        plan = self.prepare(request)
        answers: list[Answer] = []
        some = BATCH
        if request.command in ALTERS:  # every row has a canvas of its own
            width, height = request.canvas(self.model, plan[-1]).picture.size
            some = min(BATCH, max(1, MOST_PIXELS // (width * height)))
        for begin in range(0, len(seeds), some):
            answers += self._together(request, plan, list(seeds[begin : begin + some]), on_step, on_picture)
        return answers

    def prepare(self, request: Request) -> Plan:
        """The plan for a request; ValueError where the model cannot follow it. Makes nothing yet."""
        self.model.check_prompt(request.conversation)
        for words in request.given_words:
            self.model.check_prompt((user(words),))
        plan = request.plan(self.model)
        for ask in plan:
            settings = self.model.settings(ask, 1)
            settings.check()
            if ask.fast and settings.fast is None:
                raise ValueError(f"{self.name} makes its {ask.kind} in the exact way only; leave out fast={ask.fast!r}")
        if request.command in ALTERS:
            request.canvas(self.model, plan[-1])
        return plan

    def peek(self, step: Step) -> list[Part]:
        """The part in work as it stands at a step, one for each row."""
        return peek(self.model, step)

    def _together(
        self,
        request: Request,
        plan: Plan,
        seeds: list[int],
        on_step: OnStep | None,
        on_picture: OnPicture | None,
    ) -> list[Answer]:
        making = Making(self.model, request, seeds, on_step, on_picture)
        begin = time.perf_counter()
        standing = making.parts(plan[:-1], [()] * len(seeds)) if len(plan) > 1 else [()] * len(seeds)
        if request.command in ALTERS:
            replies = making.painted(plan[-1], standing)
        elif request.command == "fill":
            replies = making.filled(standing)
        else:
            replies = making.parts(plan[-1:], standing)
        timings = making.timings | {"total": time.perf_counter() - begin}
        answers = []
        for reply, seed in zip(replies, seeds, strict=True):
            sample = Sample(Task(request.conversation), reply, seed)
            answers.append(self._told(sample, self.about(request, plan, seed), timings))
        return answers

    def _told(self, sample: Sample, about: dict[str, Any], timings: dict[str, float]) -> Answer:
        shown = sample.thinking, sample.image, sample.text
        return Answer(*shown, sample.seed, self.name, about, timings, sample.reply)

    def about(self, request: Request, plan: Plan, seed: int) -> dict[str, Any]:
        """All that an answer to a request depends on, as plain JSON values."""
        about: dict[str, Any] = {"command": request.command, "model": self.name, "prompt": request.prompt.strip()}
        about |= {"think": any(ask.kind == "thinking" for ask in plan), "seed": seed}
        about |= {"fast": request.fast} if request.fast else {}
        for name in ("image", "mask"):
            picture = getattr(request, name)
            if picture is not None:
                digest = hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()
                about[name] = {"size": list(picture.size), "sha256": digest}
        if request.history:
            about["history"] = {"messages": len(request.history), "sha256": _digest(request.history)}
        if request.command == "edit" and plan[-1].shape is not None:
            about["shape"] = list(plan[-1].shape)
        if request.command in ("generate", "edit"):
            return about | {"steps": plan[-1].steps, "guidance": plan[-1].guidance, "size": plan[-1].size}
        if request.command in ALTERS:
            if request.command == "extend":
                about |= dict(zip(("left", "right", "up", "down"), request.margins, strict=True))
            return about | {"steps": plan[-1].steps, "guidance": plan[-1].guidance}
        about |= {"begin": request.begin.strip(), "temperature": plan[-1].temperature}
        return about | ({"question": request.question, "blank": request.blank} if request.command == "fill" else {})


def _digest(conversation: Conversation) -> str:
    """SHA-256 of what messages say and show: of pixels, not of a file."""
    digest = hashlib.sha256()
    for message in conversation:
        for part in message.parts:
            said = (part.image.size, part.image.convert("RGB").tobytes()) if isinstance(part, Image) else part.text
            digest.update(repr((message.role, part.kind, said, part.raw)).encode())
    return digest.hexdigest()
