"""The table of families. A new family adds one line here, and the whole suite runs on it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from limner.models.base import Model
from limner.models.echo import Echo
from limner.parts import Conversation, Part, PartKind, Plan, Sample, Task, user
from limner.process.base import Draw, Scored
from limner.turn import draws, log_prob, rollout


@dataclass(frozen=True)
class Case:
    """A tiny model of a family, with prompts of different lengths. ``fillable``: kinds that can have known parts."""

    model: Model
    conversations: tuple[Conversation, ...]
    plan: Plan
    fillable: tuple[PartKind, ...] = ("image",)
    seeds: tuple[int, ...] = (11, 12, 13)

    @property
    def tasks(self) -> list[Task]:
        return [Task(conversation) for conversation in self.conversations]

    def samples(self, plan: Plan | None = None, seeds: tuple[int, ...] | None = None) -> list[Sample]:
        return rollout(self.model, self.tasks, plan or self.plan, seeds or self.seeds)

    def scored(self, samples: list[Sample], model: Model | None = None) -> tuple[list[Draw], tuple[Scored, ...]]:
        drawn = draws(model or self.model, samples, self.seeds)
        return drawn, log_prob(model or self.model, samples, drawn)


def echo() -> Case:
    model = Echo(seed=0)
    picture: Part = model.decode("image", model.encode([model_picture()]))[0]
    conversations = ((user("a red cat"),), (user("what is this?", picture),), (user("two blue dogs in the snow"),))
    return Case(model, conversations, model.plan(["thinking", "image", "text"]), ("image", "thinking"))


def model_picture() -> Part:
    """A picture that no model drew: a colour ramp."""
    from PIL import Image as pil

    from limner.parts import Image

    return Image(pil.linear_gradient("L").resize((64, 64)).convert("RGB"))


FAMILIES: dict[str, Callable[[], Case]] = {"echo": echo}


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def case(request: pytest.FixtureRequest) -> Case:
    return FAMILIES[request.param]()
