"""The decoders' coordinates."""

from types import SimpleNamespace

import pytest
import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig

from limner.models.nexusgen.decoders import EDIT_ROPE, Decoder
from limner.models.nexusgen.small import Sizes, painter_config

SIZES = painter_config(Sizes(painter_heads=2, painter_head=16, double=1, single=1, context=24, pooled=8))
TEXT = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32}


def text():
    rope = {"type": "default", "rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    return Qwen2_5_VLTextConfig(**TEXT, rope_scaling=rope)


def seen_places(decoder, monkeypatch):
    """The coordinates that the transformer turns by, for one picture of 4 x 4 latents beside 4 vectors."""
    seen = []
    monkeypatch.setattr(decoder.dit.pos_embed, "forward", lambda ids: (seen.append(ids), SimpleNamespace())[1])
    for blocks in (decoder.dit.transformer_blocks, decoder.dit.single_transformer_blocks):
        for block in blocks:
            monkeypatch.setattr(
                block,
                "forward",
                lambda hidden_states, encoder_hidden_states, temb, image_rotary_emb: (
                    encoder_hidden_states,
                    hidden_states,
                ),
            )
    latents = torch.zeros(1, decoder.channels, 4, 4)
    tokens = decoder.tokens(torch.zeros(1, 4, 32))
    decoder.velocity(tokens, decoder.ids(4, None, (4, 4)), latents, torch.ones(1), torch.zeros(1, 8), 3.5)
    return seen[0]


@pytest.mark.parametrize(("rope", "stretch", "theta"), [({"theta": 100.0, "stretch": 2.0}, 2, 100), (None, 1, 10_000)])
def test_an_editing_decoder_turns_as_its_sizes_say_and_else_as_released(rope, stretch, theta, monkeypatch):
    decoder = Decoder({**SIZES, EDIT_ROPE: rope}, 32, text())
    assert decoder.dit.pos_embed.theta == theta
    places = seen_places(decoder, monkeypatch)
    corners = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]])
    assert torch.equal(places, stretch * torch.cat([corners, corners]))


def test_the_generation_decoder_turns_as_released():
    decoder = Decoder(SIZES, 32)
    assert SIZES[EDIT_ROPE]["theta"] != 10_000
    assert decoder.stretch == 1 and decoder.dit.pos_embed.theta == 10_000
