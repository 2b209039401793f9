"""The released sizes of Qwen2.5-VL-7B and of the autoencoders that go with it, as their ``config.json`` says them."""

from __future__ import annotations

from typing import Any

QWEN25VL_7B: dict[str, Any] = {
    "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "intermediate_size": 18944, "vocab_size": 152064, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
    "use_sliding_window": False, "tie_word_embeddings": False,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
                      "out_hidden_size": 3584, "patch_size": 14, "fullatt_block_indexes": [7, 15, 23, 31]},
}  # fmt: skip
_VAE: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2, "norm_num_groups": 32,
}  # fmt: skip
SDXL_VAE: dict[str, Any] = _VAE | {"latent_channels": 4, "scaling_factor": 0.13025}
FLUX_VAE: dict[str, Any] = _VAE | {
    "latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159,
    "use_quant_conv": False, "use_post_quant_conv": False,
}  # fmt: skip
