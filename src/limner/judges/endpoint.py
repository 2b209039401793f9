"""A served model asked yes or no: any endpoint that speaks OpenAI's chat completions.

Probabilities come from the first token's ``top_logprobs``; an endpoint without them is taken at its word (1 or 0).
Whatever goes wrong - no connection, a timeout, an error, garbage, another word than yes or no - leaves the candidate
unjudged with the reason. After a few failures in a row the rest of a call is not tried, so that a dead endpoint costs
seconds and not hours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from limner.judges.asked import Wording, conversation
from limner.judges.served import KEY, WRONG, Served, Unanswered, told
from limner.judges.verifier import About, Opinion, Question, unjudged
from limner.parts import Sample

FAILURES = 3  # in a row, before the rest of a call is given up


@dataclass
class Endpoint:
    """A verifier behind ``url`` (up to and without ``/chat/completions``). The key is read from the environment
    variable ``key``; seconds are given to each of ``tries``; ``together`` questions are asked at a time."""

    url: str
    model: str
    timeout: float = 30.0
    tries: int = 2
    together: int = 4
    wording: Wording = Wording()
    key: str = KEY
    about: About = field(default_factory=lambda: About("an endpoint"))

    def __post_init__(self) -> None:
        self.served = Served(self.url, self.model, self.timeout, self.tries, self.key)
        if self.together < 1:
            raise ValueError(f"together={self.together} must be above 0")

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        found: list[Opinion] = []
        with ThreadPoolExecutor(self.together) as pool:
            for begin in range(0, len(samples), self.together):
                last = found[-FAILURES:]
                if len(last) == FAILURES and not any(opinion.judged for opinion in last):
                    why = f"not asked, because {FAILURES} questions in a row had no answer ({last[-1].text})"
                    found += [unjudged(why)] * (len(samples) - begin)
                    break
                some = samples[begin : begin + self.together]
                found += pool.map(lambda sample: self._one(question, sample), some)
        return found

    def _one(self, question: Question, sample: Sample) -> Opinion:
        try:
            put = conversation(self.wording, question, sample)
            opinion = self._read(self.served.first(put, max_tokens=1, logprobs=True, top_logprobs=20))
        except WRONG as error:
            return unjudged(f"{self.url}: {told(error)}")
        if question != "reflection" or opinion.says or not self.wording.critique:
            return opinion
        try:
            put = conversation(self.wording, question, sample, self.wording.critique)
            text = str(self.served.first(put, max_tokens=60)["message"]["content"]).strip()
        except WRONG as error:
            return replace(opinion, text=f"no critique: {told(error)}")
        return replace(opinion, text=text)

    def _read(self, choice: dict[str, Any]) -> Opinion:
        """The share of yes among the likeliest first tokens, or the word itself."""
        tokens = ((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs") or []
        shares = {"yes": 0.0, "no": 0.0}
        for token in tokens:
            word = str(token["token"]).strip().lower()
            if word in shares:
                shares[word] += math.exp(float(token["logprob"]))
        total = shares["yes"] + shares["no"]
        if total > 0 and math.isfinite(total):
            return Opinion(shares["yes"] / total)
        said = str(choice["message"]["content"]).strip()
        word = said.lower().strip(" .!,").split(" ")[0]
        if word not in shares:
            raise Unanswered(f"it answered {said[:40]!r} where yes or no was asked for")
        return Opinion(float(word == "yes"))
