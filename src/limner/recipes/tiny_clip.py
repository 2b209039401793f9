"""A small CLIP (2103.00020) of the picture world: how well does a picture fit a caption? Stage three of tiny MindOmni
is rewarded with it, as the full size is with the released one.

Two towers of transformers' ``CLIPModel`` on the world's words and 64 px pictures. Captions of a batch are near each
other on purpose: half of the scenes are changed in one thing from another's, so that a number or a colour counts.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as pil
from torch import Tensor, nn

from limner.judges.clip import Scorer, clip_scorer
from limner.models.vocabulary import load_tokenizer, word_tokenizer
from limner.train.data import each_step
from limner.train.optim import adamw
from limner.train.run import Run
from limner.world import say
from limner.world.content import Content, random_content
from limner.world.draw import render
from limner.world.edits import edit
from limner.world.splits import may_train

SIZE, LENGTH = 64, 32
PAD, END = "<pad>", "<end>"
Batch = tuple[Tensor, list[str]]


class Inputs(dict[str, Tensor]):
    """What the model is called with."""

    def to(self, device: str | torch.device) -> Inputs:
        """The same on a device."""
        return Inputs({name: tensor.to(device) for name, tensor in self.items()})


class Reader:
    """Words and pictures to the model's inputs, called as transformers' processors are."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, images: Sequence[pil.Image], text: Sequence[str], **others: Any) -> Inputs:
        """Pictures of any size and as many texts."""
        square = [np.asarray(picture.convert("RGB").resize((SIZE, SIZE), pil.Resampling.BICUBIC)) for picture in images]
        return Inputs(self.words(text) | {"pixel_values": to_pixels(torch.from_numpy(np.stack(square)))})

    def words(self, text: Sequence[str]) -> dict[str, Tensor]:
        """Ids (B, T) with the end's id last, filled up."""
        pad, end = self.tokenizer.token_to_id(PAD), self.tokenizer.token_to_id(END)
        rows = [[*self.tokenizer.encode(words, add_special_tokens=False).ids[: LENGTH - 1], end] for words in text]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": (ids != pad).long()}


def to_pixels(pictures: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W) in -1..1."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def _tokenizer() -> Any:
    return word_tokenizer(say.vocabulary(), (PAD, END))


def _build() -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    tokenizer = _tokenizer()
    end = tokenizer.token_to_id(END)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    text = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": LENGTH, "eos_token_id": end}
    text |= {"bos_token_id": end, "pad_token_id": tokenizer.token_to_id(PAD)}
    config = CLIPConfig(
        text_config=sizes | text, vision_config=sizes | {"image_size": SIZE, "patch_size": 8}, projection_dim=128
    )
    return CLIPModel(config)


def _scenes(seed: int, size: int) -> Batch:
    """Pictures and captions of training; every second scene is an edit of the one before."""
    rng = random.Random(seed)
    pictures: list[np.ndarray] = []
    captions: list[str] = []
    while len(pictures) < size:
        content = random_content(rng)
        if not may_train(content):
            continue
        scene = content.scene(rng, vary=rng.random() < 0.3)
        for each in (scene, edit(scene, rng).after):
            pictures.append(render(each, SIZE))
            told = Content.of(each)
            captions.append(say.plan(told) if rng.random() < 0.5 else say.caption(told, rng))
    return torch.from_numpy(np.stack(pictures[:size])), captions[:size]


def _contrast(model: nn.Module, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    pictures, captions = batch
    words = Reader(_tokenizer()).words(captions)
    device = next(model.parameters()).device
    moved = {name: tensor.to(device) for name, tensor in words.items()}
    logits = model(pixel_values=to_pixels(pictures), **moved).logits_per_image
    # equal captions are not wrong
    same = torch.tensor([[a == b for b in captions] for a in captions], device=device)
    hidden = logits.masked_fill(same & ~torch.eye(len(captions), dtype=torch.bool, device=device), -1e4)
    wanted = torch.arange(len(captions), device=device)
    cross = nn.functional.cross_entropy
    loss = 0.5 * (cross(hidden, wanted) + cross(hidden.T, wanted))
    right = float((hidden.argmax(dim=1) == wanted).float().mean())
    return loss, {"right": right}


def _finish(model: nn.Module, folder: Path) -> None:
    model.save_pretrained(folder)  # type: ignore[operator]
    _tokenizer().save(str(folder / "tokenizer.json"))


def tiny_clip() -> Run:
    """About 1.5 million parameters; ``right`` is the share of pictures whose caption is found among a batch's."""
    return Run(
        name="mindomni.tiny_clip",
        build=_build,
        objective=_contrast,
        batches=each_step(_scenes),
        optimizer=adamw,
        finish=_finish,
        steps=4000,
        batch_size=64,
        lr=1e-3,
        warmup=100,
        hold=0.5,
        weight_decay=0.05,
        threads=2,
    )


def load(name: str, device: str) -> tuple[Any, Reader]:
    """(model, reader) of a folder that the run released."""
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(name).to(device).eval(), Reader(load_tokenizer(name))


def clip_of(folder: Path, device: str = "cpu") -> Scorer:
    """The cosine of picture and caption by a trained model."""
    return clip_scorer(str(folder), device, load=load)
