"""Rows in files: JSON lines, folders, tar shards, and what `datasets` reads (parquet, arrow, data sets on the hub).

    open_source("rows.jsonl")                 one row a line
    open_source("shards/*.tar")               members of one name are a row: KEY.json, KEY.0.png
    open_source("pictures/")                  messages.jsonl, files of the kinds here, or pictures each with its words
    open_source("hub:owner/name:train")       a data set on the hub, streamed

A source is read by position: `window(start, size)` gives rows in order, as they stand, not yet checked; `Raw.row` does
that. JSON lines and tar shards are read at any position at once, after one look over each file; what `datasets` streams
is read in order, and gone back to through its `state_dict` (`mark`, `go`).
"""

from __future__ import annotations

import json
import logging
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from limner.data.messages import BadRow, Place, Row, read_row

PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
HUB = "hub:"


class Raw(NamedTuple):
    """A row as it stands in its file: bytes of JSON, or values; ``members`` fetches the files that travel with it."""

    place: Place
    value: Any
    folder: Path | None = None
    members: Callable[[], Mapping[str, bytes]] = dict

    def values(self) -> Any:
        """The row as JSON values. Raises BadRow for what is no JSON."""
        if not isinstance(self.value, bytes):
            return self.value
        try:
            return json.loads(self.value)
        except ValueError as error:
            where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
            why = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise BadRow(self.place, "", f"is not JSON{where}: {why}") from None

    def row(self, *, answered: bool = True) -> Row:
        """The row, checked. Raises BadRow."""
        return read_row(self.values(), self.place, self.folder, self.members(), answered=answered)


class Source(ABC):
    """Rows of one kind in one place, in one order."""

    name: str

    @abstractmethod
    def length(self) -> int | None:
        """How many rows; None where that is not known before all are read."""

    @abstractmethod
    def window(self, start: int, size: int) -> list[Raw]:
        """Rows ``start`` to ``start + size``; fewer at the end."""

    def mark(self) -> Any:
        """Plain values with which `go` comes back to where the last window ended, without reading what is before."""
        return None

    def go(self, mark: Any) -> None:
        """Come back to a mark of an equal source."""
        return None

    def __iter__(self) -> Iterator[Raw]:
        start = 0
        while some := self.window(start, 256):
            yield from some
            start += len(some)


@dataclass
class JsonLines(Source):
    """A file with one JSON object a line; empty lines do not count, but every line has its number."""

    path: Path

    def __post_init__(self) -> None:
        self.name = str(self.path)
        self.lines: list[tuple[int, int]] | None = None  # (number, offset)

    def _index(self) -> list[tuple[int, int]]:
        if self.lines is None:
            self.lines, offset = [], 0
            with self.path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        self.lines.append((number, offset))
                    offset += len(line)
        return self.lines

    def length(self) -> int:
        return len(self._index())

    def window(self, start: int, size: int) -> list[Raw]:
        found = []
        with self.path.open("rb") as file:
            for number, offset in self._index()[start : start + size]:
                file.seek(offset)
                found.append(Raw(Place(self.name, number), file.readline(), self.path.parent))
        return found

    def __iter__(self) -> Iterator[Raw]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield Raw(Place(self.name, number), line, self.path.parent)


@dataclass
class TarShard(Source):
    """A tar file (WebDataset): members that share their name up to the first dot are one row. ``.json`` is a row of
    messages whose pictures are named by the rest of a member's name (``0.png``); without it, a picture and its ``.txt``
    are a caption."""

    path: Path

    def __post_init__(self) -> None:
        self.name = str(self.path)
        self.groups: list[dict[str, tuple[int, int]]] | None = None  # rest of the name -> (offset, bytes)

    def _index(self) -> list[dict[str, tuple[int, int]]]:
        if self.groups is None:
            self.groups, last = [], None
            try:
                with tarfile.open(self.path, "r:") as file:
                    for member in file:
                        if not member.isfile():
                            continue
                        folder, slash, base = member.name.rpartition("/")
                        stem, _, rest = base.partition(".")
                        if last != (key := folder + slash + stem):
                            self.groups.append({})
                            last = key
                        self.groups[-1][rest] = member.offset_data, member.size
            except tarfile.TarError as error:
                raise ValueError(f"{self.path} cannot be read as a tar file that is not compressed: {error}") from None
        return self.groups

    def length(self) -> int:
        return len(self._index())

    def window(self, start: int, size: int) -> list[Raw]:
        groups = self._index()[start : start + size]
        return [self._raw(Place(self.name, start + 1 + i), group) for i, group in enumerate(groups)]

    def _raw(self, place: Place, group: Mapping[str, tuple[int, int]]) -> Raw:
        def members() -> dict[str, bytes]:
            with self.path.open("rb") as file:
                return {name: _at(file, *where) for name, where in group.items() if name != "json"}

        with self.path.open("rb") as file:
            if "json" in group:
                return Raw(place, _at(file, *group["json"]), None, members)
            words = _at(file, *group["txt"]).decode("utf-8", "replace") if "txt" in group else ""
        picture = next((name for name in group if Path(f"x.{name}").suffix.lower() in PICTURES), "")
        return Raw(place, captioned(words, picture), None, members)


def _at(file: Any, offset: int, size: int) -> bytes:
    file.seek(offset)
    return bytes(file.read(size))


@dataclass
class Captions(Source):
    """A folder of pictures, each with its words in a ``.txt`` file of the same name."""

    folder: Path

    def __post_init__(self) -> None:
        self.name = str(self.folder)
        self.files = sorted(path for path in self.folder.iterdir() if path.suffix.lower() in PICTURES)

    def length(self) -> int:
        return len(self.files)

    def window(self, start: int, size: int) -> list[Raw]:
        found = []
        for path in self.files[start : start + size]:
            beside = path.with_suffix(".txt")
            words = beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""
            found.append(Raw(Place(str(path), 1), captioned(words, path.name), self.folder))
        return found


def captioned(words: str, picture: str) -> dict[str, Any]:
    """A picture and its words as a row: the words are asked for, the picture is the answer."""
    return {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": words.strip()}]},
            {"role": "assistant", "content": [{"type": "image", "path": picture}]},
        ]
    }


class Streamed(Source):
    """What `datasets` streams: a parquet or arrow file, or a data set on the hub. A row's columns are its values
    (``messages`` may be JSON text); pictures come as bytes."""

    def __init__(self, name: str, kind: str = "", file: Path | None = None, split: str = "train") -> None:
        self.name, self.kind, self.file, self.split = name, kind, file, split
        self._data: Any = None
        self._begin: Any = None
        self._rows: Iterator[Any] = iter(())
        self._next = 0

    def _open(self) -> Any:
        if self._data is None:
            try:
                import datasets
            except ImportError as error:
                raise ValueError(f"{self.name} needs the package datasets: pip install 'limner[data]'") from error
            logging.getLogger("datasets").setLevel(logging.CRITICAL)  # what fails is raised; it need not be told twice
            where: dict[str, Any] = {"data_files": [str(self.file)]} if self.file else {}
            try:
                data = datasets.load_dataset(self.kind or self.name, split=self.split, streaming=True, **where)
            except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
                raise ValueError(f"{self.name} cannot be read by datasets: {str(error).strip()}") from error
            bytes_alone = datasets.Image(decode=False)
            for column, feature in (data.features or {}).items():
                if isinstance(feature, datasets.Image):
                    data = data.cast_column(column, bytes_alone)
                elif isinstance(getattr(feature, "feature", None), datasets.Image):
                    data = data.cast_column(column, datasets.List(bytes_alone))
            self._data, self._begin = data, data.state_dict()
            self._rows = iter(data)
        return self._data

    def length(self) -> int | None:
        if self.kind == "parquet" and self.file is not None:
            from pyarrow import parquet

            return int(parquet.ParquetFile(self.file).metadata.num_rows)
        split = (self._open().info.splits or {}).get(self.split)
        return int(split.num_examples) if split is not None and split.num_examples else None

    def window(self, start: int, size: int) -> list[Raw]:
        self._open()
        if start < self._next:
            self.go({"row": 0, "state": self._begin})
        found = []
        try:
            for row in self._rows:
                self._next += 1
                if self._next > start:
                    found.append(Raw(Place(self.name, self._next), _columns(row)))
                if len(found) == size:
                    break
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.name} cannot be read behind row {self._next}: {error}") from error
        return found

    def mark(self) -> Any:
        return {"row": self._next, "state": self._open().state_dict()}

    def go(self, mark: Any) -> None:
        data = self._open()
        data.load_state_dict(mark["state"])
        self._rows, self._next = iter(data), mark["row"]


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """A table's row as a row of data: ``messages`` and ``facts`` that are JSON text are read, ``about`` is the rest."""
    values = {key: value for key, value in row.items() if value is not None}
    for key in ("messages", "facts", "about"):
        if isinstance(values.get(key), str):
            try:
                values[key] = json.loads(values[key])
            except ValueError:
                continue  # stays text, which the check of the row complains about by its field
    rest = values.pop("about") if isinstance(values.get("about"), dict) else {}
    return rest | values


@dataclass
class Chain(Source):
    """Several sources as one, one after another."""

    name: str
    parts: Sequence[Source]

    def __post_init__(self) -> None:
        self._lengths: list[int | None] = [None] * len(self.parts)
        self._last = 0

    def _length(self, i: int) -> int | None:
        if self._lengths[i] is None:
            self._lengths[i] = self.parts[i].length()
        return self._lengths[i]

    def length(self) -> int | None:
        lengths = [self._length(i) for i in range(len(self.parts))]
        return None if None in lengths else sum(length or 0 for length in lengths)

    def window(self, start: int, size: int) -> list[Raw]:
        found: list[Raw] = []
        begin = 0
        for i, part in enumerate(self.parts):
            length = self._length(i)
            if length is None or start + len(found) < begin + length:
                some = part.window(start + len(found) - begin, size - len(found))
                found, self._last = found + some, i
                if len(found) == size:
                    break
                if length is None:
                    length = self._lengths[i] = start + len(found) - begin
            begin += length
        return found

    def mark(self) -> Any:
        return {"part": self._last, "mark": self.parts[self._last].mark(), "lengths": self._lengths[: self._last]}

    def go(self, mark: Any) -> None:
        self._last = mark["part"]
        self._lengths[: self._last] = mark["lengths"]
        if mark["mark"] is not None:
            self.parts[self._last].go(mark["mark"])


KINDS: dict[str, Callable[[Path], Source]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".tar": TarShard,
    ".parquet": lambda path: Streamed(str(path), "parquet", path),
    ".arrow": lambda path: Streamed(str(path), "arrow", path),
}


def open_source(name: str) -> Source:
    """The source of that name: a file, a pattern of files, a folder, or ``hub:OWNER/NAME[:SPLIT]``.

    Raises ValueError for what is not there or of no kind that can be read.
    """
    if name.startswith(HUB):
        owner, _, split = name.removeprefix(HUB).partition(":")
        return Streamed(owner, split=split or "train")
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder(path)
    if any(letter in name for letter in "*?["):
        files = sorted(each for each in path.parent.glob(path.name) if each.suffix in KINDS)
        if not files:
            raise ValueError(f"no file is called {name!r} and ends in one of: {', '.join(KINDS)}")
        return _chain(name, files)
    if not path.is_file():
        raise ValueError(f"there is no file or folder {name!r}; a data set on the hub is {HUB}OWNER/NAME")
    if path.suffix not in KINDS:
        raise ValueError(f"{name!r} is of no kind that can be read: {', '.join(KINDS)}, or a folder")
    return KINDS[path.suffix](path)


def _chain(name: str, files: Sequence[Path]) -> Source:
    parts = [KINDS[path.suffix](path) for path in files]
    return parts[0] if len(parts) == 1 else Chain(name, parts)


def _folder(folder: Path) -> Source:
    """``messages.jsonl`` alone where there is one (as `limner world export` writes it); else what there is."""
    if (folder / "messages.jsonl").is_file():
        return JsonLines(folder / "messages.jsonl")
    files = sorted(path for path in folder.iterdir() if path.suffix in KINDS and path.is_file())
    if files:
        return _chain(str(folder), files)
    captions = Captions(folder)
    if not captions.files:
        raise ValueError(f"the folder {str(folder)!r} holds no {', '.join(KINDS)} and no pictures")
    return captions
