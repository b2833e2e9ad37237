"""Files of published models: broken, of others, and in four bits."""

import json

import jax
import numpy as np
import pytest

from attnjax.models import (
  ImageProcessor,
  load,
  save,
)
from attnjax.models.published.mxfp4 import Mxfp4Weights
from attnjax.models.published.weights import open_weights
from tests.models.small_llama import (
  F,
  M,
  V,
  one_word,
  published_tensors,
  write,
)

safetensors = pytest.importorskip("safetensors.numpy")


def test_numbers_of_four_bits_are_read_exactly(tmp_path):
  rng = np.random.default_rng(0)
  blocks = rng.integers(0, 256, (2, 3, 2, 16)).astype(np.uint8)
  scales = rng.integers(100, 140, (2, 3, 2)).astype(np.uint8)
  values = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
  expected = np.zeros((2, 64, 3))
  for e, row, block, byte in np.ndindex(blocks.shape):
    power = 2.0 ** (float(scales[e, row, block]) - 127)
    for place, nibble in enumerate(
      (blocks[e, row, block, byte] & 15, blocks[e, row, block, byte] >> 4)
    ):
      sign = -1 if nibble >= 8 else 1
      number = sign * values[nibble % 8] * power
      expected[e, 32 * block + 2 * byte + place, row] = number

  parts = {"w_blocks": blocks, "w_scales": scales, "x": scales}
  safetensors.save_file(parts, tmp_path / "model.safetensors")
  with open_weights(tmp_path) as weights:
    packed = Mxfp4Weights(weights)
    assert packed.names() == {"w", "x"}
    assert packed.shape("w") == (2, 64, 3)
    assert packed.shape("x") == (2, 3, 2)
    np.testing.assert_array_equal(packed.get("w"), expected)
    np.testing.assert_array_equal(packed.get("x"), scales)


def test_files_that_are_not_whole_are_refused(tmp_path):
  folder = write(tmp_path, published_tensors())
  file = folder / "model.safetensors"
  file.write_bytes(file.read_bytes()[:-3])
  with pytest.raises(ValueError, match=r"is no whole safetensors file.*again"):
    load(folder)

  file.rename(folder / "pytorch_model.bin")
  with pytest.raises(ValueError, match=r"pickle, pytorch_model.bin.*convert"):
    load(folder)
  (folder / "pytorch_model.bin").unlink()
  with pytest.raises(ValueError, match=r"must have model.safetensors or"):
    load(folder)

  (folder / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config.json cannot be read as JSON"):
    load(folder)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"revision": "a" * 40}, "revision=.* is a commit of the hub, and"),
    (
      {"mesh": jax.make_mesh((8,), ("tensor",))},
      r"mesh must have the axes .*lacks \['data', 'fsdp', 'sequence'\]",
    ),
    ({"dtype": "int8"}, "dtype must be a floating one"),
  ],
)
def test_options_that_mean_nothing_are_refused(tmp_path, options, words):
  write(tmp_path, published_tensors())
  with pytest.raises(ValueError, match=words):
    load(tmp_path, **options)


def test_codes_of_a_quantisation_are_no_numbers(tmp_path):
  name = "model.layers.0.mlp.up_proj.weight"
  write(tmp_path, published_tensors() | {name: np.ones((F, M), np.uint8)})
  with pytest.raises(ValueError, match=r"up_proj.weight must have a floating"):
    load(tmp_path)
  write(tmp_path, published_tensors(), quantization_config="gptq")
  with pytest.raises(ValueError, match="quantization_config='gptq' is no"):
    load(tmp_path)


@pytest.mark.parametrize(
  "index", ["{", "[1]", "{}", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}']
)
def test_an_index_that_is_none_is_refused(tmp_path, index):
  write(tmp_path, published_tensors())
  (tmp_path / "model.safetensors").unlink()
  (tmp_path / "model.safetensors.index.json").write_text(index)
  with pytest.raises(ValueError, match=r"index\.json"):
    load(tmp_path)


def test_a_tensor_of_two_shards_is_refused(tmp_path):
  tensors = published_tensors()
  write(tmp_path, tensors)
  (tmp_path / "model.safetensors").rename(tmp_path / "one.safetensors")
  other = {"model.norm.weight": tensors["model.norm.weight"] + 1}
  safetensors.save_file(other, tmp_path / "two.safetensors")
  places = dict.fromkeys(tensors, "one.safetensors")
  places["model.norm.weight"] = "two.safetensors"
  text = json.dumps({"weight_map": places})
  (tmp_path / "model.safetensors.index.json").write_text(text)
  with pytest.raises(ValueError, match=r"norm.weight, which another shard has"):
    load(tmp_path)


def test_an_index_that_its_shards_belie_is_refused(tmp_path):
  tensors = published_tensors()
  folder = write(tmp_path, tensors)
  (folder / "model.safetensors").rename(folder / "a.safetensors")
  index = {"weight_map": dict.fromkeys(tensors, "a.safetensors")}
  path = folder / "model.safetensors.index.json"
  path.write_text(json.dumps(index))
  model, _ = load(folder)
  assert model.vocabulary == V
  index["weight_map"]["model.more.weight"] = "a.safetensors"
  path.write_text(json.dumps(index))
  with pytest.raises(ValueError, match=r"lacks model.more.weight"):
    load(folder)


@pytest.mark.parametrize(
  ("path", "revision", "words"),
  [
    ("no/such/folder", None, "must be a directory, or owner/name"),
    ("owner/name", None, "give its revision=, a commit"),
    ("owner/name", "main", "a branch moves"),
  ],
)
def test_a_hub_name_is_pinned(path, revision, words):
  with pytest.raises(ValueError, match=words):
    load(path, revision=revision)


def test_files_of_what_was_there_before_are_not_read(tmp_path):
  folder, tokenizer = tmp_path / "saved", one_word()
  model, _ = load(write(tmp_path / "given", published_tensors()))
  save(folder, model, tokenizer)
  save(folder, model, tokenizer)
  with pytest.raises(ValueError, match=r"has tokenizer.json, .*another direc"):
    save(folder, model)
  for name in ("generation_config.json", "chat_template.jinja"):
    (folder / name).write_text("{}")
    with pytest.raises(ValueError, match=rf"has {name} of what was"):
      save(folder, model, tokenizer)
    (folder / name).unlink()
  with pytest.raises(ValueError, match="must be a PublishedTokenizer or None"):
    save(tmp_path / "new", model, ImageProcessor())
  assert not (tmp_path / "new").exists()


def test_names_that_only_end_as_others_are_not_skipped(tmp_path):
  other = np.zeros(1, np.float32)
  for name, skipped in (
    ("model.layers.0.self_attn.rotary_emb.inv_freq", True),
    ("model.layers.0.self_attn.my_rotary_emb.inv_freq", False),
  ):
    folder = write(tmp_path / "llama", published_tensors() | {name: other})
    if skipped:
      load(folder)
      continue
    with pytest.raises(ValueError, match=f"weights have {name}, which no part"):
      load(folder)


@pytest.mark.usefixtures("as_a_user")
def test_keys_to_ignore_are_several(tmp_path):
  folder = write(tmp_path, published_tensors(), clip_qkv=8.0)
  with pytest.raises(
    ValueError, match=r"ignore must be several .*'clip_qkv_or"
  ):
    load(folder, ignore="clip_qkv_or_more")
