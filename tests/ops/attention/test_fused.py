"""`Fused` keeps the contract of `attend`, its kernels interpreted on a CPU.

By default some cases that together have each kind of operand and of sum; with
``-m slow`` every case of the suite, and kernels compiled for TPUs that are not
here, where libtpu is installed.
"""

import dataclasses
import importlib.util
import unittest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks, normalizers, score_mods, scoring, testing
from attnjax.ops.attention import fused_blocks, fused_decode
from attnjax.ops.target import traced_for
from tests.features import fewest, slow_but
from tests.few import few
from tests.ops.attention.compiled_calls import CALLS, counts

INTERPRETED = attnjax.Fused(8, 16, interpret=True)
X = jnp.ones((2, 64, 4, 8))


def pairs_of_features(s, b, h, q, k, x):
  """A score mod of four axes."""
  return s + jnp.tanh(s[..., None, None] * x[None, None, None, None]).sum(
    (-1, -2)
  )


@dataclasses.dataclass(frozen=True)
class Kernels:
  """`attend` by interpreted kernels."""

  fused: attnjax.Fused = INTERPRETED

  def __call__(self, query, key, value, **options):
    options.setdefault("implementation", self.fused)
    return attnjax.attend(query, key, value, **options)


FEW = testing.cases(
  only=[
    "vmap/gradient of a mapped score_mod slopes",
    "local/packed, reverse",
    "aux/max_logit",
  ]
)
CASES = slow_but(testing.cases(), FEW)
# What no kernel has yet, by what its refusal says.
REFUSED = {
  "dtype/*64*": "float32, not of float64",
  "*top_k*": "needs whole rows",
  "aux/weights": "T x S",
  "aux/all": "T x S",
  "devices/shard_map*": "check_vma=False",
  "*through bytes": "flatbuffers",
}


@pytest.mark.parametrize("case", CASES)
def test_conforms(case):
  said = [words for name, words in REFUSED.items() if case.matches(name)]
  if not said:
    case.check(Kernels())
    return
  # It is refused, for the reason that is known here and no other.
  with pytest.raises(unittest.SkipTest, match=said[0]):
    case.check(Kernels())


def test_a_cpu_is_told_so_and_the_remedy():
  told = attnjax.explain(X, X, X, implementation="fused")
  assert told.chosen is None
  assert not told.verdicts[0].forward
  with pytest.raises(
    NotImplementedError, match=r"'cpu'; Fused\(interpret=True"
  ):
    attnjax.attend(X, X, X, implementation="fused")
  told = attnjax.explain(X, X, X, implementation=INTERPRETED)
  assert "interpreted, blocks of 8 x 16" in told.verdicts[0].reason


@pytest.mark.parametrize(
  ("options", "reason"),
  [
    ({"normalizer": normalizers.top_k(3)}, r"top_k\(3\) needs whole rows"),
    (
      {"score_mod": score_mods.from_fn(lambda s, b, h, q, k: s - s[..., :1])},
      "a 'slice' of .*: numbers are looked up in captured arrays",
    ),
    (
      {"score_mod": score_mods.from_fn(pairs_of_features, np.ones((3, 5)))},
      "along the axes .'f3', 'f5', 's', 't'.",
    ),
    (
      {"score_mod": score_mods.from_fn(lambda s, b, h, q, k: jnp.cumsum(s, 3))},
      "the operation 'cumsum'",
    ),
    ({"logits_dtype": jnp.float64}, "float32, not of float64"),
  ],
)
def test_a_part_that_no_kernel_has_is_named(options, reason):
  x64 = jax.enable_x64("logits_dtype" in options)
  with x64, pytest.raises(NotImplementedError, match=reason):
    attnjax.attend(X, X, X, implementation=INTERPRETED, **options)


def test_blocks_that_do_not_fit_are_refused_with_the_numbers(monkeypatch):
  small = fused_blocks.Chip("small", 2**20, *[(128, 128)] * 5)
  monkeypatch.setattr(fused_blocks, "_UNKNOWN", small)
  x = jnp.ones((4096, 1, 128))
  large = attnjax.Fused(2048, 2048, interpret=True)
  told = attnjax.explain(x, x, x, implementation=large).verdicts[0]
  assert not told.forward
  assert "MiB of VMEM, of 1 that it may take" in told.reason


def test_a_table_whose_gradient_does_not_fit_is_refused_with_the_numbers():
  x, table = jnp.ones((128, 1, 8)), jnp.ones((600, 600))
  mod = score_mods.from_fn(lambda s, b, h, q, k, x: s + x[q, k], table)
  told = attnjax.explain(x, x, x, score_mod=mod, implementation=INTERPRETED)
  assert "take 1.4 MiB of SMEM, of 0.9" in told.verdicts[0].reason


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("size", [0, 2.0, 96])
def test_a_block_is_a_multiple_of_what_registers_hold(size):
  with pytest.raises(ValueError, match=r"key_block must be .* multiple of 128"):
    attnjax.Fused(key_block=size)


@pytest.mark.slow
def test_a_table_by_distance_and_a_hidden_layer_get_their_gradients():
  draw = lambda n, *shape: jax.random.normal(jax.random.key(n), shape)
  arrays = draw(0, 9, 1, 3), *draw(1, 2, 19, 1, 3)
  by_distance = lambda s, b, h, q, k, x: s + x[jnp.minimum(jnp.abs(q - k), 6)]

  def loss(how, table, vector, *arrays):
    out = attnjax.attend(
      *arrays,
      mask=masks.causal(),
      scoring=scoring.additive(jnp.eye(3, 5), jnp.eye(3, 5), vector),
      score_mod=score_mods.from_fn(by_distance, table),
      implementation=how,
    )
    return (out**2).sum()

  run = lambda how: jax.jit(
    jax.grad(lambda *x: loss(how, *x), (0, 1, 2, 3, 4))
  )(draw(3, 7), draw(4, 5), *arrays)
  for x, y in zip(run(INTERPRETED), run("reference"), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("machine", few([True, "gpu"], True))
def test_heads_whose_masks_have_other_tiles_see_their_own(machine):
  if machine == "gpu":
    pytest.importorskip("triton", reason="its kernels are written in Triton")
  x = jax.random.normal(jax.random.key(0), (32, 2, 8))
  # No tile is of both heads.
  mask = masks.from_fn(lambda b, h, q, k: (k < 16) == (h == 0))

  run = lambda how: attnjax.attend(x, x, x, mask=mask, implementation=how)
  found = run(attnjax.Fused(16, 16, interpret=machine))
  np.testing.assert_allclose(found, run("reference"), rtol=1e-5, atol=1e-5)


def decoded(length, shared):
  """A call of few queries, each where it stands, and what of it moves."""
  draw = lambda n, *shape: jax.random.normal(jax.random.key(n), shape)
  query, key = draw(0, 2, length, 6, 5), draw(1, 2, 37, shared, 5)
  bias = draw(3, 1, 6, length, 37)
  moving = draw(2, 6), bias, query, key, draw(4, *key.shape)

  def out(how, slopes, bias, *arrays):
    return attnjax.attend(
      *arrays,
      mask=masks.causal() & masks.lengths(key=jnp.array([30, 0])),
      query_positions=jnp.array([[25], [3]]) + jnp.arange(length)[None],
      query_segment_ids=jnp.full((1, length), 1).at[:, -1].set(2),
      key_segment_ids=jnp.arange(37)[None] // 20 + 1,
      score_mod=score_mods.alibi(slopes),
      bias=bias,
      implementation=how,
    )

  return out, moving


@pytest.mark.slow
def test_few_queries_read_the_keys_of_all_heads_where_they_lie():
  out, moving = decoded(3, 2)
  query, key = moving[2:4]
  run = lambda how: jax.jit(lambda *x: out(how, *x))(*moving)
  np.testing.assert_allclose(run(INTERPRETED), run("reference"), atol=2e-6)

  of = lambda query, **how: (
    attnjax.explain(query, key, key, implementation=INTERPRETED, **how)
    .verdicts[0]
    .reason
  )
  assert "3 queries of all 6 heads" in of(query)
  assert "one query of all 6 heads" in of(query[:, :1])
  assert "blocks of 8" in of(jnp.ones((2, 9, 6, 5)))
  # Of the largest logit the place is a token, and not one of its heads.
  assert "blocks of 8" in of(query, aux=("max_logit",))


@pytest.mark.slow
@pytest.mark.parametrize(("length", "shared"), [(1, 2), (1, 1), (3, 2), (4, 6)])
def test_gradients_of_few_queries(length, shared):
  out, moving = decoded(length, shared)
  run = lambda how: jax.jit(
    jax.grad(lambda *x: (out(how, *x) ** 2).sum(), (0, 1, 2, 3, 4))
  )(*moving)
  for x, y in zip(run(INTERPRETED), run("reference"), strict=True):
    np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", fewest(testing.cases()))
def test_few_queries_conform(monkeypatch, case):
  # As if 13, which the suite has, were few. Of logits of 1e4 the last bit
  # matters, and matrices of this size are not summed in one order on a CPU.
  monkeypatch.setattr(fused_decode, "_MOST_QUERIES", 16)
  if any(case.matches(name) for name in (*REFUSED, "numbers/logits of 1e4*")):
    pytest.skip("as above")
  case.check(Kernels(attnjax.Fused(8, 32, interpret=True)))


@pytest.mark.slow
@pytest.mark.parametrize("positions", [None, np.arange(700) + 50])
def test_several_tiles_a_visit_are_one_program(monkeypatch, positions):
  # Sums of rows stay apart in 128 lanes until the last tile of a row. Where the
  # codes of tiles are known full ones are joined; else each tile is parted.
  block, tile = (512, 512), (256, 128)
  chip = fused_blocks.Chip("many tiles", 2**24, block, tile, *[block] * 3)
  monkeypatch.setattr(fused_blocks, "_UNKNOWN", chip)
  draw = lambda n, heads: jax.random.normal(jax.random.key(n), (n, heads, 8))
  query, key, value = draw(700, 2), draw(750, 1), draw(750, 1)
  run = lambda how: jax.jit(
    lambda *x: attnjax.attend(
      *x,
      mask=masks.causal(),
      query_positions=None if positions is None else jnp.asarray(positions),
      aux=("entropy", "logsumexp", "max_logit"),
      implementation=how,
    )
  )(query, key, value)
  several = attnjax.Fused(interpret=True)
  found, expected = run(several), run("reference")
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), found, expected
  )


def test_a_program_traced_for_a_tpu_runs_on_the_cpu_beside_it():
  draw = lambda n, *shape: jax.random.normal(jax.random.key(n), shape)
  query, key, value = draw(0, 2, 150, 4, 8), *draw(1, 2, 2, 140, 2, 8)
  slopes = draw(2, 3, 4)

  def of(implementation):
    def loss(query, slopes):
      out = attnjax.attend(
        query,
        key,
        value,
        mask=masks.causal() & masks.lengths(key=jnp.array([100, 0])),
        score_mod=score_mods.alibi(slopes),
        implementation=implementation,
      )
      return (out**2).sum()

    gradient = jax.grad(loss, (0, 1))
    # One axis of queries, and of slopes, that no kernel's function has.
    return jax.vmap(gradient, (None, 0))

  with traced_for("tpu:v5e"):
    program = jax.make_jaxpr(of("fused"))(query, slopes)
  assert "pallas_call" in str(program)
  run = jax.jit(jax.extend.core.jaxpr_as_fun(program))
  for x, y in zip(
    run(query, slopes), of("blockwise")(query, slopes), strict=True
  ):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-3)


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="needs libtpu: pip install 'attnjax[tpu]'",
)
@pytest.mark.parametrize(
  "tpu", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1"]
)
def test_kernels_compile_for_tpus_that_are_not_here(tpu):
  assert all(counts(tpu, "tpu_custom_call", list(CALLS)))
