"""A model with a memory that reads documents row by row, its cache carried."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax import runs, training
from attnjax.data import carried_batches, pack
from attnjax.models import MemoryLM, MemoryLMConfig
from tests.few import few

ARCHITECTURES = ("memory", "mac", "mag", "mal", "attention")
T, BOUNDARY = 8, 0


def model_of(architecture="memory", window=4):
  config = MemoryLMConfig(
    architecture=architecture,
    rule="gated_delta_net",
    width=8,
    depth=1,
    heads=2,
    hidden=16,
    chunk=4,
    segment=4,
    window=None if architecture == "memory" else window,
    persistent=0,
  )
  return jax.jit(lambda: MemoryLM(config, 11, rngs=nnx.Rngs(0)))()


DECODE = jax.jit(MemoryLM.decode)


@pytest.mark.parametrize("architecture", few(ARCHITECTURES, "memory", "mac"))
def test_rows_that_are_carried_are_one_long_row(architecture):
  model = model_of(architecture)
  tokens = jax.random.randint(jax.random.key(0), (2, 3 * T), 0, 11)
  cache, rows = model.init_cache((2,), 3 * T), []
  for start in range(0, 3 * T, T):
    logits, cache = DECODE(model, tokens[:, start : start + T], cache)
    rows.append(logits)
  np.testing.assert_allclose(
    np.concatenate(rows, 1), jax.jit(model)(tokens), atol=2e-5
  )


@pytest.mark.parametrize("architecture", few(ARCHITECTURES, "memory"))
def test_a_row_that_begins_knows_nothing_of_what_was_read(architecture):
  model = model_of(architecture)
  read = jax.random.randint(jax.random.key(1), (2, T), 0, 11)
  tokens = jax.random.randint(jax.random.key(2), (2, T), 0, 11)
  _, cache = DECODE(model, read, model.init_cache((2,), 3 * T))
  begins = jnp.array([True, False])

  leaves, tree = jax.tree.flatten(cache)
  moving = [jnp.issubdtype(x.dtype, jnp.floating) for x in leaves]
  floats = [x for x, moves in zip(leaves, moving, strict=True) if moves]

  @jax.jit
  def logits_of(floats):
    new = iter(floats)
    whole = [
      next(new) if moves else x for x, moves in zip(leaves, moving, strict=True)
    ]
    begun = model.restart(jax.tree.unflatten(tree, whole), begins, 3 * T)
    return model.decode(tokens, begun)[0]

  after = logits_of(floats)
  fresh, _ = DECODE(model, tokens, model.init_cache((2,), 3 * T))
  np.testing.assert_allclose(after[0], fresh[0], atol=1e-6)
  assert np.abs(after[1] - fresh[1]).max() > 1e-3

  # By derivatives: of the row that begins exactly none, of the other some.
  for row, reached in ((0, False), (1, True)):
    found = jax.jit(jax.grad(lambda x, row=row: logits_of(x)[row].sum()))(
      floats
    )
    assert any((np.asarray(x) != 0).any() for x in found) == reached


def test_a_cache_that_is_not_between_chunks_or_of_other_sizes_is_refused():
  model = model_of()
  cache = model.init_cache((2,), 16)
  _, within = DECODE(model, jnp.ones((2, 3), int), cache)
  with pytest.raises(ValueError, match="whole chunks of 4 writes were read"):
    model.restart(within, jnp.array([True, False]), 16)
  traced = jax.jit(lambda c: model.restart(c, jnp.array([True, False]), 16))
  out, _ = DECODE(model, jnp.ones((2, 1), int), traced(within))
  assert np.isnan(out[0]).all()
  with pytest.raises(ValueError, match="of 3 rows and a capacity of 16"):
    model.restart(cache, jnp.zeros(3, bool), 16)


def loss(model, batch, key, cache):
  del key
  cache = model.restart(cache, batch["begins"], 3 * T)
  logits, cache = model.decode(batch["tokens"], cache)
  nats = optax.softmax_cross_entropy_with_integer_labels(
    logits, batch["targets"]
  )
  weights = batch["weights"]
  return (nats * weights).sum(), weights.sum(), cache


def forgetful(model, batch, key, cache):
  every = jnp.ones_like(batch["begins"])
  return loss(model, batch | {"begins": every}, key, cache)


def fit(workdir, loss=loss, stop=None, **changes):
  documents = [np.arange(n) % 10 + 1 for n in (20, 9, 24, 5, 17)]
  batches = carried_batches(pack(documents, BOUNDARY, length=T), 2, seed=0)

  def until(step):
    if stop is not None and step >= stop:
      raise InterruptedError("stopped")
    return batches(step)

  model = model_of()
  return runs.fit(
    model,
    loss,
    until,
    workdir=workdir,
    experiment="carried",
    identity={"model": "small"},
    optimizer=training.OptimizerConfig(peak_learning_rate=0.01),
    train=runs.TrainConfig(
      steps=6,
      watch=changes.pop("watch", False),
      checkpoint=training.CheckpointConfig(every_steps=2),
    ),
    carry=changes.pop("carry", model.init_cache((2,), 3 * T)),
    **changes,
  )


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_with_what_it_had_read(tmp_path):
  whole = fit(tmp_path / "whole")
  with pytest.raises(InterruptedError):
    fit(tmp_path / "run", stop=3)
  again = fit(tmp_path / "run")
  for x, y in zip(
    jax.tree.leaves(whole.params), jax.tree.leaves(again.params), strict=True
  ):
    np.testing.assert_array_equal(x, y)

  # It counts: a loss that drops what was read ends elsewhere.
  other = fit(tmp_path / "other", forgetful)
  apart = [
    np.abs(x - y).max()
    for x, y in zip(
      jax.tree.leaves(whole.params), jax.tree.leaves(other.params), strict=True
    )
  ]
  assert max(apart) > 1e-4


def test_what_a_carry_does_not_go_with_is_refused_before_anything(tmp_path):
  mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
  with pytest.raises(NotImplementedError, match="a carry is of one device"):
    fit(tmp_path / "run", mesh=mesh)
  with pytest.raises(NotImplementedError, match=r"train\.watch: calls a loss"):
    fit(tmp_path / "run", watch=True)
  assert not (tmp_path / "run").exists()
