"""Mixture of experts against a loop over tokens in float64, and its laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from attnjax.ops.heads import Projection
from attnjax.ops.mixture import ExpertParams, mixture_of_experts, route
from tests import drawn

T, M, F, X, A = 11, 5, 7, 3, 2
SILU_GATE = lambda up, gate: jax.nn.silu(gate) * up


def experts(dtype=jnp.float32, count=X, use_bias=True):
  """Drawn parameters: up, down and gate."""
  shapes = [(count, M, F), (count, F, M), (count, M, F)]
  kernels = drawn.arrays(*shapes)
  biases = drawn.arrays(*(shape[::2] for shape in shapes), seed=1)
  made = [
    Projection(k.astype(dtype), b.astype(dtype) if use_bias else None)
    for k, b in zip(kernels, biases, strict=True)
  ]
  return ExpertParams(*made)


def drawn_tokens(tokens=T, count=X):
  return drawn.arrays((tokens, M), (tokens, count), seed=2)


def dense(params, x, logits, active, normalized):
  """One token and expert at a time, in float64."""
  wide = lambda y: np.asarray(y, np.float64)
  x, logits = wide(x), wide(logits)
  out = np.zeros_like(x)
  for t, (u, row) in enumerate(zip(x, logits, strict=True)):
    powers = np.exp(row - row.max())
    weights = powers / powers.sum()
    chosen = np.argsort(-row, kind="stable")[:active]
    total = weights[chosen].sum() if normalized else 1.0
    for e in chosen:
      linear = lambda y, p, e=e: y @ wide(p.kernel)[e] + wide(p.bias)[e]
      gate, up = linear(u, params.gate), linear(u, params.up)
      hidden = gate / (1 + np.exp(-gate)) * up
      out[t] += weights[e] / total * linear(hidden, params.down)
  return out


@functools.partial(jax.jit, static_argnums=(3, 4))
def run(params, x, logits, active=A, normalized=False):
  sent = route(logits, active, normalized=normalized)
  return mixture_of_experts(params, x, sent, activation=SILU_GATE)


@pytest.mark.parametrize(("active", "normalized"), [(1, True), (A, False)])
def test_a_mixture_is_the_sum_over_its_experts(active, normalized):
  params, (x, logits) = experts(), drawn_tokens()
  got = run(params, x, logits, active, normalized)
  expected = dense(params, x, logits, active, normalized)
  np.testing.assert_allclose(got, expected, atol=2e-6 * np.ptp(expected))


def test_a_token_does_not_feel_the_others():
  params, (x, logits) = experts(), drawn_tokens()
  whole, alone = run(params, x, logits), run(params, x[4:5], logits[4:5])
  np.testing.assert_allclose(whole[4:5], alone, atol=1e-5)
  of_one = lambda x, logits: run(params, x, logits)[4].sum()
  for gradient in jax.jit(jax.grad(of_one, (0, 1)))(x, logits):
    assert np.abs(gradient[4]).min() > 0
    np.testing.assert_array_equal(np.delete(gradient, 4, axis=0), 0.0)


def test_gradients_are_those_of_differences():
  params, (x, logits) = experts(), drawn_tokens()
  # The differences are taken of numpy arrays.
  f = lambda *args: run(*jax.tree.map(jnp.asarray, args), X, True)
  check_grads(
    f,
    (params, x, logits),
    order=1,
    modes=("fwd", "rev"),
    eps=1e-2,
    rtol=2e-2,
    atol=2e-2,
  )


@pytest.mark.parametrize("shape", [(0,), (2, 3, 1)])
def test_any_batch_and_any_length(shape):
  params = experts()
  x, logits = drawn.arrays((*shape, M), (*shape, X))
  got = run(params, x, logits)
  assert got.shape == (*shape, M)
  flat = dense(params, x.reshape(-1, M), logits.reshape(-1, X), A, False)
  np.testing.assert_allclose(got.reshape(flat.shape), flat, atol=1e-4)


def test_half_precision_keeps_its_dtype_and_routes_in_float32():
  params, (x, logits) = experts(jnp.bfloat16), drawn_tokens()
  got = run(params, x.astype(jnp.bfloat16), logits.astype(jnp.bfloat16))
  assert got.dtype == jnp.bfloat16
  narrow = [np.asarray(y.astype(jnp.bfloat16)) for y in (x, logits)]
  expected = dense(params, *narrow, A, False)
  np.testing.assert_allclose(
    np.asarray(got, np.float64), expected, atol=0.02 * np.ptp(expected)
  )


def test_what_is_wrong_has_no_answer():
  params, (x, logits) = experts(), drawn_tokens()
  for active in (0, X + 1):
    with pytest.raises(ValueError, match=r"active must be in \[1, 3\]"):
      route(logits, active)
  sent = route(logits, A)
  wrong = sent._replace(experts=sent.experts.at[3, 1].set(X))
  out = jax.jit(
    lambda params, x, wrong: mixture_of_experts(
      params, x, wrong, activation=SILU_GATE
    )
  )(params, x, wrong)
  bad = np.isnan(np.asarray(out)).any(axis=1)
  assert bad.tolist() == [t == 3 for t in range(T)]


def test_tokens_stay_on_their_devices():
  params, (x, logits) = experts(), drawn.arrays((8, 3, M), (8, 3, X))
  mesh = jax.make_mesh((8,), ("data",))
  with jax.set_mesh(mesh):
    place = jax.NamedSharding(mesh, jax.P("data"))
    divided = [jax.device_put(y, place) for y in (x, logits)]
    got = run(params, *divided)
  assert tuple(got.sharding.spec)[:1] == ("data",)
  np.testing.assert_allclose(got, run(params, x, logits), atol=1e-5)
