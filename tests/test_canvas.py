"""Pictures made anew in part: what is free, what is kept, and how windows cover what is missing."""

import numpy as np
import pytest
from PIL import Image

from limner.canvas import Canvas, Window

GRID = 4


def noisy(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def mask_of(width, height, *boxes):
    mask = Image.new("L", (width, height))
    for box in boxes:
        mask.paste(255, box)
    return mask


def complete(canvas):
    """Draw every window in a colour of its own; how often each window was drawn is the number of its free codes."""
    freed = []
    for index, window in enumerate(canvas.windows):
        free = canvas.free(window)
        freed.append(sum(free))
        if any(free):
            colour = (10 * index % 256, 1, 2)
            canvas.put(window, Image.new("RGB", (GRID * 3, GRID * 3), colour), [index] * GRID**2)
    return freed


def inside(canvas):
    width, height = canvas.picture.size
    return all(w.left >= 0 and w.top >= 0 and w.box[2] <= width and w.box[3] <= height for w in canvas.windows)


@pytest.mark.parametrize("size", [(16, 16), (17, 17), (40, 16), (19, 50), (4, 4), (33, 5)], ids=str)
@pytest.mark.parametrize("boxes", [[(0, 0, 1, 1)], [(1, 0, 9, 9), (12, 3, 40, 5)], [(0, 0, 99, 99)]], ids=str)
def test_kept_pixels_stay_and_every_missing_one_is_made(size, boxes):
    picture, mask = noisy(*size), mask_of(*size, *boxes)
    missing = np.asarray(mask) > 0
    canvas = Canvas.inpaint(picture, mask, GRID)
    assert inside(canvas) and {window.side for window in canvas.windows} == {min(size)}
    complete(canvas)
    made, before = np.asarray(canvas.picture), np.asarray(picture)
    assert (made[~missing] == before[~missing]).all() and not canvas.hole.any()
    assert (made[missing][:, 1:] == (1, 2)).all()


def test_a_code_is_free_where_a_missing_pixel_touches_it():
    canvas = Canvas.inpaint(noisy(16, 16), mask_of(16, 16, (3, 0, 5, 1), (12, 15, 13, 16)), GRID)
    free = np.reshape(canvas.free(canvas.windows[0]), (GRID, GRID))
    assert np.argwhere(free).tolist() == [[0, 0], [0, 1], [3, 3]]
    # codes of 4.5 pixels: the pixel in the middle lies in two
    odd = Canvas.inpaint(noisy(18, 18), mask_of(18, 18, (4, 4, 5, 5)), GRID)
    assert np.argwhere(np.reshape(odd.free(odd.windows[0]), (GRID, GRID))).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_hole_that_fits_lies_in_the_middle_of_one_window():
    wide = Canvas.inpaint(noisy(60, 16), mask_of(60, 16, (30, 2, 34, 6)), GRID)
    assert wide.windows == (Window(24, 0, 16),)
    edge = Canvas.inpaint(noisy(60, 16), mask_of(60, 16, (58, 2, 60, 6)), GRID)
    assert edge.windows == (Window(44, 0, 16),)


@pytest.mark.parametrize("size", [(16, 16), (30, 16), (18, 41)], ids=str)
@pytest.mark.parametrize("codes", [(1, 0, 0, 0), (0, 5, 0, 0), (0, 0, 3, 9), (2, 3, 1, 2)], ids=str)
def test_an_extended_picture_holds_the_old_one_unchanged(size, codes):
    picture = noisy(*size)
    cell = min(size) // GRID
    left, right, up, down = margins = tuple(cell * n for n in codes)
    canvas = Canvas.extend(picture, margins, GRID)
    assert canvas.picture.size == (size[0] + left + right, size[1] + up + down) and inside(canvas)
    freed = complete(canvas)
    assert np.array_equal(np.asarray(canvas.picture)[up:, left:][: size[1], : size[0]], np.asarray(picture))
    assert not canvas.hole.any() and all(freed), "every window has something to do"
    outside = np.ones(canvas.hole.shape, dtype=bool)
    outside[up : up + size[1], left : left + size[0]] = False
    assert (np.asarray(canvas.picture)[outside][:, 1:] == (1, 2)).all()


def test_at_most_half_of_a_window_is_new_on_one_side():
    canvas = Canvas.extend(noisy(16, 16), (0, 40, 0, 0), GRID)
    assert [window.left for window in canvas.windows] == [8, 16, 24, 32, 40]
    assert complete(canvas) == [GRID * GRID // 2] * 5


@pytest.mark.parametrize(
    ("margins", "said"),
    [((0, 6, 0, 0), "right=6 .* multiple of 4 .* try 4 or 8"), ((0, 0, 0, 3), "down=3 .* try 4$")],
    ids=str,
)
def test_an_extension_by_a_part_of_a_code_names_the_multiple(margins, said):
    with pytest.raises(ValueError, match=said):
        Canvas.extend(noisy(16, 20), margins, GRID)


def test_a_picture_with_fewer_pixels_than_codes_is_refused():
    with pytest.raises(ValueError, match="at least 4 a side"):
        Canvas.inpaint(noisy(3, 9), mask_of(3, 9, (0, 0, 1, 1)), GRID)
    with pytest.raises(ValueError, match="at least 4 a side"):
        Canvas.extend(noisy(9, 3), (1, 0, 0, 0), GRID)


def test_codes_that_were_drawn_are_handed_on_and_others_encoded():
    canvas = Canvas.extend(noisy(16, 16), (0, 16, 0, 0), GRID)
    first, second = canvas.windows
    canvas.put(first, Image.new("RGB", (16, 16)), range(100, 116))
    known = np.reshape(canvas.codes(second, [0] * 16), (GRID, GRID))
    # the right half of the first window is the left half of the second
    assert known[:, :2].tolist() == [[102, 103], [106, 107], [110, 111], [114, 115]] and not known[:, 2:].any()
    assert canvas.codes(Window(4, 0, 16), [7] * 16)[::4] == (7,) * 4
    assert canvas.codes(Window(4, 0, 16), [7] * 16)[3::4] == (102, 106, 110, 114)


def test_a_code_with_kept_pixels_in_it_is_encoded_again():
    canvas = Canvas.inpaint(noisy(16, 16), mask_of(16, 16, (0, 0, 6, 4)), GRID)
    canvas.put(canvas.windows[0], Image.new("RGB", (16, 16)), [9] * 16)
    assert canvas.codes(canvas.windows[0], [0] * 16) == (9, *[0] * 15)


def test_what_is_shown_on_the_way_changes_nothing():
    canvas = Canvas.inpaint(noisy(16, 16), mask_of(16, 16, (0, 0, 8, 8)), GRID)
    before = canvas.picture.tobytes()
    shown = canvas.shown(canvas.windows[0], Image.new("RGB", (5, 5), "red"))
    assert shown.getpixel((0, 0)) == (255, 0, 0) and canvas.picture.tobytes() == before and canvas.hole.any()
