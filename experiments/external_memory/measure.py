"""Recall of random key-value pairs by noisy keys, without training."""

import functools

import jax
import jax.numpy as jnp

from attnjax import scoring, slots

__all__ = ["READERS", "draw_keys", "recall"]


def _attention(sharpness):
  """A reader: softmax of sharpness · dot product; None: 1 / noise²."""

  def answer(store, query, noise):
    scores = scoring.scaled_dot(sharpness or 1 / noise**2)
    return slots.read(store, query, scoring=scores)

  return answer


def _linear(store, query, noise):
  """A reader of the linear memory Σ_s value[s] key[s]ᵀ: one matrix product."""
  del noise
  return query @ (store.key.T @ store.value)


# With sharpness 1 / noise² the weight of a slot is its posterior probability
# under Gaussian noise; the other readers do not know the noise.
READERS = {
  "attention, sharpness 1/noise²": _attention(None),
  "attention, sharpness 8": _attention(8.0),
  "attention, sharpness 1": _attention(1.0),
  "linear memory": _linear,
}


def draw_keys(key, count: int, width: int):
  """Random unit keys ``count width``."""
  # A Gaussian vector has no preferred direction: these are uniform.
  keys = jax.random.normal(key, (count, width))
  return keys / jnp.linalg.norm(keys, axis=-1, keepdims=True)


@functools.partial(
  # The noise is static, for `scaled_dot` takes a Python number.
  jax.jit,
  static_argnames=("reader", "size", "width", "symbols", "questions", "noise"),
)
def recall(
  key,
  *,
  reader: str,
  size: int,
  noise: float,
  width: int,
  symbols: int,
  questions: int,
):
  """Share of questions whose value is the argmax of the reader's output.

  Args:
    key: of the draws.
    reader: of `READERS`.
    size: pairs M in the store.
    noise: standard deviation on each feature of the key asked with.
    width: D.
    symbols: values; a pair holds one, as a one-hot vector.
    questions: how many are asked.
  """
  of_keys, of_values, of_questions, of_noise = jax.random.split(key, 4)
  values = jax.random.randint(of_values, (size,), 0, symbols)
  store = slots.Slots(
    draw_keys(of_keys, size, width), jax.nn.one_hot(values, symbols)
  )

  at = jax.random.randint(of_questions, (questions,), 0, size)
  query = store.key[at] + noise * jax.random.normal(
    of_noise, (questions, width)
  )
  answers = READERS[reader](store, query, noise).argmax(-1)

  return (answers == values[at]).mean()
