"""A run's page in a real browser: it stands alone, and what is in it is seen."""

import random
import shutil
import subprocess

import pytest

from limner.bench import page, run, score
from limner.world.content import copies
from limner.world.draw import to_image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def drawn(folder, colour):
    """Two prompts, one picture each, scored."""
    facts = {"include": [{"kind": "cat", "colour": "red", "count": 1}]}
    items = [run.Item(f"p{i}", "single", f"a red cat, {i}", facts) for i in range(2)]
    manifest = run.Manifest("world", run.digest_of_items(items), "m", "w", 1, False, (), 2)
    run._claim(folder, manifest, items)
    rows = []
    for i, item in enumerate(items):
        content = copies(1, "cat", colour if i else "red", "plain")
        to_image(content.scene(random.Random(i)), 64).save(folder / f"images/{i}.png")
        row = {"id": item.id, "tag": "single", "seed": 0, "prompt": item.prompt, "passes": 4.0}
        rows.append({**row, "thinking": None, "text": None, "image": f"images/{i}.png"})
    run._append(folder / "samples.jsonl", rows)
    score.score(folder)
    return folder


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_the_page_opens_in_a_browser_with_its_pictures_and_its_comparison(tmp_path):
    now, before = drawn(tmp_path / "now", "blue"), drawn(tmp_path / "before", "red")
    path = page.write(now, before)
    alone = tmp_path / "alone" / "report.html"
    alone.parent.mkdir()
    shutil.copy(path, alone)  # nothing else is beside it
    script = (
        "<script>document.body.dataset.seen = [...document.images].filter(i => i.naturalWidth == 64).length</script>"
    )
    alone.write_text(alone.read_text().replace("</html>", f"{script}</html>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *options, "--virtual-time-budget=2000", alone.as_uri()], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert 'data-seen="2"' in done.stdout, "the pictures inside the page were not shown"
    for words in ("m on world", "Prompts that changed most", "-1.00", "passes a sample", "cat", "Signs:"):
        assert words in done.stdout
    assert "http://" not in path.read_text() and "https://" not in path.read_text()
