"""What a Show-o with CLIP sees: the features of the last layer but one (spec section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class Vision(nn.Module):
    """CLIP's picture tower with its preprocessing; frozen, and not part of a model's own weights."""

    def __init__(self, tower: Any, processor: Any) -> None:
        super().__init__()
        self.tower, self.processor = tower.requires_grad_(False).eval(), processor

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Vision:
        """The tower in a folder (openai/clip-vit-large-patch14-336 for the released models)."""
        from transformers import CLIPImageProcessor, CLIPVisionModel

        try:
            tower = CLIPVisionModel.from_pretrained(str(folder), local_files_only=True, dtype=dtype)
            processor = CLIPImageProcessor.from_pretrained(str(folder), local_files_only=True)
        except OSError as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise ValueError(f"there is no CLIP picture tower in {folder} ({reason}); download it again") from error
        return cls(tower.to(device), processor)

    @torch.no_grad()
    def forward(self, pictures: Sequence[Picture]) -> Tensor:
        """(B, F, clip) features of pictures, without the one of the class."""
        given = self.processor(images=[picture.convert("RGB") for picture in pictures], return_tensors="pt")
        weight = next(self.tower.parameters())
        seen = self.tower(given["pixel_values"].to(weight.device, weight.dtype), output_hidden_states=True)
        return seen.hidden_states[-2][:, 1:]
