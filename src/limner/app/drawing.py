"""What the commands that draw have in common: their options, a bar, files with the request embedded, a film."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from limner import catalog
from limner.app.console import OWN, Device, Fast, Json, ModelName, Seed, Watch, json_line, line

if TYPE_CHECKING:
    from PIL.Image import Image

    from limner.answer import Answer, Limner
    from limner.request import Request

OTHER_FORMATS = {".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".svg"}
FRAME_MS, LAST_FRAME_MS = 120, 1500


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A command that draws: it says what is wanted, the rest is here."""

    think: bool = True
    """Think before drawing, if the model was taught to."""
    seed: Seed = 0
    number: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1
    """How many pictures, with the seeds SEED, SEED + 1, ..."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=OWN)] = None
    """In how many steps a picture is drawn, 1 to 1000."""
    guidance: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=OWN)] = None
    """How strongly the picture follows the words, 0 to 100."""
    fast: Fast = ""
    model: ModelName = catalog.DEFAULT
    device: Device = "cpu"
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out")
    """A file ending in .png, or a folder."""
    preview: tyro.conf.FlagCreatePairsOff[bool] = False
    """Save the picture's coming to be as a GIF beside it, one frame a step."""
    json: Json = False

    def request(self) -> Request:
        """What is wanted; ValueError where it is impossible."""
        raise NotImplementedError

    def run(self) -> int:
        """Make the pictures, a few at a time, and report each."""
        request = self.request()
        if self.number < 1:
            raise ValueError(f"-n {self.number}: give 1 picture or more")
        self._path(request, self.seed)
        catalog.find(self.model)
        from limner.answer import BATCH, Limner

        limner = Limner.load(self.model, device=self.device)
        limner.prepare(request)
        seeds = list(range(self.seed, self.seed + self.number))
        for begin in range(0, len(seeds), BATCH):
            self._some(limner, request, seeds[begin : begin + BATCH])
        return 0

    def _some(self, limner: Limner, request: Request, seeds: list[int]) -> None:
        watch = Watch(limner, seeds=seeds, silent=self.json)
        frames: dict[int, list[Image]] = {seed: [] for seed in seeds}

        def on_picture(seed: int, picture: Image) -> None:
            frames[seed].append(picture)

        try:
            answers = limner.answer(request, seeds, watch, on_picture if self.preview else None)
        finally:
            watch.stop()
        for answer in answers:
            self._keep(request, answer, frames[answer.seed])

    def _keep(self, request: Request, answer: Answer, frames: list[Image]) -> None:
        path = answer.save(self._path(request, answer.seed))
        film = save_film(frames, path.with_suffix(".gif")) if self.preview else None
        if self.json:
            json_line(answer.to_json() | {"path": str(path), "preview": film and str(film), "verdicts": {}})
            return
        line("picture", str(path))
        if film is not None:
            line("preview", str(film))

    def _path(self, request: Request, seed: int) -> Path:
        if self.number > 1 and self.out.suffix.lower() == ".png" and not self.out.is_dir():
            raise ValueError(f"-o {self.out}: {self.number} pictures do not fit into one file; give a folder")
        return self.path_of(request, seed)

    def path_of(self, request: Request, seed: int, mark: str = "") -> Path:
        """The file for one picture; ``mark`` is added to its name. ValueError where no PNG can stand there."""
        above = next((parent for parent in self.out.parents if parent.exists()), None)
        if above is not None and not above.is_dir():
            raise ValueError(f"-o {self.out}: {above} is a file; give a path whose folders are folders, or can be made")
        suffix = self.out.suffix.lower()
        if suffix in OTHER_FORMATS and not self.out.is_dir():
            raise ValueError(f"-o {self.out}: pictures are saved as PNG; give a name ending in .png, or a folder")
        if suffix != ".png" or self.out.is_dir():
            if self.out.exists() and not self.out.is_dir():
                raise ValueError(
                    f"-o {self.out}: there is a file of that name; give a name ending in .png, or a folder"
                )
            made = "" if request.command == "generate" else f"{request.command}-"
            return self.out / f"{made}{slug(request.prompt)}-{seed}{mark and '-' + mark}.png"
        return self.out


def slug(text: str) -> str:
    """A short file name that still tells what was asked: letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-") or "picture"


def save_film(frames: list[Image], path: Path) -> Path | None:
    """Write pictures as a looping GIF, the last one held longer; None if there are none."""
    if not frames:
        return None
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    beside = path.with_name(f".{path.name}.part")
    try:
        frames[0].save(beside, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
