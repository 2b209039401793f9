import random

from limner.world.content import LAYOUTS, altered, random_content


def test_what_is_altered_differs_in_one_respect_and_can_be_drawn():
    rng = random.Random(0)
    respects = set()
    for _ in range(400):
        content = random_content(rng)
        other = altered(content, rng)
        assert other != content and other.layout in LAYOUTS
        other.scene(rng)
        same_things, same_background = other.things == content.things, other.background == content.background
        if not same_background:
            assert same_things and other.layout == content.layout
            respects.add("background")
        elif same_things:
            respects.add("layout")
        elif len(other.things) != len(content.things):
            assert abs(len(other.things) - len(content.things)) == 1 and set(other.things) == set(content.things)
            respects.add("number")
        elif sorted(other.things) == sorted(content.things):
            respects.add("order")
        else:
            changed = {(a[0] != b[0], a[1] != b[1]) for a, b in zip(content.things, other.things, strict=True)}
            assert changed - {(False, False)} in ({(True, False)}, {(False, True)}), "a kind or a colour, not both"
            respects.add("thing")
    assert respects == {"background", "layout", "number", "order", "thing"}
