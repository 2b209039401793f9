"""What a model with CLIP sees comes from the last layer but one, and loads from a folder without the network."""

import pytest
import torch
from PIL import Image as pil

from limner.models.showo.vision import Vision


def test_features_are_those_of_the_last_layer_but_one(tmp_path):
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    tower = CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=8, patch_size=4)).eval()
    tower.save_pretrained(tmp_path)
    size = {"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}}
    CLIPImageProcessor(**size).save_pretrained(tmp_path)
    vision = Vision.load(tmp_path)
    pictures = [pil.new("RGB", (20, 12), colour) for colour in ("red", "blue")]
    features = vision(pictures)
    assert features.shape == (2, 4, 24) and not any(p.requires_grad for p in vision.parameters())
    pixels = vision.processor(images=pictures, return_tensors="pt")["pixel_values"]
    states = []
    inner = [module for name, module in tower.named_modules() if name.endswith("encoder.layers.1")]
    inner[0].register_forward_hook(lambda *given: states.append(given[2]))
    with torch.no_grad():
        tower(pixels)
    found = states[0][0] if isinstance(states[0], tuple) else states[0]
    torch.testing.assert_close(features, found[:, 1:])
    with pytest.raises(ValueError, match="no CLIP picture tower"):
        Vision.load(tmp_path / "nothing")
