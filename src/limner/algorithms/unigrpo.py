"""UniGRPO (2505.15809 section 3.3): one group-relative policy gradient for thoughts, answers and pictures.

For every prompt a group of replies is made and judged; a reply's advantage counts for all of its parts. A part's
log-probabilities are estimated by hiding a share of its values (``noising``), and the present policy, the one that made
the replies and a frozen reference score the very same hidden values. An autoregressive part is scored exactly.

                     paper                        compiled trainer of 2025        here (``PAPER``, ``TRAINER``, default)
    group, updates   not given                    8 and 1                         8 and 2
    clip, beta       not given                    0.2 both sides, 0.04            0.2 both sides, 0.04
    learning rate    not given                    1e-6                            a recipe's
    deviation        of the group                 of a sample, + 1e-4             of a sample, + 1e-4
    shares hidden    spaced from a random start   0.2 to 0.8 over the group       spaced, round and round
    log-probability  token; sequence = mean       one a row: mean over the share  token
    averaged         rows, then tokens            over all tokens (BNPO)          rows, then tokens
    hidden values    the same for all policies    drawn anew for each policy      the same for all policies
    divergence       not given                    e^d - d - 1                     e^d - d - 1
    pictures         as words                     shares by a cosine, scores/10   as words, codes alone; or ``MASKGRPO``
    temperature      not given                    0.9, scores divided by it       the plan's; scores at 1

``TRAINER`` follows its settings with the paper's mean and shared masks; dividing by the share once more and redrawing
masks add noise to the ratio and are not offered. The paper writes two rules for shares; both are here (``Noising``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Self, cast

import torch
from torch import Tensor, nn

from limner.algorithms import gate, workers
from limner.algorithms.adapters import reference_of
from limner.algorithms.maskgrpo import Emerging
from limner.algorithms.noising import Noising, hide
from limner.algorithms.policy_gradient import Clipped, Parts, Spread, averaging, clipped_objective, group_advantages
from limner.algorithms.recording import Watched
from limner.judges.base import Judge
from limner.judges.signs import Watch
from limner.models.base import Model
from limner.parts import Ask, Part, PartKind, Plan, Sample, Task, Verdict
from limner.process.base import Draw
from limner.process.noise import Noise
from limner.turn import rollout


@dataclass(frozen=True)
class Scoring:
    """How one kind of part is scored; ``weight`` scales its share of the loss."""

    clip: Clipped = Clipped()
    noising: Noising = Noising()
    weight: float = 1.0


@dataclass(frozen=True)
class GroupSettings:
    """Settings of group reinforcement learning.

    ``group`` replies to a prompt, ``updates`` steps of the optimiser for each set of replies. ``emerge`` draws pictures
    with MaskGRPO's sampler. ``rows`` scores so many rows at a time and runs backward after each (0: all in one graph);
    ``rollout_rows`` makes so many replies at a time. ``telling`` scores only the replies of groups that teach
    something, where not all were rewarded alike: the others have no advantage and would add the divergence alone. Only
    where one process works alone: several must all do the same.
    """

    group: int = 8
    updates: int = 2
    words: Scoring = Scoring()
    pictures: Scoring = Scoring()
    spread: Spread = "sample"
    delta: float = 1e-4
    emerge: bool = False
    rows: int = 0
    rollout_rows: int = 64
    telling: bool = False

    def __post_init__(self) -> None:
        if self.group < 2 or self.updates < 1 or self.rows < 0 or self.rollout_rows < 1:
            raise ValueError(
                f"group={self.group} must be at least 2, updates={self.updates} and rollout_rows={self.rollout_rows} "
                f"at least 1, rows={self.rows} at least 0"
            )

    def of(self, kind: PartKind) -> Scoring:
        """How parts of this kind are scored."""
        return self.pictures if kind == "image" else self.words

    @property
    def compares(self) -> bool:
        """A reference is needed."""
        return any(scoring.clip.beta > 0 for scoring in (self.words, self.pictures))


PAPER = GroupSettings(words=Scoring(noising=Noising("to_end")), pictures=Scoring(noising=Noising("to_end")))
_TRAINER = Clipped(ratio="sequence", average="tokens")
TRAINER = GroupSettings(
    updates=1,
    words=Scoring(_TRAINER, Noising("grid", 0.2, 0.8)),
    pictures=Scoring(_TRAINER, Noising("grid", 0.2, 0.8, curve="cosine"), 0.1),
)


def maskgrpo(settings: GroupSettings) -> GroupSettings:
    """MaskGRPO's choices (2510.02880): many picture codes hidden, drawn by its sampler; later words hidden more."""
    words = replace(settings.words, noising=replace(settings.words.noising, later=True))
    pictures = replace(settings.pictures, noising=replace(settings.pictures.noising, low=0.6, high=1.0))
    return replace(settings, words=words, pictures=pictures, emerge=True)


@dataclass(frozen=True)
class Exercise:
    """One kind of task to practise: ``tasks(seed, number)`` makes prompts, of which a round has ``prompts``; their
    replies follow ``plan`` and are judged by ``judge``, whose named parts are reported. ``watch`` looks at the judged
    replies for signs of a gamed reward, which are reported too (``train.alarms`` reads them)."""

    name: str
    plan: Plan
    judge: Judge
    tasks: Callable[[int, int], list[Task]]
    prompts: int = 8
    weight: float = 1.0
    watch: Watch | None = None


@dataclass(frozen=True)
class Round:
    """What one step sees: update ``update`` of the replies to these tasks (by exercise), made from ``seed``."""

    update: int
    seed: int
    tasks: Mapping[str, list[Task]]


def rounds(exercises: Sequence[Exercise], updates: int) -> Callable[[int, int, int], Iterator[Round]]:
    """The batches of a run: (seed, first step, size) -> rounds. The exercises say how many prompts; size is not used.

    All updates of one set of replies have the same tasks, which depend on (seed, step) alone.
    """

    def batches(seed: int, start: int, size: int) -> Iterator[Round]:
        for step in count(start):
            own = int(Noise.of([seed]).fork("round", step // updates).seed[0])
            tasks = {e.name: e.tasks(int(Noise.of([own]).fork(e.name, 0).seed[0]), e.prompts) for e in exercises}
            yield Round(step % updates, own, tasks)

    return batches


@dataclass
class _Replies:
    """Replies of one exercise, with what was reported of them when they were judged."""

    seed: int
    samples: dict[int, Sample]  # by row
    numbers: dict[str, float] = field(default_factory=dict)


class GroupLearner(nn.Module):
    """A policy that is trained, its frozen reference, and the replies in use.

    ``reference`` None is right where every beta is 0, and for a policy with adapters, whose base it is. The replies,
    their advantages and the old log-probabilities are buffers, so a run stopped between two updates of the same replies
    goes on to the same weights. Modules stay in evaluation mode: with dropout no ratio would be 1. Several processes
    share out the rows (``Run.divides``): each makes and scores its own, and all know all of the buffers.
    """

    def __init__(
        self, policy: Model, reference: Model | None, exercises: Sequence[Exercise], settings: GroupSettings
    ) -> None:
        super().__init__()
        gate.check_reference(policy, reference, settings.compares)
        if len({exercise.name for exercise in exercises}) != len(exercises) or not exercises:
            raise ValueError("give at least one exercise, each with a name of its own")
        self.policy = policy.eval()
        self.reference = None if reference is None or not settings.compares else reference.eval().requires_grad_(False)
        self.exercises, self.settings = tuple(exercises), settings
        self._made: dict[str, _Replies] = {}
        for exercise in exercises:
            self._prepare(exercise)

    def _prepare(self, exercise: Exercise) -> None:
        s, rows = self.settings, exercise.prompts * self.settings.group
        wishes = [self.policy.settings(ask, 1) for ask in exercise.plan]
        if not any(wish.temperature > 0 for wish in wishes):
            raise ValueError(
                f"every part of the exercise {exercise.name!r} has temperature 0, so all replies of a group would be "
                "the same; give its plan a temperature"
            )
        kept = s.updates > 1
        self.register_buffer(f"{exercise.name}_advantages", torch.zeros(rows), persistent=kept)
        for index, (ask, wish) in enumerate(zip(exercise.plan, wishes, strict=True)):
            values = torch.zeros(rows, wish.length, dtype=torch.int64)
            self.register_buffer(f"{exercise.name}_values_{index}", values, persistent=kept)
            if kept:
                draws = s.updates * s.of(ask.kind).noising.masks
                old = torch.zeros(draws, rows, wish.length)
                self.register_buffer(f"{exercise.name}_old_{index}", old)

    def train(self, mode: bool = True) -> Self:
        """Keeps every module in evaluation mode."""
        super().train(mode)
        for module in (self.policy, self.reference):
            if module is not None:
                module.eval()
        return self

    # replies

    @torch.no_grad()
    def roll(self, exercise: Exercise, now: Round) -> dict[str, float]:
        """Make and judge the replies of a round; returns what is reported of them."""
        s = self.settings
        many = [task for task in now.tasks[exercise.name] for _ in range(s.group)]
        seeds, own = self._seeds(now, len(many)), workers.own_rows(len(many))
        gate.check_quiet(self.policy)
        watched = Watched(Emerging(self.policy) if s.emerge else self.policy)
        with workers.whole(self.policy):
            made = rollout(
                cast(Model, watched),
                [many[i] for i in own],
                exercise.plan,
                [seeds[i] for i in own],
                batch=s.rollout_rows,
            )
            values = [self.policy.encode([sample.reply[i] for sample in made]) for i in range(len(exercise.plan))]
        found = exercise.judge(made)
        if len(found) != len(made):
            raise ValueError(f"the judge gave {len(found)} verdicts for {len(made)} samples")
        verdicts = workers.joined_list(found)
        advantages = group_advantages([v.score for v in verdicts], s.group, spread=s.spread, delta=s.delta)
        self.get_buffer(f"{exercise.name}_advantages").copy_(advantages)
        for index, some in enumerate(values):
            self.get_buffer(f"{exercise.name}_values_{index}").copy_(workers.joined_rows(some))
        numbers = _reported(verdicts, advantages, s.group)
        if exercise.watch is not None:
            numbers |= workers.averaged(exercise.watch(made, found))
        self._made[exercise.name] = _Replies(now.seed, dict(zip(own, made, strict=True)), numbers)
        self._check(exercise, now, made, watched)
        if s.updates > 1:
            self._remember(exercise, now)
        return {f"{exercise.name}_{name}": value for name, value in numbers.items()}

    def _check(self, exercise: Exercise, now: Round, made: list[Sample], watched: Watched) -> None:
        """The gate between what was sampled and what is scored."""
        rows = workers.own_rows(len(self.get_buffer(f"{exercise.name}_advantages")))
        kept = [self.get_buffer(f"{exercise.name}_values_{i}")[rows] for i in range(len(exercise.plan))]
        gate.check_kept(exercise.name, made, kept)
        if self.settings.emerge:
            return
        some = list(rows)[: self.settings.rollout_rows]

        def score(part: int, values: Tensor, draw: Draw) -> Tensor:
            return self._scored(self.policy, exercise, now, part, draw, some, values)

        gate.check_sampled(exercise.name, self.policy, exercise.plan, watched, [v[: len(some)] for v in kept], score)

    def samples(self, exercise: Exercise, now: Round) -> dict[int, Sample]:
        """This process's replies of a round by row, put together again from the buffers after a resume."""
        made = self._made.get(exercise.name)
        if made is None or made.seed != now.seed:
            many = [task for task in now.tasks[exercise.name] for _ in range(self.settings.group)]
            seeds, own = self._seeds(now, len(many)), workers.own_rows(len(many))
            columns: list[list[Part]] = [
                self.policy.decode(ask.kind, self.get_buffer(f"{exercise.name}_values_{index}")[own])
                for index, ask in enumerate(exercise.plan)
            ]
            replies = zip(own, zip(*columns, strict=True), strict=True)
            found = {i: Sample(many[i], tuple(reply), seeds[i]) for i, reply in replies}
            made = self._made[exercise.name] = _Replies(now.seed, found)
        return made.samples

    def _seeds(self, now: Round, rows: int) -> list[int]:
        return Noise.of([now.seed] * rows).fork("reply", list(range(rows))).seed.tolist()

    # scoring

    def draws(self, exercise: Exercise, now: Round, part: int) -> list[tuple[Draw, Tensor]]:
        """(draw, counted (B, N)) for each mask of every update of the round's replies, the first update's first."""
        s, kind = self.settings, exercise.plan[part].kind
        how, values = s.of(kind).noising, self.get_buffer(f"{exercise.name}_values_{part}")
        rows, total = len(values), s.updates * how.masks
        prompts = Noise.of([now.seed] * (rows // s.group)).fork("start", list(range(rows // s.group)))
        start = prompts.uniform("start", part, 1)[:, 0].repeat_interleave(s.group)
        noise, process = Noise.of(self._seeds(now, rows)), self.policy.process(kind)
        found = []
        for update in range(s.updates):
            for mask in range(how.masks):
                place = mask * s.updates + update
                share = how.shares(start, place, total, s.group)
                found.append(hide(process, values, noise.fork(f"hidden {part}", place), share, how))
        return found

    def _remember(self, exercise: Exercise, now: Round) -> None:
        own = workers.own_rows(len(self.get_buffer(f"{exercise.name}_advantages")))
        for part in range(len(exercise.plan)):
            old = self.get_buffer(f"{exercise.name}_old_{part}")
            for place, (draw, _) in enumerate(self.draws(exercise, now, part)):
                found = old.new_zeros(len(own), old.shape[2])
                for rows in self._batches(exercise):
                    # on the path that an update takes: in bfloat16 some kernels differ where gradients are wanted
                    with torch.enable_grad():
                        scores = self._score(self.policy, exercise, now, part, draw, rows).detach()
                    found[[row - own.start for row in rows]] = scores.to(found.dtype)
                old[place] = workers.joined_rows(found)

    def _score(self, model: Model, exercise: Exercise, now: Round, part: int, draw: Draw, rows: list[int]) -> Tensor:
        """(rows, N) log-probabilities of one part."""
        values = self.get_buffer(f"{exercise.name}_values_{part}")[rows]
        return self._scored(model, exercise, now, part, draw[rows], rows, values)

    def _scored(
        self, model: Model, exercise: Exercise, now: Round, part: int, draw: Draw, rows: list[int], values: Tensor
    ) -> Tensor:
        made, kind = self.samples(exercise, now), exercise.plan[part].kind
        before = [made[i].reply[:part] for i in rows]
        context = model.context([made[i].task.prompt for i in rows], before, Ask(kind, limit=values.shape[1]))
        return model.process(kind).log_prob(context, values, draw).tokens

    def _batches(self, exercise: Exercise) -> list[list[int]]:
        """This process's rows that are scored, in batches; at least one."""
        own: Sequence[int] = workers.own_rows(exercise.prompts * self.settings.group)
        if self.settings.telling and workers.count() == 1:
            told = self.get_buffer(f"{exercise.name}_advantages").abs() > 1e-6
            own = told.nonzero()[:, 0].tolist() or own[:1]
        return in_batches(own, self.settings.rows)

    def scored(self, exercise: Exercise) -> float:
        """The share of this process's rows that is scored."""
        return sum(map(len, self._batches(exercise))) / len(workers.own_rows(exercise.prompts * self.settings.group))

    def pieces(self, exercise: Exercise, now: Round) -> Iterator[tuple[PartKind, Clipped, float, Parts]]:
        """The objective of one update piece by piece: (kind, settings, weight, pieces that add up)."""
        s = self.settings
        advantages = self.get_buffer(f"{exercise.name}_advantages")
        for part, ask in enumerate(exercise.plan):
            scoring = s.of(ask.kind)
            masks = scoring.noising.masks
            drawn = self.draws(exercise, now, part)
            for place in range(now.update * masks, (now.update + 1) * masks):
                draw, counted = drawn[place]
                weights = averaging(counted, scoring.clip.average)
                for rows in self._batches(exercise):
                    new = self._score(self.policy, exercise, now, part, draw, rows)
                    old = new.detach()
                    if s.updates > 1:
                        old = self.get_buffer(f"{exercise.name}_old_{part}")[place, rows]
                        if now.update == 0:
                            gate.check_unchanged(exercise.name, part, self.policy, new.detach(), old, counted[rows])
                    reference = None
                    if scoring.clip.beta > 0:
                        with torch.no_grad(), reference_of(self.policy, self.reference) as model:
                            reference = self._score(model, exercise, now, part, draw, rows)
                    found = clipped_objective(
                        new, old, reference, advantages[rows], counted[rows], scoring.clip, weights[rows]
                    )
                    if reference is not None and now.update:
                        moved = not torch.equal(new.detach(), old)
                        gate.check_apart(exercise.name, moved, found.divergence)
                    yield ask.kind, scoring.clip, exercise.weight * scoring.weight / masks, found


def in_batches(rows: Sequence[int], size: int) -> list[list[int]]:
    """Rows in runs of at most ``size`` (0: all at once)."""
    return [list(rows[begin : begin + (size or len(rows))]) for begin in range(0, len(rows), size or len(rows) or 1)]


def _reported(verdicts: Sequence[Verdict], advantages: Tensor, group: int) -> dict[str, float]:
    """Mean reward and its named parts, shares of replies not judged and of groups that teach something."""

    def mean(values: list[float | None]) -> float:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else float("nan")

    numbers = {"reward": mean([verdict.score for verdict in verdicts])}
    names = dict.fromkeys(name for verdict in verdicts for name in verdict.parts)
    numbers |= {name: mean([verdict.parts.get(name) for verdict in verdicts]) for name in names}
    numbers["unjudged"] = sum(verdict.score is None for verdict in verdicts) / len(verdicts)
    numbers["telling_groups"] = float((advantages.view(-1, group) != 0).any(dim=1).float().mean())
    return numbers


def unigrpo(learner: nn.Module, now: Round, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    """(loss, numbers) of one step: the objective of a ``Run``. The first update of a round makes its replies.

    Numbers by exercise: reward, its named parts, ``unjudged`` and ``telling_groups`` where replies were made; ``kl``,
    ``clip_fraction`` and ``ratio`` by kind of part at every step.
    """
    assert isinstance(learner, GroupLearner)
    numbers: dict[str, float] = {}
    rolled: dict[str, float] = {}
    losses: list[Tensor] = []
    for exercise in learner.exercises:
        if now.update == 0:
            rolled |= learner.roll(exercise, now)
        for kind, clip, weight, parts in learner.pieces(exercise, now):
            loss = weight * parts.loss(clip.beta)
            if learner.settings.rows and losses:
                losses[-1].backward()
                losses[-1] = losses[-1].detach()
            losses.append(loss)
            of_draw = 1 / (learner.settings.of(kind).noising.masks * learner.scored(exercise))
            for name, value in (("kl", parts.divergence), ("clip_fraction", parts.clipped), ("ratio", parts.ratio)):
                key = f"{exercise.name}_{kind}_{name}"
                numbers[key] = numbers.get(key, 0.0) + of_draw * float(value.detach())
    return torch.stack(losses).sum(), rolled | workers.summed(numbers)
