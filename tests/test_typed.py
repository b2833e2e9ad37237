"""A user's type checker reads the annotations of the package."""

import importlib.resources
import subprocess
import sys

import pytest

# What `attend` and its kin return depends on `aux=`; each line says the type.
RIGHT = """
from typing import assert_type
import jax, jax.numpy as jnp
import attnjax
from attnjax import masks
from attnjax.nn import MultiHeadAttention, SelfAttention
from attnjax.ops.multi_head import MultiHeadParams, SelfAttentionParams
from attnjax.parallel import RingAttention

Pair = tuple[jax.Array, attnjax.Aux]

def program(
  x: jax.Array,
  ring: RingAttention,
  layer: MultiHeadAttention,
  single: SelfAttention,
  params: MultiHeadParams,
  one: SelfAttentionParams,
  names: list[str],
) -> jax.Array:
  assert_type(attnjax.attend(x, x, x, mask=masks.causal()), jax.Array)
  assert_type(attnjax.attend(x, x, x, aux=()), jax.Array)
  assert_type(attnjax.attend(x, x, x, aux="entropy"), Pair)
  assert_type(attnjax.attend(x, x, x, aux=("logsumexp", "entropy")), Pair)
  assert_type(attnjax.attend(x, x, x, aux=names), jax.Array | Pair)
  assert_type(ring(x, x, x), jax.Array)
  assert_type(ring(x, x, x, aux=("logsumexp",)), Pair)
  assert_type(layer(x), jax.Array)
  assert_type(layer(x, x, aux=("logsumexp",)), Pair)
  assert_type(layer.read(x, x, x, aux=("logsumexp",)), Pair)
  assert_type(single(x), jax.Array)
  assert_type(single(x, aux=("logsumexp",)), Pair)
  assert_type(attnjax.multi_head_attention(params, x), jax.Array)
  assert_type(attnjax.multi_head_attention(params, x, aux=("entropy",)), Pair)
  assert_type(attnjax.self_attention(one, x), jax.Array)
  assert_type(attnjax.self_attention(one, x, aux=("entropy",)), Pair)
  out, aux = attnjax.attend(x, x, x, aux=("logsumexp",))
  return attnjax.attend(x, x, x) + out + aux.logsumexp.mean()
"""

WRONG = """
import jax, attnjax
def program(x: jax.Array) -> None:
  attnjax.attend(x, x, x).logsumexp
  out, aux = attnjax.attend(x, x, x, aux=("entropy",)); aux.nothing
  attnjax.attend(x, x, x, aux=("entropy",)) + x
  attnjax.attend(x, x, x, msk=None)
  attnjax.attend(x, x, x, dropout_rate="0.1")
"""


def test_the_package_says_that_it_is_typed():
  assert importlib.resources.files("attnjax").joinpath("py.typed").is_file()


@pytest.mark.slow  # 12 s of one CPU
def test_a_type_checker_knows_when_attention_returns_a_pair(tmp_path):
  (tmp_path / "right.py").write_text(RIGHT)
  (tmp_path / "wrong.py").write_text(WRONG)
  # In a folder without a configuration, as a user's program is checked.
  command = [sys.executable, "-m", "mypy", "right.py", "wrong.py"]
  done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
  lines = [x.split(":") for x in done.stdout.splitlines() if ": error:" in x]
  assert sorted({(file, int(line)) for file, line, *_ in lines}) == [
    ("wrong.py", line) for line in (4, 5, 6, 7, 8)
  ]
