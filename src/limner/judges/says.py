"""A model that says what it sees in a picture, compared exactly with what was asked: it need not know yes and no.

For prompts with facts (those of the picture world, or prompts in the words of a plan). A small model describes a thing
better than it compares two, so what it says is compared by rule (``facts_hold``). It may be the generator itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from limner.judges.asked import asked_for
from limner.judges.scenes import facts_of
from limner.judges.verifier import EARLY, About, Opinion, Question, clear_from, unjudged
from limner.models.base import Model
from limner.parts import Image, Sample, Task, user
from limner.turn import rollout
from limner.world import say
from limner.world.check import facts_hold

SURE, UNSURE = 0.91, 0.42  # how often pictures of tiny-show-o are right that it says are, and that it says are not


@dataclass(frozen=True)
class Says:
    """A verifier by description; the description is the opinion's text. Half-made pictures are clear from the share
    ``clear_from`` of the steps on; ``rows`` are described at a time."""

    model: Model
    about: About = field(default_factory=lambda: About("a model that says what it sees"))
    asked: str = say.CAPTION_QUESTIONS[0]
    clear_from: float = EARLY
    rows: int = 64

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        if question == "clarity":
            return clear_from(self.clear_from, samples)
        found = [unjudged("the prompt says nothing that could be compared; ask another judge")] * len(samples)
        facts = [dict(sample.task.facts) or facts_of(asked_for(sample)) or {} for sample in samples]
        places = [i for i, known in enumerate(facts) if known]
        for i, text in zip(places, self.descriptions([samples[i] for i in places]), strict=True):
            content = say.read_plan(text)
            good = content is not None and content.layout != "other" and facts_hold(facts[i], content)[0]
            found[i] = Opinion(SURE if good else UNSURE, text=text)
        return found

    def descriptions(self, samples: Sequence[Sample]) -> list[str]:
        """What the last picture of each sample shows, in words. Raises ValueError for a sample without a picture."""
        tasks = []
        for sample in samples:
            shown = [part for part in sample.reply if isinstance(part, Image)]
            if not shown:
                raise ValueError("there is no picture to describe")
            tasks.append(Task((user(Image(shown[-1].image), self.asked),)))
        plan, seeds = self.model.plan(("text",)), [sample.seed for sample in samples]
        return [made.text or "" for made in rollout(self.model, tasks, plan, seeds, batch=self.rows)]
