"""Memories on text: the rows, what is read again, a leak, and a run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import training
from attnjax.config import replace_leaves
from attnjax.data import load_text
from experiments import memory_models
from experiments.memory_lm import measure, report, task
from experiments.memory_lm.config import PRESETS, MemoryTextConfig
from experiments.memory_models import ARCHITECTURES

SMALL = {
  "parameters": 13_000,
  "seeds": 1,
  "model.window": 2,
  "model.convolution": 2,
  "model.persistent": 2,
  "model.segment": 4,
  "model.chunk": 4,
  "model.width": 16,
  "model.heads": 2,
  "data.length": 12,
  "data.batch_size": 3,
  "data.heldout_fraction": 0.3,
  "test.times": 4,
  "test.rows": 6,
  "test.batch_size": 3,
  "train.steps": 3,
  "train.evaluate_every": 0,
  "optimizer.warmup_steps": 1,
}
ENGLISH = "The cat sat on the mat. A dog ran by the old red barn.\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  """Small texts, each of words of its own."""
  folder = tmp_path_factory.mktemp("texts")
  for i in range(8):
    words = "".join(f"{w}{i} " for w in ENGLISH.split())
    (folder / f"{i}.txt").write_text(words * (i + 3))
  return folder


def small(corpus, **changes):
  leaves = SMALL | {"data.path": str(corpus)} | changes
  return replace_leaves(PRESETS["tiny"](), leaves)


def mostly_slow(names):
  """The names, all but the window marked as slow: each is compilations."""
  return [
    n if n == "window" else pytest.param(n, marks=pytest.mark.slow)
    for n in names
  ]


def test_variants_have_about_as_many_parameters():
  config = PRESETS["tiny"]()
  for variant in ("window", "gated delta net", "MAC"):  # three are as nine
    sized = memory_models.fitted(
      config.model,
      ARCHITECTURES[variant],
      vocabulary=257,
      parameters=config.parameters,
    )
    found = memory_models.count(sized, 257)
    assert abs(found / config.parameters - 1) < 0.01, variant


def test_a_long_row_is_a_stretch_of_one_document(corpus):
  config = small(corpus)
  text = load_text(config.data)
  rows = task.long_rows(config, text)
  assert rows["tokens"].shape == (6, 48)
  np.testing.assert_array_equal(rows["tokens"][:, 1:], rows["targets"][:, :-1])
  documents = [document.text for document in text.heldout]
  stretches = [row.astype(np.uint8).tobytes() for row in rows["targets"]]
  assert len({*stretches}) == 6
  homes = [[n for n, d in enumerate(documents) if s in d] for s in stretches]
  # As many documents as there are, one after the other.
  assert len({home for [home] in homes}) == len(documents)
  assert (rows["tokens"][: len(documents), 0] == 256).all()


def test_octaves_end_at_the_length_of_training():
  spans = measure.octaves(PRESETS["tiny"]())
  assert spans[:4] == [(0, 64), (64, 128), (128, 256), (256, 512)]
  assert spans[-1] == (2048, 4096)


@jax.tree_util.register_static
class Counting:
  """A model whose loss of a byte is how many tokens it has read before it."""

  def __call__(self, tokens):
    read = jnp.arange(1.0, 1 + tokens.shape[-1])
    logits = jnp.stack([jnp.zeros_like(read), jnp.log(jnp.expm1(read))], -1)
    return jnp.broadcast_to(logits, (*tokens.shape, 2))


def test_restarted_every_byte_has_its_latest_half_at_least(corpus):
  config = small(corpus)
  rows = {name: np.zeros((6, 48), np.int32) for name in ("tokens", "targets")}
  read = measure.bits(config, Counting(), rows) * np.log(2)
  again = measure.restarted_bits(config, Counting(), rows) * np.log(2)
  whole, late = np.arange(1, 49), np.arange(7, 13)
  for row in read:
    np.testing.assert_allclose(row, whole, rtol=1e-5)
  for row in again:
    np.testing.assert_allclose(row, [*whole[:6], *np.tile(late, 7)], rtol=1e-5)


@jax.tree_util.register_static
class Sized:
  """A model that says how large its memories are, whatever it reads."""

  def __call__(self, tokens, *, norms):
    sizes = jnp.array([[[1.0, 3.0], [2.0, 0.0]], [[0.0, 5.0], [4.0, 1.0]]])
    return jnp.zeros((*tokens.shape, 2)), sizes


def test_a_size_is_reported_as_it_is_and_not_as_a_sum():
  zeros = np.zeros((2, 5), np.int32)
  weights = np.float32([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
  batch = {"tokens": zeros, "targets": zeros, "weights": weights}
  found = training.make_evaluate(task.loss)(Sized(), [batch])
  assert found["weight"] == 4
  assert found["layer0_memory_norm"] == 3
  assert found["layer1_memory_norm"] == 5


def invented(read, restarted):
  """A run of the preset, flat within the length of training and beyond."""
  within = [[2.5] * 3] * 4
  return {
    "read": [[*row, *[read] * 4] for row in within],
    "restarted": [[*row, *[restarted] * 4] for row in within],
  }


def test_a_window_that_gains_by_reading_on_is_called_a_leak():
  config = PRESETS["tiny"]()
  said = report.check_reach(config, {"window": [invented(2.0, 2.00001)]})
  assert "reach of 126 bytes" in said
  with pytest.raises(RuntimeError, match="a leak"):
    report.check_reach(config, {"window": [invented(2.0, 2.1)]})
  assert report.check_reach(config, {"MAC": [invented(2.0, 2.1)]}) == ""


@pytest.mark.parametrize("variant", mostly_slow(ARCHITECTURES))
def test_a_run_writes_its_numbers_and_figures(corpus, tmp_path, typed, variant):
  leaves = SMALL | {"data.path": corpus, "variants": variant}
  ended = typed("memory_lm", tmp_path, leaves)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  [found] = written[variant]
  assert np.shape(found["read"]) == np.shape(found["restarted"]) == (6, 5)
  assert 0 < np.min(found["read"]) < np.max(found["read"]) < 12
  [record] = found["records"]
  attention = ARCHITECTURES[variant]["architecture"] == "attention"
  assert ("layer1_memory_norm" in record) != attention
  for name in ("by_position.png", "gained.png"):
    assert (tmp_path / name).stat().st_size > 1000
  said = ended.out
  assert "gained by reading on" in said
  # Beyond its reach a window gains nothing: main would have raised.
  assert ("reach of 6 bytes" in said) == variant.startswith("window")


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"test.times": 12}, "times must be a power of 2, at least 2, got 12"),
    ({"test.rows": 7}, "whole batches of 4, got 7"),
    ({"test.batch_size": 0}, "batch_size must be at least 1"),
    ({"data.length": 30}, r"data\.length must be a multiple of 4, got 30"),
    ({"data.tokenizer": "bpe"}, r"data\.tokenizer must be bytes"),
    ({"model.window": None}, r"model\.window: expected a number of tokens"),
    ({"variants": ("MAC", "MAC")}, "each once"),
    ({"seeds": 0}, "seeds must be at least 1, got 0"),
  ],
)
def test_bad_settings_are_named(options, words):
  with pytest.raises(ValueError, match=words):
    replace_leaves(PRESETS["tiny"](), options)


def test_too_short_a_text_is_named(corpus):
  config = small(corpus, **{"test.rows": 600})
  with pytest.raises(ValueError, match=r"test\.rows=600 are wanted; lower"):
    task.long_rows(config, load_text(config.data))


def test_too_few_parameters_are_named():
  with pytest.raises(ValueError, match="parameters must be at least"):
    memory_models.fitted(
      MemoryTextConfig().model, {}, vocabulary=257, parameters=5
    )
