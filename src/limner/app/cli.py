"""`limner`: the command line. One file here for each command; this one reads the arguments and reports what went wrong.

A command is a frozen dataclass with a method `run() -> int` (the exit status). Its module imports nothing heavy at the
top, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from tyro.extras import SubcommandApp

from limner import __version__
from limner.app.ask import Ask, Fill, Say
from limner.app.batch import Batch
from limner.app.chat import Chat
from limner.app.convert import Convert
from limner.app.data import DataImport, DataShow, DataStats, DataValidate
from limner.app.demo import Demo
from limner.app.edit import Edit
from limner.app.edits import EvalEdits
from limner.app.evaluate import EvalWorld
from limner.app.generate import Generate
from limner.app.inpaint import Extend, Inpaint
from limner.app.judge import JudgeServe
from limner.app.mine import Mine
from limner.app.models import Models
from limner.app.plan import Plan
from limner.app.serve.command import Serve
from limner.app.suite import EvalModel, Gate, Score
from limner.app.train import Train
from limner.app.world import WorldExport, WorldShow

DESCRIPTION = "Models that think before they draw. Every command has --help, and --json for one JSON line per result."
COMMANDS: dict[str, type] = {
    "generate": Generate,
    "edit": Edit,
    "inpaint": Inpaint,
    "extend": Extend,
    "ask": Ask,
    "say": Say,
    "fill": Fill,
    "chat": Chat,
    "eval world": EvalWorld,
    "eval edits": EvalEdits,
    "eval model": EvalModel,
    "score": Score,
    "gate": Gate,
    "train": Train,
    "mine": Mine,
    "batch": Batch,
    "judge serve": JudgeServe,
    "world show": WorldShow,
    "world export": WorldExport,
    "serve": Serve,
    "data validate": DataValidate,
    "data stats": DataStats,
    "data show": DataShow,
    "data import": DataImport,
    "models": Models,
    "plan": Plan,
    "convert": Convert,
    "demo": Demo,
}
GROUPS: dict[str, str] = {
    "eval": "Measure a model: limner eval MODEL --suite NAME is limner eval model MODEL --suite NAME.",
    "judge": "Judges for other processes.",
    "data": "Rows of messages: check, count, look at, import.",
    "world": "Look at the picture world, or take data from it.",
}
MISSING = "cannot open shared object file"  # what the loader says when a system library is not there


class Command(Protocol):
    """What every command is."""

    def run(self) -> int:
        """Do it; the exit status."""


def _app() -> SubcommandApp:
    app = SubcommandApp()
    groups = {name: SubcommandApp() for name in GROUPS}
    for name, group in groups.items():
        app.command(group, name=name, help=GROUPS[name])
    for path, command in COMMANDS.items():
        *group_name, name = path.split()
        (groups[group_name[0]] if group_name else app).command(name=name)(command)
    return app


def _whole(arguments: Sequence[str]) -> list[str]:
    """`eval MODEL ...` with the name of its command in between."""
    known = [path.split()[1] for path in COMMANDS if path.startswith("eval ")]
    short = len(arguments) > 1 and arguments[0] == "eval" and arguments[1] not in (*known, "-h", "--help")
    return [arguments[0], "model", *arguments[1:]] if short else list(arguments)


def _sentence(box: str) -> str:
    """The first paragraph below the title of a boxed message, as one line."""
    words: list[str] = []
    for line in box.splitlines()[1:]:
        inner = line.strip(" │|╰╯─-+")
        if inner:
            words.append(inner)
        elif words:
            break
    return " ".join(words) or "these arguments cannot be read"


def parse(arguments: Sequence[str]) -> Command:
    """The command that is meant. Raises SystemExit(0) after help, ValueError for arguments that cannot be read."""
    complaint = io.StringIO()
    arguments = _whole(arguments)
    try:
        with contextlib.redirect_stderr(complaint):
            command = _app().cli(args=arguments, prog="limner", description=DESCRIPTION)
    except SystemExit as end:
        if end.code:
            known = next((path for path in COMMANDS if path.split() == list(arguments[: len(path.split())])), "")
            usage = " ".join(filter(None, ["limner", known, "--help"]))
            raise ValueError(f"{_sentence(complaint.getvalue()).rstrip('.')}; see {usage}") from None
        raise
    return cast(Command, command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit status: 0 done, 2 bad input, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        print(f"limner {__version__}")
        return 0
    try:
        return parse(arguments).run()
    except SystemExit as end:
        return int(end.code or 0)
    except (ValueError, OSError) as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except ImportError as error:
        if MISSING not in str(error):
            raise
        return _complain(f"{error}; drawing needs it (Debian, Ubuntu: apt-get install libgl1 libegl1)", 1)


def _complain(message: str, status: int) -> int:
    print("limner:", " ".join(message.split()), file=sys.stderr)
    return status


def entry() -> None:
    """The `limner` command."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
