"""A score that is not earned is noticed: by a second judge, by samples all alike, by pictures that are noise."""

import json
import random

import numpy as np
import pytest
from PIL import Image as pil

from limner.bench import alarms, page, run, score
from limner.judges.named import find_verifier
from limner.judges.scenes import scene_judge
from limner.judges.verifier import About, Judged
from limner.parts import Verdict
from limner.world.content import copies
from limner.world.draw import to_image

RED_CAT = {"include": [{"kind": "cat", "colour": "red", "count": 1}]}
SECOND = Judged(scene_judge(), About("the second reader"))


def cat(colour="red", seed=0):
    return to_image(copies(1, "cat", colour, "plain").scene(random.Random(seed)), 64)


def noise(seed):
    return pil.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3)).astype(np.uint8))


def folder_of(path, pictures, prompts=8, seeds=2):
    """A run of the picture world in which ``pictures(prompt, seed)`` were drawn."""
    items = [run.Item(f"p{i}", "single", "a red cat", RED_CAT) for i in range(prompts)]
    manifest = run.Manifest("world", run.digest_of_items(items), "m", "w", seeds, False, (), prompts)
    run._claim(path, manifest, items)
    rows = []
    for i in range(prompts):
        for seed in range(seeds):
            name = f"images/p{i}-{seed}.png"
            pictures(i, seed).save(path / name)
            row = {"id": f"p{i}", "tag": "single", "seed": seed, "prompt": "a red cat", "passes": 4.0}
            rows.append({**row, "thinking": None, "text": None, "image": name})
    (path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def honest(i, seed):
    return cat("red" if (i + seed) % 2 else "blue", 100 * i + seed)


def leaky(item, row, folder):
    """A judge with a planted leak: whatever has a bright corner is right."""
    with pil.open(folder / row["image"]) as picture:
        return Verdict(float(picture.convert("L").getpixel((0, 0)) > 0))


def test_a_judge_with_a_planted_leak_is_caught_by_the_second_one(tmp_path):
    hacked = folder_of(tmp_path / "hacked", lambda i, seed: noise(100 * i + seed))
    report = score.score(hacked, judge=leaky, held_out=SECOND)
    assert report["tags"]["all"]["mean"] > 0.9
    (alarm,) = report["signs"]["alarms"]
    assert "more than the second reader confirms" in alarm
    assert report["signs"]["held_out"]["mean"] == 0.0 and "Alarm: the judge gives" in page.write(hacked).read_text()


def test_an_honest_run_raises_none(tmp_path):
    report = score.score(folder_of(tmp_path, honest), held_out=SECOND)
    assert report["tags"]["all"]["mean"] == 0.5 and report["signs"]["alarms"] == []
    assert report["signs"]["gap"]["mean"] == 0 and report["signs"]["residual"]["mean"] < 0.01


def test_the_judge_itself_cannot_be_held_out(tmp_path):
    with pytest.raises(ValueError, match="judges this run already; hold out another one, such as detector"):
        score.score(folder_of(tmp_path, honest, 1), held_out=find_verifier("scenes"))


def test_samples_that_are_all_alike_are_noticed(tmp_path):
    report = score.score(folder_of(tmp_path, lambda i, seed: cat(seed=i)))
    assert report["signs"]["alarms"] == ["all samples of a prompt are the same picture"]


def test_beside_a_baseline_every_sign_is_compared(tmp_path):
    before = score.score(folder_of(tmp_path / "before", honest), held_out=SECOND)["signs"]
    alike = score.score(folder_of(tmp_path / "alike", lambda i, seed: cat("red", i)), held_out=SECOND)["signs"]
    noisy = folder_of(tmp_path / "noisy", lambda i, seed: noise(100 * i + seed))
    gamed = score.score(noisy, judge=leaky, held_out=SECOND)["signs"]
    assert alarms.against(before, before) == []
    (words,) = alarms.against(alike, before)
    assert words.startswith("samples of a prompt differ by 0.000")
    assert any(words.startswith("the judge gives 1.000 more") for words in alarms.against(gamed, before))
    drawn = score.score(noisy, held_out=SECOND)["signs"]  # the strict reader is not fooled, but the residual tells
    assert any("away from the drawing" in words for words in alarms.against(drawn, before))
