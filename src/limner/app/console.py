"""What the commands show: lines with a label, JSON lines, and how far a reply has come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from rich.progress import Progress

    from limner.answer import Limner
    from limner.parts import Part
    from limner.turn import Step

LABEL = 12  # columns of the label
OWN = "(default: the model's own)"

Json = Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help="One JSON line per result, nothing else.")]
ModelName = Annotated[str, tyro.conf.arg(help="A model inside the package (limner models), or a checkpoint folder.")]
Device = Annotated[str, tyro.conf.arg(help="Where the network runs: cpu, cuda, cuda:1.")]
_FAST = (
    "Make words (thoughts, answers) in fewer or cheaper passes, so other words at times. threshold: every word that is "
    "sure enough at once; factor: fewer at once where they are less sure; revoke: many at once, and back with those "
    "that no longer fit; blocks: several blocks of words at once; prefix, dual: look at the words around those in work "
    "only now and then. Ways are joined by +, and = sets a way's number: factor=3+blocks=5."
)
Fast = Annotated[str, tyro.conf.arg(metavar="WAY", help_behavior_hint="(default: the exact way)", help=_FAST)]
Seed = Annotated[int, tyro.conf.arg(help="The same request with the same seed gives the same bytes.")]


def line(label: str, text: str) -> None:
    """A labelled line on standard output, seen at once."""
    print(f"{label:<{LABEL}}{text}", flush=True)


def json_line(value: dict[str, Any]) -> None:
    """A value as one JSON line on standard output."""
    print(json.dumps(value), flush=True)


class Watch:
    """Shows a reply in the making: words as they come and a bar, on a terminal; each finished thought as a line."""

    TITLES = {"thinking": "thinking", "image": "drawing", "text": "answering"}

    def __init__(self, limner: Limner, *, seeds: list[int], silent: bool = False) -> None:
        self.limner, self.seeds, self.silent = limner, seeds, silent
        self.bar: Progress | None = None

    def __call__(self, step: Step) -> None:
        """Take note of a step; an `on_step`."""
        from rich.markup import escape

        if self.bar is None:
            self.bar = self._bar(step)
            self.bar.start()  # once it is known, so that `stop` finds it whenever Ctrl-C comes
        words = self._words(self.limner.peek(step)) if step.ask.kind != "image" and not self.bar.disable else ""
        self.bar.update(self.bar.task_ids[0], completed=step.state.step, words=escape(words))
        if step.finished:
            self.stop()
            if step.ask.kind == "thinking" and not self.silent:
                for seed, reply in zip(self.seeds, step.replies, strict=True):
                    thought = self._words([reply[-1]], most=0)
                    line("thinking", f"[seed {seed}] {thought}" if len(self.seeds) > 1 else thought)

    def stop(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _bar(self, step: Step) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        bar = Progress(
            TextColumn(f"{self.TITLES[step.ask.kind]:<{LABEL}}"),
            BarColumn(bar_width=24),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[words]}"),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not console.is_terminal,
        )
        bar.add_task("", total=step.state.settings.steps, words="")
        return bar

    @staticmethod
    def _words(parts: list[Part], most: int = 60) -> str:
        text = parts[0].text if parts and parts[0].kind != "image" else ""
        text = " ".join(text.split())
        return text[-most:] if most else text


class Bar:
    """A progress bar on a terminal; called with what is being done and the share that is done."""

    def __init__(self, silent: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self.bar = Progress(
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=silent or not console.is_terminal,
        )
        self.bar.start()
        self.task = self.bar.add_task("evaluating", total=1.0)

    def __call__(self, what: str, done: float) -> None:
        self.bar.update(self.task, completed=done, description=what)

    def stop(self) -> None:
        """Take the bar away."""
        self.bar.stop()
