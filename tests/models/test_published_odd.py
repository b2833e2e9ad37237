"""Odd configurations of each family: the library's logits, or refused by name.

A difference that nobody is told of is what they are drawn to find.
"""

import warnings

import jax
import numpy as np
import pytest

from attnjax.models import load
from tests.models import odd_configs
from tests.models import transformers_models as oracle

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
T, DRAWS = 29, 6


@pytest.fixture(autouse=True)
def needs_transformers():
  pytest.importorskip("torch", reason="the oracle is PyTorch's")
  pytest.importorskip("transformers", reason="the oracle is its models")


@jax.jit
def run(model, tokens):
  return model(tokens)


def made(folder, kind, seed):
  """Logits of the library, of an odd model saved to a folder; None: invalid."""
  tokens = np.random.default_rng(seed).integers(3, 37, (2, T))
  options = odd_configs.drawn_options(kind, seed)
  try:
    oracle.make(folder, kind, options, seed, sizes={})
    return tokens, oracle.logits_of(oracle.opened(folder), tokens)
  # What the library itself cannot make or run is no model of the family.
  except (RuntimeError, ValueError, ArithmeticError, TypeError) as error:
    warnings.warn(f"{kind} {seed}: {error}", stacklevel=1)
    return None


@pytest.mark.parametrize("kind", odd_configs.FAMILIES)
def test_odd_configurations_are_honoured_or_refused(kind, tmp_path):
  honoured, refused = 0, []
  for seed in range(10, 10 + DRAWS):
    folder = tmp_path / str(seed)
    found = made(folder, kind, seed)
    if found is None:
      continue
    tokens, expected = found
    try:
      model, _ = load(folder)
    except ValueError as error:
      refused.append(str(error))
      continue
    got = np.asarray(run(model, tokens.astype(np.int32)), np.float64)
    share = np.abs(got - expected).max() / np.ptp(expected)
    options = odd_configs.drawn_options(kind, seed)
    assert share < 1e-5, f"{kind} {seed} differs by {share}: {options}"
    honoured += 1
  assert honoured, refused
  assert all("config.json: " in words for words in refused), refused
