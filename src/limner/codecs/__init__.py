"""Codecs: pictures to codes or latents and back, without knowing any model that uses them."""
