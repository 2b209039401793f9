"""MMaDA's network: a Llama that looks both ways, with learned places if wanted, read where it is asked."""

from dataclasses import replace

import pytest
import torch

from limner.models.mmada.config import MMaDAConfig
from limner.models.mmada.model import MMaDA
from limner.models.mmada.network import Network
from limner.parts import Ask, user
from limner.process.noise import Noise


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_network_is_a_llama_that_looks_both_ways(kv_heads):
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaForCausalLM

    tokens, codes, T = 30, 10, 9
    config = MMaDAConfig(
        width=32, layers=2, heads=4, kv_heads=kv_heads, mlp=48, rows=40, text_vocabulary=tokens, codes=codes
    )
    network = Network(config)
    network.initialise(3)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=kv_heads,
            intermediate_size=48,
            vocab_size=40,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    table = {"embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
    places = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    values = {}
    for name, value in network.state_dict().items():
        first, *rest = name.split(".")
        if first == "layers":
            where = "self_attn." if rest[1][:2] in ("q_", "k_", "v_", "o_") else "mlp."
            middle = places.get(rest[1], where + rest[1])
            values[f"model.layers.{rest[0]}.{middle}.weight"] = value
        else:
            values[f"{table[first]}.weight"] = value
    theirs.load_state_dict(values)
    ids = torch.randint(0, 40, (3, T), generator=torch.Generator().manual_seed(0))
    kept = torch.arange(T)[None, :] >= torch.tensor([0, 2, 5])[:, None]
    full = kept[:, None, None, :].expand(-1, 1, T, T)
    with torch.no_grad():
        ours, want = network(ids, kept), theirs(ids, attention_mask=full).logits
    torch.testing.assert_close(ours, want, rtol=1e-5, atol=1e-5)


def test_a_later_token_changes_an_earlier_state(model):
    ids, kept = torch.arange(6)[None, :], torch.ones(1, 6, dtype=torch.bool)
    other = torch.tensor([[0, 1, 2, 3, 4, 9]])
    with torch.no_grad():
        assert not torch.equal(model.network.states(ids, kept)[0, 0], model.network.states(other, kept)[0, 0])


def test_padding_on_the_left_changes_nothing(model):
    conversations = [(user("a cat"),), (user("the animal with nine lives, so a red dog left of a blue cat"),)]
    both = model.context(conversations, [(), ()], Ask("image"))
    alone = model.context(conversations[:1], [()], Ask("image"))
    values = torch.zeros(2, 16, dtype=torch.int64)
    drawn = model.process("image").draw(values, Noise.of([1, 2]))
    with torch.no_grad():
        together = model.process("image").log_prob(both, values, drawn).tokens[0]
        single = model.process("image").log_prob(alone, values[:1], drawn[[0]]).tokens[0]
    torch.testing.assert_close(together, single, rtol=1e-5, atol=1e-5)


def test_learned_places_are_counted_from_the_part_being_made(model, tmp_path):
    placed = MMaDA(replace(model.config, places=64), model.tokenizer, model.codec).eval()
    ids, kept = torch.arange(6)[None, :], torch.ones(1, 6, dtype=torch.bool)
    at = torch.tensor([[False] * 4 + [True] * 2])
    padded = torch.cat([torch.full((1, 3), model.config.specials.pad), ids], dim=1)
    hidden = torch.cat([torch.zeros(1, 3, dtype=torch.bool), kept], dim=1)
    with torch.no_grad():
        there = placed.words(ids, kept, at, 4)
        moved = placed.words(padded, hidden, torch.cat([torch.zeros(1, 3, dtype=torch.bool), at], dim=1), 7)
        other = placed.words(ids, kept, at, 2)
    torch.testing.assert_close(there, moved, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(there, other, atol=1e-3)
    placed.save(tmp_path / "placed")
    again = MMaDA.load(tmp_path / "placed").eval()
    with torch.no_grad():
        torch.testing.assert_close(again.words(ids, kept, at, 4), there)


def test_logits_of_words_and_codes_come_from_their_own_rows(model):
    ids = torch.zeros(2, 5, dtype=torch.int64)
    at = torch.tensor([[True, False, True, False, False], [False] * 5])
    kept = torch.ones_like(at)
    with torch.no_grad():
        whole = model.network(ids, kept)[at]
        offset = model.config.text_vocabulary
        torch.testing.assert_close(model.words(ids, kept, at, 0), whole[:, :offset])
        torch.testing.assert_close(model.pictures(ids, kept, at, 0), whole[:, offset : offset + 16])
