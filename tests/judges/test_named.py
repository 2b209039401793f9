"""Verifiers by name."""

import pytest
from PIL import Image as pil

from limner.judges.asked import Asked, Wording, save_about
from limner.judges.clip import CLIP
from limner.judges.endpoint import Endpoint
from limner.judges.named import find_verifier
from limner.judges.verifier import About, Judged
from limner.models.echo import Echo
from limner.parts import Image, Sample, Task, user
from limner.world.detect import Detector, DetectorConfig


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
