"""`limner ask`: a question about a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from limner import catalog
from limner.app.console import Device, Json, ModelName, Seed, Watch, json_line, line


@dataclass(frozen=True)
class Ask:
    """Answer a question about a picture."""

    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """A PNG or JPEG file of at most 64 million pixels."""
    question: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUESTION")]
    """The question, in words."""
    think: bool = False
    """Think before answering."""
    seed: Seed = 0
    model: ModelName = catalog.DEFAULT
    device: Device = "cpu"
    json: Json = False

    def run(self) -> int:
        """Look, think if wanted, and answer."""
        from limner.request import Request, read_picture

        request = Request("ask", self.question, self.think, image=read_picture(self.image))
        catalog.find(self.model)
        from limner.answer import Limner

        limner = Limner.load(self.model, device=self.device)
        watch = Watch(limner, seeds=[self.seed], silent=self.json)
        try:
            answer = limner.answer(request, [self.seed], watch)[0]
        finally:
            watch.stop()
        if self.json:
            json_line(answer.to_json() | {"path": str(self.image), "verdicts": {}})
        else:
            line("answer", answer.text or "")
        return 0
