"""Masked diffusion over discrete values: everything starts hidden and is revealed where the network is surest.

``MaskedBlocks`` makes words, block after block (LLaDA, MMaDA 2505.15809 section 3.1: semi-autoregressive);
``MaskedCanvas`` makes pictures, all positions at once (MaskGIT 2202.04200; MMaDA; Show-o 2408.12528). Both score values
by hiding some of them (a draw) and asking for the hidden ones given the shown ones.

Guidance w follows these papers: logits = (1 + w) conditional - w unconditional.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.process.base import Context, Draw, Process, Rows, Scored, Settings, State, Tokens, alike
from limner.process.reveal import first, how_many, sureness
from limner.process.schedules import Schedule, cosine

TEXT_EPS = 1e-3  # the smallest share of hidden words in training (LLaDA's forward process)


class MaskedNet(Protocol):
    """A network that looks at a whole sequence at once."""

    def __call__(self, ids: Tensor, kept: Tensor, at: Tensor, begin: int) -> Tensor:
        """ids (B, T), kept (B, T) bool, at (B, T) bool -> logits (at.sum(), V) of the values at those places. The part
        that is being made begins at the place ``begin``."""
        ...


class CachedNet(Protocol):
    """The same network in two passes: one over everything, whose keys and values are kept, and later ones over a
    stretch of places that sees the others as they were."""

    def __call__(
        self, ids: Tensor, kept: Tensor, at: Tensor, begin: int, low: int = 0, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """ids (B, t) and at (B, t) bool stand from the place ``low`` on, kept (B, T) bool tells of all places, past is
        what an earlier call gave: keys and values of all places, or of those in front of ``low``.

        -> (logits (at.sum(), V), keys and values (B, layers, 2, heads, T, size)).
        """
        ...


class DoubtingNet(Protocol):
    """The same network with doubts about a block: beside each of its places stands a hidden value that sees everything
    but the value there, and is seen by none."""

    def __call__(
        self, ids: Tensor, kept: Tensor, at: Tensor, begin: int, block: slice, doubted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """ids, kept, at (B, T) as ever; block of T; doubted (B, length of block) bool -> (logits (at.sum(), V), logits
        (doubted.sum(), V) beside the doubted places)."""
        ...


@dataclass(frozen=True)
class Values:
    """How values of a part are written as sequence ids: id = value + offset; ``mask`` is the id of a hidden one."""

    mask: int
    offset: int = 0

    def ids(self, values: Tensor, hidden: Tensor) -> Tensor:
        """(B, N) ids with the hidden values replaced by the mask id."""
        return torch.where(hidden, self.mask, values + self.offset)


@dataclass(frozen=True)
class Past(Rows):
    """What a block's later steps need not compute again: keys and values under the condition, and without it."""

    given: Tensor
    dropped: Tensor | None = None


@dataclass(frozen=True)
class Doubt(Rows):
    """What may be hidden again: fresh (B, N) bool, revealed in this block; gained (B,), revealed by the last step."""

    fresh: Tensor
    gained: Tensor


@dataclass(frozen=True)
class MaskedState(State):
    """values (B, N) shown so far; hidden (B, N) bool; guess (B, N) the last complete guess; budget (B,) hidden values
    at the start of the block (or canvas); over (B,) bool: complete. ``inner`` (B, N) bool: gaps in front of known
    values, where only words can stand; None where nothing is known. ``past`` is there inside a block with a cache,
    ``doubt`` inside one whose values may be revoked."""

    values: Tensor
    hidden: Tensor
    guess: Tensor
    budget: Tensor
    over: Tensor
    inner: Tensor | None = None
    past: Past | None = None
    doubt: Doubt | None = None

    @property
    def done(self) -> Tensor:
        return self.over


def _start(context: Context, settings: Settings, noise: Any) -> MaskedState:
    settings.check()
    B, N, device = context.num_rows, settings.length, context.given.before.device
    hidden = torch.ones(B, N, dtype=torch.bool, device=device)
    values = torch.zeros(B, N, dtype=torch.int64, device=device)
    if settings.known is not None and settings.free is not None:
        hidden = settings.free.clone()
        values = torch.where(hidden, 0, settings.known)
    budget = hidden.sum(dim=1)
    # the settings that stay with the state need no copy of what the state holds already
    settings = replace(settings, known=None, free=None)
    return MaskedState(context, settings, noise, values, hidden, values, budget, budget == 0)


def _in_work(state: MaskedState) -> tuple[slice, int, int]:
    """(The block in work, or blocks that are worked on as one; steps done in it; the steps it has)."""
    s = state.settings
    together = 1 if s.fast is None else s.fast.blocks
    each = s.steps * s.block // s.length
    k = state.step // (each * together)
    stretch = slice(k * together * s.block, min((k + 1) * together * s.block, s.length))
    return stretch, state.step - k * together * each, (stretch.stop - stretch.start) // s.block * each


def _placed(
    how: Values, tokens: Tokens, values: Tensor, hidden: Tensor, wanted: Tensor
) -> tuple[Tensor, Tensor, Tensor, int]:
    """(ids (B, T), kept (B, T), at (B, T), where the part begins) of values (B, N), some hidden, some wanted."""
    ids, kept, where = tokens.around(how.ids(values, hidden))
    at = torch.zeros_like(kept)
    at[:, where] = wanted
    return ids, kept, at, where.start


def _guided(net: MaskedNet, values: Values, state: MaskedState, wanted: Tensor, together: bool) -> Tensor:
    """Logits (wanted.sum(), V); rows that want nothing are not run. ``together``: see `MaskedBlocks`."""
    rows = wanted.any(dim=1)
    if not bool(rows.all()):
        state, wanted = state[rows], wanted[rows]
    w = state.settings.guidance
    if w <= 0:
        return net(*_placed(values, state.context.given, state.values, state.hidden, wanted)).float()
    both = (state.context.given, state.context.dropped)
    (ids, kept, at, begin), (others, others_kept, others_at, others_begin) = (
        _placed(values, tokens, state.values, state.hidden, wanted) for tokens in both
    )
    missing = begin - others_begin
    if together and 0 <= missing <= ids.shape[1] // 8:
        pad = (missing, 0)
        others, others_kept, others_at = (F.pad(x, pad) for x in (others, others_kept, others_at))
        logits = net(torch.cat([ids, others]), torch.cat([kept, others_kept]), torch.cat([at, others_at]), begin)
        given, dropped = logits.float().chunk(2)
    else:
        given = net(ids, kept, at, begin).float()
        dropped = net(others, others_kept, others_at, others_begin).float()
    return (1 + w) * given - w * dropped


def _asked_once(net: MaskedNet, values: Values, state: MaskedState, wanted: Tensor, together: bool) -> Tensor:
    """`_guided` where rows that show the network the same are run as one: all candidates of a prompt in their first
    step, before their draws tell them apart."""
    if state.step or len(wanted) == 1:
        return _guided(net, values, state, wanted, together)
    first, same = alike(state.context, torch.where(state.hidden, -1, state.values))
    if len(first) == len(wanted):
        return _guided(net, values, state, wanted, together)
    logits = _guided(net, values, state[first], wanted[first], together)
    counts = wanted[first].sum(dim=1)
    begins = counts.cumsum(dim=0) - counts
    places = [torch.arange(int(begins[i]), int(begins[i] + counts[i])) for i in same.tolist()]
    return logits[torch.cat(places).to(logits.device)]


def _recalled(
    net: CachedNet, values: Values, state: MaskedState, wanted: Tensor, block: slice, opening: bool
) -> tuple[Tensor, Past | None]:
    """(Logits (wanted.sum(), V), what the block's later steps need). The block's opening step runs everything."""
    fast, rows = state.settings.fast, wanted.any(dim=1)
    assert fast is not None
    some, asked = (state, wanted) if bool(rows.all()) else (state[rows], wanted[rows])
    w, context = state.settings.guidance, some.context
    sides = [context.given, context.dropped] if w > 0 else [context.given]
    pasts = [None, None] if some.past is None or opening else [some.past.given, some.past.dropped]
    logits, found = [], []
    for tokens, past in zip(sides, pasts, strict=False):
        ids, kept, at, begin = _placed(values, tokens, some.values, some.hidden, asked)
        if past is None:
            told, new = net(ids, kept, at, begin)
            new = new[..., : begin + block.start, :] if fast.cache == "prefix" else new
            full = new.new_zeros(len(rows), *new.shape[1:])
            full[rows] = new
            found.append(full)
        else:
            low = begin + block.start
            high = begin + block.stop if fast.cache == "dual" else ids.shape[1]
            told, _ = net(ids[:, low:high], kept, at[:, low:high], begin, low, past)
        logits.append(told.float())
    kept_past = Past(*found) if found else state.past
    return ((1 + w) * logits[0] - w * logits[1] if w > 0 else logits[0]), kept_past


def _doubted(
    net: DoubtingNet, values: Values, state: MaskedState, wanted: Tensor, block: slice, fresh: Tensor
) -> tuple[Tensor, Tensor]:
    """(Logits (wanted.sum(), V), how likely the fresh values (B, N) bool are, given everything else (fresh.sum(),)).

    Rows that want nothing are not run, and have nothing fresh.
    """
    rows = wanted.any(dim=1)
    if not bool(rows.all()):
        state, wanted, fresh = state[rows], wanted[rows], fresh[rows]
    w, context = state.settings.guidance, state.context
    found = []
    for tokens in (context.given, context.dropped) if w > 0 else (context.given,):
        ids, kept, at, begin = _placed(values, tokens, state.values, state.hidden, wanted)
        here = slice(begin + block.start, begin + block.stop)
        found.append([logits.float() for logits in net(ids, kept, at, begin, here, fresh[:, block])])
    logits, beside = found[0] if w <= 0 else ((1 + w) * c - w * u for c, u in zip(*found, strict=True))
    return logits, sureness(beside, beside.argmax(dim=-1), state.values[fresh])


def _score(net: MaskedNet, how: Values, context: Context, values: Tensor, draw: Draw) -> Scored:
    if values.shape != draw.hidden.shape:
        raise ValueError(f"values {tuple(values.shape)} and drawn masks {tuple(draw.hidden.shape)} differ in shape")
    logits = net(*_placed(how, context.given, values, draw.hidden, draw.hidden)).float()
    picked = logits.log_softmax(dim=-1).gather(1, values[draw.hidden][:, None])[:, 0]
    tokens = torch.zeros(values.shape, dtype=torch.float32, device=values.device).masked_scatter(draw.hidden, picked)
    return Scored(tokens, draw.hidden, draw.weight)


def _spread(choice: Tensor, wanted: Tensor, rest: Tensor) -> Tensor:
    """choice (M,) written into rest (B, N) at the wanted places."""
    return rest.masked_scatter(wanted, choice.to(rest.dtype))


@dataclass(frozen=True)
class MaskedBlocks(Process[MaskedState]):
    """Words. In each block every step reveals a share of the hidden values, the surest first (order "confidence") or in
    random order ("random"). ``settings.steps`` are shared by the blocks of ``settings.block`` values.

    ``stop``: once a finished block holds such a value, the row is complete and the rest becomes ``filler``; None
    follows the official samplers, which go on to the end. ``suffix`` is the share of training draws shaped like
    block decoding: shown up to some place, and nearly everything from there on hidden. ``marks`` are values that are
    no words, such as those that end a text: a gap in front of known values is never filled with one. ``together``: the
    network sees through padding, so guidance may run in one batch with the rows under the condition.

    Every exact step asks the network for the hidden values of the block alone. ``settings.fast`` makes a block in
    fewer steps, or later steps of a block cheaper by ``cached``, or hides again what ``doubting`` finds unlikely; a
    block that all rows have finished is left at once.
    """

    net: MaskedNet
    how: Values
    order: str = "confidence"
    stop: frozenset[int] | None = None
    filler: int = 0
    suffix: float = 0.0
    marks: frozenset[int] = frozenset()
    together: bool = False
    cached: CachedNet | None = None
    doubting: DoubtingNet | None = None

    def start(self, context: Context, settings: Settings, noise: Any) -> MaskedState:
        settings.check()
        if settings.block < 1:
            raise ValueError(f"block={settings.block} must be at least 1")
        blocks, uneven = divmod(settings.length, settings.block)
        if uneven or settings.steps % blocks:
            raise ValueError(
                f"length={settings.length} must be a multiple of block={settings.block}, and steps={settings.steps} of "
                f"the number of blocks; try steps={max(1, settings.steps // max(blocks, 1)) * max(blocks, 1)}"
            )
        if settings.fast is not None and self.order != "confidence":
            raise ValueError("fast ways go by confidence; leave them out where the order is random")
        if settings.fast is not None and settings.fast.cache and self.cached is None:
            raise ValueError(f"this network keeps no keys and values, so cache={settings.fast.cache!r} is impossible")
        if settings.fast is not None and settings.fast.revoke and self.doubting is None:
            raise ValueError(f"this network has no doubts, so revoke={settings.fast.revoke} is impossible")
        state = _start(context, settings, noise)
        if not self.marks or settings.known is None or settings.free is None:
            return state
        follow = (~settings.free).flip(1).cumsum(dim=1).flip(1) > 0
        return replace(state, inner=settings.free & follow)

    def step(self, state: MaskedState) -> MaskedState:
        s = state.settings
        stretch, i, per_block = _in_work(state)
        block = torch.zeros_like(state.hidden)
        block[:, stretch] = True
        wanted = state.hidden & block & ~state.over[:, None]
        budget = wanted.sum(dim=1) if i == 0 else state.budget
        reveal, guess, past, doubt = wanted, state.guess, state.past, state.doubt
        back = torch.zeros_like(wanted)
        if bool(wanted.any()):
            n = budget // per_block + (i < budget % per_block).long()
            if s.fast is not None and s.fast.cache and self.cached is not None:
                logits, past = _recalled(self.cached, self.how, state, wanted, stretch, i == 0)
            elif s.fast is not None and s.fast.revoke and self.doubting is not None:
                last = i == per_block - 1
                logits, back, fresh = self._revoked(self.doubting, state, wanted, stretch, i == 0, last)
                n = wanted.sum(dim=1) if last else n
            else:
                logits = _guided(self.net, self.how, state, wanted, self.together)
            choice, confidence = self._choose(state, wanted, logits)
            guess = _spread(choice, wanted, state.values)
            ranks = torch.full(wanted.shape, -torch.inf, device=wanted.device).masked_scatter(wanted, confidence)
            reveal = wanted & first(ranks, n if s.fast is None else how_many(ranks, n, s.fast))
            if s.fast is not None and s.fast.revoke:
                doubt = Doubt((fresh & ~back) | reveal, reveal.sum(dim=1))
        values = torch.where(reveal, guess, state.values)
        hidden = (state.hidden & ~reveal) | back
        step = state.step + 1
        if s.fast is not None and not bool((hidden & block & ~state.over[:, None]).any()):
            step = state.step - i + per_block
        finished = step == state.step - i + per_block
        if finished:
            past = doubt = None
        over = state.over | ~hidden.any(dim=1) | (step >= s.steps)
        if self.stop is not None and finished:
            # known words of later blocks do not count: the row goes on until it reaches them
            found = torch.isin(values, torch.tensor(sorted(self.stop), device=values.device)) & block & ~hidden
            over = over | found.any(dim=1)
            values = torch.where(hidden & over[:, None], self.filler, values)
            hidden = hidden & ~over[:, None]
        state = replace(state, values=values, hidden=hidden, guess=guess, budget=budget, over=over, step=step)
        return replace(state, past=past, doubt=doubt)

    def _revoked(
        self, net: DoubtingNet, state: MaskedState, wanted: Tensor, block: slice, opening: bool, last: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(Logits (M, V), what is hidden again (B, N) bool, what could have been (B, N) bool): the unlikeliest fresh
        values, fewer than the step before revealed, so that every block ends; none in a block's last step."""
        fast, fresh, allowed = state.settings.fast, torch.zeros_like(wanted), torch.zeros_like(state.budget)
        if state.doubt is not None and not opening:
            fresh, allowed = state.doubt.fresh & wanted.any(dim=1, keepdim=True), state.doubt.gained - 1
        assert fast is not None
        logits, sure = _doubted(net, self.how, state, wanted, block, fresh)
        unlikely = torch.full(wanted.shape, -torch.inf, device=wanted.device)
        unlikely = unlikely.masked_scatter(fresh, torch.where(sure < fast.revoke, -sure, -torch.inf))
        back = first(unlikely, allowed) & (unlikely > -torch.inf)
        return logits, torch.zeros_like(back) if last else back, fresh

    def _choose(self, state: MaskedState, wanted: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(choice (M,), confidence (M,)). Noise is drawn for whole rows, so a row's draws depend on the row alone."""
        s, N = state.settings, wanted.shape[1]
        if state.inner is not None:
            marks = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
            marks[[mark for mark in self.marks if mark < len(marks)]] = True
            logits = logits.masked_fill(state.inner[wanted][:, None] & marks, -torch.inf)
        choice = best = logits.argmax(dim=-1)
        if s.temperature > 0:
            choice = state.noise.choose("word", state.step, logits, s.temperature, wanted)
        if self.order == "random":
            return choice, state.noise.uniform("order", state.step, N).to(logits.device)[wanted]
        return choice, sureness(logits, best, choice)

    def view(self, state: MaskedState) -> Tensor:
        return torch.where(state.hidden, state.guess, state.values)

    def settled(self, state: MaskedState) -> Tensor:
        shown = (state.hidden.long().cumsum(dim=1) == 0).sum(dim=1)
        if state.doubt is not None:  # what the block in work shows may be hidden again
            shown = shown.clamp(max=_in_work(state)[0].start)
        return torch.where(state.over, state.hidden.shape[1], shown)

    def opening(self, context: Context, length: int) -> Tensor:
        values = torch.zeros(context.num_rows, length, dtype=torch.int64, device=context.given.before.device)
        hidden, first_ = torch.ones_like(values, dtype=torch.bool), torch.zeros_like(values, dtype=torch.bool)
        first_[:, 0] = True
        return self.net(*_placed(self.how, context.given, values, hidden, first_)).float()

    def draw(self, values: Tensor, noise: Any, level: Tensor | None = None) -> Draw:
        N = values.shape[1]
        t = noise.uniform("level", 0, 1)[:, 0] if level is None else level.float().cpu()
        p = (1 - TEXT_EPS) * t + TEXT_EPS
        u = noise.uniform("mask", 0, N)
        hidden, weight = _hide_some(u.double(), p.double())
        if self.suffix > 0 and level is None:
            as_blocks = noise.uniform("shape", 0, 1)[:, 0] < self.suffix
            begin = (noise.uniform("begin", 0, 1) * N).long()
            place = torch.arange(N)[None, :]
            tail = (place == begin) | ((place > begin) & (u < 0.9))
            hidden = torch.where(as_blocks[:, None], tail, hidden)
            weight = torch.where(as_blocks, N / (1 + 0.9 * (N - 1 - begin[:, 0])), weight)
        return Draw(hidden.to(values.device), weight.float().to(values.device))

    def meant(self, values: Tensor) -> Tensor:
        ends = torch.tensor(sorted((self.stop or frozenset()) | {self.filler}), device=values.device)
        ended = torch.isin(values, ends).long()
        return ended.cumsum(dim=1) - ended == 0

    def log_prob(self, context: Context, values: Tensor, draw: Draw) -> Scored:
        return _score(self.net, self.how, context, values, draw)


def _hide_some(u: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """(hidden (B, N), weight (B,)): each value hidden with probability p (B,), given that at least one is.

    A row without hidden values would cost a forward pass and teach nothing. So u (B, N), uniform, is made anew as if
    its smallest number were known to lie below p; the weight 1/p times the probability of that keeps the mean of the
    plain rule, and never exceeds N.
    """
    N = u.shape[1]
    some = 1 - (1 - p[:, None]) ** N
    least = u.min(dim=1, keepdim=True).values
    moved = 1 - (1 - some * (1 - (1 - least) ** N)) ** (1 / N)
    hidden = moved + (u - least) / (1 - least) * (1 - moved) < p[:, None]
    hidden = hidden | (u == least)
    return hidden, some[:, 0] / p


@dataclass(frozen=True)
class MaskedCanvas(Process[MaskedState]):
    """Pictures. Every step guesses all hidden codes, keeps the surest and hides the rest again, by the schedule.

    ``compounding`` multiplies the confidence temperature up as the official samplers do (T_k = T_{k-1} (1 - k/S));
    False gives the plain T (1 - k/S). ``over_all`` counts the schedule over the whole canvas when only a part is
    free (official); False counts the free codes, so an inpainted hole is filled evenly. ``codes_temperature`` sharpens
    or softens the choice of a code itself; the papers use 1. ``settings.temperature`` 0 takes the likeliest codes.
    ``together`` as in `MaskedBlocks`. ``making`` is the same network where it may remember what stands before the
    picture: with it pictures are made, with ``net`` they are scored. ``table`` gives logits of
    the whole output table, for a loss that scores what stands beside the picture too.
    """

    net: MaskedNet
    how: Values
    schedule: Schedule = cosine
    compounding: bool = True
    over_all: bool = False
    codes_temperature: float = 1.0
    together: bool = False
    making: MaskedNet | None = None
    table: MaskedNet | None = None

    def start(self, context: Context, settings: Settings, noise: Any) -> MaskedState:
        return _start(context, settings, noise)

    def step(self, state: MaskedState) -> MaskedState:
        s, k = state.settings, state.step + 1
        B, N = state.hidden.shape
        wanted = state.hidden & ~state.over[:, None]
        if not bool(wanted.any()):
            return replace(state, step=k)
        logits = _asked_once(self.making or self.net, self.how, state, wanted, self.together)
        sharpness = self.codes_temperature if s.temperature > 0 else 0.0
        choice = state.noise.choose("code", state.step, logits, sharpness, wanted)
        guess = _spread(choice, wanted, state.values)
        unknown = wanted.sum(dim=1)
        base = torch.full_like(state.budget, N) if self.over_all else state.budget
        again = (base.double() * self.schedule(k / s.steps)).floor().long()
        again = torch.maximum(torch.minimum(again, unknown - 1), torch.ones_like(again))
        confidence = logits.log_softmax(dim=-1).gather(1, choice[:, None])[:, 0]
        ranks = torch.full((B, N), torch.inf, device=logits.device).masked_scatter(wanted, confidence)
        ranks = ranks + self._temperature(s, k) * _gumbel(state.noise.uniform("again", state.step, N)).to(ranks.device)
        place = ranks.argsort(dim=1, stable=True).argsort(dim=1)
        hidden = wanted & (place < again[:, None])
        if k >= s.steps:
            hidden = torch.zeros_like(hidden)
        # a row that is complete keeps what it has
        over = state.over | ~hidden.any(dim=1)
        values = torch.where(wanted & ~hidden, guess, state.values)
        return replace(state, values=values, hidden=hidden, guess=guess, over=over, step=k)

    def _temperature(self, settings: Settings, k: int) -> float:
        ratios = range(1, k + 1) if self.compounding else (k,)
        temperature = settings.temperature
        for j in ratios:
            temperature *= 1 - j / settings.steps
        return temperature

    def view(self, state: MaskedState) -> Tensor:
        return torch.where(state.hidden, state.guess, state.values)

    def draw(self, values: Tensor, noise: Any, level: Tensor | None = None) -> Draw:
        B, N = values.shape
        t = noise.uniform("level", 0, 1)[:, 0] if level is None else level.float().cpu()
        share = torch.tensor([self.schedule(float(r)) for r in t]) if level is None else t
        count = (N * share).round().long().clamp(min=1, max=N)
        place = noise.uniform("mask", 0, N).argsort(dim=1, stable=True).argsort(dim=1)
        hidden = (place < count[:, None]).to(values.device)
        return Draw(hidden, torch.ones(B, device=values.device))

    def log_prob(self, context: Context, values: Tensor, draw: Draw) -> Scored:
        return _score(self.net, self.how, context, values, draw)


def _gumbel(uniform: Tensor) -> Tensor:
    """-ln(-ln u), with u and -ln u kept away from zero."""
    return -torch.log((-torch.log(uniform.clamp(min=1e-20))).clamp(min=1e-20))
