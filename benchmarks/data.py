"""How many rows of messages are validated a minute, without pictures and with a look whether they are there.

    python benchmarks/data.py [--rows N]

Rows of one to three turns, typed and with marks, as a file of JSON lines; processor time of one thread, the best of
three. The target is 50,000 rows a minute on two cores without pictures.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from limner.data.files import open_source
from limner.data.survey import rows_of

TARGET = 50_000


def write(path, rows):
    """Rows of 1 to 3 turns of 20 to 60 words; every second one with marks, the others typed, with a thought."""
    rng = random.Random(0)
    (path.parent / "x.png").touch()
    words = [f"word{i}" for i in range(500)]
    with path.open("w") as file:
        for i in range(rows):
            messages, images = [], []
            for _ in range(rng.randint(1, 3)):
                text = " ".join(rng.choices(words, k=rng.randint(20, 60)))
                if i % 2:
                    images += ["x.png", "x.png"]
                    messages += [{"role": "user", "content": f"<image> {text}"},
                                 {"role": "assistant", "content": "Here is the image: <image>"}]  # fmt: skip
                else:
                    messages += [{"role": "user", "content": [{"type": "text", "text": text}]},
                                 {"role": "assistant", "content": [{"type": "thinking", "text": text},
                                                                   {"type": "image", "path": "x.png"}]}]  # fmt: skip
            file.write(
                json.dumps({"id": str(i), "messages": messages, **({"images": images} if images else {})}) + "\n"
            )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write(path, rows)
        print(f"{rows} rows, {path.stat().st_size / 1e6:.1f} MB")
        for pictures in ("named", "there"):
            best = float("inf")
            for _ in range(3):
                begin = time.process_time()
                found = sum(1 for row in rows_of(open_source(str(path)), pictures=pictures))
                best = min(best, time.process_time() - begin)
            assert found == rows
            print(f"pictures {pictures:<6} {60 * rows / best:>12,.0f} rows a minute of one core (target {TARGET:,})")


if __name__ == "__main__":
    main()
