"""A tiny task that a sequence model can learn in seconds: to copy, reversed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

__all__ = ["END", "START", "V", "batch", "learn"]

START, END, V = 0, 1, 7


def batch(rows=8, longest=4, seed=0):
  """Sources, their lengths, what the decoder reads, and what it should say."""
  rng = np.random.default_rng(seed)
  lengths = rng.integers(1, longest + 1, rows)
  source = rng.integers(2, V, (rows, longest))
  says = np.full((rows, longest + 1), END)
  for row, n in enumerate(lengths):
    says[row, :n] = source[row, :n][::-1]
  reads = np.concatenate([np.full((rows, 1), START), says[:, :-1]], axis=1)
  weights = np.arange(longest + 1) <= lengths[:, None]
  arrays = (source, lengths, reads, says)
  return *(jnp.asarray(x, jnp.int32) for x in arrays), jnp.asarray(weights)


def learn(model, data, steps=120, rate=1e-2):
  """The model after some steps of Adam, and its last loss."""
  source, lengths, reads, says, weights = data
  optimizer = optax.adam(rate)

  def loss(model):
    logits = model(source, reads, source_lengths=lengths)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, says)
    return jnp.sum(jnp.where(weights, nats, 0)) / weights.sum().astype(float)

  @jax.jit
  def run(model):
    def step(carry, _):
      model, state = carry
      value, grads = jax.value_and_grad(loss)(model)
      # Optax raises a float to the power of a count.
      with jax.numpy_dtype_promotion("standard"):
        updates, state = optimizer.update(grads, state)
      return (optax.apply_updates(model, updates), state), value

    carry = (model, optimizer.init(model))
    (model, _), losses = jax.lax.scan(step, carry, None, length=steps)
    return model, losses

  model, losses = run(model)
  return model, float(losses[-1])
