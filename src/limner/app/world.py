"""`limner world`: the picture world as a sheet to look at, or as data to train on."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from limner.app.console import Json, Seed, json_line, line

if TYPE_CHECKING:
    from limner.world.lessons import Lesson

MOST_SHOWN = 2000
Size = Annotated[int, tyro.conf.arg(help="Side of each picture in pixels, 16 to 2048.")]


@dataclass(frozen=True)
class WorldShow:
    """Draw random scenes with their captions on one sheet."""

    seed: Seed = 0
    number: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 48
    """How many scenes, 1 to 2000."""
    columns: int = 8
    """Scenes in a row."""
    size: Size = 128
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("sheet.png")
    """A file ending in .png."""
    json: Json = False

    def run(self) -> int:
        """Draw and save the sheet."""
        from limner.world import say
        from limner.world.content import Content
        from limner.world.draw import to_image
        from limner.world.scene import random_scene
        from limner.world.sheet import draw_sheet

        if not 1 <= self.number <= MOST_SHOWN:
            raise ValueError(f"-n {self.number}: give 1 to {MOST_SHOWN} scenes")
        if self.out.suffix.lower() != ".png" or self.out.is_dir():
            raise ValueError(f"-o {self.out}: a sheet is saved as PNG; give a file name ending in .png")
        rng = random.Random(self.seed)
        scenes = [random_scene(rng) for _ in range(self.number)]
        captions = [say.caption(Content.of(scene), rng) for scene in scenes]
        pictures = [to_image(scene, self.size) for scene in scenes]
        sheet = draw_sheet(pictures, captions, self.columns, cell=self.size)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        beside = self.out.with_name(f".{self.out.name}.part")
        sheet.save(beside, format="PNG")
        beside.replace(self.out)
        if self.json:
            json_line({"path": str(self.out), "seed": self.seed, "captions": captions})
        else:
            line("sheet", str(self.out))
        return 0


@dataclass(frozen=True)
class WorldExport:
    """Write lessons as a dataset: one JSON line of messages each, with the pictures as files beside them."""

    seed: Seed = 0
    number: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1000
    """How many lessons."""
    split: Literal["train", "new_compositions", "new_wordings", "text_only"] = "train"
    """Which lessons: those to train on, or one of the test splits."""
    size: Size = 128
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/world")
    """A folder that does not exist yet."""
    json: Json = False

    def run(self) -> int:
        """Write the folder; it appears whole or not at all."""
        from limner.world import lessons

        if self.number < 1:
            raise ValueError(f"-n {self.number}: give 1 lesson or more")
        if self.out.exists():
            raise ValueError(f"-o {self.out}: this exists already; give a new folder")
        beside = self.out.with_name(f".{self.out.name}.{os.getpid()}.part")
        try:
            (beside / "pictures").mkdir(parents=True)
            source = lessons.stream(self.seed, self.split)
            rng = random.Random(self.seed)
            with (beside / "messages.jsonl").open("w", encoding="utf-8") as file:
                for index in range(self.number):
                    file.write(json.dumps(_record(next(source), index, beside, self.size, rng)) + "\n")
            beside.replace(self.out)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        path = self.out / "messages.jsonl"
        if self.json:
            json_line({"path": str(path), "seed": self.seed, "split": self.split, "lessons": self.number})
        else:
            line("data", str(path))
        return 0


def _record(lesson: Lesson, index: int, folder: Path, size: int, rng: random.Random) -> dict[str, Any]:
    """A lesson as messages; pictures are named by a path relative to the folder."""
    from limner.world.draw import to_image

    reply: list[dict[str, Any]] = [{"type": "thinking", "text": lesson.thought}]
    if lesson.content is not None and lesson.kind == "picture":
        name = f"pictures/{index:06d}.png"
        to_image(lesson.content.scene(rng), size).save(folder / name)
        reply.append({"type": "image", "path": name})
    elif lesson.answer is not None:
        reply.append({"type": "text", "text": lesson.answer})
    about = lesson.to_json()
    return {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": lesson.prompt}]},
            {"role": "assistant", "content": reply},
        ],
        **{name: about[name] for name in ("id", "group", "split", "tags", "facts", "content")},
    }
