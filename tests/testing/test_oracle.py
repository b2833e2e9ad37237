"""The oracles: by hand, against each other, and by finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.testing import Problem, mask_descriptions, oracle
from attnjax.testing.derivatives import (
  directions,
  forward,
  jvp_of_grad,
  loss,
  reverse,
)
from attnjax.testing.error_budget import expected, oracle_values
from attnjax.testing.parts import NORMALIZERS, SCORE_MODS, SCORINGS

PARTS = [
  *({"scoring": name} for name in SCORINGS),
  *({"score_mod": name, "mask": ("causal",)} for name in SCORE_MODS),
  *({"normalizer": name} for name in NORMALIZERS),
]
SMALL = {"batch": (2,), "length": 5, "keys": 7, "heads": 4, "shared": 2}
EVERY = ("logsumexp", "weights", "entropy", "max_logit")


def small(**options):
  return Problem(**(SMALL | options))


def text(options):
  return " ".join(f"{name}={value}" for name, value in options.items())


def first_of_each_role():
  """The parts; all but the first scoring, score mod and normalizer slow."""
  roles = set()
  for part in PARTS:
    role = next(iter(part))
    slow = [pytest.mark.slow] if role in roles else []
    roles.add(role)
    yield pytest.param(part, marks=slow)


def test_by_hand():
  # Logits log 1, log 2 and log 5: weights are eighths.
  key = np.log([1.0, 2.0, 5.0]).reshape(3, 1, 1)
  value = np.array([8.0, 16.0, 24.0]).reshape(3, 1, 1)
  truth = oracle.attention(np.ones((1, 1, 1)), key, value)
  np.testing.assert_allclose(truth.weights, [[[1 / 8, 2 / 8, 5 / 8]]])
  np.testing.assert_allclose(truth.out, [[[20.0]]])
  np.testing.assert_allclose(truth.logsumexp, np.log(8))
  np.testing.assert_allclose(truth.max_logit, np.log(5))
  entropy = np.log(8) - 2 / 8 * np.log(2) - 5 / 8 * np.log(5)
  np.testing.assert_allclose(truth.entropy, entropy)


@pytest.mark.parametrize(
  ("normalizer", "weights"),
  [
    ("plus_one", [1 / 9, 2 / 9, 5 / 9, 0.0]),
    ("sink", [1 / 10, 2 / 10, 5 / 10, 0.0]),
    ("sigmoid", [1 / 2, 2 / 3, 5 / 6, 0.0]),
    ("top_k", [1 / 8, 2 / 8, 5 / 8, 0.0]),
  ],
)
def test_normalizers_by_hand(normalizer, weights):
  key = np.log([1.0, 2.0, 5.0, 9.0]).reshape(4, 1, 1)
  truth = oracle.attention(
    np.ones((1, 1, 1)),
    key,
    key,
    visible=[True, True, True, False],
    normalizer=normalizer,
    captured={"normalizer sink": np.log([2.0])},
  )
  np.testing.assert_allclose(truth.weights[0, 0], weights)
  np.testing.assert_allclose(truth.logsumexp, np.log(8))


def test_the_relative_bias_is_that_of_t5():
  # 14 buckets: 7 a side, 3 of them exact, and 4 to distance 128.
  rule, table = SCORE_MODS["relative_bias"].rule, np.arange(14.0)[:, None]
  at = lambda q, k: float(rule(np, 0.0, 0, 0, np.int32(q), np.int32(k), table))
  assert [at(9, 9 - n) for n in (0, 1, 2, 3, 7, 8)] == [0, 1, 2, 3, 3, 4]
  assert [at(9, 9 + n) for n in (1, 2, 3, 8)] == [8, 9, 10, 11]
  assert at(0, 10**6) == 13


def test_groups_masks_and_biases_by_hand():
  # Heads 0 and 1 read key head 0, heads 2 and 3 key head 1. Head 1 has a bias
  # of log 3 on the second key, which is hidden from head 3.
  key = np.log([[1.0, 2.0], [1.0, 6.0]])[..., None]
  value = np.array([[0.0, 0.0], [8.0, 8.0]])[..., None]
  bias, seen = np.zeros((4, 1, 2)), np.ones((4, 1, 2), bool)
  bias[1, 0, 1], seen[3, 0, 1] = np.log(3), False
  truth = oracle.attention(
    np.ones((1, 4, 1)), key, value, visible=seen, bias=bias
  )
  weights = [[1 / 2, 1 / 2], [1 / 4, 3 / 4], [1 / 4, 3 / 4], [1, 0]]
  np.testing.assert_allclose(truth.weights[:, 0], weights)
  np.testing.assert_allclose(truth.out[0, :, 0], [4, 6, 6, 0])
  np.testing.assert_allclose(truth.logsumexp[:, 0], np.log([2, 4, 8, 2]))


# Every case of the suite is held to both oracles: see tests/ops/attention.
@pytest.mark.parametrize("options", list(first_of_each_role()), ids=text)
def test_dense_equals_numpy(options):
  problem = small(
    **({"mask": ("lengths",)} | options),
    bias="H T S",
    positions="decode",
    aux=EVERY,
    dtype="float64",
  )
  dense = expected(problem, reverse).truth["value"]
  for name, truth in oracle_values(problem).items():
    np.testing.assert_allclose(dense[name], truth, atol=1e-13, err_msg=name)


# The truth is differentiated by JAX: that it is so is seen of one part of each
# role, and of every part if there is time.
@pytest.mark.parametrize("options", list(first_of_each_role()), ids=text)
def test_derivatives_by_finite_differences(options):
  mask = {"mask": ("or", ("window", 1, 2), ("dilated", 3))}
  problem = small(
    **(mask | options), bias="H T S", aux=("logsumexp", "entropy")
  )
  found = expected(problem, forward).truth["tangent"]
  step, values = 1e-6, []
  for sign in (1, -1):
    moved = Moved(problem, sign * step)
    values.append(expected(moved, reverse).truth["value"])
  for name, tangent in found.items():
    slope = (values[0][name] - values[1][name]) / (2 * step)
    np.testing.assert_allclose(slope, tangent, atol=3e-7, err_msg=name)


class Moved(Problem):
  """The same problem, a step further in the direction of `forward`."""

  def __init__(self, problem, step):
    super().__init__(**dataclasses.asdict(problem))
    object.__setattr__(self, "step", step)

  __hash__ = object.__hash__
  __eq__ = object.__eq__

  def floats(self):
    floats = super().floats()
    way = directions(jax.tree.map(jnp.asarray, floats), "tangent")
    way = {name: np.asarray(x, np.float64) for name, x in way.items()}
    return {
      n: x.astype(np.float64) + self.step * way[n] for n, x in floats.items()
    }


def test_reverse_is_the_transpose_of_forward():
  problem = small(score_mod="captured arrays", normalizer="sink", bias="H T S")
  pushed = expected(problem, forward).truth
  pulled = expected(problem, reverse).truth["gradient"]
  draw = lambda tree, salt: jax.tree.map(
    np.asarray, directions(jax.tree.map(jnp.asarray, tree), salt)
  )
  floats = problem.floats()
  dot = lambda a, b: sum(float((a[n] * b[n]).sum()) for n in a)
  there = dot(pushed["tangent"], draw(pushed["value"], "cotangent"))
  back = dot(pulled, draw(floats, "tangent"))
  np.testing.assert_allclose(there, back, rtol=1e-11)


def test_second_order_by_finite_differences():
  f = lambda x: {"y": jnp.sin(x["x"]) * jnp.exp(x["x"])}
  x = {"x": jnp.linspace(0.1, 1.0, 5)}
  with jax.enable_x64(True):
    wide = {"x": jnp.asarray(np.asarray(x["x"]), jnp.float64)}
    (bent,) = jvp_of_grad(f, wide).values()
    way, step = directions(wide, "tangent")["x"], 1e-5
    at = lambda s: jax.grad(loss(f))({"x": wide["x"] + s * way})["x"]
    slope = (at(step) - at(-step)) / (2 * step)
  np.testing.assert_allclose(bent["x"], slope, rtol=1e-7)


def test_dropout_of_the_oracles():
  problem = small(dropout_rate=0.25, aux=())
  kept = np.random.default_rng(0).random(problem.shape) < 0.7
  floats = problem.floats()
  truth = oracle.attention(
    *(floats[n] for n in ("query", "key", "value")),
    kept=kept,
    dropout_rate=0.25,
  )
  dense = expected(problem, reverse, kept).truth["value"]["out"]
  np.testing.assert_allclose(dense, truth.out, atol=1e-13)
  plain = oracle.attention(*(floats[n] for n in ("query", "key", "value")))
  assert np.abs(plain.out - truth.out).max() > 0.1


MASKS = [
  (("window", 1, 2), "1110000 1111000 0111100 0011110 0001111"),
  (("causal",), "1000000 1100000 1110000 1111000 1111100"),
  (("dilated", 3), "1001001 0100100 0010010 1001001 0100100"),
  (("chunked", 3), "1110000 1110000 1110000 0001110 0001110"),
  (
    ("and", ("not", ("causal",)), ("window", 0, 1)),
    "0100000 0010000 0001000 0000100 0000010",
  ),
  (
    ("or", ("prefix",), ("causal",)),
    "1110000 1110000 1110000 1111000 1111100",
  ),
  (("key_lengths",), "1111000 1111000 1111000 1111000 1111000"),
  (("lengths",), "1111000 1111000 0000000 0000000 0000000"),
  (("segments",), "1100000 1100000 0011000 0000110 0000110"),
]


@pytest.mark.parametrize(("mask", "rows"), MASKS, ids=str)
def test_masks_by_picture(mask, rows):
  ints = {
    "prefix": np.array([3]),
    "query_lengths": np.array([2]),
    "key_lengths": np.array([4]),
    "query_ids": np.array([[4, 4, 7, 9, 9]]),
    "key_ids": np.array([[4, 4, 7, 7, 9, 9, 8]]),
  }
  problem = Problem(batch=(1,), length=5, keys=7, mask=mask)
  seen = np.broadcast_to(problem.visible(ints), problem.shape)[0, 1]
  assert " ".join("".join(str(int(x)) for x in row) for row in seen) == rows


@pytest.mark.parametrize(
  "description", [("round",), ("dense",), ("window", 1)], ids=str
)
def test_a_mask_that_is_not_described(description):
  problem = Problem(mask=description)
  with pytest.raises((ValueError, IndexError)):
    problem.visible({})
  with pytest.raises((ValueError, IndexError)):
    mask_descriptions.build(description, {})
