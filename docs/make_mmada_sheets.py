"""Draws the pictures of docs/mmada.md with any checkpoint: python docs/make_mmada_sheets.py [--model NAME]

Inputs are exact scenes of the picture world; every sheet shows the seeds 0, 1, 2, ... as they come, none left out.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import limner
from limner.answer import Limner
from limner.request import what_is_free
from limner.world.content import Content, copies
from limner.world.draw import to_image
from limner.world.sheet import draw_sheet

FOLDER = Path(__file__).parent / "mmada"
SIDE = 128
GREY = (150, 150, 150)
APPLE_CAR = Content("row", (("apple", "red"), ("car", "blue")), "plain")
HOUSES = copies(1, "house", "brown", "snow")
BOAT = copies(1, "boat", "red", "sea")
CATS = copies(3, "cat", "orange", "plain")


def scene(content: Content) -> Image.Image:
    """The content drawn exactly, always in the same place."""
    return to_image(content.scene(random.Random(0), vary=False), SIDE)


def box_mask(box: tuple[int, int, int, int], inside: int = 255) -> Image.Image:
    """A mask that is white in a box, or everywhere else."""
    mask = Image.new("L", (SIDE, SIDE), 255 - inside)
    mask.paste(inside, box)
    return mask


HOLE = box_mask((32, 32, 96, 112))
RIGHT_HALF = box_mask((64, 0, SIDE, SIDE))
LEFT_HALF = box_mask((0, 0, 64, SIDE))


def greyed(picture: Image.Image, free: Image.Image) -> Image.Image:
    """What the model is shown of a picture."""
    shown = picture.copy()
    shown.paste(GREY, mask=free)
    return shown


def words(rows: list[tuple[str, ...]], heads: tuple[str, ...], widths: tuple[int, ...]) -> Image.Image:
    """A table of texts as a picture; texts are wrapped."""
    font, high = ImageFont.load_default(13), 18
    wrapped = [[_wrap(text, font, width - 12) for text, width in zip(row, widths, strict=True)] for row in rows]
    heights = [max(map(len, row)) * high + 6 for row in wrapped]
    table = Image.new("RGB", (sum(widths), sum(heights) + 24), "white")
    pen = ImageDraw.Draw(table)
    lefts = [sum(widths[:i]) + 6 for i in range(len(widths))]
    for left, head in zip(lefts, heads, strict=True):
        pen.text((left, 3), head, fill=(120, 120, 120), font=font)
    top = 24
    for row, height in zip(wrapped, heights, strict=True):
        pen.line((0, top - 1, table.width, top - 1), fill=(220, 220, 220))
        for left, lines in zip(lefts, row, strict=True):
            for number, text in enumerate(lines):
                pen.text((left, top + 2 + number * high), text, fill=(20, 20, 20), font=font)
        top += height
    return table


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def say(model: Limner) -> Image.Image:
    """Prompts, answered at once and after a thought."""
    prompts = ("3+6=", "what is 2+3-1?", "which animal has nine lives?", "what colour is snow?")
    rows = []
    for prompt in prompts:
        thought = model.say(prompt, think=True)
        rows.append((prompt, model.say(prompt).text or "", thought.thinking or "", thought.text or ""))
    return words(rows, ("limner say", "answer", "--think: thinking", "answer"), (210, 110, 260, 110))


def ask(model: Limner) -> Image.Image:
    """Questions about pictures, answered at once and after a thought."""
    asked = (
        (APPLE_CAR, "what is left of the car?"),
        (CATS, "how many cats are there?"),
        (BOAT, "what is the background?"),
        (HOUSES, "what colour is the house?"),
    )
    labels = []
    for content, question in asked:
        picture = scene(content)
        plain, thought = model.ask(picture, question), model.ask(picture, question, think=True)
        labels.append(f"{question}\n{plain.text}\nthinking: {thought.thinking}\n{thought.text}")
    return draw_sheet([scene(content) for content, _ in asked], labels, 4, cell=160)


def generate(model: Limner) -> Image.Image:
    """Pictures from words, without a thought."""
    prompts = ("three orange cats", "a red apple left of a blue car", "a red boat at sea", "a brown house in the snow")
    made = [(prompt, model.generate(prompt, think=False, seed=seed)) for prompt in prompts for seed in (0, 1)]
    return draw_sheet([answer.image for _, answer in made if answer.image], [prompt for prompt, _ in made], 4)


def think(model: Limner) -> Image.Image:
    """The same prompts drawn at once and after a thought."""
    prompts = (
        "an animal with (3+6) lives",
        "(2+3) yellow stars",
        "a cat or a dog, not the dog",
        "a car the colour of snow",
    )
    pictures, labels = [], []
    for prompt in prompts:
        for answer in (model.generate(prompt, think=False), model.generate(prompt)):
            pictures.append(answer.image)
            labels.append(prompt if answer.thinking is None else f"thinking: {answer.thinking}")
    return draw_sheet([picture for picture in pictures if picture], labels, 4)


def inpaint(model: Limner) -> Image.Image:
    """A hole in two pictures, filled four times."""
    pictures, labels = [], []
    for content, prompt in ((CATS, "three orange cats"), (BOAT, "a red boat at sea")):
        before = scene(content)
        made = [model.inpaint(before, prompt, mask=HOLE, think=False, seed=seed).image for seed in range(3)]
        pictures += [before, greyed(before, HOLE), *made]
        labels += ["before", "masked", *(f"{prompt}, seed {seed}" for seed in range(3))]
    return draw_sheet([picture for picture in pictures if picture], labels, 5)


def edit(model: Limner) -> Image.Image:
    """One half of a picture kept, the other made anew by other words."""
    before = scene(APPLE_CAR)
    free = what_is_free(keep=LEFT_HALF)
    pictures, labels = [before, greyed(before, free)], ["before", "kept"]
    for prompt in ("a red apple left of a blue car", "a red apple left of a yellow star", "two red apples"):
        pictures.append(model.inpaint(before, prompt, keep=LEFT_HALF, think=False).image or before)
        labels.append(prompt)
    return draw_sheet(pictures, labels, 5)


def extend(model: Limner) -> Image.Image:
    """Pictures made wider and higher."""
    wishes = (
        (CATS, "orange cats", {"right": SIDE}),
        (BOAT, "a red boat at sea", {"left": SIDE // 2, "right": SIDE // 2}),
        (HOUSES, "a brown house in the snow", {"up": SIDE // 2, "down": SIDE // 4}),
    )
    rows = []
    for content, prompt, margins in wishes:
        before = scene(content)
        made = model.extend(before, prompt, think=False, **margins).image or before
        old = Image.new("RGB", made.size, GREY)
        old.paste(before, (margins.get("left", 0), margins.get("up", 0)))
        rows.append((old, made, f"{prompt}; " + ", ".join(f"{name} {pixels}" for name, pixels in margins.items())))
    sheet = Image.new("RGB", (2 * 256 + 18, sum(made.height + 28 for _, made, _ in rows)), "white")
    pen, top = ImageDraw.Draw(sheet), 6
    for old, made, label in rows:
        sheet.paste(old, (6, top))
        sheet.paste(made, (12 + made.width, top))
        pen.text((6, top + made.height + 3), label, fill=(20, 20, 20), font=ImageFont.load_default(13))
        top += made.height + 28
    return sheet


def fill(model: Limner) -> Image.Image:
    """Texts with blanks."""
    texts = (
        ("the ___ with nine lives is the ___", "which animal has nine lives?"),
        ("3+___=9", "3+6="),
        ("snow is ___", "what colour is snow?"),
        ("the ___ is in ___", "where is the opera house?"),
    )
    rows = [(text, question, model.fill(text, question=question).text or "") for text, question in texts]
    return words(rows, ("limner fill", "--question", "text"), (250, 210, 250))


def begin(model: Limner) -> Image.Image:
    """Answers about pictures that were begun by somebody else."""
    asked = (
        (APPLE_CAR, "where is the apple?", "left of"),
        (CATS, "how many cats are there?", "three"),
        (BOAT, "what is the background?", "the"),
    )
    labels = [
        f"{question}\n{start} ...\n{model.ask(scene(content), question, begin=start).text}"
        for content, question, start in asked
    ]
    return draw_sheet([scene(content) for content, _, _ in asked], labels, 4, cell=160)


SHEETS: dict[str, Callable[[Limner], Image.Image]] = {
    sheet.__name__: sheet for sheet in (say, ask, generate, think, inpaint, edit, extend, fill, begin)
}


def main() -> None:
    """Draw the wanted sheets, and the inputs that the page's commands name."""
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/mmada.md.")
    parser.add_argument("--model", default="tiny-mmada")
    parser.add_argument("--only", nargs="*", choices=SHEETS, default=list(SHEETS))
    parser.add_argument("--out", type=Path, default=FOLDER)
    wishes = parser.parse_args()
    wishes.out.mkdir(parents=True, exist_ok=True)
    scene(APPLE_CAR).save(wishes.out / "scene.png", optimize=True)
    RIGHT_HALF.save(wishes.out / "mask.png", optimize=True)
    LEFT_HALF.save(wishes.out / "half.png", optimize=True)
    model = limner.load(wishes.model)
    for name in wishes.only:
        path = wishes.out / f"{name}.png"
        SHEETS[name](model).quantize(56, dither=Image.Dither.NONE).save(path, optimize=True)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
