"""Compiles gradients of `attend` for a machine that is not here, as a program.

    python -m tests.ops.attention.compiled_calls v5e:2x2 tpu_custom_call softcap

prints how often a word is in the program of each call that is named. It is a
process of its own: libtpu ends one that has flags for CPUs in XLA_FLAGS, as
tests have. Heads are grouped; the width and the lengths fill no register.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import attnjax
from attnjax import masks, normalizers, score_mods, scoring
from attnjax.plan.topology import devices_of, topology

T, S, H, K, D = 700, 650, 4, 2, 80
FEW = {"decode": 1, "verify": 5}  # queries
CALLS = {
  "softcap": lambda _: {
    "mask": masks.causal(),
    "score_mod": score_mods.softcap(30.0),
  },
  "sigmoid": lambda _: {"normalizer": normalizers.sigmoid()},
  "dropout": lambda _: {
    "dropout_rate": 0.1,
    "dropout_key": jax.random.PRNGKey(0),
  },
  "window": lambda _: {
    "mask": masks.sliding_window(99),
    "aux": ("entropy", "max_logit"),
  },
  "function": lambda _: {
    "mask": masks.from_fn(lambda b, h, q, k: (q - k) % 7 < 3)
  },
  # One query, and a few.
  "decode": lambda _: {"query_positions": jnp.full((1, 1), 600, jnp.int32)},
  "verify": lambda _: {
    "mask": masks.causal(),
    "query_positions": 600 + jnp.arange(5, dtype=jnp.int32)[None],
  },
  # Numbers of arrays by position, and along a third axis.
  "buckets": lambda x: {"score_mod": score_mods.relative_bias(x[:32, :H])},
  "distances": lambda x: {
    "score_mod": score_mods.from_fn(
      lambda s, b, h, q, k, x: s + x[h, q - k + S], x[:H]
    )
  },
  "additive": lambda x: {
    "scoring": scoring.additive(x[:D, :24], x[:D, 24:48], x[0, :24])
  },
}


def print_counts(machine: str, word: str, *names: str) -> None:
  """Compiles the calls and prints how often the word is in their programs."""
  mesh = jax.sharding.Mesh(np.array(devices_of(topology(machine))[:1]), "x")
  place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  shape = lambda *x, dtype=jnp.bfloat16: jax.ShapeDtypeStruct(
    x, dtype, sharding=place
  )
  keys = [shape(1, S, K, D)] * 2
  captured = shape(2 * S, 2 * S, dtype=jnp.float32)

  for name in names:
    if name.startswith("divided"):
      print(_divided(machine, 4 if "decode" in name else T).count(word))
      continue

    def loss(*x, name=name):
      found = attnjax.attend(
        *x[:3], implementation="fused", **CALLS[name](x[3])
      )
      return sum(x.astype(jnp.float32).sum() for x in jax.tree.leaves(found))

    with jax.set_mesh(mesh):
      gradient = jax.jit(jax.grad(loss, (0, 1, 2, 3)))
      query = shape(1, FEW.get(name, T), H, D)
      traced = gradient.trace(query, *keys, captured)
      program = traced.lower().compile().as_text()
    print(program.count(word))


def _divided(machine: str, length: int) -> str:
  """The program of a gradient whose types divide it over four devices."""
  devices = np.array(devices_of(topology(machine))[:4]).reshape(2, 2)
  kinds = (AxisType.Explicit,) * 2
  mesh = jax.sharding.Mesh(devices, ("data", "model"), axis_types=kinds)

  def shape(*sizes, axes=(), dtype=jnp.bfloat16):
    place = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.ShapeDtypeStruct(sizes, dtype, sharding=place)

  def loss(query, key, value, slopes, lengths):
    out = attnjax.attend(
      query,
      key,
      value,
      mask=masks.causal() & masks.lengths(key=lengths),
      score_mod=score_mods.alibi(slopes),
    )
    return out.astype(jnp.float32).sum()

  axes = ("data", None, "model")
  keys = [shape(4, S, K, D, axes=axes)] * 2
  gradient = jax.jit(jax.grad(loss, (0, 1, 2, 3)))
  traced = gradient.trace(
    shape(4, length, H, D, axes=axes),
    *keys,
    shape(H, dtype=jnp.float32),
    shape(4, axes=("data",), dtype=jnp.int32),
  )
  return traced.lower().compile().as_text()


def counts(machine: str, word: str, names: Sequence[str]) -> list[int]:
  """What the program prints.

  Raises:
    AssertionError: with what it says, if it fails.
  """
  environment = {n: x for n, x in os.environ.items() if n != "XLA_FLAGS"}
  done = subprocess.run(
    [sys.executable, "-m", __name__, machine, word, *names],
    env=environment | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert not done.returncode, done.stderr[-2000:]
  return list(map(int, done.stdout.split()))


if __name__ == "__main__":
  print_counts(*sys.argv[1:])
