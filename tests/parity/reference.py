"""A reference folder: numbers recorded from the published code, the arguments of its calls, and its weights."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from limner.codecs.magvit import MagvitCodec
from limner.models.mmada import weights
from limner.models.mmada.config import MMaDAConfig, Specials
from limner.models.mmada.model import MMaDA
from limner.models.mmada.network import Network
from limner.models.mmada.parity import variant
from limner.models.mmada.tokenizer import make_word_tokenizer
from limner.process.base import Context, Tokens


def find_specials(cases, table):
    """``Specials`` of one table of a reference's ``cases.json``."""
    names = {"bos": "bos", "eos": "eos", "soi": "<|soi|>", "eoi": "<|eoi|>", "t2i": "<|t2i|>", "mmu": "<|mmu|>"}
    names |= {"pad": "[iPAD]", "r2i": "<|r2i|>"}
    found = {ours: table[theirs] for ours, theirs in names.items()}
    return Specials(mask=cases["specials"]["mask"], eot=cases["specials"]["eot"], **found)


def everything(ids):
    return torch.ones(ids.shape, dtype=torch.bool)


class Reference:
    """``ref[name]`` is a recorded tensor, ``ref.cases[name]`` the arguments of a call. Loaded once, never changed."""

    def __init__(self, folder):
        self.folder = Path(folder)
        for name in ("config.json", "cases.json", "io.safetensors"):
            if not (self.folder / name).is_file():
                raise ValueError(f"no {name} in {folder}; is it a reference folder?")
        about = json.loads((self.folder / "cases.json").read_text())
        self.specials, self.cases = about["specials"], about["cases"]
        # a copy may hold its integers in fewer bits
        recorded = load_file(self.folder / "io.safetensors")
        self.io = {k: v.long() if v.dtype in (torch.int16, torch.int32) else v for k, v in recorded.items()}
        data = json.loads((self.folder / "config.json").read_text())
        data.setdefault("text_vocab_size", self.specials["text_vocab_size"])
        self.num_image = data["num_vq_tokens"]
        layout = self.cases.get("prompt/tiny", {})
        self.text_budget = layout.get("max_text_len", 12)
        self.config = replace(
            MMaDAConfig.from_json(data),
            specials=find_specials(about, self.specials),
            text_budget=self.text_budget,
            words_only=False,
            padding="fixed",
        )
        with torch.device("meta"):
            self.network = Network(self.config)
        weights.load_into(self.network, weights.read(self.folder), torch.float32)
        self.model = MMaDA.around(self.config, make_word_tokenizer([]), self.network, None).eval()
        self.codec = None
        if (self.folder / "vq_weights.safetensors").is_file():
            sizes = weights.codec_config(json.loads((self.folder / "vq_config.json").read_text()))
            self.codec = MagvitCodec.from_weights(self.folder / "vq_weights.safetensors", sizes)

    def __getitem__(self, name):
        return self.io[name]

    def __contains__(self, name):
        return name in self.io

    def group(self, begin):
        """Names of the cases under a prefix that have recorded tensors, in order."""
        have = {name.rsplit("/", 1)[0] for name in self.io}
        return [name for name in self.cases if name.startswith(begin) and any(h.startswith(name) for h in have)]

    def soft(self):
        """The network as the official training forward runs it."""
        return variant(self.network, "legacy-soft")


def context_of(before, kept, after, plain=None, plain_kept=None):
    """A context; without ``plain`` the dropped condition is the given one."""
    given = Tokens(before, kept, after)
    return Context(given, given if plain is None else Tokens(plain, kept if plain_kept is None else plain_kept, after))
