"""`sft`: any family learns rows of messages."""

import json

import pytest
import torch

from limner.app.cli import main
from limner.data.messages import BadRow
from limner.data.stream import Stream, parts_of
from limner.models.echo import Echo
from limner.recipes.messages import answers, objective, sft
from limner.turn import draws, log_prob


@pytest.fixture
def rows(tmp_path):
    """Eight rows of two turns: words, then a thought and a picture."""
    from PIL import Image as pil

    pil.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
    path = tmp_path / "rows.jsonl"
    said = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "a red field"},
        {"role": "assistant", "content": [{"type": "thinking", "text": "red"}, {"type": "image", "path": "red.png"}]},
    ]
    path.write_text("".join(json.dumps({"id": str(i), "messages": said}) + "\n" for i in range(8)))
    return path


def test_every_answer_is_learned_given_what_stands_before_it(rows):
    some = [next(Stream(parts_of([str(rows)])))]
    first, second = answers(some)
    assert [part.kind for part in first.reply] == ["text"] and len(first.task.prompt) == 1
    assert [part.kind for part in second.reply] == ["thinking", "image"] and len(second.task.prompt) == 3


def test_the_loss_is_minus_the_mean_log_probability_of_each_part(rows):
    model = Echo(seed=1)
    some = [next(Stream(parts_of([str(rows)])))]
    loss, numbers = objective(model, some, torch.Generator().manual_seed(3))
    rng = torch.Generator().manual_seed(3)
    wanted = 0.0
    for sample in answers(some):
        seeds = torch.randint(2**62, (1,), generator=rng).tolist()
        for scored in log_prob(model, [sample], draws(model, [sample], seeds)):
            wanted -= float(scored.mean.detach()) / 2
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    assert set(numbers) == {"text", "thinking", "image", "tokens"}


def test_training_on_rows_lowers_the_loss_and_releases_a_model(rows, tmp_path, capsys):
    Echo(seed=1).save(tmp_path / "echo")
    line = ["train", "sft", "--model", str(tmp_path / "echo"), "--data", str(rows), "--steps", "30", "--lr", "0.05"]
    line += ["--batch-size", "4", "--folder", str(tmp_path / "run"), "--json", "--by-length"]
    assert main(line) == 0
    told = json.loads(capsys.readouterr().out)
    numbers = [json.loads(each) for each in (tmp_path / "run" / "numbers.jsonl").read_text().splitlines()]
    assert numbers[-1]["loss"] < numbers[0]["loss"]
    assert Echo.load(tmp_path / "run" / "released").seed == 1 and told["released"]


def test_broken_rows_stop_or_are_reported(rows, tmp_path, capsys):
    Echo(seed=1).save(tmp_path / "echo")
    rows.write_text(rows.read_text() + "{\n")
    line = ["train", "sft", "--model", str(tmp_path / "echo"), "--data", str(rows), "--steps", "3", "--json"]
    assert main([*line, "--folder", str(tmp_path / "one")]) == 2
    assert "rows.jsonl, row 9: is not JSON" in capsys.readouterr().err
    assert main([*line, "--folder", str(tmp_path / "two"), "--broken", "skip"]) == 0
    assert json.loads((tmp_path / "two" / "broken.jsonl").read_text())["row"] == 9


def test_what_sft_cannot_begin_with(tmp_path):
    with pytest.raises(ValueError, match="needs rows to learn from"):
        sft()
    with pytest.raises(ValueError, match="there is no file"):
        sft(data=[str(tmp_path / "none.jsonl")])
    assert issubclass(BadRow, ValueError)


def test_other_recipes_take_no_data(capsys):
    assert main(["train", "mmada.tiny_stage_one", "--data", "x.jsonl"]) == 2
    assert "takes no data; leave out --data" in capsys.readouterr().err
