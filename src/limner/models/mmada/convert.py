"""A released MMaDA checkpoint in limner's own layout, with a certificate of what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from limner.models.convert import Form
from limner.models.convert import convert as converted
from limner.models.mmada.model import read_config
from limner.models.mmada.network import Network
from limner.models.mmada.parity import network_rows
from limner.models.mmada.weights import NAMES

FORM = Form("mmada", NAMES, Network, read_config, network_rows)


def convert(
    source: Path,
    target: Path,
    *,
    codec: Path | None = None,
    dtype: torch.dtype | None = None,
    certify: bool = False,
    reference: Path | None = None,
) -> dict[str, Any]:
    """Write ``source`` to the new folder ``target``; what the certificate says. See ``limner.models.convert``."""
    return converted(FORM, source, target, codec=codec, dtype=dtype, certify=certify, reference=reference)
