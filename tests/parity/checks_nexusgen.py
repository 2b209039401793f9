"""Nexus-Gen against a reference: names, the autoregressive part, both decoders, pictures as they go in, training."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from limner.models import qwen25vl_weights as files
from limner.models.nexusgen import objective, weights
from limner.models.nexusgen.network import Reader
from limner.models.parity import Row, close, equal
from limner.models.qwen25vl import Prompt
from limner.models.qwen25vl_words import Words
from limner.process.base import Context, Settings
from limner.process.noise import Noise
from limner.process.prefill import Prefill

CLOSE = 2e-5
DRIFTING = 1e-3  # vectors that are fed back: rounding grows along the block
PARTS = ("ar", "generation_decoder", "edit_decoder", "preprocessing")
EOS, EMPTY = 151, 150


class NexusReference:
    """``ref[name]`` is a recorded tensor, with its folder's name in front. Loaded once, never changed."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.io = {}
        for part in PARTS:
            tensors = load_file(self.folder / part / "io.safetensors")
            self.io |= {f"{part}/{name}": tensor for name, tensor in tensors.items()}
        self.keys = json.loads((self.folder / "full_keys.json").read_text())
        self.sizes = json.loads((self.folder / "preprocessing" / "sizes.json").read_text())
        self.configs = {part: json.loads((self.folder / part / "config.json").read_text()) for part in PARTS[:3]}
        self.weights = {part: load_file(self.folder / part / "weights.safetensors") for part in PARTS[:3]}

    def __getitem__(self, name):
        return self.io[name]

    def __contains__(self, name):
        return name in self.io

    def reader(self, **choices):
        """The autoregressive part with the recorded weights."""
        reader = Reader(self.configs["ar"], **choices)
        given = dict(self.weights["ar"])
        if reader.rows != "table":
            del given["image_prefill_embeds.weight"]
        files.load_into(reader, "reader", weights.reader(given.items()), torch.float32)
        return reader.eval()


def text_equal(name, ours, wanted):
    return Row(name, 0.0 if ours == wanted else float("inf"), 0.0)


def prompt_of(ids, kept=None, patches=None, grids=None):
    """One row, or several with their own patches and grids (lists)."""
    B = len(ids)
    kept = torch.ones_like(ids, dtype=torch.bool) if kept is None else kept.bool()
    patches = [torch.zeros(0, 96)] * B if patches is None else patches
    grids = [torch.zeros(0, 3, dtype=torch.int64)] * B if grids is None else grids
    pad = torch.nn.utils.rnn.pad_sequence
    return Prompt(
        ids, kept, torch.zeros(B, 0, dtype=torch.int64), pad(patches, batch_first=True), pad(grids, batch_first=True)
    )


def recorded(ref, name):
    """A recorded prompt of one row."""
    if f"ar/{name}.pixel_values" not in ref:
        return prompt_of(ref[f"ar/{name}.input_ids"])
    return prompt_of(
        ref[f"ar/{name}.input_ids"],
        None,
        [ref[f"ar/{name}.pixel_values"]],
        [ref[f"ar/{name}.image_grid_thw"]],
    )


def unfilled(reader, places, wanted, kept):
    """Places with padding as it was recorded: what stands there is never looked at."""
    return torch.where(kept.bool()[None], places, wanted)


@torch.no_grad()
def understanding(ref):
    """Vision tower, positions, logits and the vision head at every place."""
    reader = ref.reader()
    for name, key in (("visual", "features"), ("und", "visual_features")):
        pixels, grids = ref[f"ar/{name}.pixel_values"][None], ref[f"ar/{name}.image_grid_thw"][None]
        yield close(f"ar/{name}.{key}", reader.see(pixels, grids), ref[f"ar/{name}.{key}"])
    prompt = recorded(ref, "und")
    places, following = reader.places(prompt.before, prompt.kept, prompt.grids)
    yield equal("ar/und.position_ids", places, ref["ar/und.position_ids"])
    yield equal("ar/und.rope_deltas", following[:, None] - prompt.before.shape[1], ref["ar/und.rope_deltas"])
    states = reader.states(prompt)
    yield close("ar/und.logits", reader.logits(states), ref["ar/und.logits"])
    yield close("ar/und.vision_head_out", reader.predict(states), ref["ar/und.vision_head_out"])
    padded = prompt_of(ref["ar/textpos.input_ids"], ref["ar/textpos.attention_mask"])
    places, following = reader.places(padded.before, padded.kept, padded.grids)
    wanted = ref["ar/textpos.position_ids"]
    yield equal("ar/textpos.position_ids", unfilled(reader, places, wanted, padded.kept), wanted)
    yield equal("ar/textpos.rope_deltas", following[:, None] - padded.before.shape[1], ref["ar/textpos.rope_deltas"])


def said(ref, reader, prompt, count):
    """(ids (1, N), their logits) of greedy words up to the beginning of a picture, the end, or ``count`` of them."""
    stops = frozenset({reader.begins, EOS})
    words = Words(reader, stops, EMPTY)
    ids = []
    state = words.start(Context(prompt, prompt), Settings(count, count, 0.0, 0.0, 1), Noise.of([0]))
    state = words.finish(state)
    told = int(words.draw(state.values, None).hidden.sum())
    ids = state.values[:, :told]
    states = reader.states(prompt, ids[:, :-1])[:, prompt.before.shape[1] - 1 :]
    logits = reader.logits(states)
    logits[:, :, reader.ends] = -torch.inf
    return ids, logits


def behind(prompt, ids):
    return replace(prompt, before=torch.cat([prompt.before, ids], 1), kept=torch.ones(1, prompt.before.shape[1] + ids.shape[1], dtype=torch.bool))


def finite(tensor):
    """Minus infinity where a value is never chosen, as a number."""
    return torch.where(tensor.isinf(), torch.zeros_like(tensor), tensor)


@torch.no_grad()
def pictures(ref):
    """Greedy words, a picture in one pass where they begin one, and words behind it at the official places."""
    reader = ref.reader(after="official")
    for name in ("t2i", "forced", "edit"):
        prompt = recorded(ref, name)
        wanted, begin = ref[f"ar/{name}.sequences"], prompt.before.shape[1]
        total = ref[f"ar/{name}.step_logits"].shape[1]
        steps, ids = [], prompt.before[:, :0]
        if int(prompt.before[0, -1]) != reader.begins:
            ids, logits = said(ref, reader, prompt, total)
            steps.append(logits)
        opened = behind(prompt, ids)
        block = reader.block(opened)
        yield close(f"ar/{name}.output_image_embeddings", block, ref[f"ar/{name}.output_image_embeddings"])
        if f"ar/{name}.position_ids_through_image" in ref:
            whole = reader.opened(opened, reader.side**2)
            places, _ = reader.places(whole.before, whole.kept, whole.grids)
            yield equal(
                f"ar/{name}.position_ids_through_image", places, ref[f"ar/{name}.position_ids_through_image"]
            )
        full = reader.opened(opened, reader.side**2)
        closed = behind(full, torch.tensor([[reader.ends]]))
        inside = reader.logits(reader.states(full)[:, opened.before.shape[1] - 1 :])
        rest, logits = said(ref, reader, closed, total - ids.shape[1] - reader.side**2 - 1)
        inside[:, :, reader.ends] = -torch.inf
        ours = torch.cat([*steps, inside, logits], dim=1)
        recorded_logits = ref[f"ar/{name}.step_logits"]
        yield close(f"ar/{name}.step_logits", finite(ours), finite(recorded_logits))
        spoken = torch.cat([closed.before, rest], dim=1)
        spoken = torch.where(spoken == reader.drawn, reader.config.image_token_id, spoken)
        yield equal(f"ar/{name}.sequences", spoken, wanted)
        assert begin <= wanted.shape[1]
    rows = ref.reader(rows="pad")
    prompt = recorded(ref, "forced")
    yield close("ar/v1_forced.output_image_embeddings", rows.block(prompt), ref["ar/v1_forced.output_image_embeddings"])
    # one pass over the recorded ids, and the same vector by vector
    ids = ref["ar/edit.parallel.input_ids"]
    where = (ids[0] == reader.begins).nonzero().flatten()[-1]
    given = recorded(ref, "edit")
    opened = replace(given, before=ids[:, : where + 1], kept=torch.ones(1, int(where) + 1, dtype=torch.bool))
    yield close("ar/edit.parallel.target_embeddings", reader.block(opened)[0], ref["ar/edit.parallel.target_embeddings"])
    features = reader.see(given.patches, given.grids)
    yield close("ar/edit.parallel.source_features", features, ref["ar/edit.parallel.source_features"])
    stepped = Prefill(reader.block, reader.width, reader.following)
    state = stepped.start(Context(opened, opened), stepped.settings(reader.side**2), Noise.of([0]))
    found = stepped.finish(state).vectors.unflatten(1, (-1, reader.width))[0]
    name = "ar/edit.parallel.target_embeddings"
    yield replace(close(name, found, ref[name]), tensor=f"{name} (vector by vector)")


@torch.no_grad()
def fed_back(ref):
    """Vector by vector, every one read by the next."""
    reader = ref.reader(rows="none")
    prompt = recorded(ref, "forced")
    process = Prefill(reader.block, reader.width, reader.following, True)
    state = process.start(Context(prompt, prompt), process.settings(reader.side**2), Noise.of([0]))
    found = process.finish(state).vectors.unflatten(1, (-1, reader.width))
    name = "ar/ar_forced.output_image_embeddings"
    yield close(name, found, ref[name], DRIFTING)


def training(ref):
    """Inputs, positions, predictions, both losses and gradients of a batch of three tasks."""
    reader = ref.reader()
    ids, labels = ref["ar/train.input_ids"], ref["ar/train.labels"]
    pad = int(reader.config.image_token_id)
    drawn = labels == pad
    grids, pixels = ref["ar/train.image_grid_thw"], ref["ar/train.pixel_values"]
    each = pixels.split(grids.prod(dim=1).tolist())
    # the pictures' order in the batch: shown; predicted; shown, predicted
    patches, shown = [each[0], each[0][:0], each[2]], [grids[[0]], grids[:0], grids[[2]]]
    prompt = prompt_of(torch.where(drawn, reader.drawn, ids), ref["ar/train.attention_mask"], patches, shown)
    targets = reader.see(torch.stack([each[1], each[3]]), torch.stack([grids[[1]], grids[[3]]])).detach()
    yield close("ar/train.target_image_embeddings", targets, ref["ar/train.target_image_embeddings"])
    x, places, kept = reader.laid_out(prompt)
    yield close("ar/train.inputs_embeds", torch.where(kept[..., None], x, ref["ar/train.inputs_embeds"]), ref["ar/train.inputs_embeds"])
    wanted = ref["ar/train.position_ids"]
    yield equal("ar/train.position_ids", unfilled(reader, places, wanted, kept), wanted)
    logits = reader.logits(reader.run(x, places, kept)[0])
    yield close("ar/train.logits", torch.where(kept[..., None], logits, ref["ar/train.logits"]), ref["ar/train.logits"])
    found = objective.terms(reader, prompt, labels, targets)
    yield close("ar/train.predicted_image_embeddings", found.predicted, ref["ar/train.predicted_image_embeddings"])
    squared = ((found.predicted - targets) ** 2).mean()
    apart = (1 - torch.nn.functional.cosine_similarity(found.predicted, targets, dim=1)).mean()
    loss = found.loss()
    rows = {"ce": found.words, "image_loss": found.embeddings, "mse": squared, "cos": apart, "loss_v2": loss}
    rows["loss_v1_defaults"] = found.loss(objective.Weights(0.1, 1.0))
    for name, ours in rows.items():
        yield close(f"ar/train.{name}", ours.view(1), ref[f"ar/train.{name}"].view(1), 1e-5)
    loss.backward()
    gradients = {files.released(n) or n: p.grad for n, p in reader.named_parameters()}
    for name in [name for name in ref.io if name.startswith("ar/train.grad.")]:
        yield close(name, gradients[name.removeprefix("ar/train.grad.")], ref[name], 1e-5)
    with torch.no_grad():
        taught = objective.terms(ref.reader(rows="none"), prompt, labels, targets, targets)
    name = "ar/train.teacher_forced.predicted_image_embeddings"
    yield close(name, taught.predicted, ref[name])


def names(ref):
    """Every released name of the full size has its place, and back again, and the lists are known by their hashes."""
    for part, listed in ref.keys.items():
        if part == "info":
            continue
        told = sorted(f"{n}:{'_'.join(map(str, shape))}" for n, (shape, _) in listed.items()) + sorted(listed)
        found = hashlib.md5(",".join(sorted(told)).encode()).hexdigest()
        yield text_equal(f"full_keys {part} md5", found, ref.keys["info"]["key_md5"][part])


CHECKS = [understanding, pictures, fed_back, training]
