"""A step whose loss passes arrays on to the loss of the next step."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from attnjax import training


def loss(params, batch, key, carry):
  """A product with a carry that grows with the parameters."""
  del key
  value = params * carry + batch
  return value.sum(), jnp.float32(1), {"seen": carry.sum()}, params * carry


def state_of(carry=3.0):
  return training.init_state(
    jnp.float32(2), optax.sgd(1.0), jnp.full(1, carry, jnp.float32)
  )


def test_the_loss_of_a_step_is_given_what_the_last_one_returned():
  step = training.make_step(loss, optax.sgd(0.0), carries=True)
  state = state_of()
  for expected in (3.0, 6.0, 12.0):
    assert float(state.carry[0]) == expected
    state, metrics = jax.jit(step)(state, jnp.zeros(1))
    assert float(metrics["seen"]) == expected


def test_no_gradient_passes_to_the_step_before():
  """Through the carry it would be 2 p c; as it is, c."""
  step = training.make_step(loss, optax.sgd(1.0), carries=True)

  def after(params):
    carry = params * jnp.full(1, 3.0)
    state = training.init_state(params, optax.sgd(1.0), carry)
    return step(state, jnp.zeros(1))[1]["gradient_norm"]

  assert float(after(jnp.float32(2))) == 6.0

  pull = jax.grad(
    lambda carry: training.losses.carried_loss_sums(
      loss, jnp.float32(2), jnp.zeros(1), None, carry
    )[0]
  )
  assert float(pull(jnp.ones(1))[0]) == 0.0


@pytest.mark.parametrize(
  ("carry", "words"),
  [
    (jnp.zeros(2), r"'carry'. is .1,. float32 .* and .2,. float32"),
    (jnp.zeros(1, jnp.bfloat16), r"\(1,\) bfloat16 in the carry returned"),
    ({"more": jnp.zeros(1)}, "more"),
  ],
)
def test_a_carry_unlike_the_one_that_was_given_is_refused(carry, words):
  other = lambda *of: (*loss(*of)[:3], carry)
  step = training.make_step(other, optax.sgd(1.0), carries=True)
  with pytest.raises(ValueError, match=rf"must return a carry like .*{words}"):
    step(state_of(), jnp.zeros(1))


def test_a_loss_that_returns_no_carry_is_refused():
  plain = lambda *of: loss(*of)[:2]
  step = training.make_step(plain, optax.sgd(1.0), carries=True)
  with pytest.raises(ValueError, match=r"must return \(total, weight, carry\)"):
    step(state_of(), jnp.zeros(1))


def test_what_a_carry_cannot_be_divided_over_is_refused():
  with pytest.raises(NotImplementedError, match="give it microbatches=1"):
    training.make_step(loss, optax.sgd(1.0), microbatches=2, carries=True)
  step = training.make_step(loss, optax.sgd(1.0), carries=True)
  with pytest.raises(NotImplementedError, match="use jit_step"):
    training.pmap_step(step)


def test_a_step_without_a_carry_leaves_that_of_the_state():
  plain = lambda params, batch, key: ((params * batch).sum(), jnp.float32(1))
  step = training.make_step(plain, optax.sgd(1.0))
  state, _ = step(state_of(), jnp.ones(1))
  chex.assert_trees_all_equal(state.carry, state_of().carry)
