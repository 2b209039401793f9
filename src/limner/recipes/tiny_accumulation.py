"""The study of error accumulation (2504.21356 section 3; spec section 7), at the tiny size.

Three autoregressive parts begin with the same weights and see the same lessons for as many steps: one reads a learned
table at a picture's places ("table", V2), one the embedding of the picture's mark ("pad", V1), and one, token by token,
the embeddings themselves ("none"): the true ones while it learns, its own when it draws. Then, on prompts that were
kept from training, at every place of the picture: how far the prediction is from the true embedding, with the true ones
read before it and with its own; how long it is; and how often the picture that one decoder paints of it is right.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image as pil
from PIL import ImageDraw
from torch import Tensor, nn

from limner.judges.scenes import scene_judge
from limner.models.nexusgen.config import RowsKind
from limner.models.nexusgen.lessons import Lesson
from limner.models.nexusgen.model import NexusGen
from limner.models.nexusgen.network import Reader
from limner.models.nexusgen.objective import Weights
from limner.models.nexusgen.pictures import Scene
from limner.parts import Ask, Image, Task, user
from limner.recipes import tiny_nexusgen as tiny
from limner.recipes.nexusgen_learn import laid, reader_loss
from limner.train.data import each_step
from limner.train.run import Run
from limner.turn import rollout
from limner.world import lessons
from limner.world.draw import to_image

WAYS: tuple[RowsKind, ...] = ("table", "pad", "none")
PUSHES = (0.05, 0.1, 0.2, 0.4)  # noise on what is fed back, in lengths of a vector
DRAWING = tiny.Mixture(caption=32, explicit=32)
COLOURS = {"table": ("#9ecae1", "#08519c"), "pad": ("#a1d99b", "#006d2c"), "none": ("#fcae91", "#a50f15")}
REPORT, PLOT = "report.json", "accumulation.png"


class Study(nn.Module):
    """A model whose eyes, decoders and autoencoder all ways share, and an autoregressive part for each way."""

    def __init__(self, model: NexusGen) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.ways = nn.ModuleDict()
        known = model.reader.state_dict()
        for way in WAYS:
            reader = Reader(model.reader_config, model.config.side, way)
            reader.load_state_dict({name: value for name, value in known.items() if name in reader.state_dict()})
            reader.network.model.visual = model.reader.network.model.visual
            self.ways[way] = reader

    def reader(self, way: RowsKind) -> Reader:
        """The autoregressive part of a way."""
        found = self.ways[way]
        assert isinstance(found, Reader)
        return found


def _objective(model: nn.Module, rows: list[Lesson], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    assert isinstance(model, Study)
    batch, total, numbers = laid(model.model, rows), torch.zeros(()), dict[str, float]()
    for way in WAYS:
        loss, found = reader_loss(model.reader(way), batch, Weights())
        total = total + loss
        numbers |= {f"{way}_{name}": value for name, value in found.items() if name != "words"}
    return total, numbers


@torch.no_grad()
def block(reader: Reader, prompt: Scene, push: float = 0.0, seed: int = 0) -> Tensor:
    """(B, n, D) as it is drawn; where vectors are fed back, each with noise of ``push`` of its length."""
    if reader.rows != "none":
        return reader.block(prompt)
    generator, found = torch.Generator().manual_seed(seed), list[Tensor]()
    last, memory = None, None
    for _ in range(reader.side**2):
        last, memory = reader.following(prompt, last, memory)
        found.append(last)
        noise = torch.randn(last.shape, generator=generator).to(last)
        last = last + push * noise * last.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
    return torch.stack(found, dim=1)


def compared(found: Tensor, wanted: Tensor) -> dict[str, list[float]]:
    """By place: mean cosine, mean squared error and mean relative length of vectors (B, n, D)."""
    return {
        "cosine": torch.cosine_similarity(found, wanted, dim=2).mean(dim=0).tolist(),
        "squared": ((found - wanted) ** 2).mean(dim=(0, 2)).tolist(),
        "length": (found.norm(dim=2) / wanted.norm(dim=2)).mean(dim=0).tolist(),
    }


@torch.no_grad()
def study(model: Study, count: int = 100, seed: int = 0, batch: int = 25) -> dict[str, Any]:
    """The report on ``count`` prompts of the explicit groups that training never showed."""
    tasks, base = _tasks(count, seed), model.model
    own = base.reader
    report: dict[str, Any] = {"prompts": count, "test_seed": seed, "places": own.side**2, "ways": {}}
    for way in WAYS:
        reader = model.reader(way)
        truths, taught, free, pushed = [], [], [], dict[float, list[Tensor]]()
        for begin in range(0, count, batch):
            some = tasks[begin : begin + batch]
            given = base.context([task.prompt for task, _ in some], [()] * len(some), Ask("image")).given
            assert isinstance(given, Scene)
            shown = [base.own(image.image) for _, image in some]
            patches, grids = torch.stack([p for p, _ in shown]), torch.tensor([[grid] for _, grid in shown])
            true = reader.see(patches, grids).unflatten(0, (len(some), -1))
            truths.append(true)
            taught.append(reader.block(given, true[:, :-1] if way == "none" else None))
            free.append(block(reader, given))
            for push in PUSHES:
                pushed.setdefault(push, []).append(block(reader, given, push)[:, -1])
        true = torch.cat(truths)
        base.reader = reader
        samples = rollout(base, [task for task, _ in tasks], base.plan(["image"]), list(range(count)), batch=batch)
        base.reader = own
        right = [verdict.score or 0.0 for verdict in scene_judge()(samples)]
        report["ways"][way] = {
            "teacher_forced": compared(torch.cat(taught), true),
            "free": compared(torch.cat(free), true),
            "last_cosine_pushed": {
                str(push): float(torch.cosine_similarity(torch.cat(some), true[:, -1], dim=1).mean())
                for push, some in pushed.items()
            },
            "success": sum(right) / count,
        }
    return report


def _tasks(count: int, seed: int) -> list[tuple[Task, Image]]:
    """Prompts that say everything about their picture, and that picture."""
    rng, found = random.Random(f"accumulation/{seed}"), list[tuple[Task, Image]]()
    while len(found) < count:
        lesson = lessons.lesson(rng.choice(lessons.EXPLICIT), rng, "new_compositions")
        assert lesson.content is not None
        shown = Image(to_image(lesson.content.scene(rng, vary=False), tiny.SIZE))
        found.append((Task((user(lesson.plan or ""),), lesson.facts, (lesson.group,), lesson.id), shown))
    return found


def plot(report: Mapping[str, Any], file: Path) -> None:
    """The squared error by place: as pictures are drawn, and in light with true vectors read before it."""
    wide, high, edge, places = 720, 420, 48, int(report["places"])
    rows = {way: [report["ways"][way][kind]["squared"] for kind in ("teacher_forced", "free")] for way in WAYS}
    most = 1.1 * max(value for pair in rows.values() for row in pair for value in row)

    def at(place: int, value: float) -> tuple[float, float]:
        return edge + place * (wide - 2 * edge) / max(1, places - 1), high - edge - value / most * (high - 2 * edge)

    sheet = pil.new("RGB", (wide, high), "white")
    pen = ImageDraw.Draw(sheet)
    pen.line([at(0, most), at(0, 0), at(places - 1, 0)], fill="black", width=2)
    for share in (0.0, 0.5, 1.0):
        pen.text((4, at(0, share * most)[1] - 6), f"{share * most:.2f}", fill="black")
    pen.text(
        (edge, high - edge + 8), f"squared error of the embedding at places 1 to {places} of the picture", fill="black"
    )
    for number, way in enumerate(WAYS):
        for row, colour in zip(rows[way], COLOURS[way], strict=True):
            pen.line([at(k, value) for k, value in enumerate(row)], fill=colour, width=3)
        told = f"{way}: {report['ways'][way]['success']:.2f} of the pictures right"
        pen.text((wide - 5 * edge, 8 + 14 * number), told, fill=COLOURS[way][1])
    beside = file.with_name(f".{file.name}.partial.png")
    sheet.save(beside)
    beside.replace(file)


def _finish(model: nn.Module, folder: Path, count: int) -> None:
    assert isinstance(model, Study)
    report = study(model, count)
    (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    plot(report, folder / PLOT)


def tiny_accumulation(start: Path = tiny.GENERATION, mixture: tiny.Mixture = DRAWING, prompts: int = 100) -> Run:
    """Three ways trained side by side on captions and prompts, then compared; the report and a plot are released."""
    return Run(
        name="nexusgen.tiny_accumulation",
        build=lambda: Study(NexusGen.load(tiny.there(start))),
        objective=_objective,
        batches=each_step(partial(tiny.some_lessons, mixture)),
        optimizer=tiny.muon,
        finish=partial(_finish, count=prompts),
        steps=2000,
        batch_size=sum(asdict(mixture).values()),
        lr=2e-3,
        warmup=50,
        hold=0.4,
        weight_decay=0.3,
        clip=0.0,  # a joint norm would let one way slow the others
        ema=0.99,
        dtype="bfloat16",
        checkpoint_every=100,
        settings={"start": start.parent.name, "mixture": asdict(mixture), "prompts": prompts},
    )
