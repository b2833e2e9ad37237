"""Gated recurrent units: against numpy and PyTorch, and what padding may do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.ops.recurrent import GRUParams, gru_scan, gru_step
from tests import drawn

B, T, D, M = 3, 7, 5, 2
X, H0, *PARAMS = drawn.arrays(
  (B, T, D), (B, M), (D, 3, M), (M, 3, M), (3, M), (3, M)
)
PARAMS = GRUParams(*PARAMS)
run = jax.jit(gru_scan, static_argnames="reverse")


def slowly(x, h):
  """One row and one direction, a gate at a time, in float64."""
  w, u, b, c = (np.asarray(p, np.float64) for p in PARAMS)
  x, h, states = np.asarray(x, np.float64), np.asarray(h, np.float64), []
  sigmoid = lambda a: 1 / (1 + np.exp(-a))
  for step in x:
    says = lambda g, step=step: step @ w[:, g] + b[g]
    owns = lambda g, h=h: h @ u[:, g] + c[g]
    r, z = (sigmoid(says(g) + owns(g)) for g in (0, 1))
    n = np.tanh(says(2) + r * owns(2))
    h = (1 - z) * n + z * h
    states.append(h)
  return np.array(states), h


def test_is_the_formula():
  states, last = run(PARAMS, X, H0)
  for row in range(B):
    expected = slowly(X[row], H0[row])
    np.testing.assert_allclose(states[row], expected[0], atol=1e-5)
    np.testing.assert_allclose(last[row], expected[1], atol=1e-5)


def test_is_the_one_of_pytorch():
  torch = pytest.importorskip("torch")
  layer = torch.nn.GRU(D, M, batch_first=True)
  own = lambda p, n: torch.tensor(np.asarray(p).reshape(n, 3 * M))
  with torch.no_grad():
    layer.weight_ih_l0.copy_(own(PARAMS.inputs, D).T)
    layer.weight_hh_l0.copy_(own(PARAMS.state, M).T)
    layer.bias_ih_l0.copy_(own(PARAMS.inputs_bias, 1)[0])
    layer.bias_hh_l0.copy_(own(PARAMS.state_bias, 1)[0])
    x, h = (torch.tensor(np.asarray(a)) for a in (X, H0[None]))
    expected, last = layer(x, h)
  states, state = run(PARAMS, X, H0)
  np.testing.assert_allclose(states, expected.numpy(), atol=1e-5)
  np.testing.assert_allclose(state, last.numpy()[0], atol=1e-5)


def test_the_scan_is_a_loop_of_steps():
  states, last = run(PARAMS, X)
  state = jnp.zeros((B, M))
  for t in range(T):
    state = gru_step(PARAMS, state, X[:, t])
    np.testing.assert_allclose(states[:, t], state, atol=1e-6)
  np.testing.assert_allclose(last, state, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_has_no_say_whatever_it_holds(reverse):
  lengths = jnp.array([4, 0, T])
  real = np.arange(T) < np.asarray(lengths)[:, None]
  x = jnp.where(real[..., None], X, jnp.nan)
  states, last = run(PARAMS, x, H0, lengths=lengths, reverse=reverse)
  assert (np.asarray(states)[~real] == 0).all()
  for row, n in enumerate(lengths.tolist()):
    alone = gru_scan(PARAMS, X[row, :n], H0[row], reverse=reverse)
    np.testing.assert_allclose(states[row, :n], alone[0], atol=1e-6)
    np.testing.assert_allclose(last[row], alone[1], atol=1e-6)


def test_padding_gets_no_gradient_and_gives_none():
  lengths = jnp.array([4, 0, T])
  real = np.arange(T) < np.asarray(lengths)[:, None]

  @jax.jit
  def gradients(params, x):
    loss = lambda p, x: sum(a.sum() for a in gru_scan(p, x, lengths=lengths))
    return jax.grad(loss, (0, 1))(params, x)

  params, x = gradients(PARAMS, jnp.where(real[..., None], X, jnp.nan))
  reached = np.abs(np.asarray(x)).max(-1) > 0
  np.testing.assert_array_equal(reached, real)
  assert all(np.isfinite(leaf).all() for leaf in params)


def test_no_state_depends_on_a_later_input():
  there, back = (
    jax.jit(jax.jacrev(lambda x, r=r: gru_scan(PARAMS, x, reverse=r)[0]))(X[0])
    for r in (False, True)
  )
  reach = lambda change: np.abs(np.asarray(change)).max((1, 3)) > 0
  np.testing.assert_array_equal(reach(there), np.tri(T, dtype=bool))
  np.testing.assert_array_equal(reach(back), np.tri(T, dtype=bool).T)


def test_any_number_of_batch_axes():
  states, last = gru_scan(PARAMS, X[0], H0[0])
  np.testing.assert_allclose(states, run(PARAMS, X, H0)[0][0], atol=1e-6)
  more, _ = gru_scan(PARAMS, X[None], H0[None], lengths=jnp.full((1, B), T))
  np.testing.assert_allclose(more[0], run(PARAMS, X, H0)[0], atol=1e-6)
  assert last.shape == (M,)


@pytest.mark.parametrize(
  ("lengths", "words"),
  [
    ([1, 2, T + 1], r"within 0 and the 7 steps that came, got \[1, 2, 8\]"),
    ([1, -1, 2], "lengths must be within 0"),
    ([1, 2], r"lengths must have shape \[3\], one a row, got \[2\]"),
  ],
)
def test_lengths_that_do_not_fit(lengths, words, as_a_user):
  with pytest.raises(ValueError, match=words):
    gru_scan(PARAMS, X, lengths=jnp.array(lengths))


@pytest.mark.parametrize("wrong", [-1, T + 1])
def test_a_length_that_is_traced_and_wrong_is_nan_in_its_row(wrong):
  run = jax.jit(lambda n: gru_scan(PARAMS, X, lengths=n))
  right, got = (run(jnp.array([2, n, T])) for n in (1, wrong))
  for a, b in zip(right, got, strict=True):
    assert np.isnan(b[1]).all()
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[2], b[2])
