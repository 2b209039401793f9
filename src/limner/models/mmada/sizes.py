"""Of which parts an MMaDA is, and which work makes its replies: for plans, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from limner.codecs.magvit import RELEASED, MagvitCodec, MagvitConfig
from limner.models import checkpoint
from limner.models.mmada.config import MMaDAConfig, released
from limner.models.mmada.network import Network
from limner.models.plan import Outline, Part, Work, decoding, on_meta, pixels

NAMES = ("mmada-8b",)


def outline(name: str, folder: Path | None) -> Outline:
    """A released model by name, or the one in a folder."""
    config = released() if folder is None else MMaDAConfig.from_json(checkpoint.read_json(folder))
    codec = RELEASED
    shared = None if folder is None else checkpoint.codec_of(folder)
    if shared is not None and (shared / "config.json").is_file():
        codec = MagvitConfig.from_json(checkpoint.read_json(shared))
    network: Network = on_meta(Network, config)
    own = config.defaults
    codes = config.grid(own.size) ** 2
    guided = 2 if own.picture_guidance else 1
    tokens = codes + config.text_budget
    row = 4 * config.rows
    parts = (
        Part("network", network, (network.layers,)),
        Part("codec", on_meta(MagvitCodec, codec), wide=True, trained=False),
    )
    works = (
        Work(f"{own.thinking_limit} words", "network", 128 + own.thinking_limit,
             -(-own.thinking_limit // own.tokens_per_step), config.width, live=row * own.block),
        Work("a picture", "network", tokens, own.picture_steps * guided, config.width, live=row * codes),
        Work("pixels", "codec", codes, 1, 512, live=pixels(own.size), operations=decoding(own.size)),
    )  # fmt: skip
    return Outline(name, parts, works, (), True, tokens, config.layers, config.width, config.rows)
