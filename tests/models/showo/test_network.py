"""The network is a Phi with normed queries and keys; its masks let words look back and pictures look around."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from tiny import make_model  # noqa: E402

from limner.models import checkpoint  # noqa: E402
from limner.models.showo.config import ShowOConfig, Specials  # noqa: E402
from limner.models.showo.memory import Fronts, Heard  # noqa: E402
from limner.models.showo.network import FEATURE, Network, omni, shared_columns  # noqa: E402
from limner.models.showo.weights import NAMES  # noqa: E402
from limner.parts import Ask, user  # noqa: E402
from limner.process.base import Settings  # noqa: E402
from limner.process.noise import Noise  # noqa: E402

SPECIALS = Specials(eos=0, pad=1, soi=2, eoi=3, t2i=4, mmu=5)


@pytest.fixture(scope="module")
def model():
    return make_model()


def test_the_network_is_a_phi_with_normed_queries_and_keys():
    from transformers.models.phi.configuration_phi import PhiConfig
    from transformers.models.phi.modeling_phi import PhiForCausalLM

    config = ShowOConfig(width=32, layers=2, heads=4, mlp=48, text_vocabulary=30, codes=10, specials=SPECIALS)
    network = Network(config)
    network.initialise(3)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    theirs = PhiForCausalLM(
        PhiConfig(
            vocab_size=config.rows,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            qk_layernorm=True,
            hidden_act="gelu_new",
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    named = checkpoint.released(network, NAMES, torch.float32)
    theirs.load_state_dict({name.removeprefix("showo."): tensor for name, tensor in named.items()})
    ids = torch.randint(0, config.rows, (3, 9), generator=torch.Generator().manual_seed(0))
    kept = torch.arange(9)[None, :] >= torch.tensor([0, 2, 3])[:, None]
    sees = omni(kept, None, 5)
    with torch.no_grad():
        ours, want = network(ids, sees), theirs(ids, attention_mask=sees[:, None]).logits
    torch.testing.assert_close(ours, want, rtol=1e-5, atol=1e-5)


def test_words_look_back_and_pictures_all_around():
    ids = torch.tensor([[5, 2, 9, 3, 0, 7, 7]])
    sees = omni(torch.ones_like(ids).bool(), shared_columns(ids, SPECIALS.eoi))[0]
    assert sees[0].tolist() == [True] * 4 + [False] * 3, "what stands up to a picture's end is seen by everything"
    assert sees[5].tolist() == [True] * 6 + [False]
    drawing = omni(torch.tensor([[False, True, True, True, True]]), None, 3)[0]
    assert drawing[1].tolist() == [False, True, False, False, False]
    assert drawing[3].tolist() == drawing[4].tolist() == [False, True, True, True, True]
    assert drawing.any(dim=1).all(), "a row that looks at nothing has no softmax"
    features = torch.tensor([[5, 2, FEATURE, FEATURE, 3, 7]])
    assert shared_columns(features, SPECIALS.eoi)[0].tolist() == [False, False, True, True, False, False]


def contexts(model, kind):
    conversations = [(user("a red cat"),), (user("two blue dogs in the snow"),), (user("a red cat"),)]
    return model.context(conversations, [()] * 3, Ask(kind))


@torch.no_grad()
def test_pictures_from_memory_are_those_of_the_whole_sequence(model):
    process, context = model.process("image"), contexts(model, "image")
    plain = replace(process, making=None)
    settings, noise = Settings(16, 4, 1.5, 1.0, 16), Noise.of([1, 2, 3])
    ends = [p.finish(p.start(context, settings, noise)) for p in (process, plain)]
    assert torch.equal(ends[0].values, ends[1].values)
    ids, kept, where = context.given.around(torch.full((3, 16), model.config.mask))
    at = torch.zeros_like(kept)
    at[:, where] = True
    torch.testing.assert_close(
        process.making(ids, kept, at, where.start), process.net(ids, kept, at, where.start), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_what_stands_in_front_is_read_once(model, monkeypatch):
    read, states = [], model.network.states
    monkeypatch.setattr(
        model.network, "states", lambda ids, *rest, **at: read.append(ids.shape) or states(ids, *rest, **at)
    )
    process, context = model.process("image"), contexts(model, "image")
    P = context.given.before.shape[1] - 1
    state = process.start(context, Settings(16, 4, 0.0, 1.0, 16), Noise.of([1, 2, 3]))
    for _ in range(2):
        state = process.step(state)
    process.finish(state[[2, 0]])
    assert [shape for shape in read if shape[1] == P] == [(2, P)], "three rows have two prompts"
    assert all(shape[1] == 18 for shape in read if shape[1] != P)


@torch.no_grad()
def test_words_from_memory_are_those_of_the_whole_sequence(model):
    process, context = model.process("text"), contexts(model, "text")
    settings, noise = Settings(6, 6, 0.0, 1.0, 1), Noise.of([1, 2, 3])
    state = process.start(context, settings, noise)
    middle = process.step(process.step(state))
    ends = [p.finish(state) for p in (process, replace(process, making=None))]
    assert torch.equal(ends[0].values, ends[1].values)
    # a state that is taken up again with other rows in another order, by a memory that has gone on meanwhile
    assert torch.equal(process.finish(middle[[2, 0]]).values, ends[0].values[[2, 0]])


def test_the_memory_of_words_reads_one_place_a_step_and_grows(model, monkeypatch):
    read, states = [], model.network.states
    monkeypatch.setattr(
        model.network, "states", lambda ids, *rest, **at: read.append(ids.shape[1]) or states(ids, *rest, **at)
    )
    monkeypatch.setattr("limner.models.showo.memory.MORE", 1)
    heard, ids = Heard(model.network), torch.tensor([[8, 9, 10]])
    whole = []
    for _ in range(5):
        last = heard.last(ids, torch.ones_like(ids, dtype=torch.bool), 3, None)
        whole.append((ids, last))
        ids = torch.cat([ids, ids[:, :1] + ids.shape[1]], dim=1)
    assert read == [3, 1, 1, 1, 1]
    for ids, last in whole:
        again = Heard(model.network).last(ids, torch.ones_like(ids, dtype=torch.bool), 3, None)
        torch.testing.assert_close(last, again, rtol=1e-4, atol=1e-4)


def test_a_memory_of_fronts_is_small(model):
    fronts = Fronts(model.network)
    for word in range(8, 30):
        ids = torch.tensor([[4, 0, word]])
        fronts.of(ids, torch.ones_like(ids, dtype=torch.bool))
    assert len(fronts._batches) <= 4
