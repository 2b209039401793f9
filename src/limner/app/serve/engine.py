"""One model and all that is asked of it: rows of many requests step together, and leave as they end.

A few threads share a model, which none of them changes. A stepper takes rows that wait for the same kind of part, with
the same ask, as one lane, and has each of its lanes step once in turn. Painters turn finished values into pictures
meanwhile. What is more than rows of a plan (windows of an altered picture, blanks, a search with a verifier) runs
apart, in threads that take turns with the steppers before every step. A row alone has the bytes of the row in a batch,
so who else asks, and which stepper takes it, changes nothing.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limner.answer import Answer, Limner
from limner.app.serve.apart import carry_out
from limner.app.serve.events import Done, Preview, Words
from limner.app.serve.jobs import Busy, Closing, Gone, Job, Row, shown_steps
from limner.app.serve.lanes import Lane
from limner.app.serve.log import LOG
from limner.app.serve.meter import Meter
from limner.app.serve.turns import Turns
from limner.making import TIMED
from limner.parts import Image, Part, Sample, Task
from limner.process.noise import Noise
from limner.turn import noise_of

if TYPE_CHECKING:
    from collections.abc import Sequence

APART = 3  # jobs that run apart at a time
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PAINTERS = min(4, CORES)
STEPPERS = 4  # at most: more of them would be in each other's way between the operations of a small model
PACE = 0.1  # weight of the latest row in the mean seconds between finished rows
LONGEST_WAIT = 60  # seconds that a client is told to wait at most


class Engine:
    """A model at work for many. ``rows`` step at the same time at most, ``queue`` more may wait. ``steppers`` threads
    share the rows evenly (0: as many as `steppers_for` says)."""

    def __init__(
        self, limner: Limner, *, rows: int = 16, queue: int = 128, meter: Meter | None = None, steppers: int = 0
    ) -> None:
        self.limner, self.rows, self.queue = limner, rows, queue
        self.meter = meter if meter is not None else Meter()
        count = min(rows, steppers or steppers_for(limner.model.device))
        self.turns = Turns(count)
        self._bell = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._lanes: list[list[Lane]] = [[] for _ in range(count)]  # of each stepper, changed by it alone
        self._idle = [False] * count  # whether each stepper has nothing to do
        self._inside = 0  # rows that were let in and have not ended
        self._closed = False
        self._pace, self._last_end = 1.0, 0.0
        self._apart: set[Job] = set()  # in the hands of a thread
        self._line: deque[tuple[Job, list[Row]]] = deque()  # apart too, and waiting for one
        name = limner.name
        self._painter = itertools.count()
        # what is made of a row is painted by one thread, in its order
        self._painters = [ThreadPoolExecutor(1, thread_name_prefix=f"paint {name}") for _ in range(PAINTERS)]
        shares = [(number, rows // count + (number < rows % count)) for number in range(count)]
        makers = [(self._run, share, "step") for share in shares] + [(self._run_apart, (), "apart")] * APART
        self._threads = [threading.Thread(target=t, args=a, name=f"{k} {name}", daemon=True) for t, a, k in makers]
        for thread in self._threads:
            thread.start()

    # what others call

    def submit(self, job: Job) -> None:
        """Let a job in. Raises Busy where there is no place, Closing after `close`, and ValueError for what the model
        cannot follow."""
        own = self.limner.prepare(job.request)
        plan = own if job.plan is None else job.plan
        conversation = job.request.conversation
        rows = [
            Row(job, number, seed, plan, conversation, next(self._painter) % PAINTERS)
            for number, seed in enumerate(job.seeds)
        ]
        with self._bell:
            if self._closed:
                raise Closing
            self._clear()
            if self._inside and self._inside + len(rows) > self.rows + self.queue:
                self.meter.count("refused")
                raise Busy(self._wait())
            self._inside += len(rows)
            if job.apart:
                self._line.append((job, rows))
            else:
                self._waiting.extend(rows)
            self._bell.notify_all()

    @property
    def inside(self) -> int:
        """Rows that were let in and have not ended."""
        with self._bell:
            self._clear()
            return self._inside

    @property
    def in_work(self) -> int:
        """Rows that step."""
        return len(self._stepping())

    def close(self) -> None:
        """Give everything up and end the threads."""
        with self._bell:
            if self._closed:
                return
            self._closed = True
            jobs = {row.job for row in self._waiting} | self._apart | {job for job, _ in self._line}
            jobs |= {row.job for row in self._stepping()}
            self._bell.notify_all()
        for job in jobs:
            job.fail(Closing())
        for thread in self._threads:
            thread.join()
        for painter in self._painters:
            painter.shutdown(cancel_futures=True)

    # the steppers

    def _stepping(self) -> list[Row]:
        return [row for lanes in self._lanes for lane in list(lanes) for row in lane.rows]

    def _run(self, number: int, most: int) -> None:
        """What a stepper does: take rows that wait, as long as it has no more than ``most``, and step its lanes."""
        lanes = self._lanes[number]
        while True:
            with self._bell:
                self._idle[number] = True
                # the first idle ones take what waits: one answer after another comes from one thread, which is a little
                # quicker than from threads by turns
                self._bell.wait_for(lambda: self._closed or lanes or len(self._waiting) > sum(self._idle[:number]))
                self._idle[number] = False
                if self._closed:
                    return
                fresh = self._admitted(most - sum(len(lane.rows) for lane in lanes))
            for rows in fresh:
                self._begin(lanes, rows)
            self._step(lanes)

    def _step(self, lanes: list[Lane]) -> None:
        """One step of every lane, the youngest first; some wait until others have caught up, and go on with them."""
        for lane in sorted(lanes, key=lambda lane: lane.state.step):
            self._end(lane.drop_gone())
            if any(lane.waits_for(other) for other in lanes if other.rows):
                lane.patience -= 1
                continue
            self._advance(lane)
            for other in lanes:
                if other is not lane and other.rows and lane.rows:
                    self.meter.count("joined", other.join(lane))
        lanes[:] = [lane for lane in lanes if lane.rows]

    def _admitted(self, room: int) -> list[list[Row]]:
        """Rows that wait and for which a stepper has room, in groups with the same ask; idle steppers get as many."""
        self._clear()
        waiting = list(self._waiting)
        room = min(room, math.ceil(len(waiting) / (1 + sum(self._idle))))
        groups: list[list[Row]] = []
        while waiting and room > 0:
            ask = waiting[0].ask
            group = [row for row in waiting if row.ask == ask][:room]
            waiting = [row for row in waiting if row not in group]
            room -= len(group)
            groups.append(group)
        self._waiting = deque(waiting)
        return groups

    def _clear(self) -> None:
        """Take those out of the line for whom nobody waits any more."""
        self._end([row for row in self._waiting if row.job.gone])
        self._waiting = deque(row for row in self._waiting if not row.job.gone)
        self._end([row for job, rows in self._line if job.gone for row in rows])
        self._line = deque((job, rows) for job, rows in self._line if not job.gone)

    def _begin(self, lanes: list[Lane], rows: Sequence[Row]) -> None:
        try:
            with self.turns.mine():
                lane = Lane.of(self.limner.model, rows[0].ask, rows)
        except Exception as error:
            if len(rows) > 1:  # the fault of one must not be that of all
                for row in rows:
                    self._begin(lanes, [row])
            else:
                self._fail(rows, error)
            return
        lanes.append(lane)
        self._let_go(lane)

    def _advance(self, lane: Lane) -> None:
        if not lane.rows:
            return
        count, begun = len(lane.rows), time.perf_counter()
        try:
            with self.turns.mine():
                lane.step()
            spent = time.perf_counter() - begun
            self.meter.stepped(count, spent)
            for row in lane.rows:
                name = TIMED[lane.ask.kind]
                row.timings[name] = row.timings.get(name, 0.0) + spent
            self._show(lane)
            self._let_go(lane)
        except Exception as error:
            self._fail(lane.rows, error)
            lane.rows = []

    def _show(self, lane: Lane) -> None:
        """Tell what is to be seen of a lane after a step."""
        if lane.ask.kind != "image":
            watched = [i for i, row in enumerate(lane.rows) if row.job.words]
            if watched:
                self._tell_words(lane, watched)
            return
        step, steps = lane.state.step, lane.state.settings.steps
        watched = [
            i for i, row in enumerate(lane.rows) if step < steps and step in shown_steps(row.job.previews, steps)
        ]
        if watched:
            values = lane.process.view(lane.state)
            for i in watched:
                self._painter_of(lane.rows[i]).submit(self._preview, lane.rows[i], values[[i]], step, steps)

    def _tell_words(self, lane: Lane, watched: Sequence[int]) -> None:
        counts, values = lane.process.settled(lane.state).tolist(), lane.process.view(lane.state)
        for i in watched:
            row = lane.rows[i]
            (part,) = self.limner.model.decode(lane.ask.kind, values[[i], : counts[i]])
            self._say(row, part, over=False)

    def _say(self, row: Row, part: Part, over: bool) -> None:
        """Tell words; what is not over is held back where its end may yet become another letter."""
        if isinstance(part, Image) or not row.job.words:
            return
        text = part.text if over else part.text.rstrip("\ufffd \n")
        if over or (text.startswith(row.told) and len(text) > len(row.told)):
            row.told = "" if over else text
            row.job.tell(Words(row.number, part.kind, text, over))

    def _let_go(self, lane: Lane) -> None:
        """Rows whose part is complete leave the lane."""
        rows, values = lane.take_done()
        if not rows:
            return
        if lane.ask.kind == "image":
            for i, row in enumerate(rows):
                self._painter_of(row).submit(self._paint, row, values[[i]])
            return
        for row, part in zip(rows, self.limner.model.decode(lane.ask.kind, values), strict=True):
            self._say(row, part, over=True)
            self._go_on(row, part)

    # the painters

    def _painter_of(self, row: Row) -> ThreadPoolExecutor:
        return self._painters[row.painter]

    def _preview(self, row: Row, values: Tensor, step: int, steps: int) -> None:
        if row.job.gone:
            return
        try:
            with torch.no_grad():
                (part,) = self.limner.model.decode("image", values)
            assert isinstance(part, Image)
            row.job.tell(Preview(row.number, part.image, step, steps))
        except Exception as error:
            self._give_up(row.job, error)

    def _paint(self, row: Row, values: Tensor) -> None:
        if row.job.gone:
            self._end([row])
            return
        begun = time.perf_counter()
        try:
            noise = noise_of(Noise.of([row.seed]), row.ask, [row.reply])
            with torch.no_grad():
                (part,) = self.limner.model.finished(row.ask, values, [row.conversation], [row.reply], noise)
        except Exception as error:
            self._fail([row], error)
            return
        row.timings["draw"] = row.timings.get("draw", 0.0) + time.perf_counter() - begun
        self._go_on(row, part)

    # ends

    def _go_on(self, row: Row, part: Part) -> None:
        """A row with one more part: it waits for the next one, before those that have not begun, or is complete."""
        row.reply, row.told = (*row.reply, part), ""
        if not row.complete and not row.job.gone:
            with self._bell:
                self._waiting.appendleft(row)
                self._bell.notify_all()
            return
        self._end([row])
        if row.job.gone:
            return
        sample = Sample(Task(row.conversation), row.reply, row.seed)
        about = self.limner.about(row.job.request, row.plan, row.seed) | row.job.extra()
        timings = row.timings | {"total": time.perf_counter() - row.begun}
        shown = sample.thinking, sample.image, sample.text
        answer = Answer(*shown, row.seed, self.limner.name, about, timings, row.reply)
        row.job.tell(Done(row.number, answer, row.reply, row.prompt_tokens, tuple(row.tokens), row.ended))
        self._paced()

    def _end(self, rows: Sequence[Row]) -> None:
        """Rows that are no longer in here."""
        if rows:
            with self._bell:
                self._inside -= len(rows)
            self.meter.count("given_up", sum(row.job.gone for row in rows))

    def _fail(self, rows: Sequence[Row], error: Exception) -> None:
        self._end(rows)
        for job in {row.job for row in rows}:
            self._give_up(job, error)

    def _give_up(self, job: Job, error: Exception) -> None:
        if job.gone and not isinstance(error, ValueError):  # nobody else will tell
            LOG.error("a job failed that nobody waits for", exc_info=error)
        job.fail(error)

    def _run_apart(self) -> None:
        while True:
            with self._bell:
                self._bell.wait_for(lambda: self._closed or self._line)
                if self._closed:
                    return
                job, rows = self._line.popleft()
                self._apart.add(job)
            self._carry_out(job, rows)

    def _carry_out(self, job: Job, rows: Sequence[Row]) -> None:
        try:
            carry_out(self.limner, self.turns, job, rows, self.meter)
        except Gone:
            self._end(rows)
        except Exception as error:
            self._fail(rows, error)
        else:
            self._end(rows)
            self._paced()
        finally:
            self._apart.discard(job)

    def _paced(self) -> None:
        now = time.perf_counter()
        if self._last_end:
            self._pace += PACE * (min(now - self._last_end, LONGEST_WAIT) - self._pace)
        self._last_end = now

    def _wait(self) -> int:
        """Seconds after which some of those who wait are likely to have gone."""
        return max(1, min(LONGEST_WAIT, math.ceil(self._pace * self.rows)))


def steppers_for(device: torch.device) -> int:
    """How many steppers keep a machine busy: as many as there are times that the threads of one step (OMP_NUM_THREADS)
    fit into its cores; one where the steps are an accelerator's."""
    return max(1, min(STEPPERS, CORES // torch.get_num_threads())) if device.type == "cpu" else 1
