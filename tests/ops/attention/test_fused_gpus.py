"""`Fused` keeps the contract by kernels of a GPU, in Triton's interpreter.

By default a gradient with each kind of sum; with ``-m slow`` every case of the
suite, and programs compiled for GPUs that are not here.
"""

import dataclasses
import functools
import importlib.util
import unittest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks, score_mods, testing
from attnjax.ops.attention import fused_gpus
from attnjax.ops.tiles.gpu.compiled import Machine
from tests.ops.attention import test_fused
from tests.ops.attention.compiled_calls import counts

# What kernels of a TPU have, and those of a GPU have not yet.
REFUSED = test_fused.REFUSED | {
  "*additive*": "more than two",
  "*gaussian*": "more than two",
  "*relative?bias*": "more than two",
}

X = jnp.ones((2, 64, 4, 8))
with_triton = pytest.mark.skipif(
  importlib.util.find_spec("triton") is None,
  reason="needs Triton: pip install 'attnjax[cuda]'",
)


@dataclasses.dataclass(frozen=True)
class Kernels:
  """`attend` by interpreted kernels of a GPU."""

  def __call__(self, query, key, value, **options):
    interpreted = attnjax.Fused(64, 64, interpret="gpu")
    options.setdefault("implementation", interpreted)
    return attnjax.attend(query, key, value, **options)


@with_triton
def test_a_gradient_is_that_of_the_definition():
  draw = lambda n, *shape: jax.random.normal(jax.random.key(n), shape)
  arrays = draw(0, 2, 21, 2, 5), draw(1, 2, 17, 1, 5), draw(2, 2, 17, 1, 3)
  mask = masks.causal() & masks.segments(
    jnp.arange(21)[None] // jnp.array([[7], [9]]),
    jnp.arange(17)[None] // jnp.array([[7], [9]]),
  )

  def loss(how, slopes, *arrays):
    score = score_mods.compose(
      score_mods.softcap(2.0), score_mods.alibi(slopes)
    )
    out, aux = attnjax.attend(
      *arrays,
      mask=mask,
      score_mod=score,
      aux=("logsumexp",),
      implementation=how,
    )
    seen = jnp.isfinite(aux.logsumexp)
    return (out**2).sum() + jnp.where(seen, aux.logsumexp, 0).sum()

  run = lambda how: jax.jit(
    jax.grad(functools.partial(loss, how), (0, 1, 2, 3))
  )(jnp.array([0.5, 0.25]), *arrays)
  found, expected = run(attnjax.Fused(interpret="gpu")), run("reference")
  for x, y in zip(found, expected, strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@with_triton
@pytest.mark.parametrize("case", testing.cases(), ids=str)
def test_conforms(case):
  said = [words for name, words in REFUSED.items() if case.matches(name)]
  if str(case) == "transform/export":
    # The interpreter is a callback of this process, which no file can hold.
    with pytest.raises(NotImplementedError, match="host_callbacks"):
      case.check(Kernels())
    return
  if not said:
    case.check(Kernels())
    return
  # It is refused, for the reason that is known here and no other.
  with pytest.raises(unittest.SkipTest, match=said[0]):
    case.check(Kernels())


def on_a_gpu(monkeypatch, kind="NVIDIA H100 80GB HBM3", lacks=None):
  """A program that is traced for a GPU, for all that `Fused` can know."""
  from attnjax.ops.attention import fused

  device = ("gpu", kind)
  monkeypatch.setattr(fused, "target_platform", lambda *_: "gpu")
  monkeypatch.setattr(fused, "target_device", lambda *_: device)
  monkeypatch.setattr(fused_gpus, "target_device", lambda *_: device)
  monkeypatch.setattr(fused, "missing", lambda **_: lacks)


@pytest.mark.parametrize(
  ("kind", "lacks", "fused", "reason"),
  [
    ("NVIDIA V100", None, attnjax.Fused(), "'NVIDIA V100' is none that"),
    ("NVIDIA H100", "Triton", attnjax.Fused(), r"need Triton: pip install"),
    ("NVIDIA H100", None, attnjax.Fused(384, 64), "must be a power of 2"),
  ],
)
def test_a_gpu_without_kernels_is_told_why(
  monkeypatch, kind, lacks, fused, reason
):
  on_a_gpu(monkeypatch, kind, lacks)
  with pytest.raises(NotImplementedError, match=reason):
    attnjax.attend(X, X, X, implementation=fused)


def test_tiles_that_do_not_fit_are_refused_with_the_numbers(monkeypatch):
  on_a_gpu(monkeypatch)
  x = jnp.ones((1024, 1, 128), jnp.bfloat16)
  told = lambda *blocks: attnjax.explain(
    x, x, x, mask=masks.causal(), implementation=attnjax.Fused(*blocks)
  ).verdicts[0]
  large = told(256, 256)
  assert not large.forward
  assert "KiB of shared memory or more, of 227 that it may" in large.reason
  assert "blocks of 64 x 64" in told().reason


def test_gpus_are_known_by_name_the_longest_first(monkeypatch):
  for kind, capability in (
    ("NVIDIA A100-SXM4-80GB", 80),
    ("NVIDIA A10", 86),
    ("NVIDIA L40S", 89),
    ("NVIDIA GH200 480GB", 90),
    ("NVIDIA B200", 100),
  ):
    on_a_gpu(monkeypatch, kind)
    found = fused_gpus.gpu_of()
    assert found is not None
    assert found.machine == Machine(capability, found.shared)


@pytest.mark.slow
@pytest.mark.skipif(
  not all(map(importlib.util.find_spec, ("triton", "jax_cuda12_plugin"))),
  reason="needs Triton and JAX's CUDA plugin: pip install 'attnjax[cuda]'",
)
@pytest.mark.parametrize("gpu", ["a100:1", "h100:1", "b200:1"])
def test_kernels_compile_for_gpus_that_are_not_here(gpu):
  found = counts(
    gpu,
    "triton_kernel_call_ffi",
    ["softcap", "sigmoid", "dropout", "window", "distances"],
  )
  # The forward pass, of which a gradient by keys that have each a weight of its
  # own needs nothing, one kernel for queries, and one for keys and values; of a
  # large table that is looked up by position one more.
  assert found == [3, 2, 3, 3, 4]
