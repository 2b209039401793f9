"""Policies carried out: the candidates of many tasks are rows of one state, pruned, copied and looked at together.

Every look is an event with its cost, whoever watches; the same events are the trace. Letters: N candidates of a job.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from PIL import Image as pil

from limner.algorithms.verify.policies import Choice, Go, Look, Note, Policy, Search, Wish
from limner.judges.verifier import Opinion, Question, Verifier
from limner.models.base import Model, Reply
from limner.parts import Conversation, Image, Part, Plan, Sample, Task
from limner.process.base import State
from limner.process.noise import Noise
from limner.turn import Step, begin, rollout

_NOTHING = pil.new("RGB", (1, 1))
SPENT = 1e-30  # the temperature that is left after a first path: too small to change an order in float32
SPREAD = 1_000_003  # between the seeds of one output's candidates where outputs have seeds of their own


@dataclass
class Ledger:
    """What it cost. ``passes`` of the generator made ``row_steps`` rows go a step further; the parts before the judged
    one took ``word_steps`` of rows; the verifier was called ``calls`` times about ``looks`` candidates; ``decodes``
    pictures were decoded. Seconds of each."""

    passes: int = 0
    row_steps: int = 0
    word_steps: int = 0
    calls: int = 0
    looks: int = 0
    decodes: int = 0
    generator_seconds: float = 0.0
    verifier_seconds: float = 0.0
    decoder_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Of all three."""
        return self.generator_seconds + self.verifier_seconds + self.decoder_seconds

    def to_json(self) -> dict[str, float]:
        """Plain values, seconds to the millisecond."""
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Event:
    """Something happened to a candidate. ``kind``: "begin", "look", "wave", "choice", "round"."""

    kind: str
    job: str
    output: int = 0
    round: int = 0
    path: int | None = None
    seed: int | None = None
    step: int | None = None
    steps: int | None = None
    question: str | None = None
    opinion: Opinion | None = None
    decision: str | None = None
    view: tuple[int, ...] | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values without what does not apply."""
        value = {k: v for k, v in vars(self).items() if v is not None and v != {} and v != "" and k != "opinion"}
        if self.view is not None:
            value["view"] = list(self.view)
        if self.opinion is not None:
            value["opinion"] = asdict(self.opinion)
        return value

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Event:
        """The event that ``to_json`` wrote."""
        given = dict(value)
        if "opinion" in given:
            given["opinion"] = Opinion(**given["opinion"])
        if "view" in given:
            given["view"] = tuple(given["view"])
        return Event(**given)


OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Job:
    """One wanted picture: the task it is judged by, the seeds of its candidates, and, where it is not the task's own
    prompt, the conversation that the generator sees. ``offset`` is the number of its first path, where these are only
    some of all candidates (``wave``)."""

    task: Task
    seeds: tuple[int, ...]
    name: str
    output: int = 0
    round: int = 0
    conversation: Conversation | None = None
    offset: int = 0
    wave: bool = False

    @property
    def prompt(self) -> Conversation:
        """What the generator sees."""
        return self.task.prompt if self.conversation is None else self.conversation


@dataclass(frozen=True)
class Found:
    """The chosen candidate of a job; ``opinion`` is the last one that was asked of it, if any. ``rounds`` of
    self-correction were made."""

    sample: Sample
    choice: Choice
    opinion: Opinion | None
    rounds: int = 0


Key = tuple[int, int]  # job, path


@dataclass
class _Lane:
    """Rows of one state; lanes are split when some rows stop or are copied, never merged."""

    state: State
    keys: list[Key]


@dataclass
class _Running:
    """A job's search, and what it is waiting for."""

    search: Search
    wish: Wish | None = None
    choice: Choice | None = None
    pending: dict[int, Event] = field(default_factory=dict)  # by path, until what was decided is known
    last: dict[int, Opinion] = field(default_factory=dict)


class Searcher:
    """Carries out one policy for some jobs at a time."""

    def __init__(
        self,
        model: Model,
        plan: Plan,
        verifier: Verifier | None,
        policy: Policy,
        *,
        on_event: OnEvent | None = None,
        ledger: Ledger | None = None,
        views: bool = True,
        clock: Callable[[], float] = time.perf_counter,
        rows: int = 64,
        on_pass: Callable[[], None] | None = None,
    ) -> None:
        if policy.questions and verifier is None:
            raise ValueError(f"the policy {policy.name} asks for {', '.join(policy.questions)}; give a verifier")
        if not plan:
            raise ValueError("the plan is empty: ask for at least one part, such as Ask('image')")
        self.model, self.plan, self.verifier, self.policy = model, plan, verifier, policy
        self.on_event, self.views, self.clock, self.rows = on_event, views, clock, rows
        self.on_pass = on_pass
        self.ledger = ledger if ledger is not None else Ledger()
        reads = getattr(verifier, "reads_codes", None)
        # then only what is chosen is decoded
        self.bare = plan[-1].kind == "image" and reads is not None and bool(reads(model))
        self.steps = 0
        self.jobs: list[Job] = []
        self.standing: dict[Key, Reply] = {}
        self.lanes: list[_Lane] = []
        self._shown: dict[tuple[Key, int], Part] = {}

    def search(self, jobs: Sequence[Job]) -> list[Found]:
        """The chosen candidate of every job; about ``rows`` candidates are made at a time."""
        found: list[Found] = []
        for some in _filled(jobs, self.rows):
            found += self.run(some, first=not found)
        return found

    def ask(self, question: Question, samples: Sequence[Sample]) -> tuple[list[Opinion], float]:
        """(What the verifier says of them, the seconds it took), entered in the ledger."""
        assert self.verifier is not None
        if self.on_pass is not None:
            self.on_pass()
        begun = self.clock()
        opinions = self.verifier(question, samples)
        spent = self.clock() - begun
        if len(opinions) != len(samples):
            raise ValueError(f"the verifier gave {len(opinions)} opinions on {len(samples)} candidates")
        self.ledger.verifier_seconds += spent
        self.ledger.calls += 1
        self.ledger.looks += len(samples)
        return opinions, spent

    @torch.no_grad()
    def run(self, jobs: Sequence[Job], first: bool = True) -> list[Found]:
        """The chosen candidate of every job. ``first``: their first paths are the very first (see ``Policy.fades``)."""
        self.jobs, self.lanes, self._shown = list(jobs), [], {}
        if not jobs:
            return []
        self._start(first)
        running = [
            _Running(self.policy.search(len(job.seeds), self.steps, zlib.crc32(f"{job.name}/{job.seeds[0]}".encode())))
            for job in jobs
        ]
        for each in running:
            self._send(each, None)
        while True:
            # looks before steps: jobs that wait for an answer catch up, and all go on together
            looking = [(j, r, r.wish) for j, r in enumerate(running) if isinstance(r.wish, Look)]
            if looking:
                self._look(looking)
                continue
            going = [(j, r, r.wish) for j, r in enumerate(running) if isinstance(r.wish, Go)]
            if not going:
                break
            moves = {(j, p): (j, p if w.source is None else w.source) for j, _, w in going for p in w.paths}
            self._go(moves)
            for _, each, _ in going:
                self._send(each, [])
        return [self._found(j, each) for j, each in enumerate(running)]

    # the four things a wish can be

    def _start(self, first: bool) -> None:
        keys = [(j, p) for j, job in enumerate(self.jobs) for p in range(len(job.seeds))]
        seeds = [self.jobs[j].seeds[p] for j, p in keys]
        begun = self.clock()
        self.standing = self._said(keys, seeds)
        ask = self.plan[-1]
        kinds = [(ask, keys)]
        if self.policy.fades:
            warm = [key for key in keys if first and key == (0, 0)]
            faded = replace(ask, temperature=SPENT)
            kinds = [(ask, warm), (faded, [key for key in keys if key not in warm])]
        for wanted, some in kinds:
            if not some:
                continue
            root = Noise.of([self.jobs[j].seeds[p] for j, p in some])
            prompts = [self.jobs[j].prompt for j, _ in some]
            self.process, state = begin(self.model, prompts, wanted, [self.standing[k] for k in some], root)
            self.lanes.append(_Lane(state, some))
            self.steps = state.settings.steps
        self.ledger.generator_seconds += self.clock() - begun

    def _said(self, keys: list[Key], seeds: list[int]) -> dict[Key, Reply]:
        """The parts in front of the one that is judged. Words without chance are made once a job."""
        before = self.plan[:-1]
        if not before:
            return dict.fromkeys(keys, ())
        certain = all(self.model.settings(ask, 1).temperature == 0 for ask in before)
        some = [key for key in keys if not certain or key[1] == 0]
        tasks = [Task(self.jobs[j].prompt) for j, _ in some]
        own = [seed for key, seed in zip(keys, seeds, strict=True) if not certain or key[1] == 0]

        def on_step(step: Step) -> None:
            self.ledger.word_steps += 0 if step.finished else int((~step.state.done).sum())
            if self.on_pass is not None:
                self.on_pass()

        said = rollout(self.model, tasks, before, own, on_step=on_step)
        made = {key: sample.reply for key, sample in zip(some, said, strict=True)}
        return {key: made[(key[0], 0) if certain else key] for key in keys}

    def _go(self, moves: Mapping[Key, Key]) -> None:
        lanes: list[_Lane] = []
        begun = self.clock()
        for lane in self.lanes:
            row = {key: i for i, key in enumerate(lane.keys)}
            mine = [(key, source) for key, source in moves.items() if source in row]
            rest = [key for key in lane.keys if key not in moves]
            if rest:
                whole = len(rest) == len(lane.keys)
                lanes.append(lane if whole else _Lane(lane.state[[row[key] for key in rest]], rest))
            if not mine:
                continue
            rows = [row[source] for _, source in mine]
            state = lane.state if rows == list(range(len(lane.keys))) else lane.state[rows]
            if any(key != source for key, source in mine):
                state = replace(state, noise=state.noise.fork(f"branch {state.step}", [key[1] for key, _ in mine]))
            if not bool(state.done.all()):
                if self.on_pass is not None:
                    self.on_pass()
                state = self.process.step(state)
                self.ledger.passes += 1
                self.ledger.row_steps += len(mine)
            lanes.append(_Lane(state, [key for key, _ in mine]))
        self.lanes = lanes
        self.ledger.generator_seconds += self.clock() - begun

    def _look(self, looking: Sequence[tuple[int, _Running, Look]]) -> None:
        by_question: dict[Question, list[Key]] = {}
        for j, _, wish in looking:
            by_question.setdefault(wish.question, []).extend((j, p) for p in wish.paths)
        answers: dict[Key, Opinion] = {}
        events: dict[Key, Event] = {}
        for question, keys in by_question.items():
            samples = self._bare(keys) if self.bare else self._samples(keys)
            opinions, spent = self.ask(question, samples)
            for key, sample, opinion in zip(keys, samples, opinions, strict=True):
                answers[key] = opinion
                events[key] = self._event(key, question, sample, opinion, spent / len(samples))
        for j, each, wish in looking:
            each.pending = {p: events[j, p] for p in wish.paths}
            each.last |= {p: answers[j, p] for p in wish.paths}
            self._send(each, [answers[j, p] for p in wish.paths])

    def _send(self, each: _Running, answer: list[Opinion] | None) -> None:
        """The search's next wish; notes on the last look are taken on the way."""
        try:
            wish = next(each.search) if answer is None else each.search.send(answer)
            while isinstance(wish, Note):
                noted = wish.decisions
                each.pending = {p: replace(e, decision=noted.get(p, e.decision)) for p, e in each.pending.items()}
                wish = each.search.send([])
            each.wish = wish
        except StopIteration as end:
            each.wish, each.choice = None, end.value
        for event in each.pending.values():
            self.tell(event)
        each.pending = {}

    # what stands

    def _at(self, key: Key) -> int:
        """The steps that a path has made."""
        return next(lane.state.step for lane in self.lanes if key in lane.keys)

    def _bare(self, keys: Sequence[Key]) -> list[Sample]:
        """The candidates as they stand, as codes without pixels."""
        found: dict[Key, Sample] = {}
        for lane in self.lanes:
            mine = [(i, key) for i, key in enumerate(lane.keys) if key in keys]
            if not mine:
                continue
            rows = self.process.view(lane.state)[[i for i, _ in mine]].tolist()
            for (_, key), codes in zip(mine, rows, strict=True):
                found[key] = self._sample(key, lane.state, Image(_NOTHING, tuple(codes)))
        return [found[key] for key in keys]

    def _samples(self, keys: Sequence[Key]) -> list[Sample]:
        """The candidates as they stand; each is decoded once a step."""
        begun, kind = self.clock(), self.plan[-1].kind
        place = {key: (lane, i) for lane in self.lanes for i, key in enumerate(lane.keys)}
        new: dict[int, list[tuple[Key, int]]] = {}
        for key in keys:
            lane, i = place[key]
            if (key, lane.state.step) not in self._shown:
                new.setdefault(id(lane), []).append((key, i))
        for some in new.values():
            lane = place[some[0][0]][0]
            whole = [i for _, i in some] == list(range(len(lane.keys)))
            state = lane.state if whole else lane.state[[i for _, i in some]]
            parts = self.model.decode(kind, self.process.view(state))
            self._shown = {known: part for known, part in self._shown.items() if known[0] not in dict(some)}
            self._shown |= {(key, lane.state.step): part for (key, _), part in zip(some, parts, strict=True)}
            self.ledger.decodes += len(some)
        self.ledger.decoder_seconds += self.clock() - begun
        states = {key: place[key][0].state for key in keys}
        return [self._sample(key, state, self._shown[key, state.step]) for key, state in states.items()]

    def _sample(self, key: Key, state: State, part: Part) -> Sample:
        job = self.jobs[key[0]]
        progress = 1.0 if bool(state.done.all()) else min(1.0, state.step / self.steps)
        return Sample(job.task, (*self.standing[key], part), job.seeds[key[1]], progress)

    def _found(self, j: int, each: _Running) -> Found:
        assert each.choice is not None
        (sample,) = self._samples([(j, each.choice.path)])
        job, path = self.jobs[j], each.choice.path
        choice = replace(each.choice, path=path + job.offset)
        kind, cost = "wave" if job.wave else "choice", self.ledger.to_json()
        self.tell(
            Event(
                kind, job.name, job.output, job.round, choice.path, sample.seed,
                steps=self.steps, decision=self.policy.name, cost=cost, why=choice.why,
            )
        )  # fmt: skip
        return Found(sample, choice, each.last.get(path))

    def _event(self, key: Key, question: Question, sample: Sample, opinion: Opinion, seconds: float) -> Event:
        job, step = self.jobs[key[0]], self._at(key)
        view = sample.reply[-1].raw if self.views else None
        cost = {"verifier_seconds": round(seconds, 4)}
        return Event(
            "look", job.name, job.output, job.round, key[1] + job.offset, sample.seed, step, self.steps,
            question, opinion, None, view, cost,
        )  # fmt: skip

    def tell(self, event: Event) -> None:
        """Tell whoever watches."""
        if self.on_event is not None:
            self.on_event(event)


def jobs_of(tasks: Sequence[Task], n: int, seeds: Sequence[int], spread: int = 1) -> list[Job]:
    """A job for each task and each of the seeds (one output each); candidate i of it has the seed ``seed + spread i``.
    With one candidate, a picture is the one that is made of that seed alone."""
    if n < 1:
        raise ValueError(f"n={n} candidates cannot be chosen from; give 1 or more")
    named = [replace(task, id=task.id or f"task {t}") for t, task in enumerate(tasks)]
    return [
        Job(task, tuple(seed + spread * i for i in range(n)), task.id, output)
        for task in named
        for output, seed in enumerate(seeds)
    ]


def _filled(jobs: Sequence[Job], rows: int) -> Iterable[list[Job]]:
    some: list[Job] = []
    for job in jobs:
        if some and sum(len(each.seeds) for each in some) + len(job.seeds) > rows:
            yield some
            some = []
        some.append(job)
    if some:
        yield some
