"""The published reward models as verifiers: LLaVA-OneVision asked in its own words (2501.13926).

``official`` answers as the published code does, by one sampled word and filtered probabilities (``official.py``);
otherwise probabilities are exact, with all cases of yes and no. A picture's features are computed once for all
its questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from limner.judges.asked import NO, YES, YesNo, asked_for
from limner.judges.official import TOP_K, TOP_P, filtered, opinion, sampled
from limner.judges.verifier import About, Opinion, Question, unjudged
from limner.models.llava.render import END
from limner.models.llava.render import question as put
from limner.parts import Image, Sample
from limner.process.noise import Noise

if TYPE_CHECKING:
    from limner.models.llava.network import Looker

CRITIQUE = 40  # words of a critique


@dataclass
class Llava:
    """A reward model. ``remembered`` pictures keep their features."""

    looker: Looker
    official: bool = False
    about: About = field(default_factory=lambda: About("LLaVA-OneVision"))
    remembered: int = 64
    _seen: dict[bytes, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.words = YesNo(self._ids(YES), self._ids(NO))
        if not self.words.yes or not self.words.no:
            raise ValueError("this tokenizer does not write yes and no as one token each; give the reward model's own")

    def _ids(self, texts: Sequence[str]) -> tuple[int, ...]:
        tokenizer = self.looker.tokenizer
        if tokenizer is None:
            raise ValueError("this reward model was loaded without its tokenizer.json; put it beside the weights")
        found = [(text, tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
        known = [ids[0] for text, ids in found if len(ids) == 1 and tokenizer.decode(ids).strip() == text.strip()]
        return tuple(dict.fromkeys(known))

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        return [self._one(question, sample) for sample in samples]

    def _one(self, name: Question, sample: Sample) -> Opinion:
        pictures = [part for part in sample.reply if isinstance(part, Image)]
        if not pictures:
            return unjudged("there is no picture to ask about")
        features = self._features(pictures[-1])
        before, behind = self.looker.ids(put(name, asked_for(sample)))
        logits = self.looker.next_word(before, features, behind).cpu()
        found = self._official(name, sample, logits) if self.official else self._exact(logits)
        if name != "reflection" or found.says:
            return found
        before, behind = self.looker.ids(put("critique", asked_for(sample)))
        tokenizer = self.looker.tokenizer
        assert tokenizer is not None
        end = tokenizer.token_to_id(END)
        said = self.looker.say(before, features, behind, CRITIQUE, -1 if end is None else end)
        return replace(found, text=tokenizer.decode(said).strip())

    def _exact(self, logits: Tensor) -> Opinion:
        return Opinion(float(self.words.share(logits[None].double().log_softmax(dim=-1))[0]))

    def _official(self, name: Question, sample: Sample, logits: Tensor) -> Opinion:
        assert self.looker.tokenizer is not None
        how = self.looker.sampling
        chances = filtered(logits, how.get("top_k", TOP_K), how.get("top_p", TOP_P))
        point = float(Noise.of([sample.seed]).uniform(f"verdict {name} {sample.progress:.4f}", 0, 1))
        word = self.looker.tokenizer.decode([sampled(chances, point)])
        return opinion(name, word, float(chances[self.words.yes[0]]), float(chances[self.words.no[0]]))

    def _features(self, part: Image) -> Tensor:
        key = part.image.tobytes()
        if key not in self._seen:
            if len(self._seen) >= self.remembered:
                self._seen.pop(next(iter(self._seen)))
            self._seen[key] = self.looker.features(part.image)
        return self._seen[key]
