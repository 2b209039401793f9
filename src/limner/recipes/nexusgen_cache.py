"""Embeddings that were computed once: tensors on disk, found by the content of what they were made from.

What the decoders learn from never changes while they learn (the vision tower and the autoregressive part are frozen),
and costs more than the step itself. A key is a hash over the weights that computed and everything they read, so that
another checkpoint, another size or another picture finds nothing, and the same picture in another file its own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from limner.parts import Conversation, Image, Message, Part, Text, Thinking

Embedded = dict[str, Tensor]


def weights_digest(module: nn.Module) -> str:
    """A hash of a module's names, shapes, types and numbers."""
    found = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def content_key(*what: Any) -> str:
    """A hash of plain values, pictures (their pixels), parts and messages. Raises ValueError for anything else."""
    found = hashlib.sha256()
    for one in what:
        _put(found, one)
    return found.hexdigest()


def _put(into: Any, one: Any) -> None:
    if isinstance(one, Message):
        into.update(f"message {one.role} {len(one.parts)}\n".encode())
        for part in one.parts:
            _put(into, part)
    elif isinstance(one, Image):
        into.update(f"picture {one.image.size}\n".encode())
        into.update(one.image.convert("RGB").tobytes())
    elif isinstance(one, Text | Thinking):
        into.update(f"{one.kind} {len(one.text)}\n{one.text}\n".encode())
    elif isinstance(one, tuple | list):
        into.update(f"list {len(one)}\n".encode())
        for each in one:
            _put(into, each)
    elif isinstance(one, str | int | float | bool | None):
        into.update(f"value {json.dumps(one)}\n".encode())
    else:
        raise ValueError(f"a {type(one).__name__} has no content that could be hashed; give pictures, parts or values")


@dataclass
class Cache:
    """Embeddings in a folder, one safetensors file a key; ``made`` counts what had to be computed. No folder: nothing
    is kept. Files are written beside and renamed, so that several processes may share a folder."""

    folder: Path | None
    made: int = 0

    def path(self, key: str) -> Path:
        """The file of a key."""
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.safetensors"

    def rows(self, keys: Sequence[str], make: Callable[[list[int]], list[Embedded]]) -> list[Embedded]:
        """The embeddings of each key; ``make`` computes those (by their numbers) that are not there. A file that cannot
        be read raises ValueError."""
        found: dict[str, Embedded] = {}
        missing: dict[str, int] = {}
        for i, key in enumerate(keys):
            if self.folder is not None and key not in found and self.path(key).is_file():
                found[key] = self._read(self.path(key))
            elif key not in found:
                missing.setdefault(key, i)
        made = make(list(missing.values())) if missing else []
        self.made += len(made)
        for key, tensors in zip(missing, made, strict=True):
            found[key] = tensors
            if self.folder is not None:
                self._write(self.path(key), tensors)
        return [found[key] for key in keys]

    @staticmethod
    def _read(file: Path) -> Embedded:
        try:
            return load_file(file)
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged ({error}); delete it, and it is computed again") from error

    @staticmethod
    def _write(file: Path, tensors: Embedded) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.{os.getpid()}.partial")
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, beside)
        os.replace(beside, file)


def conversation_key(digest: str, conversation: Conversation, reply: Sequence[Part], *settings: Any) -> str:
    """The key of what the autoregressive part makes of a conversation and its reply."""
    return content_key(digest, list(conversation), list(reply), *settings)
