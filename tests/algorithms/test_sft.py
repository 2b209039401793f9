import pytest
import torch

from limner.algorithms.sft import Piece, piece_loss, sft, table_loss
from limner.models.echo import COLOURS, END, MASK, Echo
from limner.parts import Ask, Image, Task, Text, Thinking, user
from limner.process.base import Scored
from limner.process.masked import MaskedBlocks, Values
from limner.process.noise import Noise
from limner.turn import rollout

PROMPTS = [(user("a red cat"),), (user("hi"),)]


def pieces(model, step=0, weight=1.0):
    made = []
    for name, kind, parts in (
        ("words", "text", [Text("yes"), Text("no")]),
        ("thoughts", "thinking", [Thinking("so, one cat"), Thinking("so, a greeting")]),
        ("pictures", "image", [Image(model.decode("image", torch.tensor([[c] * 16]))[0].image) for c in (1, 3)]),
    ):
        values = model.encode(parts)
        context = model.context(PROMPTS, [(), ()], Ask(kind))
        draw = model.process(kind).draw(values, Noise.of([10 * step, 10 * step + 1]))
        made.append(Piece(name, kind, context, values, draw, weight))
    return made


def test_the_loss_is_minus_the_log_probability():
    scored = Scored(torch.tensor([[-1.0, 0.0, -2.0]]), torch.tensor([[True, False, True]]), torch.tensor([3.0]))
    assert piece_loss(scored, by_length=True) == pytest.approx(9.0 / 3)
    assert piece_loss(scored, by_length=False) == pytest.approx(3.0 / 2)


def test_pictures_are_a_plain_mean_over_everything_hidden():
    hidden = torch.tensor([[True, False, False], [True, True, True]])
    tokens = torch.where(hidden, torch.tensor([[-4.0], [-1.0]]), 0.0)
    loss = piece_loss(Scored(tokens, hidden, torch.ones(2)), by_length=False)
    assert loss == pytest.approx(7.0 / 4), "rows with more hidden codes weigh more"


def test_every_piece_reports_its_own_number_and_weighs_as_told():
    model = Echo(seed=0)
    loss, numbers = sft(model, pieces(model))
    assert list(numbers) == ["words", "thoughts", "pictures"] and float(loss.detach()) == pytest.approx(
        sum(numbers.values())
    )
    double, same = sft(model, pieces(model, weight=2.0))
    assert float(double.detach()) == pytest.approx(2 * float(loss.detach())) and same == numbers


def test_a_model_learns_what_it_is_taught():
    model = Echo(seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
    first = sft(model, pieces(model))[1]
    for step in range(50):
        optimizer.zero_grad()
        sft(model, pieces(model, step))[0].backward()
        optimizer.step()
    last = sft(model, pieces(model))[1]
    assert all(last[name] < 0.2 * first[name] for name in first), (first, last)
    plan = (Ask("text"), Ask("image", temperature=0.0))
    taught = rollout(model, [Task(prompt) for prompt in PROMPTS], plan, [0, 1])
    assert [sample.text for sample in taught] == ["yes", "no"]
    assert [sample.first("image").raw for sample in taught] == [(1,) * 16, (3,) * 16]


def test_nothing_to_learn_is_refused():
    with pytest.raises(ValueError, match="at least one piece"):
        sft(Echo(), [])


class OneTable(Echo):
    """Words and colours from one table: the colours' logits stand behind the words'."""

    def process(self, kind):
        if kind != "text":
            return super().process(kind)
        return MaskedBlocks(self._everything, Values(MASK))

    def _everything(self, ids, kept, at, begin):
        words, colours = self._hidden_words(ids, kept, at, begin), self._hidden_colours(ids, kept, at, begin)
        return torch.cat([words, colours, self.ends(at)], dim=1)

    def ends(self, at):
        return torch.zeros(int(at.sum()), END + 1 - MASK)


def test_the_published_picture_loss_is_over_the_whole_table_and_the_two_tokens_around():
    model, piece = OneTable(seed=0), pieces(Echo(seed=0))[2]
    ids, kept, where = piece.context.given.around(Values(MASK, COLOURS).ids(piece.values, piece.draw.hidden))
    clean, _, _ = piece.context.given.around(piece.values + COLOURS)
    logits = model._everything(ids, kept, torch.ones_like(kept), 0).view(*ids.shape, -1)
    labels = torch.full_like(clean, -100)
    labels[:, where.start - 1 : where.stop + 1] = clean[:, where.start - 1 : where.stop + 1]
    labels[:, where] = torch.where(piece.draw.hidden, piece.values + COLOURS, -100)
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    loss, numbers = sft(model, [piece], pictures="table")
    assert numbers["pictures"] == pytest.approx(float(wanted.detach()), rel=1e-6) and loss.requires_grad


def test_pictures_without_a_common_table_are_refused():
    piece = pieces(Echo())[2]
    with pytest.raises(ValueError, match="only masked pictures and words that have one table"):
        table_loss(Echo(), piece)
    short = OneTable()
    short._everything = short._hidden_words
    with pytest.raises(ValueError, match="words are chosen among 258 values"):
        table_loss(short, piece)
