"""What one visitor has made and is making. The pictures lie in a folder of the session's own and go with it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from limner.app.drawing import slug

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from limner.answer import Answer
    from limner.app.page.work import Work
    from limner.conversation import Chat


@dataclass(frozen=True)
class Made:
    """A picture of the session: its file, which holds its request, and the answer that it belongs to."""

    path: str
    answer: Answer

    @property
    def caption(self) -> str:
        """What was asked and the seed."""
        return f"{self.answer.request['prompt']} (seed {self.answer.seed})"


@dataclass
class Session:
    """``works`` are what is being made, ``made`` the pictures so far, the latest last, ``chat`` the conversation."""

    works: set[Work] = field(default_factory=set)
    made: list[Made] = field(default_factory=list)
    chat: Chat | None = None
    files: dict[int, str] = field(default_factory=dict)  # of pictures in the conversation, by id
    _folder: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the session's files lie."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="limner-page-"))
        return self._folder

    def path(self, name: str) -> Path:
        """A new file name in the folder, in an empty folder of its own."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / name

    def keep(self, answer: Answer) -> str:
        """Save an answer's picture; its path."""
        path = str(answer.save(self.path(f"{slug(answer.request['prompt'])}-{answer.seed}.png")))
        self.made.append(Made(path, answer))
        return path

    def file(self, picture: Picture) -> str:
        """The path of a picture of the conversation, which is written once."""
        if id(picture) not in self.files:
            path = self.path("picture.png")
            picture.save(path)
            self.files[id(picture)] = str(path)
        return self.files[id(picture)]

    def stop(self) -> None:
        """End all that is being made."""
        for work in list(self.works):
            work.stop()

    def close(self) -> None:
        """End everything and take the folder away."""
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def new_session() -> Session:
    """One for a visitor who comes."""
    return Session()
