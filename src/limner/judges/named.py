"""Verifiers by name, as a command line gives them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from limner import catalog
from limner.judges.asked import Asked, read_about, wording_for
from limner.judges.verifier import EARLY, About, Guarded, Judged, Together, Verifier

if TYPE_CHECKING:
    from limner.models.base import Model

KINDS = (
    "self (the generator, asked yes or no), doubts (what the generator and its codec find unlikely in a picture), "
    "says or says:MODEL (what the generator, or another, says it sees, compared), "
    "scenes (the picture world's exact reader, for prompts with facts), detector or detector:FOLDER (a second, trained "
    "reader for the same), clip or clip:HUB_ID, llava:FOLDER (a released reward model), URL#MODEL (an endpoint), "
    "reward:URL (a judge in another process, see limner judge serve), or a model's name or folder; A+B asks both and "
    "adds their log-odds"
)
REWARD = "reward:"
SCENES = "scenes"  # the metric of the picture world
DETECTOR = "detector"  # the second reader of the picture world
CHANCES = (0.16, 0.92)  # how often pictures of tiny-show-o are right that the detector finds wrong, and right


def find_verifier(name: str, model: Model | None = None, *, official: bool = False, device: str = "cpu") -> Verifier:
    """The verifier of that name, see ``KINDS``; ``model`` is the generator. Its failures leave candidates unjudged.

    Raises ValueError for what cannot be found or loaded.
    """
    found = [Guarded(_find(each, model, official, device)) for each in _several(name)]
    return found[0] if len(found) == 1 else Guarded(Together(tuple(found)))


def _several(name: str) -> list[str]:
    """The verifiers that a name joins by +; addresses and folders may have one of their own."""
    folders = [Path(text).expanduser() for text in (name, name.partition(":")[2]) if text]
    whole = name.startswith((REWARD, "http://", "https://")) or any(folder.exists() for folder in folders)
    return [name] if whole else name.split("+")


def _find(name: str, model: Model | None, official: bool, device: str) -> Verifier:
    if official and not name.startswith("llava:"):
        raise ValueError(f"official answers are those of released reward models, llava:FOLDER, not of {name!r}")
    if name == "self":
        if model is None:
            raise ValueError("the verifier self is the generator, and there is none here; name another one")
        return Asked(model, wording_for(model), about=About("the generator itself"))
    if name == "says" or name.startswith("says:"):
        from limner.judges.says import Says

        other = name.partition(":")[2]
        if not other and model is None:
            raise ValueError("says is what the generator says, and there is none here; give says:MODEL")
        describes = catalog.load_model(other, device=device) if other else model
        assert describes is not None
        return Says(describes, About(f"what {other or 'the generator'} says"))
    if name == "doubts":
        from limner.judges.doubts import Doubts

        if model is None:
            raise ValueError("doubts are the generator's, and there is none here; name another verifier")
        return Doubts(model)
    if name == SCENES:
        from limner.judges.scenes import scene_judge

        return Judged(scene_judge(), About("the scene judge", metric=SCENES))
    if name == DETECTOR or name.startswith(f"{DETECTOR}:"):
        from limner.judges.scenes import detected, scene_judge

        other = name.partition(":")[2]
        reader = detected(Path(other).expanduser() if other else None)
        return Judged(
            scene_judge(reader), About("the picture world's detector", metric=DETECTOR), EARLY, chances=CHANCES
        )
    if name == "clip" or name.startswith("clip:"):
        from limner.judges.clip import CLIP, clip_scorer, fits

        return Judged(fits(clip_scorer(name.partition(":")[2] or CLIP, device)), About("CLIP", metric="clip"))
    if name.startswith("llava:"):
        import torch

        from limner.judges.llava import Llava
        from limner.models.llava.network import load

        kind = torch.float16 if device.startswith("cuda") else torch.float32
        return Llava(load(Path(name.partition(":")[2]).expanduser(), device=device, dtype=kind), official)
    if name.startswith(REWARD):
        from limner.judges.remote import Remote

        return Remote(name.removeprefix(REWARD))
    if name.startswith(("http://", "https://")):
        from limner.judges.endpoint import Endpoint

        url, _, served = name.partition("#")
        if not served:
            raise ValueError(f"the endpoint {url} serves models by name; say which: {url}#MODEL")
        return Endpoint(url, served, about=About(f"{served} at {url}"))
    try:
        folder = catalog.find(name)
    except ValueError as error:
        raise ValueError(f"no judge called {name!r}: {error}. Judges are: {KINDS}") from None
    options = {"about": About(str(name))} | dict(read_about(folder))
    return Asked(catalog.load_model(folder, device=device), **options)
