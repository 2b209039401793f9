"""MAGVIT-v2 (arXiv 2310.05737, the release of Show-o): pictures to a grid of codes and back.

One class at every size. ``RELEASED`` is the published codec (13 signs a code, 16 pixels a code, 95 M parameters);
``TINY`` is the picture world's (64 px, 8 x 8 codes). The encoder and the quantiser fix what the codes mean; several
decoders may show the same codes: the native one at the encoder's size, and larger ones (``larger[2]`` twice as
wide and high) trained later on frozen codes.

    codec = MagvitCodec.from_folder("pretrained/codec")
    codes = codec.encode(to_pixels(pictures))            # (B, 8, 8) int64
    shown = to_uint8(codec.decode(codes, size=128))      # (B, 128, 128, 3) uint8
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from limner.codecs.magvit_layers import Decoder, Encoder, Stack
from limner.codecs.quantise import Quantised, Quantiser

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
RELEASED_WEIGHTS = ("pytorch_model.safetensors", "model.safetensors", "pytorch_model.bin")
DERIVED = ("quantize.embedding", "quantize.power_vals")  # tables that the released files carry and nothing needs


@dataclass(frozen=True)
class MagvitConfig:
    """The whole codec as data. ``larger`` maps a scale (2, 3, ...) to the decoder that shows codes at that scale."""

    encoder: Stack
    decoder: Stack
    quantiser: Quantiser
    larger: Mapping[int, Stack] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = self.encoder.factor
        for scale, stack in {1: self.decoder, **self.larger}.items():
            if stack.factor != wanted * scale:
                raise ValueError(
                    f"the decoder of scale {scale} makes {stack.factor} pixels a code; with an encoder of "
                    f"{wanted} pixels a code it must make {wanted * scale}: change its patch or its levels"
                )
        if any(scale < 2 for scale in self.larger):
            raise ValueError(f"scales of larger decoders start at 2, got {sorted(self.larger)}")

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dump``."""
        larger = {str(scale): asdict(stack) for scale, stack in self.larger.items()}
        return {
            "codec": "magvit",
            "encoder": asdict(self.encoder),
            "decoder": asdict(self.decoder),
            "quantiser": asdict(self.quantiser),
            "larger": larger,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``. Raises ValueError if ``data`` does not describe this codec."""
        if data.get("codec") != "magvit":
            raise ValueError(f"expected a config with codec 'magvit', got {data.get('codec')!r}")
        try:
            return cls(
                encoder=_stack(data["encoder"]),
                decoder=_stack(data["decoder"]),
                quantiser=Quantiser(data["quantiser"]["kind"], tuple(data["quantiser"]["levels"])),
                larger={int(scale): _stack(stack) for scale, stack in data.get("larger", {}).items()},
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the codec config is incomplete or has unknown fields: {error}") from error


def _stack(data: Mapping[str, Any]) -> Stack:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    return Stack(**values)


RELEASED = MagvitConfig(
    encoder=Stack(base=128, widths=(1, 2, 2, 4, 4), blocks=(4, 3, 4, 3, 4)),
    decoder=Stack(base=128, widths=(1, 1, 2, 2, 4), blocks=(4, 4, 3, 4, 3)),
    quantiser=Quantiser("lfq", (2,) * 13),
)

# Every layer of the tiny codec runs on the 8 x 8 grid: pixels are folded away before the first convolution and unfolded
# after the last, which per CPU minute learns more than finer, narrower levels do.
TINY = MagvitConfig(
    encoder=Stack(base=160, widths=(1,), blocks=(2,), patch=8, local=True),
    decoder=Stack(base=128, widths=(1,), blocks=(1,), patch=8, groups=8),
    quantiser=Quantiser("fsq", (8, 6, 6, 6)),
)
# Shows TINY's codes twice as wide and high. Narrower and finer levels (32 to 128 channels, patches of 4) cost as much
# and keep things less recognisable.
TINY_LARGE = Stack(base=128, widths=(1, 1), blocks=(1, 1), patch=8, groups=8)


class MagvitCodec(nn.Module):
    """Encoder, quantiser and decoders. Pixels are (B, 3, H, W) in [-1, 1], codes (B, h, w) int64, row by row."""

    def __init__(self, config: MagvitConfig) -> None:
        super().__init__()
        self.config = config
        channels = len(config.quantiser.levels)
        self.encoder = Encoder(config.encoder, channels)
        self.decoder = Decoder(config.decoder, channels)
        self.larger = nn.ModuleDict({str(scale): Decoder(stack, channels) for scale, stack in config.larger.items()})

    @property
    def num_codes(self) -> int:
        """Size of the code book."""
        return self.config.quantiser.num_codes

    @property
    def factor(self) -> int:
        """Pixels along the side of one code, at the encoder's size."""
        return self.config.encoder.factor

    def latents(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) to latents (B, C, h, w) before quantisation. H and W are multiples of ``factor``."""
        if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.shape[2] % self.factor or pixels.shape[3] % self.factor:
            raise ValueError(
                f"pixels must be (B, 3, H, W) with H and W multiples of {self.factor}, got {tuple(pixels.shape)}; "
                "resize or crop first"
            )
        return self.encoder(pixels)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [-1, 1] to codes (B, H/factor, W/factor) int64."""
        return self.config.quantiser.codes(self.latents(pixels))

    def decode(self, codes: Tensor, size: int | None = None) -> Tensor:
        """Codes (B, h, w) to pixels (B, 3, H, W) clamped to [-1, 1]; codes outside the book are clamped into it.

        ``size`` is the wanted height in pixels: ``h * factor`` (the default) or a multiple of it for which there is
        a larger decoder. Gradients reach the decoder's weights.
        """
        if codes.ndim != 3:
            raise ValueError(f"codes must be (B, h, w), got {tuple(codes.shape)}")
        native = codes.shape[1] * self.factor
        values = self.config.quantiser.values(codes).to(self.decoder.conv_in.weight.dtype)
        return self._decoder(native, native if size is None else size)(values).clamp(-1, 1)

    def forward(self, pixels: Tensor, size: int | None = None) -> tuple[Tensor, Quantised]:
        """Reconstruct pixels (B, 3, H, W) through the codes, with gradients; not clamped.

        Returns the picture at ``size`` (default: as given) and what the quantiser did. If ``size`` names a larger
        decoder the codes are taken as fixed and only that decoder receives gradients.
        """
        native = pixels.shape[2]
        wanted = native if size is None else size
        if wanted == native:
            quantised = self.config.quantiser(self.latents(pixels))
        else:
            with torch.no_grad():
                quantised = self.config.quantiser(self.latents(pixels))
        return self._decoder(native, wanted)(quantised.values), quantised

    def _decoder(self, native: int, wanted: int) -> nn.Module:
        if wanted == native:
            return self.decoder
        scale = str(wanted // native)
        if wanted % native or scale not in self.larger:
            sizes = [native, *(native * int(known) for known in self.larger)]
            raise ValueError(f"size={wanted} cannot be shown; for these codes choose one of {sizes}")
        return self.larger[scale]

    def save(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write ``config.json`` and ``model.safetensors``, each beside its place and then renamed into it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().to("cpu", dtype).contiguous() for name, value in self.state_dict().items()}
        save_file(weights, folder / f"{WEIGHTS_NAME}.partial", metadata={"format": "pt"})
        os.replace(folder / f"{WEIGHTS_NAME}.partial", folder / WEIGHTS_NAME)
        text = json.dumps(self.config.to_json(), indent=2) + "\n"
        (folder / f"{CONFIG_NAME}.partial").write_text(text, encoding="utf-8")
        os.replace(folder / f"{CONFIG_NAME}.partial", folder / CONFIG_NAME)

    @classmethod
    def from_folder(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Load what ``save`` wrote, ready for use (evaluation mode) in ``dtype``."""
        folder = Path(folder)
        for name in (CONFIG_NAME, WEIGHTS_NAME):
            if not (folder / name).is_file():
                raise ValueError(f"no {name} in {folder}; a codec folder holds {CONFIG_NAME} and {WEIGHTS_NAME}")
        config = MagvitConfig.from_json(json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8")))
        return cls.from_weights(folder / WEIGHTS_NAME, config, dtype)

    @classmethod
    def from_released(
        cls, path: str | Path, config: MagvitConfig = RELEASED, dtype: torch.dtype = torch.float32
    ) -> Self:
        """Load a released codec from its folder or from its ``.safetensors`` or ``.bin`` file."""
        path = Path(path)
        if path.is_dir():
            found = [path / name for name in RELEASED_WEIGHTS if (path / name).is_file()]
            if not found:
                raise ValueError(f"no codec weights in {path}; looked for {', '.join(RELEASED_WEIGHTS)}")
            path = found[0]
        return cls.from_weights(path, config, dtype)

    @classmethod
    def from_weights(cls, file: str | Path, config: MagvitConfig, dtype: torch.dtype = torch.float32) -> Self:
        """Load one weight file into ``config``. Raises ValueError if any name or shape does not match."""
        weights = _read(Path(file))
        with torch.device("meta"):
            codec = cls(config)
        _check(weights, codec.state_dict(), Path(file))
        codec.load_state_dict({name: value.to(dtype) for name, value in weights.items()}, strict=True, assign=True)
        return codec.requires_grad_(True).eval()


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, without the derived tables."""
    if not file.is_file():
        raise ValueError(f"no weight file at {file}")
    if file.suffix == ".safetensors":
        weights = load_file(file)
    else:
        weights = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return {name: value for name, value in weights.items() if name not in DERIVED}


def _check(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> None:
    missing = sorted(wanted.keys() - weights.keys())
    unknown = sorted(weights.keys() - wanted.keys())
    if missing or unknown:
        raise ValueError(
            f"{file} does not fit this codec config: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}; load it with the config that it was made with"
        )
    for name, tensor in wanted.items():
        if weights[name].shape != tensor.shape:
            raise ValueError(
                f"{file}: {name} has shape {tuple(weights[name].shape)}, the config wants {tuple(tensor.shape)}"
            )


def to_pixels(pictures: Tensor) -> Tensor:
    """Pictures (B, H, W, 3) uint8 to pixels (B, 3, H, W) float32 in [-1, 1]."""
    if pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise ValueError(f"pictures must be uint8 (B, H, W, 3), got {pictures.dtype} {tuple(pictures.shape)}")
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(pixels: Tensor) -> Tensor:
    """Pixels (B, 3, H, W) in [-1, 1] to pictures (B, H, W, 3) uint8, truncating as the released codec does."""
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(f"pixels must be (B, 3, H, W), got {tuple(pixels.shape)}")
    scaled = ((pixels.detach().float() + 1) / 2).clamp(0, 1) * 255
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
