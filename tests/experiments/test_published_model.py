"""The program of published models, on a small one that the test writes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  PublishedTokenizer,
  load,
  save,
)
from experiments.published_model.config import PublishedModelConfig
from experiments.published_model.measure import bits_per_byte, windows_of

tokenizers = pytest.importorskip("tokenizers")
V = 259


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A small untrained Llama of bytes."""
  alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
  words = {c: i for i, c in enumerate([*alphabet, "<|end|>"])}
  engine = tokenizers.Tokenizer(tokenizers.models.BPE(words, []))
  engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False, use_regex=False
  )
  engine.decoder = tokenizers.decoders.ByteLevel()
  engine.add_special_tokens(["<|end|>"])
  template = "{% for m in messages %}{{ m.content }}{% endfor %}<|end|>"
  tokenizer = PublishedTokenizer(engine, (256,), template)
  config = DecoderConfig(
    width=8, depth=2, heads=2, hidden=8, activation="swiglu"
  )
  path = tmp_path_factory.mktemp("model")
  make = jax.jit(lambda: DecoderLM(config, V, rngs=nnx.Rngs(0)))
  save(path, make(), tokenizer)
  return path


@pytest.mark.slow
def test_a_run_answers_measures_and_draws(folder, tmp_path, typed):
  small = {"path": str(folder), "tokens": 3, "windows": 2, "length": 16}
  ended = typed("published_model", tmp_path, small)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  # An untrained model guesses among its tokens, a byte each.
  assert written["bits_per_byte"] == pytest.approx(np.log2(V), abs=0.2)
  assert written["bytes"] == 2 * 15
  assert (tmp_path / "attention.png").stat().st_size > 1000


@pytest.mark.slow
def test_bits_are_those_of_windows_taken_alone(folder):
  model, tokenizer = load(folder)
  config = PublishedModelConfig(length=11, windows=3)
  windows = windows_of(config, tokenizer)
  assert [w.size for w in windows] == [10, 10, 10]
  short = [w._replace(tokens=w.tokens[:7], size=6) for w in windows]
  total = 0.0
  for w in short:
    log = jax.nn.log_softmax(model(jnp.asarray(w.tokens)))
    total -= float(log[np.arange(6), w.tokens[1:]].sum()) / np.log(2)
  padded = bits_per_byte(model, short, 11)
  assert padded == pytest.approx(total / 18, rel=1e-5)
