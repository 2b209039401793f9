"""A released Show-o checkpoint in limner's own layout, with a certificate of what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from limner.models.convert import Form
from limner.models.convert import convert as converted
from limner.models.showo.model import read_config
from limner.models.showo.network import Network
from limner.models.showo.parity import network_rows
from limner.models.showo.weights import NAMES

FORM = Form("showo", NAMES, Network, read_config, network_rows)


def convert(
    source: Path,
    target: Path,
    *,
    codec: Path | None = None,
    words: Path | None = None,
    vision: Path | None = None,
    dtype: torch.dtype | None = None,
    certify: bool = False,
    reference: Path | None = None,
) -> dict[str, Any]:
    """Write ``source`` to the new folder ``target``; what the certificate says. See ``limner.models.convert``.

    ``words`` is the folder of the tokenizer, Phi-1.5's, and ``vision`` that of CLIP; the releases hold neither.
    """
    beside = None if vision is None else {"vision": vision}
    return converted(
        FORM,
        source,
        target,
        codec=codec,
        words=words,
        beside=beside,
        dtype=dtype,
        certify=certify,
        reference=reference,
    )
