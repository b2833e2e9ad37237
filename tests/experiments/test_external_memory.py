"""A store asked with noisy keys: the measure, the trained layer, and a run."""

import json

import jax
import numpy as np
import pytest

from experiments.external_memory import trained
from experiments.external_memory.config import ExternalMemoryConfig
from experiments.external_memory.measure import READERS, recall

SMALL = {
  "sizes": (8, 16),
  "noises": (0.1,),
  "questions": 16,
  "seeds": 1,
  "trained.batch_size": 4,
  "train.steps": 3,
  "train.evaluate_every": 0,
  "optimizer.warmup_steps": 1,
}
SHARP = "attention, sharpness 1/noise²"


def _recall(reader, size, noise):
  options = {"width": 64, "symbols": 64, "questions": 256}
  return float(
    recall(jax.random.key(1), reader=reader, size=size, noise=noise, **options)
  )


@pytest.mark.slow
def test_a_small_store_and_little_noise_are_recalled_by_all():
  for reader in READERS:
    assert _recall(reader, 8, 0.01) > 0.99, reader


def test_attention_recalls_from_a_store_that_a_linear_memory_cannot_hold():
  assert _recall(SHARP, 1024, 0.1) > 0.98
  assert _recall("linear memory", 1024, 0.1) < 0.5


@pytest.mark.slow
def test_more_noise_and_a_larger_store_recall_less():
  assert _recall(SHARP, 64, 0.2) > _recall(SHARP, 64, 0.6)
  assert _recall(SHARP, 16, 0.4) > _recall(SHARP, 1024, 0.4)


def test_targets_are_the_values_of_the_keys_nearest_to_what_is_asked():
  config = ExternalMemoryConfig()
  batch = trained.Batches(config, 0)(7)
  scores = np.einsum("btd,bsd->bts", batch["asked"], batch["keys"])
  found = np.take_along_axis(batch["values"], scores.argmax(-1), axis=1)
  assert (found == batch["targets"]).mean() > 0.98


def test_only_the_store_tells_and_self_attention_never_sees_it():
  config = ExternalMemoryConfig()
  model = trained.make(config, 0)
  batch = jax.device_put(trained.Batches(config, 0)(0))
  other = batch | {"values": (batch["values"] + 1) % config.symbols}
  changed = {
    source: float(np.abs(model(batch, source) - model(other, source)).max())
    for source in trained.SOURCES
  }
  assert changed["the store"] > 0
  assert changed["the row itself"] == 0


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_figures(tmp_path, typed):
  ended = typed("external_memory", tmp_path, SMALL)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert set(written["recall"]) == set(READERS)
  assert set(written["accuracy"]) == set(trained.SOURCES)
  assert (tmp_path / "recall_by_size.png").stat().st_size > 1000
  assert "attends over" in ended.out


def test_bad_settings_are_named():
  with pytest.raises(ValueError, match="noises"):
    ExternalMemoryConfig(noises=(0.0,))
  with pytest.raises(ValueError, match="sizes"):
    ExternalMemoryConfig(sizes=())
