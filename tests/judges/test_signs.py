import math
import random

import numpy as np
import pytest
from PIL import Image as pil

from limner.judges.signs import Watch, confirmed, different, drawn_residual
from limner.judges.verifier import About, Judged
from limner.parts import Image, Sample, Task, Text, Verdict, user
from limner.world.draw import render
from limner.world.scene import random_scene

TASK = Task((user("a red cat"),))


def drawn(colour, task=TASK):
    return Sample(task, (Image(pil.new("RGB", (64, 64), colour)),))


def test_pictures_of_a_prompt_differ_by_their_pixels_and_words_by_being_other_words():
    assert different([drawn("black"), drawn("white")]) == 1.0
    assert different([drawn("black"), drawn("black"), drawn("white")]) == pytest.approx(2 / 3)
    assert different([drawn("red")]) is None
    words = [Sample(TASK, (Text(text),)) for text in ("yes", "yes", "no")]
    assert different(words) == pytest.approx(2 / 3)


def test_a_clean_drawing_has_no_residual_and_a_disturbed_one_has():
    scene = render(random_scene(random.Random(0)), 64)
    noisy = np.clip(scene.astype(int) + np.random.default_rng(0).integers(-60, 60, scene.shape), 0, 255)
    clean, disturbed, odd = drawn_residual(
        [
            Sample(TASK, (Image(pil.fromarray(scene)),)),
            Sample(TASK, (Image(pil.fromarray(noisy.astype(np.uint8))),)),
            Sample(TASK, (Image(pil.new("RGB", (16, 16))),)),
        ]
    )
    assert clean < 0.01 < disturbed and odd is None


def test_a_watch_reports_what_the_held_out_judge_does_not_confirm():
    strict = confirmed(Judged(lambda samples: [Verdict(float(i == 0)) for i, _ in enumerate(samples)], About("strict")))
    verdicts = [Verdict(1.0, {"scene": 1.0}), Verdict(2.0, {"scene": 1.0}), Verdict(None)]
    found = Watch(strict, claim="scene")([drawn("red"), drawn("red"), drawn("blue")], verdicts)
    assert (found["claimed"], found["held_out"], found["gap"]) == (1.0, 0.5, 0.5)
    assert found["diversity"] > 0 and math.isnan(found["residual"])
