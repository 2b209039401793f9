"""Released checkpoints are read as they are, and what is wrong with one is said in a line."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from release import config_json, make_codec, make_release, tokenizer  # noqa: E402

import limner  # noqa: E402
from limner import catalog  # noqa: E402
from limner.models.mmada import weights  # noqa: E402
from limner.models.mmada.config import MMaDAConfig, Specials  # noqa: E402
from limner.models.mmada.model import MMaDA, load_codec, read_config  # noqa: E402
from limner.models.mmada.network import Network  # noqa: E402


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    make_codec(folder / "magvitv2")
    return make_release(folder / "model")


def test_a_released_folder_draws_and_answers(release):
    loaded = limner.load(release, codec=release.parent / "magvitv2")
    assert loaded.model.network.layers[0].q_proj.bias is not None
    assert loaded.model.config.kv_heads == 2
    drawn = loaded.generate("a red cat", think=False, steps=2)
    assert drawn.image.size == (8, 8)
    model = loaded.model
    assert model.config.text_vocabulary == tokenizer().get_vocab_size()
    assert model.config.specials.t2i == tokenizer().token_to_id("<|t2i|>")


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_one_file_of_either_kind_is_the_same_as_shards(release, tmp_path, form):
    other = make_release(tmp_path / "model", form)
    ours, theirs = (MMaDA.load(folder).network.state_dict() for folder in (release, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert load_codec(make_codec(tmp_path / "codec", "bin")).num_codes == 8


def test_old_pickles_that_cannot_be_mapped_are_read(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert [name for name, _ in weights.read(tmp_path)] == ["a"]


def test_the_dtype_is_as_wished_and_the_codec_stays_exact(release):
    model = catalog.load_model(release, dtype="bfloat16", codec=release.parent / "magvitv2")
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.codec.parameters()} == {torch.float32}
    assert model.see(model.show(torch.zeros(1, 16, dtype=torch.int64))).shape == (1, 16)


def test_a_hub_id_is_downloaded_with_its_codec(release, monkeypatch):
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, allow_patterns[-1]))
        return str(release if name == "Gen-Verse/MMaDA-8B-MixCoT" else release.parent / "magvitv2")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    model = catalog.load_model("Gen-Verse/MMaDA-8B-MixCoT")
    assert asked == [("Gen-Verse/MMaDA-8B-MixCoT", "*.safetensors"), ("showlab/magvitv2", "*.safetensors")]
    assert model.codec.num_codes == 8


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    def snapshot_download(name, allow_patterns):
        raise ConnectionError("no route\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ValueError, match=r"no folder 'Gen-Verse/MMaDA-8B-Base'.*\(no route\); go online") as caught:
        limner.load("Gen-Verse/MMaDA-8B-Base")
    assert "\n" not in str(caught.value)


def test_biases_and_grouped_heads_come_from_the_config(release):
    network = MMaDA.load(release).network
    assert network.layers[0].k_proj.weight.shape == (8, 16)
    config = MMaDAConfig.from_json(config_json(n_kv_heads=None, include_qkv_bias=False, text_vocab_size=40))
    assert (config.kv_heads, config.qkv_bias) == (4, False)
    single = config_json(n_kv_heads=None, multi_query_attention=True, text_vocab_size=40)
    assert MMaDAConfig.from_json(single).kv_heads == 1
    again = MMaDAConfig.from_json(json.loads(json.dumps(network.config.to_json())))
    assert again == network.config
    assert any(name.endswith("blocks.0.q_proj.bias") for name in weights.released(network, torch.float32))


@pytest.mark.parametrize("name, size, words", [("MMaDA-8B-MixCoT", 512, 512), ("MMaDA-8B-Pretrain", 256, 256)])
def test_released_sizes_and_ids(tmp_path, name, size, words):
    class Released:
        def get_vocab_size(self):
            return 126349

        def token_to_id(self, name):
            return {"<|startoftext|>": 126080, "<|mdm_mask|>": 126336}.get(name)

    (tmp_path / name).mkdir()
    data = config_json(vocab_size=134656, embedding_size=134656, codebook_size=8192, num_vq_tokens=1024)
    (tmp_path / name / "config.json").write_text(json.dumps(data))
    config = read_config(tmp_path / name, Released())
    assert (config.defaults.size, config.text_budget, config.text_vocabulary) == (size, words, 126349)
    assert config.specials == Specials() and config.grid(256) == 16 and config.grid(512) == 32


def cut(file, share=0.6):
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])


def said_of(folder, **options):
    with pytest.raises(ValueError) as caught:
        catalog.load_model(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_missing_or_damaged_is_named(tmp_path):
    folder = make_release(tmp_path / "a")
    shard = folder / "model-00002-of-00003.safetensors"
    cut(shard)
    assert "model-00002-of-00003.safetensors is damaged or was cut short" in said_of(folder)
    shard.unlink()
    assert "lists model-00002-of-00003.safetensors, which is not in" in said_of(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ')
    assert "is no list of shards" in said_of(folder)
    old = make_release(tmp_path / "b", "bin")
    cut(old / "pytorch_model.bin")
    assert "pytorch_model.bin is damaged or was cut short" in said_of(old)
    torch.save({"epoch": 3}, old / "pytorch_model.bin")
    assert "something else than named tensors" in said_of(old)
    codec = make_codec(tmp_path / "codec")
    cut(codec / "pytorch_model.safetensors")
    assert "the codec in" in said_of(make_release(tmp_path / "c"), codec=codec)


def test_other_families_are_refused(tmp_path):
    folder = make_release(tmp_path / "a")

    def but(**changes):
        (folder / "config.json").write_text(json.dumps(config_json(**changes)))
        return said_of(folder)

    assert "model_type 'llama'; limner reads: llada, mmada" in but(model_type="llama")
    assert "block_type is 'sequential'" in but(block_type="sequential")
    assert "lacks d_model" in but(d_model=None)
    # LLaDA itself has no rows for pictures
    assert "rows=40 cannot hold" in but(model_type="llada", embedding_size=40, vocab_size=40)
    assert "colour= is no option of the family mmada; it takes: codec" in said_of(folder, colour="red")


def test_ids_beyond_the_tokenizer_are_refused(tmp_path):
    from tokenizers import Tokenizer, models

    folder = make_release(tmp_path / "a")
    Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")).save(str(folder / "tokenizer.json"))
    assert "whose released ids go up to 126348" in said_of(folder)


def test_quirks_of_the_release_are_options(release):
    model = MMaDA.load(release)
    odd = replace(model.config, compounding=False, over_all=True, plain_eot=True)
    assert MMaDAConfig.from_json(json.loads(json.dumps(odd.to_json()))) == odd
    other = MMaDA.around(odd, model.tokenizer, Network(odd), None)
    assert (model.process("image").compounding, model.process("image").over_all) == (True, False)
    assert (other.process("image").compounding, other.process("image").over_all) == (False, True)
    turns = [("user", "a cat"), ("assistant", "one"), ("user", "a dog")]
    end = model.config.specials.eot
    assert model.renderer.chat(turns).count(end) == 3
    assert other.renderer.chat(turns).count(end) == 1
