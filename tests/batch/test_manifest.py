"""A manifest is checked as a whole before anything is done."""

import json

import pytest

from limner.batch.manifest import read_manifest


def write(folder, *rows):
    path = folder / "manifest.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_rows_without_an_id_are_called_by_their_number(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    path = write(tmp_path, {"do": "generate", "prompt": "a cat"}, "", {"do": "judge", "prompt": "x", "image": "a.png"})
    jobs, digest = read_manifest(path)
    assert [(job.id, job.do, job.picture) for job in jobs] == [
        ("000001", "generate", None), ("000003", "judge", b"picture"),
    ]  # fmt: skip
    (tmp_path / "a.png").write_bytes(b"another")
    assert read_manifest(path)[1] != digest  # another picture is another job


GOOD = {"do": "generate", "prompt": "a cat", "id": "x"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "row 2: is not JSON"),
        ("[]", "row 2: a row is a JSON object"),
        ({"prompt": "x"}, "row 2, do: None is not one of: generate, verify, judge, mine"),
        ({"do": "generate", "prompt": "x", "id": "a/b"}, "row 2, id: 'a/b' must be letters"),
        (GOOD, "row 2, id: 'x' is the id of row 1 too"),
        ({"do": "generate"}, "row 2, prompt: is missing"),
        ({"do": "generate", "prompt": "x", "judge": "clip"}, "row 2, judge: is not known; generate takes"),
        ({"do": "generate", "prompt": "x", "seed": "1"}, "row 2, seed: must be int, not '1'"),
        ({"do": "generate", "prompt": "x", "n": True}, "row 2, n: must be int"),
        ({"do": "generate", "prompt": "x", "n": 0}, "row 2, n: 0 must be at least 1"),
        ({"do": "mine", "prompt": "x", "n": 1}, "row 2, n: 1 must be at least 2"),
        ({"do": "judge", "prompt": "x", "image": "none.png"}, "row 2, image: there is no picture file"),
    ],
)
def test_what_is_wrong_is_told_with_file_row_and_field(tmp_path, row, reason):
    with pytest.raises(ValueError, match="manifest.jsonl, " + reason):
        read_manifest(write(tmp_path, GOOD, row))


def test_no_manifest_and_an_empty_one(tmp_path):
    with pytest.raises(ValueError, match="there is no manifest"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="holds no rows"):
        read_manifest(write(tmp_path, ""))
