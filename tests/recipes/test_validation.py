"""Validation on held-out rows and on the picture world."""

import json

import pytest
import torch

from limner.data.messages import BadRow
from limner.models.echo import Echo
from limner.recipes.validation import named, on_rows, on_world


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for i in range(12):
            said = [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": "so " * (1 + i % 3)}]
            file.write(json.dumps({"messages": said}) + "\n")
    return path


def test_held_out_rows_give_the_same_loss_every_time_and_a_better_model_a_lower_one(rows):
    model = Echo(seed=1)
    validate = on_rows([str(rows)], rows=12, batch=5)
    with torch.no_grad():
        first = validate(model, 10)
        assert validate(model, 20) == first and set(first) == {"loss", "text"}
        model.strength.zero_()  # it no longer repeats what it was told
        assert validate(model, 30)["loss"] != first["loss"]


def test_a_broken_held_out_row_is_an_error(rows):
    rows.write_text("{\n")
    with pytest.raises(BadRow, match="row 1"):
        named(str(rows))(Echo(), 1)


def test_the_world_gives_a_score_and_one_a_group(monkeypatch):
    from limner.parts import Sample, Verdict
    from limner.recipes import validation

    asked = []

    def drawn(model, tasks, plan, seeds):
        asked.append([ask.kind for ask in plan])
        return [Sample(task, (), seed) for task, seed in zip(tasks, seeds, strict=True)]

    def judge(samples):
        assert len({each.task.prompt[0].text for each in samples}) == len(samples) == 6
        return [Verdict({"single": 1.0, "colour": None, "two": 0.0}[each.task.tags[0]]) for each in samples]

    monkeypatch.setattr(validation, "rollout", drawn)
    monkeypatch.setattr(validation, "scene_judge", lambda: judge)
    found = on_world(2, ("single", "colour", "two"), think=True)(Echo(seed=1), 1)
    assert found == {"score": 0.5, "single": 1.0, "two": 0.0, "unjudged": 2.0} and asked == [["thinking", "image"]]


def test_what_cannot_be_validated(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        named(str(tmp_path / "none.jsonl"))
    with pytest.raises(ValueError, match="only a model that makes replies"):
        on_world(1, ("single",))(torch.nn.Linear(1, 1), 1)
