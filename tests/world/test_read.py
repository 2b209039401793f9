"""Pictures are read back exactly when clean, rightly when soft, and not at all when they show nothing legal."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from limner.world import draw
from limner.world.content import Content
from limner.world.read import read
from limner.world.scene import BACKGROUNDS, KINDS, SLOTS, Scene, Thing, arrange, random_scene


def scenes(seed, count):
    rng = random.Random(seed)
    return [random_scene(rng) for _ in range(count)]


def differing(seed, count):
    return [scene for scene in scenes(seed, count) if read(draw.render(scene, 64)).scene != scene]


def softened(picture, rng, blur):
    soft = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(blur)), dtype=np.float32)
    return np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).round().astype(np.uint8)


def share_right(spoil, count=60):
    right = 0
    for scene in scenes(11, count):
        content = read(spoil(draw.render(scene, 64))).content
        right += content == Content.of(scene)
    return right / count


def test_two_thousand_scenes_are_read_back_exactly():
    assert differing(1, 2_000) == []


def test_a_picture_whose_shift_looks_like_blur_is_read_exactly():
    """The one of a hundred thousand that was read a pixel too high."""
    scene = Scene("snow", (Thing(y=33, x=31, half=19, kind="opera house", colour="blue", flip=False),))
    assert read(draw.render(scene, 64)).scene == scene


@pytest.mark.slow
@pytest.mark.timeout(3600)  # ten minutes of processor time
def test_a_hundred_thousand_scenes_are_read_back_exactly():
    assert differing(2, 100_000) == []


def test_every_kind_is_read_in_every_layout():
    for kind in KINDS:
        for layout, (slots, _) in SLOTS.items():
            if layout.startswith("copies"):
                scene = arrange("copies", [(kind, "pink")] * len(slots), "night", shift=(1, -1), flips=(True,) * 6)
                assert read(draw.render(scene, 64)).scene == scene


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_an_empty_canvas_is_an_empty_scene(background):
    reading = read(draw.render(Scene(background, ()), 64))
    assert reading.scene == Scene(background, ())
    assert reading.residual == 0 and reading.score == 1


def test_a_missing_copy_is_counted_as_missing():
    whole = arrange("copies", [("cat", "orange")] * 6, "day")
    part = replace(whole, things=whole.things[:3] + whole.things[4:])
    assert read(draw.render(part, 64)).scene == part


def test_larger_pictures_and_pil_images_are_read_too():
    for scene in scenes(3, 10):
        enlarged = draw.render(scene, 64).repeat(2, axis=0).repeat(2, axis=1)
        assert read(enlarged).scene == scene
        assert read(draw.render(scene, 128)).content == Content.of(scene)
        assert read(Image.fromarray(enlarged).convert("RGBA")).scene == scene


def test_an_odd_size_may_cost_a_thing_but_never_changes_one():
    right = 0
    for scene in scenes(3, 20):
        content = read(Image.fromarray(draw.render(scene, 128)).resize((100, 100))).content
        assert content in (None, Content.of(scene))
        right += content is not None
    assert right >= 18


def test_blur_costs_nothing():
    rng = np.random.default_rng(0)
    assert share_right(lambda picture: softened(picture, rng, 0.7)) >= 0.98
    assert share_right(lambda picture: softened(picture, rng, 1.0)) >= 0.97


def test_noise_costs_nothing():
    rng = np.random.default_rng(0)

    def noisy(picture):
        return np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)

    assert share_right(noisy) >= 0.98


def test_half_the_resolution_costs_little():
    def shrunk(picture):
        return np.asarray(Image.fromarray(picture).resize((32, 32), Image.BOX).resize((64, 64), Image.BICUBIC))

    assert share_right(shrunk) >= 0.95


def half_erased(scene, rng):
    thing = rng.choice(scene.things)
    picture, ground = draw.render(scene, 64), draw.background(scene.background, 64)
    cut = slice(None, thing.x) if rng.random() < 0.5 else slice(thing.x, None)
    near = slice(max(thing.y - thing.half - 3, 0), thing.y + thing.half + 3)
    picture[near, cut] = ground[near, cut]
    return picture


def of_two_kinds(scene, rng):
    thing = rng.choice(scene.things)
    kind = rng.choice([kind for kind in KINDS if kind != thing.kind])
    other = Scene(scene.background, tuple(replace(t, kind=kind) if t == thing else t for t in scene.things))
    both = draw.render(scene, 64).astype(np.uint16) + draw.render(other, 64)
    return (both // 2).astype(np.uint8)


def with_a_blob(scene, rng):
    picture = Image.fromarray(draw.render(scene, 64))
    ImageDraw.Draw(picture).ellipse((29, 0, 35, 6), fill=(255, 0, 255), outline=(24, 20, 32))
    return np.asarray(picture)


def unlisted(scene, rng):
    picture = Image.fromarray(draw.render(Scene(scene.background, ()), 512))
    pen = ImageDraw.Draw(picture)
    for thing in scene.things:
        x, y, half = thing.x * 8, thing.y * 8, thing.half * 8
        pen.rectangle((x - half, y - half / 4, x + half, y + half / 4), fill=draw.palette[thing.colour])
        pen.rectangle((x - half / 6, y - half, x + half / 6, y + half), fill=draw.ACCENTS["ink"])
    return np.asarray(picture.resize((64, 64), Image.BOX))


def noise(scene, rng):
    return np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("spoil", "most"), [(half_erased, 0.1), (of_two_kinds, 0.1), (with_a_blob, 0.0), (unlisted, 0.05), (noise, 0.0)]
)
def test_what_no_scene_explains_is_unknown(spoil, most):
    rng, grain = random.Random(5), np.random.default_rng(5)
    simple = [
        arrange("row", [("cat", "red"), ("car", "blue")], "day"),
        arrange("copies", [("tree", "green")] * 2, "snow"),
    ]
    simple += [arrange("copies", [("dog", "brown")] * 4, "sea"), arrange("copies", [("star", "yellow")], "night")]
    spoilt = [softened(spoil(scene, rng), grain, 0.6) for scene in simple * 5]
    readings = [read(picture) for picture in spoilt]
    assert sum(reading.scene is not None for reading in readings) / len(readings) <= most
    assert all(reading.score == 0 for reading in readings if reading.scene is None)


def test_an_unknown_blob_is_boxed_and_the_rest_still_found():
    scene = arrange("column", [("apple", "red"), ("cup", "white")], "room")
    reading = read(with_a_blob(arrange("row", [("apple", "red"), ("cup", "white")], "room"), random.Random(0)))
    assert [found.thing.kind for found in reading.things] == ["apple", "cup"]
    assert len(reading.unknown) == 1
    left, top, right, bottom = reading.unknown[0]
    assert 27 <= left < right <= 38 and 0 <= top < bottom <= 9
    assert read(draw.render(scene, 64)).layout == "column"


def test_a_reading_speaks_the_shape_of_geneval():
    scene = arrange("row", [("cat", "orange"), ("cup", "white")], "day")
    answer = read(draw.render(scene, 64)).to_geneval()
    assert answer["colors"] == {"cat": ["orange"], "cup": ["white"]}
    ((left, top, right, bottom, score),) = answer["objects"]["cat"]
    assert 0 <= left < right < 32 and 0 <= top < bottom <= 64 and score == 1.0
    assert answer["background"] == "day"
    blot = read(with_a_blob(scene, random.Random(0))).to_geneval()
    assert blot["colors"]["unknown"] == ["unknown"]


def test_strange_pictures_are_refused_with_a_remedy():
    with pytest.raises(ValueError, match="at least 64 pixels"):
        read(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="square picture"):
        read(np.zeros((64, 80, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        read(np.zeros((64, 64, 3), np.float32))


def test_mirrored_and_symmetric_things_are_canonical():
    mirrored = Scene("plain", (Thing(32, 32, 23, "star", "red", True),))
    assert read(draw.render(mirrored, 64)).scene == Scene("plain", (Thing(32, 32, 23, "star", "red", False),))
