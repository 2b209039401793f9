"""Any model that answers in words, asked yes or no about a picture: a verifier whose scores are exact.

    p = sum over cases of P(yes) / (sum of P(yes) + sum of P(no))

from the logits of the answer's first value, without sampling. A verifier may think first: it says what it sees, and the
answer's logits are those behind that thought. ``Wording`` is how each question is put; the texts that the released
reward models were tuned on are in ``llava``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.judges.verifier import About, Opinion, Question, unjudged
from limner.models.base import Model, Reply
from limner.parts import Conversation, Image, Part, Sample, Task, Text, Thinking, assistant, user
from limner.turn import opening, rollout

YES = ("yes", "Yes", "YES", " yes", " Yes", " YES")
NO = ("no", "No", "NO", " no", " No", " NO")
FILE = "verifier.json"  # beside a verifier's checkpoint: its wording, and what it learned from


@dataclass(frozen=True)
class Wording:
    """How questions are put; ``{prompt}`` stands for what was asked of the generator.

    ``potential`` may be a second turn, after ``clarity`` was answered yes (``follows``). ``critique`` asks what is
    wrong where the answer to ``reflection`` is no; "" asks nothing.
    """

    outcome: str = "does this picture show {prompt}? answer yes or no."
    clarity: str = "this picture is not finished. is it clear enough to tell what it will show? answer yes or no."
    potential: str = "may it still become a picture of {prompt}? answer yes or no."
    step: str = "this picture of {prompt} is not finished. does it fit so far? answer yes or no."
    reflection: str = "does this picture show {prompt}? answer yes or no."
    critique: str = "this picture was to show {prompt}. what is wrong with it?"
    follows: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


# the same in few and plain words, for models that know no others
SHORT = Wording(
    outcome="is this {prompt}?",
    clarity="is the picture clear?",
    potential="may it make {prompt}?",
    step="may this make {prompt}?",
    reflection="is this {prompt}?",
    critique="what is it?",
)


def wording_for(model: Model) -> Wording:
    """The full wording, or the short one for a model that does not know its words."""
    try:
        model.check_prompt((user(Wording().outcome.replace("{prompt}", "")),))
    except ValueError:
        return SHORT
    return Wording()


def asked_for(sample: Sample) -> str:
    """What was asked of the generator: the text of the last user's message."""
    said = [message.text for message in sample.task.prompt if message.role == "user"]
    return said[-1] if said else ""


def conversation(wording: Wording, question: Question, sample: Sample, text: str = "") -> Conversation:
    """A question about a sample's last picture; ``text`` replaces the question's own."""
    pictures = [part for part in sample.reply if isinstance(part, Image)]
    if not pictures:
        raise ValueError("there is no picture to ask about")
    shown = pictures[-1]

    def put(form: str) -> str:
        return form.replace("{prompt}", asked_for(sample))

    if question == "potential" and wording.follows:
        first = user(shown, put(wording.clarity))
        return (first, assistant("yes"), user(put(wording.potential)))
    return (user(shown, put(text or getattr(wording, question))),)


@dataclass(frozen=True)
class YesNo:
    """Which first values mean yes and no for a model."""

    yes: tuple[int, ...]
    no: tuple[int, ...]

    @staticmethod
    def of(model: Model) -> YesNo:
        """Every case that the model writes as one value. ValueError where it knows neither word."""
        yes, no = ({i for text in texts for i in _single(model, text)} for texts in (YES, NO))
        both = yes & no
        if not yes - both or not no - both:
            raise ValueError(f"the model {model.family} does not write yes and no as one value each; ask another model")
        return YesNo(tuple(sorted(yes - both)), tuple(sorted(no - both)))

    def share(self, log_probabilities: Tensor) -> Tensor:
        """(B,) probability of yes over yes and no, of log-probabilities (B, V)."""
        yes = log_probabilities[:, list(self.yes)].double().logsumexp(dim=1)
        no = log_probabilities[:, list(self.no)].double().logsumexp(dim=1)
        return torch.sigmoid(yes - no)


def _single(model: Model, text: str) -> list[int]:
    try:
        model.check_prompt((user(text),))
    except ValueError:
        return []  # a word that the model does not know
    ids = model.encode([Text(text)])[0].tolist()
    return ids[:1] if len(ids) <= 2 else []


@dataclass(frozen=True)
class Asked:
    """A model as a verifier. ``length`` is the room for an answer that it was trained with; ``rows`` are asked at a
    time. ``thinks`` are the questions that are thought about before they are answered, in the way ``fast`` ("":
    exactly); the thought is then the opinion's text. Where a model writes bytes or otherwise has no value for yes,
    ``likely`` gives (B,) probabilities of yes, without thoughts."""

    model: Model
    wording: Wording = Wording()
    about: About = field(default_factory=lambda: About("a model asked yes or no"))
    length: int = 2
    rows: int = 64
    thinks: tuple[Question, ...] = ()
    fast: str = ""
    likely: Callable[[Sequence[Conversation]], Tensor] | None = None

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        found: list[Opinion] = []
        for begin in range(0, len(samples), self.rows):
            found += self._some(question, samples[begin : begin + self.rows])
        return found

    def _some(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        asked: list[tuple[int, Conversation]] = []
        found: list[Opinion] = [unjudged("")] * len(samples)
        keep = self._same_codes(samples)
        for i, sample in enumerate(samples if keep else [_pixels_alone(sample) for sample in samples]):
            try:
                put = conversation(self.wording, question, sample)
                self.model.check_prompt(put)
                asked.append((i, put))
            except ValueError as error:
                found[i] = unjudged(str(error))
        if not asked:
            return found
        put_all = [put for _, put in asked]
        thoughts = self._thoughts(put_all, [samples[i].seed for i, _ in asked]) if question in self.thinks else None
        chances = self._chances(put_all, thoughts).tolist()
        for place, ((i, _), chance) in enumerate(zip(asked, chances, strict=True)):
            found[i] = Opinion(chance, text=_words(thoughts[place]) if thoughts else "")
        if question == "reflection" and self.wording.critique:
            wrong = [i for i, _ in asked if not found[i].says]
            for i, text in zip(wrong, self._critiques([samples[i] for i in wrong]), strict=True):
                found[i] = replace(found[i], text=text)
        return found

    def reads_codes(self, model: Model) -> bool:
        """Whether a picture's codes are all that is needed of it: the generator's codes are this model's own, and it
        answers alike whether or not it is shown what they look like. Then half-made pictures need no decoding."""
        try:
            length = model.settings(model.plan(("image",))[-1], 1).length
            (part,) = model.decode("image", torch.arange(length, device=model.device)[None] % 7)
            asked = [Sample(Task((user("yes"),)), (shown,)) for shown in (part, _codes_alone(part))]
            put = [conversation(self.wording, "clarity", sample) for sample in asked]
            seen, unseen = self._chances(put)
        except (ValueError, IndexError, RuntimeError):
            return False
        return bool(seen == unseen) and self._same_codes(asked[:1])

    def _same_codes(self, samples: Sequence[Sample]) -> bool:
        """Whether the codes of the pictures are this model's own: it shows them as the same picture."""
        part = next((p for s in samples for p in reversed(s.reply) if isinstance(p, Image) and p.raw), None)
        if part is None or self.likely is not None or part.image.size == (1, 1):
            return True
        try:
            (shown,) = self.model.decode("image", torch.tensor([part.raw], device=self.model.device))
        except (ValueError, IndexError, RuntimeError):
            return False  # a codec with fewer codes, or of another shape
        return isinstance(shown, Image) and shown.image.tobytes() == part.image.tobytes()

    def _thoughts(self, conversations: Sequence[Conversation], seeds: Sequence[int]) -> list[Reply]:
        plan = tuple(replace(ask, fast=self.fast) for ask in self.model.plan(("thinking",)))
        tasks = [Task(each) for each in conversations]
        return [made.reply for made in rollout(self.model, tasks, plan, seeds, batch=self.rows)]

    def _chances(self, conversations: Sequence[Conversation], thoughts: Sequence[Reply] | None = None) -> Tensor:
        if self.likely is not None:
            return self.likely(conversations)
        return YesNo.of(self.model).share(opening(self.model, conversations, self.length, thoughts))

    def _critiques(self, samples: Sequence[Sample]) -> list[str]:
        if not samples:
            return []
        put = [conversation(self.wording, "reflection", sample, self.wording.critique) for sample in samples]
        tasks = [replace(sample.task, prompt=each) for sample, each in zip(samples, put, strict=True)]
        plan = self.model.plan(("text",))
        return [made.text or "" for made in rollout(self.model, tasks, plan, [s.seed for s in samples])]


def _words(reply: Reply) -> str:
    return next((part.text for part in reply if isinstance(part, Thinking)), "")


def _codes_alone(part: Part) -> Image:
    from PIL import Image as pil

    return Image(pil.new("RGB", (1, 1)), part.raw)


def _pixels_alone(sample: Sample) -> Sample:
    return replace(sample, reply=tuple(Image(p.image) if isinstance(p, Image) else p for p in sample.reply))


def save_about(
    folder: Path, wording: Wording, about: About, length: int = 2, thinks: Sequence[Question] = (), fast: str = ""
) -> None:
    """Write ``verifier.json`` beside a checkpoint."""
    value = {"wording": wording.to_json(), "about": asdict(about), "length": length}
    value |= {"thinks": list(thinks), "fast": fast}
    (Path(folder) / FILE).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_about(folder: Path) -> Mapping[str, Any]:
    """The options of ``Asked`` that stand beside a checkpoint: those of a model that was never trained to verify are
    none."""
    path = Path(folder) / FILE
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return {
            "wording": Wording(**value["wording"]),
            "about": About(**value["about"]),
            "length": int(value["length"]),
            "thinks": tuple(value.get("thinks", ())),
            "fast": str(value.get("fast", "")),
        }
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} does not describe a verifier: {error}") from error
