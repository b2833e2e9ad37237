"""Families of published models against the library that publishes them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.models import generate, load, save
from tests.models import transformers_models as oracle

pytestmark = [
  pytest.mark.slow,
  pytest.mark.filterwarnings("ignore"),
]
T = 29
TOKENS = np.random.default_rng(1).integers(3, 37, (2, T)).astype(np.int32)


@pytest.fixture(autouse=True)
def needs_transformers():
  pytest.importorskip("torch", reason="the oracle is PyTorch's")
  pytest.importorskip("transformers", reason="the oracle is its models")


@jax.jit
def run(model, tokens):
  return model(tokens)


@jax.jit
def step(model, tokens, cache):
  return model.decode(tokens, cache)


def close(got, expected, share=1e-5):
  """Largest difference, as a share of the range of the logits."""
  error = np.abs(np.asarray(got, np.float64) - expected).max()
  assert error < share * np.ptp(expected), error / np.ptp(expected)


@pytest.mark.parametrize(("kind", "options"), oracle.OPTIONS, ids=str)
def test_a_family_has_the_logits_of_its_library(kind, options, tmp_path):
  theirs = oracle.make(tmp_path / "theirs", kind, options)
  model, tokenizer = load(tmp_path / "theirs")
  assert tokenizer is None
  expected = oracle.logits_of(theirs, TOKENS)
  got = np.asarray(run(model, TOKENS))
  close(got, expected)

  # A cache with room for no more: the frequencies of a length are those of it.
  cache, parts = model.init_cache((2,), T), []
  for chunk in (TOKENS[:, :20], TOKENS[:, 20:28], TOKENS[:, 28:]):
    logits, cache = step(model, chunk, cache)
    parts.append(np.asarray(logits))
  close(np.concatenate(parts, 1), expected)

  assert save(tmp_path / "ours", model, family=kind) == kind
  again = oracle.opened(tmp_path / "ours")
  for (name, a), b in zip(
    theirs.state_dict().items(), again.state_dict().values(), strict=True
  ):
    np.testing.assert_array_equal(a, b, err_msg=name)
  # Not the same bits: its products of groups depend on where an array lies.
  close(oracle.logits_of(again, TOKENS), expected, 1e-6)


# The first and the last options of each family: in most without a window, and
# with one that rolls.
PADDED = list(
  {
    **{kind: (kind, options) for kind, options in reversed(oracle.OPTIONS)},
    **{f"{kind} last": (kind, options) for kind, options in oracle.OPTIONS},
  }.values()
)


@pytest.mark.parametrize(("kind", "options"), PADDED, ids=str)
def test_padding_at_the_start_changes_nothing(kind, options, tmp_path):
  # A cap that logits reach makes ties, which no order of sums keeps.
  if "final_logit_softcapping" in options:
    options = options | {"final_logit_softcapping": 30.0}
  oracle.make(tmp_path, kind, options)
  model, _ = load(tmp_path)
  padded = np.zeros((2, T), np.int32)
  real = np.zeros((2, T), bool)
  for row, length in enumerate((T, 11)):
    padded[row, T - length :] = TOKENS[row, :length]
    real[row, T - length :] = True
  together = greedy(model, padded, prompt_mask=real)

  # Alone, and without a cache: the frequencies of a length are those of it.
  text = np.zeros((2, T + 6), np.int32)
  for row, length in enumerate((T, 11)):
    text[row, :length] = TOKENS[row, :length]
    for place in range(length, length + 6):
      text[row, place] = run(model, text)[row, place - 1].argmax()
    np.testing.assert_array_equal(together[row], text[row, length : length + 6])


@jax.jit
def _greedy(model, prompt, mask):
  kw = {"steps": 6, "key": jax.random.key(0), "temperature": 0.0}
  return generate(model, prompt, prompt_mask=mask, **kw)


def greedy(model, prompt, prompt_mask):
  """Six tokens after each prompt."""
  return np.asarray(_greedy(model, jnp.asarray(prompt), prompt_mask))


def test_experts_in_four_bits_are_those_of_the_library(tmp_path):
  mxfp4 = pytest.importorskip("transformers.integrations.mxfp4")
  import safetensors.numpy
  import torch

  sizes = {"hidden_size": 32, "intermediate_size": 32, "head_dim": 8}
  oracle.make(tmp_path, "gpt_oss", oracle.GPT_OSS | sizes)
  file, rng = tmp_path / "model.safetensors", np.random.default_rng(0)
  tensors, plain = safetensors.numpy.load_file(file), {}
  for name in sorted(tensors):
    if not name.endswith(("gate_up_proj", "down_proj")):
      continue
    experts, inputs, outputs = tensors.pop(name).shape
    shape = (experts, outputs, inputs // 32)
    blocks = rng.integers(0, 256, (*shape, 16)).astype(np.uint8)
    scales = rng.integers(121, 126, shape).astype(np.uint8)
    tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    plain[name] = mxfp4.convert_moe_packed_tensors(
      torch.tensor(blocks), torch.tensor(scales), dtype=torch.float32
    ).numpy()
  packed = tmp_path / "packed"
  packed.mkdir()
  safetensors.numpy.save_file(tensors, packed / file.name)
  config = json.loads((tmp_path / "config.json").read_text())
  config["quantization_config"] = {"quant_method": "mxfp4"}
  (packed / "config.json").write_text(json.dumps(config))

  rest = {
    n: x for n, x in tensors.items() if not n.endswith(("_blocks", "_scales"))
  }
  safetensors.numpy.save_file(rest | plain, file, metadata={"format": "pt"})
  expected = oracle.logits_of(oracle.opened(tmp_path), TOKENS)
  close(run(load(packed)[0], TOKENS), expected)


def test_shards_are_one_model(tmp_path):
  theirs = oracle.make(tmp_path / "one", "llama", {})
  theirs.save_pretrained(tmp_path / "many", max_shard_size="10KB")
  assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
  one, many = (load(tmp_path / name)[0] for name in ("one", "many"))
  for a, b in zip(*map(jax.tree.leaves, (one, many)), strict=True):
    np.testing.assert_array_equal(a, b)


def test_half_precision_is_kept_or_widened(tmp_path):
  theirs = oracle.make(tmp_path / "theirs", "llama", {})
  theirs.bfloat16().save_pretrained(tmp_path / "half")
  half, _ = load(tmp_path / "half", dtype=None)
  wide, _ = load(tmp_path / "half")
  assert half.norm.scale.dtype == jnp.bfloat16
  assert wide.norm.scale.dtype == jnp.float32
  for a, b in zip(*map(jax.tree.leaves, (half, wide)), strict=True):
    np.testing.assert_array_equal(a.astype(jnp.float32), b)
  save(tmp_path / "again", half)
  assert oracle.opened(tmp_path / "again").dtype == theirs.dtype
