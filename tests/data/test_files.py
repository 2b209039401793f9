"""Rows are the same from every kind of file, at every position, and say where they stand."""

import io
import json
import tarfile

import pytest
from PIL import Image as pil

from limner.data.files import Chain, JsonLines, open_source
from limner.data.messages import BadRow
from limner.data.survey import rows_of, write_rows

KINDS = (".jsonl", ".tar", ".parquet")


def words(row):
    return row.turns[0].parts[0].text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven rows with one to three pictures, as lines, as a tar shard, as parquet and as arrow."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("rows")
    for i in range(3):
        pil.new("RGB", (5 + i, 5), (80 * i, 0, 0)).save(folder / f"{i}.png")
    with (folder / "source.jsonl").open("w") as file:
        for i in range(11):
            names = [f"{k}.png" for k in range(1 + i % 3)]
            said = [{"role": "user", "content": f"row {i}" + "<image>" * (len(names) - 1)},
                    {"role": "assistant", "content": "<image>"}]  # fmt: skip
            about = {"facts": {"n": i}} if i % 2 else {"group": "even"}
            file.write(json.dumps({"id": str(i), "images": names, "messages": said, **about}) + "\n")
    for kind in KINDS:
        out = folder / kind[1:] / f"rows{kind}"
        assert write_rows(rows_of(open_source(str(folder / "source.jsonl"))), out) == 11
    datasets.disable_progress_bars()
    datasets.Dataset.from_parquet(
        str(folder / "parquet" / "rows.parquet"), cache_dir=str(folder / "cache")
    ).save_to_disk(str(folder / "arrow"))
    return folder


@pytest.mark.parametrize("kind", [*KINDS, ".arrow"])
def test_every_kind_of_file_gives_the_same_rows(folder, kind):
    wanted = list(rows_of(open_source(str(folder / "source.jsonl")), pictures="read"))
    found = list(rows_of(open_source(str(folder / kind[1:])), pictures="read"))
    assert [row.conversation() for row in found] == [row.conversation() for row in wanted]
    assert [(row.id, row.facts, row.about) for row in found] == [(row.id, row.facts, row.about) for row in wanted]
    assert [row.place.row for row in found] == list(range(1, 12))


@pytest.mark.parametrize("kind", [*KINDS, ".arrow"])
def test_windows_at_any_place_are_those_rows(folder, kind):
    source = open_source(str(folder / kind[1:]))
    assert source.length() in (11, None)
    for start, size in ((4, 3), (0, 2), (9, 5), (11, 4), (3, 1)):
        found = [words(raw.row()) for raw in source.window(start, size)]
        assert found == [f"row {i}" for i in range(start, min(11, start + size))]


@pytest.mark.parametrize("kind", [".parquet", ".arrow"])
def test_a_mark_comes_back_without_reading_what_is_before(folder, kind):
    source = open_source(str(folder / kind[1:]))
    source.window(0, 5)
    mark = json.loads(json.dumps(source.mark()))
    other = open_source(str(folder / kind[1:]))
    other.go(mark)
    assert [words(raw.row()) for raw in other.window(5, 2)] == ["row 5", "row 6"]


def test_several_files_are_one_source(folder):
    names = [str(folder / kind[1:]) for kind in (".jsonl", ".arrow", ".tar")]
    chain = Chain("three", [open_source(name) for name in names])
    found = [(raw.place.row, words(raw.row())) for raw in chain.window(9, 15)]
    assert found == [(i % 11 + 1, f"row {i % 11}") for i in range(9, 24)]
    assert len(list(chain)) == 33 == chain.length()  # arrow says so once it was read


def test_a_pattern_and_a_folder_of_files(folder, tmp_path):
    for i in range(3):
        (tmp_path / f"part-{i}.jsonl").write_text('{"messages": []}\n' * (i + 1))
    for name in (str(tmp_path / "part-*.jsonl"), str(tmp_path)):
        places = [raw.place for raw in open_source(name)]
        assert [(place.file[-12:], place.row) for place in places] == [
            ("part-0.jsonl", 1), ("part-1.jsonl", 1), ("part-1.jsonl", 2),
            ("part-2.jsonl", 1), ("part-2.jsonl", 2), ("part-2.jsonl", 3),
        ]  # fmt: skip


def test_pictures_with_their_words_beside_them(tmp_path):
    pil.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a black square\n")
    pil.new("RGB", (4, 4)).save(tmp_path / "b.png")
    good, bad = rows_of(open_source(str(tmp_path)))
    assert good.task == "draw" and words(good) == "a black square"
    assert isinstance(bad, BadRow) and bad.place.file.endswith("b.png") and "text" in bad.field


def test_a_tar_of_pictures_and_words(tmp_path):
    buffer = io.BytesIO()
    pil.new("RGB", (4, 4)).save(buffer, format="PNG")
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for name, data in (("d/1.png", buffer.getvalue()), ("d/1.txt", b"black"), ("d/2.txt", b"alone")):
            about = tarfile.TarInfo(name)
            about.size = len(data)
            file.addfile(about, io.BytesIO(data))
    good, bad = rows_of(open_source(str(tmp_path / "x.tar")), pictures="read")
    assert words(good) == "black" and good.task == "draw"
    assert isinstance(bad, BadRow)


def test_empty_lines_do_not_count_but_have_their_number(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"a":1}\n\n  \n{"a":2}\nnot json\n\xff\n{"a":3}')
    source = JsonLines(tmp_path / "x.jsonl")
    assert source.length() == 5
    assert [raw.place.row for raw in source] == [1, 4, 5, 6, 7] == [raw.place.row for raw in source.window(0, 9)]
    with pytest.raises(BadRow, match="row 5: is not JSON at character 1"):
        source.window(2, 1)[0].values()
    with pytest.raises(BadRow, match="row 6: is not JSON"):
        source.window(3, 1)[0].values()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.jsonl", "there is no file or folder"),
        ("x.csv", "is of no kind that can be read"),
        ("*.arrow", "no file is called"),
        ("empty", "holds no .jsonl"),
        ("bad.parquet", "bad.parquet cannot be read"),
        ("bad.tar", "cannot be read as a tar file"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, name, reason):
    (tmp_path / "x.csv").write_text("a,b\n")
    (tmp_path / "empty").mkdir()
    for bad in ("bad.parquet", "bad.tar"):
        (tmp_path / bad).write_bytes(b"nothing" * 300)
    with pytest.raises(ValueError, match=reason):
        list(open_source(str(tmp_path / name)))
