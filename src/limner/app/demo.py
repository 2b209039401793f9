"""`limner demo`: a riddle thought through and drawn, and a sheet of six more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from limner import catalog
from limner.app.console import Json, ModelName, Seed, Watch, json_line, line

if TYPE_CHECKING:
    from limner.answer import Answer, Limner
    from limner.request import Request

RIDDLE = "an animal with (3+6) lives"
PROMPTS = (
    "three apples",
    "a blue car",
    "a boat at sea",
    "the opera house when it is noon in new york",
    "a cat or a dog, not the dog",
)
QUESTION = "how many apples are there?"  # about the picture of the first prompt


@dataclass(frozen=True)
class Demo:
    """See what the model can do: a riddle, then a count, a colour, a place, a time zone, a negation and a question."""

    seed: Seed = 0
    model: ModelName = catalog.DEFAULT
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/demo")
    """Folder for the pictures and the sheet."""
    json: Json = False

    def run(self) -> int:
        """Draw the pictures, put six on a sheet, and end with the riddle."""
        from limner.answer import Limner
        from limner.request import Request
        from limner.world.sheet import draw_sheet

        limner = Limner.load(self.model)
        answers = [self._draw(limner, prompt) for prompt in PROMPTS]
        pictures = [answer.image for answer in answers if answer.image is not None]
        about = Request("ask", QUESTION, False, image=pictures[0])
        told = self._answer(limner, about)
        self._say(told, QUESTION, {"answer": told.text or ""})
        labels = [*PROMPTS, f"{QUESTION} {told.text}"]
        path = self.out / "sheet.png"
        draw_sheet([*pictures, pictures[0]], labels, columns=3, cell=192, text_size=14).save(path)
        if not self.json:
            line("sheet", f"{path}\n")
        self._draw(limner, RIDDLE)
        return 0

    def _draw(self, limner: Limner, prompt: str) -> Answer:
        from limner.app.drawing import slug
        from limner.request import Request

        answer = self._answer(limner, Request("generate", prompt, True))
        path = answer.save(self.out / f"{slug(prompt)}-{self.seed}.png")
        self._say(answer, prompt, {"thinking": answer.thinking or "", "picture": str(path)})
        return answer

    def _answer(self, limner: Limner, request: Request) -> Answer:
        watch = Watch(limner, seeds=[self.seed], silent=True)
        try:
            return limner.answer(request, [self.seed], watch)[0]
        finally:
            watch.stop()

    def _say(self, answer: Answer, prompt: str, lines: dict[str, str]) -> None:
        if self.json:
            json_line(answer.to_json() | {"path": lines.get("picture"), "verdicts": {}})
            return
        print(f"limner generate {prompt!r}" if answer.image is not None else f"limner ask ... {prompt!r}")
        for label, text in lines.items():
            line(f"  {label}", text)
