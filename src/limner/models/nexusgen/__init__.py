"""Nexus-Gen (2504.21356): Qwen2.5-VL reads, writes and predicts pictures' embeddings; FLUX decoders paint them."""
