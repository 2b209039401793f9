"""Facts about the pictures: the same every time, readable by colour and outline, and the same in pixels and SVG."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from limner.world import draw
from limner.world.backgrounds import BANDS
from limner.world.objects import MAKERS, drawing
from limner.world.scene import BACKGROUNDS, COLOURS, KINDS, SHIFTS, SLOTS, Scene, Thing, arrange, random_scene
from limner.world.sheet import draw_sheet

ORNAMENTS = {("snow", "flake"), ("rain", "drop"), ("sea", "wave"), ("day", "sun")}


def lab(rgb: tuple[int, int, int] | np.ndarray) -> np.ndarray:
    """CIE Lab of sRGB (..., 3) in 0..255."""
    c = np.asarray(rgb, float) / 255
    c = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = c @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def distance(a: tuple[int, int, int] | np.ndarray, b: tuple[int, int, int] | np.ndarray) -> float:
    return float(np.linalg.norm(lab(a) - lab(b)))


def role_shares(kind: str) -> dict[str, float]:
    """Share of each role's colour in the silhouette of a purple thing."""
    roles = draw.shades("purple")
    picture = draw.render_thing(Thing(32, 32, 23, kind, "purple"), 256)
    pixels = picture[picture[..., 3] > 128][:, :3].astype(int)
    colours = np.array(list(roles.values()))
    nearest = np.abs(pixels[:, None] - colours).sum(-1).argmin(1)
    return {role: float((nearest == i).mean()) for i, role in enumerate(roles)}


def test_every_kind_colour_and_background_has_a_drawing() -> None:
    assert set(MAKERS) == set(KINDS)
    assert set(draw.palette) == set(COLOURS)
    assert set(BANDS) == set(BACKGROUNDS)


def test_the_same_scene_gives_the_same_bytes() -> None:
    rng = random.Random(3)
    for _ in range(20):
        scene = random_scene(rng)
        first = draw.render(scene)
        assert first.shape == (64, 64, 3) and first.dtype == np.uint8
        assert first.tobytes() == draw.render(Scene.from_json(scene.to_json())).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_main_colour_covers_two_fifths_and_no_accent_much(kind: str) -> None:
    shares = role_shares(kind)
    assert shares["body"] + shares["dark"] + shares["light"] >= 0.40
    for role, share in shares.items():
        if role not in ("body", "dark", "light", "ink") and share > 0.13:
            nearest = min(distance(draw.ACCENTS[role], colour) for colour in draw.palette.values())
            assert nearest > 15, f"{role} covers {share:.2f} of a {kind} and looks like a nameable colour"


def test_colours_stay_apart_from_each_other_and_from_every_band() -> None:
    for a, b in combinations(draw.palette.values(), 2):
        assert distance(a, b) > 25
    for name, bands in BANDS.items():
        for role, band in bands.items():
            if (name, role) not in ORNAMENTS:
                for colour, rgb in draw.palette.items():
                    assert distance(rgb, band) > 25, f"{colour} on {name} {role}"


def test_backgrounds_differ_in_mean_colour() -> None:
    means = {name: draw.background(name).reshape(-1, 3).mean(0) for name in BACKGROUNDS}
    for a, b in combinations(BACKGROUNDS, 2):
        assert distance(means[a], means[b]) > 15, (a, b)


def test_silhouettes_differ_at_twenty_pixels() -> None:
    alphas = {k: draw.render_thing(Thing(32, 32, 10, k, "red"))[..., 3].astype(float) for k in KINDS}
    for a, b in combinations(KINDS, 2):
        overlap = np.minimum(alphas[a], alphas[b]).sum() / np.maximum(alphas[a], alphas[b]).sum()
        assert overlap < 0.88, (a, b, overlap)


def test_pictures_differ_at_twenty_pixels() -> None:
    pictures = {k: draw.render(Scene("plain", (Thing(32, 32, 10, k, "blue"),))).astype(float) for k in KINDS}
    for a, b in combinations(KINDS, 2):
        inside = np.abs(pictures[a] - pictures[b])[22:42, 22:42]
        assert inside.mean() > 20, (a, b, inside.mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_thing_stays_in_its_square(kind: str) -> None:
    for half in (9, 23):
        alpha = draw.render_thing(Thing(32, 32, half, kind, "red"), 256)[..., 3]
        ys, xs = np.nonzero(alpha > 128)
        reach = max(128 - xs.min(), xs.max() - 127, 128 - ys.min(), ys.max() - 127) / 4
        assert 0.8 * half < reach <= 1.02 * half


def test_copies_never_touch() -> None:
    for kind in KINDS:
        for name, ((*_,), _) in SLOTS.items():
            if not name.startswith("copies"):
                continue
            scene = arrange("copies", [(kind, "red")] * int(name[-1]), "plain", shift=(SHIFTS[-1], 0))
            cover = sum((draw.render_thing(thing)[..., 3] > 128).astype(int) for thing in scene.things)
            assert np.max(cover) == 1


@pytest.mark.parametrize("size", [64, 100])
def test_a_thing_alone_laid_over_the_background_is_the_picture(size: int) -> None:
    for i, kind in enumerate(KINDS):
        scene = arrange("copies", [(kind, COLOURS[i % 10])], BACKGROUNDS[i % 10], flips=(i % 2 == 0,))
        alone = draw.render_thing(scene.things[0], size).astype(float)
        alpha = alone[..., 3:] / 255
        laid = alone[..., :3] * alpha + draw.background(scene.background, size) * (1 - alpha)
        difference = np.abs(laid - draw.render(scene, size))
        assert difference.max() <= 5 and difference.mean() < 0.2


def test_mirrored_things_are_mirrored() -> None:
    plain = draw.render_thing(Thing(32, 32, 20, "car", "red"))
    flipped = draw.render_thing(Thing(32, 32, 20, "car", "red", True))
    assert np.abs(plain[:, ::-1, 3].astype(int) - flipped[..., 3]).max() < 16
    assert np.abs(plain[..., 3].astype(int) - flipped[..., 3]).max() > 100


def test_svg_says_the_same_shapes() -> None:
    scene = arrange("row", [("car", "red"), ("opera house", "blue")], "night", flips=(True, False))
    root = ElementTree.fromstring(draw.to_svg(scene))
    space = "{http://www.w3.org/2000/svg}"
    groups = root.findall(f"{space}g")
    assert [group.get("aria-label") for group in groups] == ["night", "red car", "blue opera house"]
    for group, kind in zip(groups[1:], ("car", "opera house"), strict=True):
        assert len(group.findall(f"{space}path")) == len(drawing(kind))
    assert "scale(-" in (groups[1].get("transform") or "") and "scale(-" not in (groups[2].get("transform") or "")
    red = "#{:02x}{:02x}{:02x}".format(*draw.palette["red"])
    assert any(path.get("fill") == red for path in groups[1])


def test_sizes_and_names_out_of_range_are_errors() -> None:
    scene = arrange("copies", [("cat", "red")], "day")
    for size in (15, 2049):
        for call in (draw.render, draw.to_image, draw.to_svg):
            with pytest.raises(ValueError, match="16 to 2048"):
                call(scene, size)
    with pytest.raises(ValueError, match="no background"):
        draw.background("moonbase")
    with pytest.raises(ValueError, match="no drawing"):
        drawing("dragon")
    with pytest.raises(ValueError, match="no such thing"):
        draw.render_thing(Thing(32, 32, 20, "dragon", "red"))


def test_a_sheet_holds_labelled_pictures_of_any_sort() -> None:
    picture = draw.render(arrange("copies", [("cat", "red")], "day"))
    sheet = draw_sheet([picture, Image.new("RGBA", (30, 60))], ["a red cat in the daytime", ""], 2, cell=64, gap=4)
    assert sheet.mode == "RGB" and sheet.width == 2 * 68 + 4
    assert np.array_equal(np.asarray(sheet)[4:68, 4:68], picture)
    with pytest.raises(ValueError, match="labels"):
        draw_sheet([picture], ["a", "b"])
