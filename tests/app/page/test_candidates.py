"""Candidates side by side: who was dropped, when and why; who was chosen."""

from PIL import Image

from limner.algorithms.verify.search import Event
from limner.app.page.candidates import Candidate, candidates, grid, thumbnail
from limner.judges.verifier import Opinion


def show(view):
    return Image.new("RGB", (4, 4), view)


def look(path, step, question, yes, decision, view=(1, 2, 3)):
    return Event(
        "look", "job", path=path, seed=10 + path, step=step, steps=4, question=question, opinion=Opinion(yes),
        decision=decision, view=view,
    )  # fmt: skip


LOOKS = [
    look(0, 2, "clarity", 0.9, "clear"),
    look(1, 2, "clarity", 0.2, "not clear"),
    look(0, 2, "potential", 0.1, "rejected"),
    look(1, 4, "outcome", None, "dropped", view=(7, 7, 7)),
    look(2, 4, "outcome", 0.8, "chosen"),
    Event("choice", "job", path=2, seed=12, why="outcome 0.80"),
]


def test_every_candidate_has_its_looks_its_fate_and_its_latest_picture():
    first, second, third = candidates(LOOKS, show)
    assert first.said == ["at step 2/4: clarity 0.90, clear", "at step 2/4: potential 0.10, rejected"]
    assert first.fate == "rejected at step 2/4: potential 0.10" and not first.chosen
    assert second.fate == "dropped at the end: outcome not judged" and second.picture.getpixel((0, 0)) == (7, 7, 7)
    assert third.fate == "chosen" and third.chosen and (third.name, third.seed) == ("candidate 3", 12)


def test_before_the_end_nobody_is_chosen():
    assert [one.fate for one in candidates(LOOKS[:2], show)] == ["", ""]


def test_they_are_shown_as_figures_that_say_it_in_words():
    html = grid(candidates(LOOKS, show))
    assert html.count('<li class="candidate ') == 3 and html.count("data:image/png") == 3
    assert (
        'class="candidate lost"' in html and 'class="candidate chosen"' in html and 'alt="candidate 1, seed 10"' in html
    )
    assert grid([Candidate("one", 0)]) == ""


def test_names_are_never_markup():
    assert "<b>" not in grid([Candidate("<b>", 0, said=["<b>"], fate="<b>"), Candidate("two", 1)])


def test_large_pictures_are_shown_small():
    assert len(thumbnail(Image.effect_noise((2000, 1000), 50))) < 60_000
