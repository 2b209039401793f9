"""Verification as a whole: a policy among N candidates, within a time if wanted, and rounds of self-correction.

PARM++ (2501.13926 section 3.4): the chosen picture is checked against the prompt; where it does not fit, the verifier
says why, and the generator sees prompt, picture and critique and draws again, at most three times. The paper leaves
open what a round samples and how the sequence looks: here a round is a search like the first, behind a conversation
whose last turn is the critique, and the best picture of all rounds is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from limner.algorithms.verify.policies import Policy, chance, none, orm, parm, prm, survey
from limner.algorithms.verify.search import Event, Found, Job, Ledger, OnEvent, Searcher
from limner.judges.verifier import Opinion, Verifier
from limner.models.base import Model
from limner.parts import Conversation, Image, Plan, assistant, user

METHODS = ("none", "random", "oracle", "orm", "prm", "parm", "parm++", "survey")
ROUNDS = 3
WITHIN = 0.6  # share of the steps of best-of-N that PARM may take
PROMISING = 0.1  # an early look is seldom sure: what it ranks low is outdone, and only what it excludes is rejected
Again = Callable[[Conversation, Image, str], Conversation]


def again(prompt: Conversation, picture: Image, critique: str) -> Conversation:
    """What the generator sees in a round of self-correction: what was asked, what it drew, what is wrong with it."""
    return (*prompt, assistant(picture), user(critique or "no"))


@dataclass(frozen=True)
class Method:
    """How pictures are verified. ``n`` candidates; ``budget`` is the seconds for a picture (None: as long as it takes);
    ``rounds`` of self-correction at most."""

    policy: Policy
    n: int = 1
    budget: float | None = None
    rounds: int = 0
    again: Again = again

    def __post_init__(self) -> None:
        if self.n < 1 or self.rounds < 0:
            raise ValueError(f"n={self.n} candidates must be at least 1, rounds={self.rounds} at least 0")
        if self.budget is not None and not 0 < self.budget < float("inf"):
            raise ValueError(f"budget={self.budget} must be a number of seconds above 0")


def method(
    name: str, n: int, budget: float | None = None, *, begin: float = 0.0, until: float = 1.0, official: bool = False
) -> Method:
    """A method by its name. "oracle" is "orm" with a verifier that knows; "parm++" is PARM with three rounds.

    ``begin`` (also of "survey") and ``official`` are PARM's (``policies.parm``), which takes at most ``WITHIN`` of the
    steps of best-of-N; ``until`` is of "survey". ValueError for a name that is not in ``METHODS``.
    """
    made: dict[str, Callable[[], Policy]] = {
        "none": none,
        "random": chance,
        "oracle": lambda: orm("oracle"),
        "orm": lambda: orm(official=official),
        "prm": prm,
        "parm": lambda: parm(
            begin=begin, official=official, merged=budget is not None, promising=PROMISING, within=WITHIN
        ),
        "survey": lambda: survey(begin, until),
    }
    made["parm++"] = made["parm"]
    if name not in made:
        raise ValueError(f"no way to verify is called {name!r}; there are: {', '.join(METHODS)}")
    if official and name not in ("orm", "parm"):
        raise ValueError(f"the original has no code for {name}; official goes with orm and parm")
    return Method(made[name](), n, budget, ROUNDS if name == "parm++" else 0)


def verify(
    model: Model,
    jobs: Sequence[Job],
    plan: Plan,
    verifier: Verifier | None,
    how: Method,
    *,
    rows: int = 64,
    on_event: OnEvent | None = None,
    ledger: Ledger | None = None,
    views: bool = True,
    clock: Callable[[], float] = time.perf_counter,
    on_pass: Callable[[], None] | None = None,
) -> list[Found]:
    """The chosen picture of every job; about ``rows`` candidates are made at a time. ``ledger`` and ``on_event`` are
    told what it took, and ``on_pass`` is called before every pass and look. A time budget is each job's own, so jobs
    with one are done one by one."""
    ledger = Ledger() if ledger is None else ledger
    searcher = Searcher(
        model, plan, verifier, how.policy, on_event=on_event, ledger=ledger, views=views, clock=clock, rows=rows,
        on_pass=on_pass,
    )  # fmt: skip
    if how.budget is None:
        return _Rounds(searcher, how).run(jobs)
    return [_Rounds(searcher, how, clock() + how.budget).run([job])[0] for job in jobs]


@dataclass
class _Drawn:
    """The pictures of a job, round after round, each with what the check says."""

    found: list[Found]
    checked: list[Opinion] = field(default_factory=list)
    over: bool = False

    def best(self) -> Found:
        """Aligned before not aligned, then the surest; the earlier among equals. Not judged comes last."""
        order = [(bool(o.says), -1.0 if o.yes is None else o.yes, -i) for i, o in enumerate(self.checked)]
        place = max(range(len(order)), key=order.__getitem__)
        return replace(self.found[place], opinion=self.checked[place], rounds=len(self.found) - 1)


@dataclass
class _Rounds:
    """Searches round after round, until ``end`` on the searcher's clock. ``single`` is what one candidate costs,
    ``rate`` what one of several does, in seconds: the largest that was seen."""

    searcher: Searcher
    how: Method
    end: float | None = None
    single: float = 0.0
    rate: float = 0.0

    def run(self, jobs: Sequence[Job]) -> list[Found]:
        """The first search, then rounds of self-correction for the jobs whose picture does not fit."""
        rounds = self.how.rounds
        drawn = [_Drawn([found]) for found in self.search(jobs, rounds)]
        if not rounds:
            return [each.found[0] for each in drawn]
        for number in range(rounds + 1):
            open_ = [(job, each) for job, each in zip(jobs, drawn, strict=True) if not each.over]
            if not open_:
                break
            self.check(open_, number)
            wrong: list[Job] = []
            kept: list[_Drawn] = []
            for job, each in open_:
                opinion = each.checked[-1]
                late = self.end is not None and self.searcher.clock() + self.single > self.end
                last = number == rounds or bool(opinion.says) or not opinion.judged or late
                corrected = None if last else self.corrected(job, each, number + 1)
                each.over = corrected is None
                if corrected is not None:
                    wrong.append(corrected)
                    kept.append(each)
            for each, found in zip(kept, self.search(wrong, rounds - number - 1), strict=True):
                each.found.append(found)
        return [each.best() for each in drawn]

    def search(self, jobs: Sequence[Job], later: int) -> list[Found]:
        """One round: with an end, half of the time that is left if ``later`` rounds may follow."""
        if self.end is None:
            return self.searcher.search(jobs)
        left = self.end - self.searcher.clock()
        return [self.within(job, self.searcher.clock() + (left / 2 if later else left)) for job in jobs]

    def within(self, job: Job, end: float) -> Found:
        """As many candidates as fit, in waves that are judged one by one: the first is a single candidate, which tells
        what one costs; each later one takes at most half of the time that is left, so that the last ones are small."""
        clock, done, begun = self.searcher.clock, 0, self.searcher.clock()
        best: Found | None = None
        while done < len(job.seeds):
            left, size = end - clock(), 1
            if best is not None:
                while size < min(len(job.seeds) - done, self.searcher.rows) and self.cost(size + 1) <= left / 2:
                    size += 1
                if self.cost(size) > left:
                    break
            start = clock()
            wave = replace(job, seeds=job.seeds[done : done + size], offset=done, wave=True)
            (found,) = self.searcher.run([wave], first=done == 0)
            took = clock() - start
            if size == 1:
                self.single = max(self.single, took)
            self.rate = max(self.rate if size > 1 else 0.0, took / size) if size > 1 or not self.rate else self.rate
            if best is None or found.choice.rank > best.choice.rank:
                best = found
            done += size
        assert best is not None
        why = f"{best.choice.why}; best of {done} in {clock() - begun:.2f} s"
        path, seed, cost = best.choice.path, best.sample.seed, self.searcher.ledger.to_json()
        name = self.how.policy.name
        self.searcher.tell(
            Event("choice", job.name, job.output, job.round, path, seed, decision=name, cost=cost, why=why)
        )
        return best

    def cost(self, size: int) -> float:
        """Seconds that a wave of so many is expected to take."""
        return max(self.single, self.rate * size)

    def check(self, open_: Sequence[tuple[Job, _Drawn]], number: int) -> None:
        """Ask whether the latest pictures fit, and why not."""
        opinions, spent = self.searcher.ask("reflection", [each.found[-1].sample for _, each in open_])
        for (job, each), opinion in zip(open_, opinions, strict=True):
            each.checked.append(opinion)
            found = each.found[-1]
            view = found.sample.reply[-1].raw if self.searcher.views else None
            event = Event("look", job.name, job.output, number, found.choice.path, found.sample.seed)
            decision = "not judged" if not opinion.judged else "fits" if opinion.says else "does not fit"
            cost = {"verifier_seconds": round(spent / len(open_), 4)}
            self.searcher.tell(
                replace(event, question="reflection", opinion=opinion, decision=decision, view=view, cost=cost)
            )

    def corrected(self, job: Job, drawn: _Drawn, number: int) -> Job | None:
        """The job of the next round; None where the generator cannot be told what is wrong."""
        part, critique = drawn.found[-1].sample.reply[-1], drawn.checked[-1].text
        if not isinstance(part, Image):
            raise ValueError(f"self-correction is for pictures; this reply ends with a {part.kind}")
        conversation = self.how.again(job.task.prompt, part, critique)
        why, told = critique, True
        try:
            self.searcher.model.check_prompt(conversation)
        except ValueError as error:
            why, told = f"the generator cannot be told: {error}", False
        self.searcher.tell(Event("round", job.name, job.output, number, why=why))
        step = max(job.seeds) - min(job.seeds) + 1
        seeds = tuple(seed + number * step for seed in job.seeds)
        return replace(job, conversation=conversation, round=number, seeds=seeds) if told else None
