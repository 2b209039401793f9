"""The judge is strict: exact counts, no extra things, colours on their own things, positions and backgrounds."""

import pytest

from limner.world import check
from limner.world.content import Content, copies

ROW = Content("row", (("cat", "blue"), ("car", "red")), "night")


@pytest.mark.parametrize(
    ("facts", "content", "right"),
    [
        ({"include": [{"kind": "cat", "count": 1}]}, copies(1, "cat", "red", "sea"), True),
        ({"include": [{"kind": "cat", "count": 1}]}, copies(2, "cat", "red"), False),
        ({"include": [{"kind": "cat", "count": 1}]}, ROW, False),
        ({"include": [{"kind": ["bee", "cat"], "count": 1}]}, copies(1, "bee", "red"), True),
        (
            {"include": [{"kind": ["bee", "cat"], "count": 2}]},
            Content("row", (("bee", "red"), ("cat", "red")), "plain"),
            False,
        ),
        ({"include": [{"kind": "cat", "count": 3, "colour": "red"}]}, copies(3, "cat", "blue"), False),
        ({"include": [{"kind": "cat", "count": 1}], "background": "sea"}, copies(1, "cat", "red", "sea"), True),
        ({"include": [{"kind": "cat", "count": 1}], "background": ["day", "sea"]}, copies(1, "cat", "red"), False),
        ({"include": [{"kind": "cat", "count": 2}], "exclude": [{"colour": "red"}]}, copies(2, "cat", "red"), False),
        ({"include": [{"kind": "cat", "count": 1}]}, Content("other", (), "plain"), False),
    ],
)
def test_facts_are_judged_strictly(facts, content, right):
    held, reasons = check.facts_hold(facts, content)
    assert held is right and bool(reasons) is not right


@pytest.mark.parametrize(
    ("relation", "right"),
    [("left of", True), ("right of", False), ("beside", True), ("above", False), ("inside", False)],
)
def test_positions_are_judged_between_the_things_that_were_named(relation, right):
    facts = {
        "include": [{"kind": "cat", "count": 1}, {"kind": "car", "count": 1}],
        "relation": [{"a": 0, "b": 1, "is": relation}],
    }
    assert check.facts_hold(facts, ROW)[0] is right


def test_colours_must_not_change_places():
    facts = {"include": [{"kind": "cat", "count": 1, "colour": "red"}, {"kind": "car", "count": 1, "colour": "blue"}]}
    held, reasons = check.facts_hold(facts, ROW)
    assert not held and any("red cat" in reason for reason in reasons)


def test_a_thought_must_be_true_and_end_in_the_pictures_plan():
    cat = copies(1, "cat", "orange")
    assert check.thought_holds("3+6=9; the animal with nine lives is the cat; one orange cat, plain", cat)[0]
    assert check.thought_holds("0-2=-2; 21+9-24=6; one orange cat, plain", cat)[0]
    assert not check.thought_holds("9-5=3; one orange cat, plain", cat)[0]
    assert not check.thought_holds("3+6=9; two orange cats, plain", cat)[0]
    assert not check.thought_holds("3+6=9", cat)[0]
    assert check.false_equations("9-5=3") == ["9-5 is 4, not 3"]
