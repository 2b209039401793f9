"""Where a benchmark's data stands: a file, a folder with a file for each benchmark, or a data set of the hub.

A hub data set (its id, or a folder with a copy of it) is a set of Parquet files. Its rows are written once as the
lines and pictures that ``prompts`` reads, into ``LIMNER_CACHE`` (``~/.cache/limner``). GQA and what needs a login
(GPQA, MME) are read from files of yours alone.
"""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from limner import catalog
from limner.bench.choices import LETTERS

WITH_PROMPTS = ("geneval", "world")  # need no data
ENDINGS = (".jsonl", ".json", ".csv")
Row = Mapping[str, Any]


def _letters(row: Row) -> list[str]:
    return [str(row[x]) for x in LETTERS[:8] if row.get(x) not in (None, "", "nan")]


def _mmmu(row: Row) -> dict[str, Any]:
    options = ast.literal_eval(row["options"]) if isinstance(row["options"], str) else row["options"]
    shown = [row[f"image_{i}"] for i in range(1, 8) if row.get(f"image_{i}")]
    subject = "_".join(str(row["id"]).split("_")[1:-1]) or "all"
    return {"id": row["id"], "question": row["question"], "answer": row["answer"], "options": list(options),
            "tag": subject, "pictures": shown}  # fmt: skip


def _mmbench(row: Row) -> dict[str, Any]:
    hint = f"{row['hint']}\n" if row.get("hint") not in (None, "", "nan") else ""
    return {"id": row["index"], "question": hint + row["question"], "answer": row["answer"], "options": _letters(row),
            "group": int(row["index"]) % 1_000_000, "pictures": [row["image"]]}  # fmt: skip


def _seed(row: Row) -> dict[str, Any]:
    options = [row[f"choice_{x}"] for x in "abcd"]
    shown = row["image"] if isinstance(row["image"], list) else [row["image"]]
    return {"id": row["question_id"], "question": row["question"], "answer": row["answer"], "options": options,
            "pictures": shown}  # fmt: skip


def _choices(row: Row) -> dict[str, Any]:
    """ARC (choices with labels) and MMLU (a list, and the number of the right one)."""
    if isinstance(row["choices"], Mapping):
        labels = [str(label) for label in row["choices"]["label"]]
        gold, options = labels.index(str(row["answerKey"])), list(row["choices"]["text"])
    else:
        gold, options = int(row["answer"]), list(row["choices"])
    return {"question": row["question"], "answer": LETTERS[gold], "options": options, "tag": row.get("subject", "all")}


def _asked(**fields: str) -> Callable[[Row], dict[str, Any]]:
    """Fields under other names; ``image`` is the picture."""

    def convert(row: Row) -> dict[str, Any]:
        needed = ("question", "answer")
        found = {ours: row[theirs] for ours, theirs in fields.items() if theirs in row or ours in needed}
        return found | ({"pictures": [row["image"]]} if row.get("image") else {})

    return convert


def _vqa(row: Row) -> dict[str, Any]:
    people = [one["answer"] if isinstance(one, Mapping) else one for one in row["answers"]]
    return {"id": row["question_id"], "question": row["question"], "answer": people, "pictures": [row["image"]]}


# benchmark -> (what the names of its split's files begin with, how a row is read)
LAYOUTS: dict[str, tuple[tuple[str, ...], Callable[[Row], dict[str, Any]]]] = {
    "mmmu": (("validation",), _mmmu),
    "mmbench": (("dev",), _mmbench),
    "realworldqa": (("test",), _asked(question="question", answer="answer")),
    "pope": (("test",), _asked(id="id", question="question", answer="answer", tag="category")),
    "seed": (("test",), _seed),
    "vqav2": (("validation",), _vqa),
    "gsm8k": (("test",), _asked(question="question", answer="answer")),
    "math": (("test",), _asked(id="unique_id", question="problem", answer="solution", tag="subject")),
    "choices": (("test", "validation"), _choices),
}


def data_of(data: str | None, name: str) -> Path | None:
    """The file of a benchmark in what ``--data`` names; None where nothing is named. Raises ValueError for a folder or
    a data set without that benchmark's data."""
    if data is None:
        return None
    path = Path(data).expanduser()
    if path.is_dir():
        found = [path / f"{name}{ending}" for ending in ENDINGS if (path / f"{name}{ending}").is_file()]
        if found:
            return found[0]
        if name in WITH_PROMPTS:
            return None
        if not any(path.rglob("*.parquet")):
            files = ", ".join(name + ending for ending in ENDINGS)
            raise ValueError(
                f"{path} holds no data of {name}: give it a file {files}, or a hub data set's Parquet files"
            )
        return converted(name, path, path.resolve().as_posix().strip("/").replace("/", "--"))
    if catalog.is_hub_id(data) and not path.exists():
        return converted(name, _downloaded(data), data.replace("/", "--"))
    return path


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=["*.parquet"]))
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"there is no file {name!r}, and the hub gives no data set of that name ({reason}); go online, or download "
            "it elsewhere and give its folder"
        ) from error


def converted(name: str, folder: Path, mark: str) -> Path:
    """The lines of a data set's split, written once with their pictures beside them."""
    if name not in LAYOUTS:
        raise ValueError(f"{name} is not read from a hub data set; those that are: {', '.join(LAYOUTS)}; give a file")
    splits, read = LAYOUTS[name]
    home = Path(os.environ.get("LIMNER_CACHE", "~/.cache/limner")).expanduser() / "data" / mark / name
    path = home / f"{name}.jsonl"
    if path.is_file():
        return path
    files = [file for file in sorted(folder.rglob("*.parquet")) if _split_of(file, folder) in splits]
    if not files:
        raise ValueError(
            f"{folder} has no Parquet files of the split {' or '.join(splits)}, which {name} is asked from"
        )
    partial = home.with_name(f".{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with (partial / path.name).open("w", encoding="utf-8") as out:
        for number, row in enumerate(_rows(files)):
            try:
                line = read(row)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{folder}: row {number + 1} is not laid out as {name} is: {error!r}") from None
            names = [_picture(shown, partial, f"{number:06d}-{i}") for i, shown in enumerate(line.pop("pictures", ()))]
            line = {"id": str(line.pop("id", number)), **line} | ({"images": names} if names else {})
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    shutil.rmtree(home, ignore_errors=True)
    os.replace(partial, home)
    return path


def _split_of(file: Path, folder: Path) -> str:
    """The split of ``test-00000-of-00003.parquet`` or ``test/0000.parquet``."""
    inside = file.relative_to(folder)
    stem = file.stem.partition("-")[0]
    return inside.parent.name if stem.isdigit() and inside.parent.name else stem


def _rows(files: Sequence[Path]) -> Iterator[Row]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError("reading a hub data set needs pyarrow: pip install 'limner[data]'") from None
    for file in files:
        for batch in parquet.ParquetFile(file).iter_batches(batch_size=64):
            yield from batch.to_pylist()


def _picture(shown: Any, folder: Path, stem: str) -> str:
    """Write a picture of the data set (its bytes, alone or in a mapping) as PNG; the file's name."""
    from PIL import Image as pil

    data = shown["bytes"] if isinstance(shown, Mapping) else shown
    with pil.open(io.BytesIO(data)) as picture:
        picture.convert("RGB").save(folder / f"{stem}.png")
    return f"{stem}.png"
