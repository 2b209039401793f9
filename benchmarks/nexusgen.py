"""How long Nexus-Gen takes to predict a picture's 81 embeddings: in one pass, and vector by vector, with equal output.

    python benchmarks/nexusgen.py [--rounds N]

Random weights of the middle size of the specification (512 wide, 8 layers), float32, processor time of one thread: a
prompt of 65 tokens, and one with a source of 324 tokens, whose way through the vision tower counts in both. Least of
N rounds, taken in turns.
"""

import argparse
import time

import torch

from limner.models.nexusgen.network import Reader
from limner.models.qwen25vl import stack
from limner.process.base import Context
from limner.process.noise import Noise
from limner.process.prefill import Prefill

CONFIG = {
    "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 1408, "vocab_size": 8192, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "use_sliding_window": False,
    "tie_word_embeddings": False, "rope_scaling": {"rope_type": "default", "mrope_section": [8, 12, 12]},
    "image_token_id": 8000, "video_token_id": 8001, "vision_start_token_id": 8002, "vision_end_token_id": 8003,
    "bos_token_id": 8004, "eos_token_id": 8005, "pad_token_id": 8004,
    "vision_config": {"depth": 8, "hidden_size": 320, "intermediate_size": 856, "num_heads": 4, "out_hidden_size": 512,
                      "patch_size": 14, "fullatt_block_indexes": [3, 7]},
}  # fmt: skip


def prompts():
    """name -> a prompt that ends where a picture begins."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(0, 7000, (64,), generator=generator).tolist()
    patches = torch.randn(36 * 36, 1176, generator=generator)
    yield "prompt of 65 tokens", stack([[*words, 8002]], [[]], 8004)
    shown = [8002, *[8000] * 324, 8003]
    yield "the same with a source of 324", stack([[*shown, *words, 8002]], [[(patches, (1, 36, 36))]], 8004)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    reader = Reader(CONFIG).eval()
    ways = {"one pass": None, "vector by vector": reader.following}
    for name, prompt in prompts():
        best, found = {}, {}
        for _ in range(rounds):
            for way, following in ways.items():
                process = Prefill(reader.block, reader.width, following)
                begin = time.process_time()
                state = process.start(Context(prompt, prompt), process.settings(81), Noise.of([0]))
                found[way] = process.finish(state).vectors
                best[way] = min(best.get(way, float("inf")), time.process_time() - begin)
        apart = (found["one pass"] - found["vector by vector"]).abs().max() / found["one pass"].abs().max()
        told = ", ".join(f"{way} {seconds:.2f} s" for way, seconds in best.items())
        print(f"{name}: {told}, {best['vector by vector'] / best['one pass']:.1f} times, outputs {apart:.0e} apart")


if __name__ == "__main__":
    main()
