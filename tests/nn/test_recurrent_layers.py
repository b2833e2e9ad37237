"""Recurrent modules: their parameters, given to the primitives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import masks
from attnjax.nn import GRU, GRUCell, StepAttention
from attnjax.ops.recurrent import gru_scan
from tests import drawn

B, S, D, M = 3, 7, 5, 4
X, STATE, MEMORY = drawn.arrays((B, S, D), (B, M), (B, S, M))
LENGTHS = jnp.array([7, 1, 4])


def test_one_direction_is_the_primitive():
  layer = drawn.module(lambda: GRU(D, M, rngs=nnx.Rngs(0)))
  expected = gru_scan(layer.forward.params, X, STATE, lengths=LENGTHS)
  for got, want in zip(layer(X, STATE, lengths=LENGTHS), expected, strict=True):
    np.testing.assert_array_equal(got, want)


def test_two_directions_are_two_primitives():
  make = lambda: GRU(D, M, bidirectional=True, rngs=nnx.Rngs(0))
  layer = drawn.module(make)
  start = jnp.concatenate([STATE, -STATE], axis=-1)
  outputs, last = layer(X, start, lengths=LENGTHS)
  for row, n in enumerate(LENGTHS.tolist()):
    there, back = layer.forward.params, layer.backward.params
    ahead, one = gru_scan(there, X[row, :n], STATE[row])
    behind, two = gru_scan(back, X[row, :n][::-1], -STATE[row])
    expected = np.concatenate([ahead, behind[::-1]], axis=-1)
    np.testing.assert_allclose(outputs[row, :n], expected, atol=1e-6)
    np.testing.assert_allclose(last[row], np.r_[one, two], atol=1e-6)


def test_a_cell_steps_as_its_layer_does():
  layer = drawn.module(lambda: GRU(D, M, rngs=nnx.Rngs(0)))
  state = layer.forward(STATE, X[:, 0])
  np.testing.assert_allclose(layer(X, STATE)[0][:, 0], state, atol=1e-6)


def test_states_start_orthogonal_and_biases_at_zero():
  cell = GRUCell(D, M, rngs=nnx.Rngs(0))
  for gate in range(3):
    kernel = np.asarray(cell.state_kernel[...])[:, gate]
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(M), atol=1e-5)
  assert not np.asarray(cell.inputs_bias[...]).any()
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(cell))


@pytest.mark.parametrize("rule", ["additive", "dot", "general"])
def test_one_query_a_step_is_attention_with_its_scoring(rule):
  make = lambda: StepAttention(M, score=rule, rngs=nnx.Rngs(0))
  layer = drawn.module(make)
  context, aux = layer(
    STATE, MEMORY, layer.prepare(MEMORY), lengths=LENGTHS, aux=("weights",)
  )
  expected, aux_ = attnjax.attend(
    STATE[:, None, None],
    MEMORY[:, :, None],
    MEMORY[:, :, None],
    scoring=layer.scoring,
    mask=masks.lengths(key=LENGTHS),
    aux=("weights",),
  )
  np.testing.assert_allclose(context, expected[:, 0, 0], atol=1e-5)
  np.testing.assert_allclose(aux.weights, aux_.weights, atol=1e-5)
  assert (aux.weights[1, 0, 0, 1:] == 0).all()


@pytest.mark.parametrize("rule", ["additive", "dot", "general"])
def test_gradients_reach_every_parameter_as_through_attend(rule):
  layer = drawn.module(lambda: StepAttention(M, score=rule, rngs=nnx.Rngs(0)))

  def stepwise(layer, memory):
    return (layer(STATE, memory, layer.prepare(memory)) ** 2).sum()

  def at_once(layer, memory):
    one = memory[:, :, None]
    out = attnjax.attend(STATE[:, None, None], one, one, scoring=layer.scoring)
    return (out**2).sum()

  grads, grads_ = (
    jax.tree.leaves(jax.jit(jax.grad(f, (0, 1)))(layer, MEMORY))
    for f in (stepwise, at_once)
  )
  for got, want in zip(grads, grads_, strict=True):
    assert np.abs(np.asarray(want)).max() > 1e-4
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_errors_name_what_came():
  with pytest.raises(ValueError, match=r"inputs and width .* got 0 and 4"):
    GRUCell(0, 4, rngs=nnx.Rngs(0))
  with pytest.raises(ValueError, match=r"score must be one of .*'dot'.*'cos'"):
    StepAttention(4, score="cos", rngs=nnx.Rngs(0))


def test_the_old_name_of_a_score_still_works_and_warns():
  with pytest.warns(DeprecationWarning, match="score="):
    layer = StepAttention(4, rule="dot", rngs=nnx.Rngs(0))
  assert layer.score == "dot"
