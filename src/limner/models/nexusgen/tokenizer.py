"""The word tokenizer of small models: the chat's marks and whole templates are single tokens in it."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer

from limner.models.vocabulary import word_tokenizer

MARKS = (
    *("<|endoftext|>", "<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
END, NOTHING = "<|im_end|>", "<|endoftext|>"
# what a language model's config calls the ids of some marks
NAMED = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "bos_token_id": NOTHING,
    "eos_token_id": END,
}


def make_tokenizer(words: Iterable[str], texts: Iterable[str] = ()) -> Tokenizer:
    """A tokenizer of these words, digits and marks, and of whole ``texts`` such as templates without their ``{}``."""
    whole = tuple(dict.fromkeys(text.replace("{}", "").strip() for text in texts if text.replace("{}", "").strip()))
    return word_tokenizer(words, (*MARKS, *whole), whole)
