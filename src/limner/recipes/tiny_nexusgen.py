"""Tiny Nexus-Gen on the picture world: what the originals' pretrained parts brought, then the published stages.

    mindomni.tiny_vae   pictures to latents and back (one autoencoder for both families)
    tiny_sight          the vision tower, which is frozen from then on (another file)
    tiny_generation     the generation decoder redraws pictures from their own embeddings
    tiny_reader_one     the autoregressive part: words and pictures of all tasks, mostly captions to pictures
    tiny_reader_two     the same, balanced, with edits and stories
    tiny_reader_three   at a lower rate, mostly questions, about pictures and about words
    tiny_reader_four    the same with more questions about pictures
    tiny_reader_five    the same with more edits and more questions about where things stand
    tiny_reader_six     the same, edits and stories most of all
    tiny_reader_seven   thoughts before edits
    tiny_copying        the editing decoder begins as the generation decoder, and learns to look: it redraws its source
    tiny_editing        then it learns edits beside their sources
    tiny_editing_two    the same, mostly those that change what stands there

Pictures are written as 4 x 4 embeddings of 64 px, and shown to the autoregressive part at the same size (the published
option of one scale for edits); the editing decoder sees its source as 8 x 8 embeddings of 128 px. All parts see only
what ``limner.world.splits`` lets training see. Scenes of edits, questions and stories are moved, shrunk and mirrored at
random, because their tests are; a caption's scene stands where it always stands, so that its picture follows from it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from limner.codecs.vae import Vae
from limner.models.nexusgen.config import NexusConfig, tiny
from limner.models.nexusgen.lessons import Lesson
from limner.models.nexusgen.model import NexusGen
from limner.models.nexusgen.small import Sizes, fresh, parts
from limner.models.nexusgen.tokenizer import make_tokenizer
from limner.parts import Conversation, Image, Part, PartKind, Task, Text, Thinking, assistant, user
from limner.recipes.nexusgen_cache import Cache
from limner.recipes.nexusgen_learn import Trained, decoder_objective, reader_objective, train_only
from limner.recipes.tiny_sight import SIDE, SIZE, SIZES, TOWER
from limner.train.data import each_step
from limner.train.optim import Optimizers, muon_with_adamw
from limner.train.run import Run
from limner.turn import rollout
from limner.world import lessons, questions, say
from limner.world.content import Content
from limner.world.draw import to_image
from limner.world.edits import Edit, edit, story
from limner.world.scene import Scene
from limner.world.sheet import draw_sheet
from limner.world.splits import known_content

# where each recipe's model stands after its run
VAE = Path("runs/mindomni.tiny_vae/released")
SIGHT, GENERATION, ONE, TWO, THREE, FOUR, FIVE, SIX, COPYING, EDITING = (
    Path("runs") / f"nexusgen.{name}" / "released"
    for name in (
        "tiny_sight",
        "tiny_generation",
        "tiny_reader_one",
        "tiny_reader_two",
        "tiny_reader_three",
        "tiny_reader_four",
        "tiny_reader_five",
        "tiny_reader_six",
        "tiny_copying",
        "tiny_editing",
    )
)
KEPT = Path("runs/nexusgen.embeddings")  # the decoders' cache
POOL = 32768  # different lessons of a decoder: few enough to be kept, and each is another one at every noise
TABLES = 0.2  # the learning rate of tables, norms and biases beside that of the matrices
NOISY = 0.3  # noise of the embeddings that the generation decoder learns from, at most, in deviations
DROWNED = 2.0  # the same where they must not be relied on
SAME = 0.25  # share of an editing decoder's lessons that change nothing
HARD_EDITS = ("add", "remove", "replace", "replace", "count", "count")  # where most of what is drawn is new
SAMPLES = ("two red apples", "a blue cat left of a green car", "three yellow stars at night", "a purple heart")


@dataclass(frozen=True)
class Mixture:
    """Lessons of each task in a batch."""

    caption: int = 0  # captions and plans to pictures
    explicit: int = 0  # prompts that say what to draw
    polish: int = 0  # prompts to their worked-out words (the model's own longer prompt)
    polished: int = 0  # such words to pictures
    describe: int = 0  # pictures to plans
    tell: int = 0  # the words behind a picture that was drawn
    question: int = 0  # pictures and questions to answers
    place: int = 0  # the same about where things stand, which few of all questions are about
    change: int = 0  # a picture and an instruction to a picture
    story: int = 0  # the second or third picture of a conversation
    read: int = 0  # a plan in words and a question about it to answers
    think_change: int = 0  # a picture and an instruction to a thought: the scene before and the scene after
    think_story: int = 0
    thought_change: int = 0  # the picture behind such a thought
    thought_story: int = 0


# rows of like length stand together in micro-batches of 16
FIRST = Mixture(caption=36, explicit=16, polish=12, polished=20, describe=4, change=8, question=16)
BALANCED = Mixture(caption=12, explicit=12, polish=8, polished=24, describe=4, tell=4, change=32, question=16, story=12)
LAST = Mixture(
    caption=8, explicit=8, polish=4, polished=12, describe=4, tell=4, question=40, change=24, story=8, read=64
)
ASKING = replace(LAST, question=72, read=48)
PLACES = replace(LAST, describe=8, question=48, place=28, change=40, story=12, read=20)
CHANGES = replace(LAST, polish=8, question=24, place=12, change=80, story=24, read=8)
THOUGHTS = Mixture(
    caption=4, explicit=4, polish=8, polished=12, describe=8, tell=4, question=24, place=8, read=4,
    change=8, think_change=32, think_story=12, thought_change=48, thought_story=16,
)  # fmt: skip


def picture(scene: Scene) -> Image:
    """A scene as a picture."""
    return Image(to_image(scene, SIZE))


def _caption(rng: random.Random) -> Lesson:
    content = known_content(rng)
    prompt = say.plan(content) if rng.random() < 0.4 else say.caption(content, rng)
    return Lesson((user(prompt),), (picture(content.scene(rng, vary=False)),))


def _prompt(rng: random.Random, groups: Sequence[str], kind: str = "picture") -> lessons.Lesson:
    return lessons.lesson(rng.choice(groups), rng, "train", kind)


def _explicit(rng: random.Random) -> Lesson:
    found = _prompt(rng, lessons.EXPLICIT)
    assert found.content is not None
    return Lesson((user(found.prompt),), (picture(found.content.scene(rng, vary=False)),))


def _polish(rng: random.Random) -> Lesson:
    found = _prompt(rng, lessons.GROUPS, "text")
    return Lesson((user(found.prompt),), (Thinking(found.thought),))


def _polished(rng: random.Random) -> Lesson:
    found = _prompt(rng, lessons.GROUPS)
    assert found.content is not None
    shown = picture(found.content.scene(rng, vary=False))
    return Lesson((user(found.prompt),), (Thinking(found.thought), shown))


Asked = tuple[Conversation, Edit]  # a conversation that ends with an instruction, and what it asks for


def _edit(rng: random.Random, kind: str | None = None) -> Asked:
    found = edit(known_content(rng).scene(rng), rng, kind)
    return (user(picture(found.before), found.instruction),), found


def _story(rng: random.Random) -> Asked:
    """A conversation that drew its first picture and changed it; the last change is asked for."""
    steps = story(rng, rng.choice((1, 2, 3)))
    first = user(say.plan(steps[0].before))
    conversation = [first, assistant(picture(steps[0].before))]
    for step in steps[:-1]:
        conversation += [user(step.instruction), assistant(picture(step.after))]
    return (*conversation, user(steps[-1].instruction)), steps[-1]


def _changed(asks: Callable[[random.Random], Asked], thinks: bool, draws: bool, rng: random.Random) -> Lesson:
    """A change: its thought, which says the scene before and after; its picture; or the picture behind the thought."""
    conversation, found = asks(rng)
    thought = (Thinking(f"{say.plan(found.before)}; {say.plan(found.after)}"),) if thinks else ()
    return Lesson(conversation, (*thought, picture(found.after)) if draws else thought)


def _describe(rng: random.Random) -> Lesson:
    scene = known_content(rng).scene(rng)
    return Lesson((user(picture(scene), rng.choice(say.CAPTION_QUESTIONS)),), (Text(say.plan(scene)),))


def _tell(rng: random.Random) -> Lesson:
    content = known_content(rng)
    drawn: Part = picture(content.scene(rng, vary=False))
    return Lesson((user(say.caption(content, rng)),), (drawn, Text(say.plan(content))))


def _question(rng: random.Random) -> Lesson:
    scene = known_content(rng).scene(rng)
    asked, answer = questions.ask(scene, rng)
    return Lesson((user(picture(scene), asked),), (Text(answer),))


def _place(rng: random.Random) -> Lesson:
    scene = known_content(rng).scene(rng)
    while Content.of(scene).layout == "copies":
        scene = known_content(rng).scene(rng)
    asked, answer = questions.ask(scene, rng, rng.choice(("where", "is_placed", "is_placed")))
    return Lesson((user(picture(scene), asked),), (Text(answer),))


def _read(rng: random.Random) -> Lesson:
    """Comparing, by words alone: whether something is there is hardly learned from pictures before."""
    content = known_content(rng)
    asked, answer = questions.ask(content, rng)
    return Lesson((user(f"{say.plan(content)} {asked}"),), (Text(answer),))


TASKS: dict[str, Callable[[random.Random], Lesson]] = {
    "caption": _caption,
    "explicit": _explicit,
    "polish": _polish,
    "polished": _polished,
    "change": partial(_changed, _edit, False, True),
    "story": partial(_changed, _story, False, True),
    "think_change": partial(_changed, _edit, True, False),
    "think_story": partial(_changed, _story, True, False),
    "thought_change": partial(_changed, _edit, True, True),
    "thought_story": partial(_changed, _story, True, True),
    "describe": _describe,
    "tell": _tell,
    "question": _question,
    "place": _place,
    "read": _read,
}


def some_lessons(mixture: Mixture, seed: int, size: int) -> list[Lesson]:
    """A batch, task by task: rows of like length stand together, and micro-batches have little to fill up."""
    rng = random.Random(seed)
    return [TASKS[name](rng) for name, count in asdict(mixture).items() for _ in range(count)]


def from_pool(make: Callable[[random.Random], Lesson], pool: int, seed: int, size: int) -> list[Lesson]:
    """``size`` of ``pool`` different lessons."""
    rng = random.Random(seed)
    return [make(random.Random(f"pool/{rng.randrange(pool)}")) for _ in range(size)]


def _same(rng: random.Random) -> Lesson:
    """A picture to draw as it is shown."""
    shown = picture(known_content(rng).scene(rng))
    return Lesson((user(shown, "draw"),), (shown,))


def _kept_or_changed(rng: random.Random) -> Lesson:
    return _same(rng) if rng.random() < SAME else _changed(_edit, False, True, rng)


def _harder(rng: random.Random) -> Lesson:
    """Mostly edits of the kinds that are learned last; one lesson in ten changes nothing."""
    if rng.random() < 0.1:
        return _same(rng)
    kind = rng.choice(HARD_EDITS) if rng.random() < 0.7 else None
    while True:
        try:
            return _changed(partial(_edit, kind=kind), False, True, rng)
        except ValueError:  # this kind of edit does not fit the scene
            continue


def _any(rng: random.Random) -> Lesson:
    """A picture to redraw: of a caption, an edit or a question, as they come."""
    return Lesson((user("draw"),), (picture(known_content(rng).scene(rng, vary=rng.random() < 0.5)),))


# models


def there(folder: Path) -> Path:
    """The folder of a run before; ValueError where it was not made yet."""
    if not folder.is_dir():
        raise ValueError(f"there is no {folder}; train the recipe that releases it first")
    return folder


def new_model(vae: Path, sight: Path, sizes: Sizes = SIZES, seed: int = 0) -> NexusGen:
    """An untrained tiny Nexus-Gen around a trained autoencoder and vision tower, with the world's vocabulary."""
    config = replace(
        tiny(NexusConfig(side=SIDE), text_limit=24, thinking_limit=40, turns=3),
        max_pixels=(SIDE * 2 * sizes.patch) ** 2,
    )
    texts = config.english
    every = (config.system, texts.draw, texts.drawn, texts.edited, texts.polish)
    model = fresh(config, make_tokenizer(say.vocabulary(), every), sizes, Vae.from_folder(there(vae)), seed)
    model.reader.network.model.visual.load_state_dict(load_file(there(sight) / TOWER))
    return model


def _began(start: Path, trained: Trained) -> NexusGen:
    """A model after an earlier run, of which one part is trained."""
    return train_only(NexusGen.load(there(start)), trained)


def _painter(start: Path) -> NexusGen:
    """The same, with an editing decoder that begins as the generation decoder."""
    model = _began(start, "editing")
    assert model.generation is not None and model.editing is not None
    model.editing.dit.load_state_dict(model.generation.dit.state_dict())
    return model


def muon(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    """Muon for the blocks' matrices; AdamW at a fraction of its rate for tables, norms, heads and the thin ends."""
    inside = ("layers.", "blocks.")
    return muon_with_adamw(
        model, lr, TABLES * lr, weight_decay, lambda name, p: p.ndim == 2 and any(part in name for part in inside)
    )


def release(model: nn.Module, folder: Path) -> None:
    """Write the model in float32; only a model that is shipped is rounded."""
    assert isinstance(model, NexusGen)
    model.save(folder)


def draw_samples(model: nn.Module, folder: Path, step: int) -> None:
    """A sheet: prompts drawn, and the first of them changed."""
    assert isinstance(model, NexusGen)
    kinds: list[PartKind] = ["image"]
    drawn = [Task((user(prompt),)) for prompt in SAMPLES for _ in range(2)]
    rng = random.Random(7)
    changes = [edit(known_content(rng).scene(rng), rng) for _ in range(len(drawn))]
    edits = [Task((user(picture(each.before), each.instruction),)) for each in changes]
    made = rollout(model, [*drawn, *edits], model.plan(kinds), list(range(len(drawn) + len(edits))))
    pictures = [sample.image for sample in made if sample.image is not None]
    labels = [sample.task.prompt[0].text for sample in made]
    sources = [to_image(each.before, SIZE) for each in changes]
    draw_sheet([*pictures, *sources], [*labels, *["source"] * len(sources)], columns=8).save(
        folder / f"sheet-{step:06d}.png"
    )


def _run(name: str, build: Callable[[], nn.Module], **numbers: Any) -> Run:
    plain: dict[str, Any] = {"optimizer": muon, "finish": release, "lr": 2e-3, "warmup": 50, "hold": 0.4}
    plain |= {"weight_decay": 0.3, "ema": 0.995, "dtype": "bfloat16", "checkpoint_every": 100}
    return Run(name=f"nexusgen.{name}", build=build, **plain | numbers)


def tiny_generation(
    vae: Path = VAE, sight: Path = SIGHT, sizes: Sizes = SIZES, cache: Path | None = KEPT, pool: int = POOL
) -> Run:
    """The generation decoder, from nothing: pictures from their own embeddings, with noise of up to ``NOISY``."""
    return _run(
        "tiny_generation",
        lambda: train_only(new_model(vae, sight, sizes), "generation"),
        objective=decoder_objective("generation", SIZE, 64, Cache(cache), NOISY),
        batches=each_step(partial(from_pool, _any, pool)),
        steps=2400,
        batch_size=64,
        settings={"pool": pool, "noisy": NOISY},
    )


def _reader(name: str, start: Path, mixture: Mixture, micro: int, **numbers: Any) -> Run:
    return _run(
        name,
        lambda: _began(start, "reader"),
        objective=reader_objective(micro),
        batches=each_step(partial(some_lessons, mixture)),
        batch_size=sum(asdict(mixture).values()),
        settings={"start": start.parent.name, "mixture": asdict(mixture)},
        **numbers,
    )


def tiny_reader_one(start: Path = GENERATION, mixture: Mixture = FIRST, micro: int = 16) -> Run:
    """All tasks from nothing; captions to pictures most of all."""
    return _reader(
        "tiny_reader_one", start, mixture, micro, steps=750, hold=1.0, sample=draw_samples, sample_every=1000
    )


def tiny_reader_two(start: Path = ONE, mixture: Mixture = BALANCED, micro: int = 16) -> Run:
    """All tasks in balance."""
    return _reader(
        "tiny_reader_two", start, mixture, micro, steps=1000, hold=0.3, sample=draw_samples, sample_every=1000
    )


def tiny_reader_three(start: Path = TWO, mixture: Mixture = LAST, micro: int = 16) -> Run:
    """Questions most of all, half of them about what stands there in words."""
    return _reader("tiny_reader_three", start, mixture, micro, steps=450, lr=1e-3, hold=0.5)


def tiny_reader_four(start: Path = THREE, mixture: Mixture = ASKING, micro: int = 16) -> Run:
    """Questions about pictures again."""
    return _reader("tiny_reader_four", start, mixture, micro, steps=300, lr=1e-3)


def tiny_reader_five(start: Path = FOUR, mixture: Mixture = PLACES, micro: int = 16) -> Run:
    """Edits, and questions about where things stand."""
    return _reader("tiny_reader_five", start, mixture, micro, steps=700, lr=1.2e-3)


def tiny_reader_six(start: Path = FIVE, mixture: Mixture = CHANGES, micro: int = 16) -> Run:
    """Edits and stories most of all."""
    return _reader("tiny_reader_six", start, mixture, micro, steps=600, lr=1.5e-3)


def tiny_reader_seven(start: Path = SIX, mixture: Mixture = THOUGHTS, micro: int = 16) -> Run:
    """A thought before every change, beyond the paper: what is there, and what will be. It is drawn in the place of the
    instruction, as prompts that were said again in full are."""
    return _reader("tiny_reader_seven", start, mixture, micro, steps=400, lr=1.5e-3)


def tiny_copying(start: Path = SIX, cache: Path | None = KEPT, pool: int = POOL) -> Run:
    """The editing decoder redraws its source, beside embeddings with noise of up to ``DROWNED``.

    In edits alone most of a picture follows from the embeddings, and looking at the source's own place is hardly
    learned (docs/nexus-gen.md).
    """
    return _run(
        "tiny_copying",
        lambda: _painter(start),
        objective=decoder_objective("editing", SIZE, 32, Cache(cache), DROWNED, predicts=False),
        batches=each_step(partial(from_pool, _same, pool)),
        steps=300,
        hold=1.0,
        batch_size=32,
        settings={"start": start.parent.name, "pool": pool, "noisy": DROWNED},
    )


def tiny_editing(start: Path = COPYING, cache: Path | None = KEPT, pool: int = POOL) -> Run:
    """The editing decoder: edits from what the reader predicts and from the source, and sources as they are."""
    return _run(
        "tiny_editing",
        lambda: _began(start, "editing"),
        objective=decoder_objective("editing", SIZE, 32, Cache(cache)),
        batches=each_step(partial(from_pool, _kept_or_changed, pool)),
        steps=2000,
        batch_size=64,
        sample=draw_samples,
        sample_every=1000,
        settings={"start": start.parent.name, "pool": pool, "same": SAME},
    )


def tiny_editing_two(start: Path = EDITING, cache: Path | None = KEPT, pool: int = POOL) -> Run:
    """The editing decoder again, on lessons that are harder; every time counts alike (``velocity_loss``)."""
    return _run(
        "tiny_editing_two",
        lambda: _began(start, "editing"),
        objective=decoder_objective("editing", SIZE, 32, Cache(cache), flat=True),
        batches=each_step(partial(from_pool, _harder, pool)),
        steps=2100,
        lr=1.5e-3,
        batch_size=64,
        settings={"start": start.parent.name, "pool": pool, "flat": True},
    )


def trained_parts(model: NexusGen) -> int:
    """How many numbers the model's trained parts hold."""
    return sum(weight.numel() for part in parts(model) for weight in part.parameters())
