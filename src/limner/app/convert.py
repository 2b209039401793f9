"""`limner convert`: a released checkpoint in limner's own layout, with a certificate of what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from limner.app.console import Json, json_line, line


@dataclass(frozen=True)
class Convert:
    """Convert a released checkpoint. Every weight must have its place, or nothing is written."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """The released folder, or its id on the hub."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DST")]
    """The new folder; it appears whole or not at all."""
    codec: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The picture codec's folder or hub id, if it does not stand in SRC/codec."""
    dtype: Annotated[str | None, tyro.conf.arg(metavar="STR", help_behavior_hint="(default: as released)")] = None
    """float32, bfloat16 or float16. The codec stays in float32."""
    certify: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write certificate.json: names, shapes, types and hashes of all tensors, read back from what was written."""
    reference: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """A folder of numbers recorded from these weights: their differences stand in the certificate."""
    json: Json = False

    def run(self) -> int:
        """Convert; 1 if the written model is not what the reference says."""
        from limner import catalog

        if self.dtype is not None and self.dtype not in catalog.DTYPES:
            raise ValueError(f"--dtype {self.dtype} is not one of: {', '.join(catalog.DTYPES)}")
        folder = catalog.find(self.source)
        convert = catalog.converter(folder)
        places = catalog.companions(self.source, folder, {"codec": self.codec})
        import torch

        kind = None if self.dtype is None else getattr(torch, self.dtype)
        wishes = {"dtype": kind, "certify": self.certify, "reference": self.reference}
        about = convert(folder, self.target, **wishes, **places)
        compared = about.get("parity", {})
        wrong = [name for name, row in compared.items() if not row["ok"]]
        if self.json:
            short = {name: value for name, value in about.items() if name not in ("tensors", "codec_tensors")}
            json_line({"folder": str(self.target)} | short)
            return 1 if wrong else 0
        line("weights", f"{about['names_matched']} tensors, {about['parameters']:,} parameters, {about['dtype']}")
        if not about["tokenizer"]:
            line("tokenizer", "none in the source: put tokenizer.json into the folder before asking the model")
        for name, row in compared.items():
            line("parity", f"{'ok ' if row['ok'] else 'NO '} {row['error']:.1e} (limit {row['limit']:.0e})  {name}")
        if "tensors" in about:
            line("certificate", str(self.target / "certificate.json"))
        line("model", str(self.target))
        return 1 if wrong else 0
