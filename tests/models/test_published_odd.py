"""Odd configurations of each family: the library's logits, or refused by name.

A difference that nobody is told of is what they are drawn to find.
"""

import warnings

import jax
import numpy as np
import pytest

from attnjax.models import load, save
from tests.models import odd_configs, odd_encoders
from tests.models import transformers_models as oracle

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
T, DRAWS = 29, 6


@pytest.fixture(autouse=True)
def needs_transformers():
  pytest.importorskip("torch", reason="the oracle is PyTorch's")
  pytest.importorskip("transformers", reason="the oracle is its models")


@jax.jit
def run(model, tokens, real=None):
  return model(tokens) if real is None else model(tokens, real=real)


def decoder(folder, kind, seed):
  """(options, tokens, their padding, numbers of the library)."""
  tokens = np.random.default_rng(seed).integers(3, 37, (2, T))
  options = odd_configs.drawn_options(kind, seed)
  oracle.make(folder, kind, options, seed, sizes={})
  again = lambda folder: oracle.logits_of(oracle.opened(folder), tokens)
  return options, tokens, None, again


def encoder(folder, kind, seed):
  """The same of an encoder, which has padding."""
  options = odd_encoders.drawn_encoder(kind, seed, T)
  tokens = np.random.default_rng(seed).integers(4, 37, (2, T))
  real = np.arange(T) < np.array([[T], [17]])
  tokens = np.where(real, tokens, options["pad_token_id"])
  oracle.make(folder, kind, options, seed, sizes={}, head="AutoModel")

  def again(folder):
    model = oracle.opened(folder, head="AutoModel")
    return oracle.features_of(model, tokens, real)

  return options, tokens, real, again


def agreed(made, folder, kind, seed):
  """Whether an odd model is honoured; None where the library has none."""
  try:
    options, tokens, real, again = made(folder, kind, seed)
    expected = again(folder)
  # What the library itself cannot make or run is no model of the family.
  except (RuntimeError, ValueError, ArithmeticError, TypeError) as error:
    warnings.warn(f"{kind} {seed}: {error}", stacklevel=1)
    return None
  try:
    model, _ = load(folder)
  except ValueError as error:
    if "config.json: " not in str(error):
      raise
    return False

  got = np.asarray(run(model, tokens.astype(np.int32), real), np.float64)
  kept = slice(None) if real is None else real
  spread = np.ptp(expected[kept])
  share = np.abs(got - expected)[kept].max() / spread
  assert share < 1e-5, f"{kind} {seed} differs by {share}: {options}"

  # What was read can be written, and the library reads the same.
  save(folder / "again", model, family=kind)
  share = np.abs(again(folder / "again") - expected)[kept].max() / spread
  assert share < 2e-6, f"{kind} {seed} is saved as another by {share}"
  return True


@pytest.mark.parametrize("kind", odd_configs.FAMILIES)
def test_odd_decoders_are_honoured_or_refused(kind, tmp_path):
  seeds = range(10, 10 + DRAWS)
  found = [agreed(decoder, tmp_path / str(n), kind, n) for n in seeds]
  assert True in found, found


@pytest.mark.parametrize("kind", odd_encoders.FAMILIES)
def test_odd_encoders_are_honoured_or_refused(kind, tmp_path):
  seeds = range(10, 10 + DRAWS)
  found = [agreed(encoder, tmp_path / str(n), kind, n) for n in seeds]
  assert True in found, found
