"""Released names to ours."""

from __future__ import annotations

# released name -> ours; {i} is the number of a layer. No released model has learned places.
NAMES: dict[str, str] = {
    "showo.model.embed_tokens.weight": "embed.weight",
    "showo.model.embed_positions.weight": "places.weight",
    "showo.model.final_layernorm.weight": "norm.weight",
    "showo.model.final_layernorm.bias": "norm.bias",
    "showo.lm_head.weight": "head.weight",
    "showo.lm_head.bias": "head.bias",
}
_LAYER = {
    "input_layernorm": "norm",
    "self_attn.q_proj": "q_proj",
    "self_attn.k_proj": "k_proj",
    "self_attn.v_proj": "v_proj",
    "self_attn.dense": "o_proj",
    "self_attn.q_layernorm": "q_norm",
    "self_attn.k_layernorm": "k_norm",
    "mlp.fc1": "up_proj",
    "mlp.fc2": "down_proj",
}
NAMES |= {
    f"showo.model.layers.{{i}}.{theirs}.{kind}": f"layers.{{i}}.{ours}.{kind}"
    for theirs, ours in _LAYER.items()
    for kind in ("weight", "bias")
}
NAMES |= {f"mm_projector.{{i}}.{kind}": f"projector.{{i}}.{kind}" for kind in ("weight", "bias")}
