"""Verifiers by name."""

import pytest
from PIL import Image as pil

import limner
from limner import catalog
from limner.judges.asked import Asked, Wording, save_about
from limner.judges.clip import CLIP
from limner.judges.endpoint import Endpoint
from limner.judges.named import find_verifier
from limner.judges.says import Says
from limner.judges.verifier import QUESTIONS, About, Judged, Opinion, Together, coincidence, unjudged
from limner.models.echo import Echo
from limner.parts import Image, Sample, Task, user
from limner.world.detect import Detector, DetectorConfig
from limner.world.draw import to_image
from limner.world.scene import arrange


def test_names_lead_to_verifiers():
    model = Echo()
    own = find_verifier("self", model).verifier
    assert isinstance(own, Asked) and own.model is model
    assert isinstance(find_verifier("scenes").verifier, Judged) and find_verifier("scenes").about.metric == "scenes"
    assert find_verifier("clip").about.name == "CLIP" and CLIP
    served = find_verifier("http://localhost:1/v1#qwen").verifier
    assert isinstance(served, Endpoint) and (served.url, served.model) == ("http://localhost:1/v1", "qwen")


def test_a_folder_is_asked_as_its_training_says(tmp_path):
    Echo().save(tmp_path)
    save_about(tmp_path, Wording(outcome="{prompt}?"), About("mine", prompts="world"), 3)
    found = find_verifier(str(tmp_path)).verifier
    assert found.wording.outcome == "{prompt}?" and found.about.name == "mine" and found.length == 3


def test_the_trained_reader_of_a_folder_is_a_second_judge_of_the_same_facts(tmp_path):
    Detector(DetectorConfig(widths=(8, 8, 8), blocks=1)).save(tmp_path)
    found = find_verifier(f"detector:{tmp_path}")
    facts = {"include": [{"kind": "cat", "colour": "red", "count": 1}]}
    sample = Sample(Task((user("a red cat"),), facts), (Image(pil.new("RGB", (64, 64))),))
    (opinion,) = found("outcome", [sample])
    assert opinion.says is False and found.about.metric == "detector"
    assert opinion.yes == 0.16  # it is known to be wrong sometimes, so that others may outvote it


def test_a_small_generator_is_asked_itself_in_words_that_it_knows():
    for name in ("tiny-show-o", "tiny-mmada"):
        model = catalog.load_model(name)
        sample = Sample(
            Task((user("one red cat"),)), (Image(to_image(arrange("copies", [("cat", "red")], "plain"), 128)),)
        )
        opinions = [find_verifier("self", model)(question, [sample])[0] for question in QUESTIONS]
        assert all(opinion.judged for opinion in opinions), opinions


def test_what_fails_in_asking_leaves_candidates_unjudged():
    sample = Sample(Task((user("x"),)), (Image(pil.new("RGB", (16, 16))),))
    (opinion,) = find_verifier("self", Echo())("outcome", [sample])
    assert not opinion.judged and "does not write yes and no" in opinion.text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "no judge called 'nobody'"),
        ("self", "there is none"),
        ("http://x", "#MODEL"),
        ("llava:none", "config"),
        ("detector:nowhere", "limner train world.detector"),
    ],
)
def test_unknown_judges_are_refused(name, said):
    with pytest.raises(ValueError, match=said):
        find_verifier(name)
    with pytest.raises(ValueError, match="official"):
        find_verifier("scenes", official=True)


class Fixed:
    """Always the same opinion."""

    def __init__(self, opinion, about=None):
        self.opinion, self.about = opinion, about or About("fixed")

    def __call__(self, question, samples):
        return [self.opinion] * len(samples)


SAMPLE = Sample(Task((user("x"),)), ())


def test_joined_verifiers_add_their_odds_and_judge_nothing_that_one_of_them_cannot():
    two = Together((Fixed(Opinion(0.8, text="a")), Fixed(Opinion(0.5, text="b"), About("metric", metric="scenes"))))
    (opinion,) = two("outcome", [SAMPLE])
    assert opinion.yes == pytest.approx(0.8) and opinion.says and opinion.text == "a; b"
    assert two.about.metric == "scenes" and two.about.name == "fixed and metric"
    (opinion,) = Together((Fixed(Opinion(0.8)), Fixed(Opinion(0.8))))("outcome", [SAMPLE])
    assert opinion.yes == pytest.approx(16 / 17)
    # odds of one look less would not compare with the other candidates': not judged, and it is said why
    (opinion,) = Together((Fixed(unjudged("late")), Fixed(Opinion(0.3, text="fine"))))("outcome", [SAMPLE])
    assert not opinion.judged and opinion.text == "late"
    (opinion,) = Together((Fixed(unjudged("late")), Fixed(unjudged("lost"))))("outcome", [SAMPLE])
    assert not opinion.judged and opinion.text == "late; lost"
    (opinion,) = Together((Fixed(Opinion(1.0)), Fixed(Opinion(0.0))))("outcome", [SAMPLE])
    assert opinion.yes == pytest.approx(0.5)  # certain both ways


def test_every_metric_of_joined_verifiers_is_warned_of():
    about = find_verifier("detector+scenes").about
    assert "metric itself (scenes)" in coincidence(about, "scenes", "world")
    assert "metric itself (detector)" in coincidence(about, "detector", "world")
    assert not coincidence(about, "clip", "world") and not coincidence(About("none"), "", "")


def test_names_are_joined_by_plus_but_not_inside_addresses_and_folders(tmp_path):
    model = Echo()
    joined = find_verifier("self+scenes", model).verifier
    assert isinstance(joined, Together) and joined.about.metric == "scenes"
    served = find_verifier("http://localhost:1/v1#qwen+vl").verifier
    assert isinstance(served, Endpoint) and served.model == "qwen+vl"
    folder = tmp_path / "a+b"
    Echo().save(folder)
    assert isinstance(find_verifier(str(folder)).verifier, Asked)
    assert isinstance(find_verifier(f"says:{folder}").verifier, Says)
    with pytest.raises(ValueError, match="no judge called ''"):
        find_verifier("self+", model)


def test_what_is_said_is_compared_with_what_was_asked():
    model = limner.load("tiny-show-o").model
    shown = Image(to_image(arrange("copies", [("cat", "red")], "plain"), 128))
    samples = [Sample(Task((user(text),)), (shown,), 0, 1.0) for text in ("one red cat", "two blue dogs", "what a day")]
    right, wrong, unknown = find_verifier("says", model)("outcome", samples)
    assert right.yes > 0.5 > wrong.yes and right.text == wrong.text == "one red cat, plain"
    assert not unknown.judged and "says nothing that could be compared" in unknown.text
    early = [Sample(Task((user("one red cat"),)), (shown,), 0, share) for share in (0.2, 0.3)]
    assert [o.yes for o in find_verifier("says", model)("clarity", early)] == [0.0, 1.0]
    assert isinstance(find_verifier("says:tiny-show-o").verifier, Says)
    with pytest.raises(ValueError, match="give says:MODEL"):
        find_verifier("says")
    (lost,) = find_verifier("says", model)("outcome", [Sample(Task((user("one red cat"),)), ())])
    assert not lost.judged and "there is no picture to describe" in lost.text
