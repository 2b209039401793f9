"""Files of rows gone through as a whole: checked, counted, written anew."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limner.data.files import Raw, Source
from limner.data.forms import formed
from limner.data.messages import BadRow, Picture, Row, Turn, check_pictures
from limner.parts import Text, Thinking

PicturesAre = str  # "named", "there" or "read"


def rows_of(
    source: Source, *, pictures: PicturesAre = "there", answered: bool = True, form: str | None = None
) -> Iterator[Row | BadRow]:
    """Every row, or what is wrong with it. ``pictures`` are looked for ("there"), opened ("read") or left ("named");
    with ``form`` rows are turned into messages first ("": told by their keys)."""
    for raw in source:
        try:
            row = _formed(raw, form).row(answered=answered)
            if pictures != "named":
                check_pictures(row, read=pictures == "read")
            yield row
        except BadRow as bad:
            yield bad


def _formed(raw: Raw, form: str | None) -> Raw:
    if form is None:
        return raw
    try:
        return raw._replace(value=formed(raw.values(), form))
    except BadRow:
        raise
    except ValueError as error:
        raise BadRow(raw.place, "", str(error)) from None


@dataclass
class Stats:
    """Counts over rows. `add` takes each; broken ones are only counted."""

    rows: int = 0
    broken: int = 0
    turns: Counter[int] = field(default_factory=Counter)  # user's messages in a row
    tasks: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)  # such as "assistant image"
    words: list[int] = field(default_factory=list)  # of a row's texts and thoughts
    sizes: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row | BadRow, *, sizes: bool = False) -> None:
        """Count a row; with ``sizes`` its pictures are opened."""
        if isinstance(row, BadRow):
            self.broken += 1
            return
        self.rows += 1
        self.tasks[row.task] += 1
        self.sources[row.source or "(none)"] += 1
        self.turns[sum(turn.role == "user" for turn in row.turns)] += 1
        words = 0
        for turn in row.turns:
            for part in turn.parts:
                self.parts[f"{turn.role} {part.kind}"] += 1
                words += len(part.text.split()) if isinstance(part, Text | Thinking) else 0
                if sizes and isinstance(part, Picture):
                    width, height = part.read().image.size
                    self.sizes[f"{width} x {height}"] += 1
        self.words.append(words)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, the frequent first."""
        words = sorted(self.words)
        found: dict[str, Any] = {"rows": self.rows, "broken": self.broken}
        for name in ("tasks", "turns", "parts", "sources", "sizes"):
            found[name] = {str(key): number for key, number in getattr(self, name).most_common(20)}
        if words:
            found["words"] = {"least": words[0], "median": words[len(words) // 2], "most": words[-1]}
        return found


# ---- written anew


def write_rows(rows: Iterable[Row], out: Path, *, copy: bool = False) -> int:
    """Rows as typed content in a new file: .jsonl (pictures by path, or with ``copy`` as files beside it), .tar or
    .parquet (pictures inside). The file appears whole or not at all; returns how many rows it has.

    Raises ValueError for another ending and for a file that is there already.
    """
    writers = {".jsonl": _write_lines, ".tar": _write_tar, ".parquet": _write_parquet}
    if out.suffix not in writers:
        raise ValueError(f"-o {out}: give a file ending in one of: {', '.join(writers)}")
    if copy and out.suffix != ".jsonl":
        raise ValueError(f"pictures are inside a {out.suffix} file anyway; leave out --copy")
    if out.exists():
        raise ValueError(f"-o {out}: this exists already; give a new file")
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        number = writers[out.suffix](rows, beside, _copier(out) if copy else _pointer(out.parent))
        os.replace(beside, out)
    finally:
        beside.unlink(missing_ok=True)
    return number


Placed = Callable[[int, int, Picture], dict[str, Any]]  # (row, picture in it, picture) -> how the row names it


def _pointer(folder: Path) -> Placed:
    """Pictures stay where they are, and are named from the new file's folder."""

    def placed(row: int, index: int, picture: Picture) -> dict[str, Any]:
        if picture.path is None:
            return {"png": _as_png(picture)}
        return {"path": os.path.relpath(picture.path.resolve(), folder.resolve())}

    return placed


def _copier(out: Path) -> Placed:
    """Pictures are copied into a folder beside the new file."""
    folder = out.with_name(f"{out.stem}_pictures")
    folder.mkdir(exist_ok=True)

    def placed(row: int, index: int, picture: Picture) -> dict[str, Any]:
        name = f"{row:06d}.{index}{picture.path.suffix if picture.path else '.png'}"
        if picture.path is not None:
            shutil.copyfile(picture.path, folder / name)
        else:
            picture.read().image.save(folder / name)
        return {"path": f"{folder.name}/{name}"}

    return placed


def _as_png(picture: Picture) -> str:
    return base64.b64encode(_bytes(picture)).decode("ascii")


def _bytes(picture: Picture) -> bytes:
    """The picture's file as it stands."""
    return picture.data if picture.data is not None else picture.path.read_bytes() if picture.path else b""


def _placed(number: int, row: Row, placed: Placed) -> dict[str, Any]:
    """A row's JSON with every picture named anew."""
    value, index = row.to_json(), 0
    for message, turn in zip(value["messages"], row.turns, strict=True):
        for i, part in enumerate(turn.parts):
            if isinstance(part, Picture):
                raw = {"raw": list(part.raw)} if part.raw is not None else {}
                message["content"][i] = {"type": "image"} | placed(number, index, part) | raw
                index += 1
    return value


def _write_lines(rows: Iterable[Row], beside: Path, placed: Placed) -> int:
    number = 0
    with beside.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows, start=1):
            file.write(json.dumps(_placed(number, row, placed), ensure_ascii=False) + "\n")
    return number


def _write_tar(rows: Iterable[Row], beside: Path, placed: Placed) -> int:
    number = 0
    with tarfile.open(beside, "w") as file:

        def add(name: str, data: bytes) -> None:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            file.addfile(about, io.BytesIO(data))

        for number, row in enumerate(rows, start=1):
            pictures = list(row.pictures)
            ends = [(each.path.suffix if each.path else Path(each.name).suffix) or ".png" for each in pictures]
            value = _placed(number, row, _inside(ends))
            add(f"{number:08d}.json", json.dumps(value, ensure_ascii=False).encode())
            for i, picture in enumerate(pictures):
                add(f"{number:08d}.{i}{ends[i]}", _bytes(picture))
    return number


def _inside(ends: list[str]) -> Placed:
    return lambda row, index, picture: {"path": f"{index}{ends[index]}"}


def _write_parquet(rows: Iterable[Row], beside: Path, placed: Placed) -> int:
    """Messages as JSON text, since their parts differ; pictures as the list ``images`` in the row's order."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError("parquet needs pyarrow: pip install 'limner[data]'") from error
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    text = pyarrow.string()
    schema = pyarrow.schema([("id", text), ("source", text), ("messages", text), ("images", pyarrow.list_(picture)),
                             ("facts", text), ("tags", pyarrow.list_(text)), ("about", text)])  # fmt: skip
    number, some = 0, list[dict[str, Any]]()

    def flush() -> None:
        file.write_table(pyarrow.Table.from_pylist(some, schema))
        some.clear()

    with parquet.ParquetWriter(beside, schema) as file:
        for number, row in enumerate(rows, start=1):
            value = _placed(number, row, lambda _, i, picture: {})
            images = [{"bytes": _bytes(each), "path": each.name} for each in row.pictures]
            facts = json.dumps(dict(row.facts)) if row.facts else None
            some.append({"id": row.id, "source": row.source, "messages": json.dumps(value["messages"]),
                         "images": images, "facts": facts, "tags": list(row.tags),
                         "about": json.dumps(dict(row.about)) if row.about else None})  # fmt: skip
            if len(some) == 1000:
                flush()
        flush()
    return number


# ---- shown


def told(row: Row) -> list[str]:
    """A row as lines to read: who says what, pictures by name and size."""
    head = f"{row.place}: {row.task}" + (f", {row.id}" if row.id else "") + (f", {row.source}" if row.source else "")
    lines = [head]
    for turn in row.turns:
        lines += [f"  {turn.role:<10} {said}" for said in _said(turn)]
    return lines


def _said(turn: Turn) -> Iterator[str]:
    for part in turn.parts:
        if isinstance(part, Picture):
            width, height = part.read().image.size
            yield f"[picture {part.name or 'inside'}, {width} x {height}]"
        else:
            words = " ".join(part.text.split())
            yield f"(thinks) {words}" if isinstance(part, Thinking) else words
