"""Low-rank adapters on any family: the base is the reference, and merged weights draw the same pictures."""

import sys
from pathlib import Path

import pytest
import torch

from limner.algorithms.adapters import add_adapters, has_adapters, merge_adapters, reference_of
from limner.models.mmada.config import released
from limner.models.mmada.network import Network
from limner.models.qwen25vl import Qwen25VL

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
import sharded  # noqa: E402

WHERE = {
    "mindomni": r"mllm\.network\.model\.language_model\.layers\..*_proj",
    "mmada": r"network\.layers\..*_proj",
    "nexusgen": r"reader\.network\.model\.language_model\.layers\..*_proj",
    "showo": r"network\.layers\..*_proj",
}
QWEN_7B = {
    "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "intermediate_size": 18944, "vocab_size": 152064, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
                      "out_hidden_size": 3584, "patch_size": 14, "fullatt_block_indexes": [7, 15, 23, 31]},
}  # fmt: skip


def pixels(samples):
    return [sample.image.tobytes() for sample in samples]


@pytest.mark.parametrize("family", sharded.FAMILIES)
def test_adapters_train_merge_save_reload_and_draw_the_same_pictures(family, tmp_path):
    case = sharded.conformance().FAMILIES[family]()
    model, before = case.model, set(case.model.state_dict())
    base = case.samples()
    names = add_adapters(model, WHERE[family], rank=2)
    assert len(names) >= 12
    assert pixels(case.samples()) == pixels(base)  # fresh adapters add nothing
    trained = [p for p in model.parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in trained) < 0.2 * sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(trained, lr=0.02)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss, _ = sharded.learn(model, [0, 1, 2], torch.Generator())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    adapted = case.samples()
    assert pixels(adapted) != pixels(base)
    with reference_of(model, None):
        assert pixels(case.samples()) == pixels(base)
    merge_adapters(model)
    assert set(model.state_dict()) == before and not has_adapters(model)
    merged = case.samples()
    for a, b in zip(pixels(adapted), pixels(merged), strict=True):
        assert max(abs(x - y) for x, y in zip(a, b, strict=True)) <= 1  # in 255ths: sums are rounded once more
    model.save(tmp_path)
    case = type(case)(type(model).load(tmp_path), case.conversations, case.plan, case.fillable, case.seeds)
    assert pixels(case.samples()) == pixels(merged)


def test_a_stock_model_of_full_size_takes_adapters_on_the_meta_device():
    with torch.device("meta"):
        model = Qwen25VL(QWEN_7B)
        names = add_adapters(model, r"network\.model\.language_model\.layers\..*(q|k|v|o)_proj", rank=16)
        x, places = torch.zeros(2, 9, model.width), torch.arange(9).expand(3, 2, 9)
    assert len(names) == 4 * 28
    states, _ = model.run(x, places, torch.ones(2, 9, dtype=torch.bool))
    logits = model.logits(states)
    assert logits.shape == (2, 9, 152064) and logits.is_meta
    logits.sum().backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name and p.grad is not None for name, p in trained.items())
    # q and o are square, k and v narrow: ranks times both sides, layer by layer
    assert sum(p.numel() for p in trained.values()) == 28 * 16 * (4 * 3584 + 2 * (3584 + 512))
    assert sum(p.numel() for p in model.parameters()) > 8e9


def test_mmada_of_full_size_takes_adapters_on_the_meta_device():
    config = released()
    with torch.device("meta"):
        network = Network(config)
        names = add_adapters(network, r"layers\..*_proj", rank=8)
        ids = torch.zeros(1, 7, dtype=torch.int64)
    assert len(names) == 7 * config.layers
    logits = network(ids, torch.ones(1, 7, dtype=torch.bool))
    assert logits.shape == (1, 7, config.rows)
    logits.sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
