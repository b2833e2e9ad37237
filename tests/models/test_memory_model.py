"""A language model with a memory: it decodes, generates, and can be watched."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import memory
from attnjax.models import (
  MemoryLM,
  MemoryLMConfig,
  generate,
  norms_by_layer,
)
from attnjax.models.memory_config import make_rule
from tests import drawn
from tests.few import few

V = 13
SIZES = {"width": 8, "depth": 2, "heads": 2, "hidden": 16, "chunk": 2}
KINDS = {
  "attention": {"architecture": "attention"},
  "memory": {"architecture": "memory", "rule": "gated_delta_net"},
  "mac": {"architecture": "mac", "segment": 4, "persistent": 1},
}
PROMPT = jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]], jnp.int32)


def made(kind):
  config = MemoryLMConfig(**SIZES | KINDS[kind])
  return drawn.module(lambda: MemoryLM(config, V, rngs=nnx.Rngs(0)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_generation_says_what_the_whole_text_says(kind):
  model, steps = made(kind), 5
  text = np.zeros((2, PROMPT.shape[1] + steps), np.int32)
  text[:, : PROMPT.shape[1]] = PROMPT
  forward = jax.jit(lambda text: model(text))
  for t in range(PROMPT.shape[1], text.shape[1]):
    text[:, t] = forward(jnp.asarray(text))[:, t - 1].argmax(-1)
  written = generate(
    model, PROMPT, steps=steps, key=jax.random.key(0), temperature=0.0
  )
  np.testing.assert_array_equal(written, text[:, PROMPT.shape[1] :])


@pytest.mark.parametrize("kind", few(KINDS, "mac"))
@pytest.mark.parametrize("length", [0, 1])
def test_short_rows(kind, length):
  logits = made(kind)(jnp.zeros((2, length), jnp.int32))
  chex.assert_shape(logits, (2, length, V))
  chex.assert_tree_all_finite(logits)


def test_rows_of_different_lengths_are_refused():
  with pytest.raises(ValueError, match="as long as the others, got lengths"):
    generate(
      made("memory"),
      PROMPT,
      steps=2,
      key=jax.random.key(0),
      lengths=jnp.array([2, 5]),
    )


def test_the_size_of_its_memories_can_be_watched():
  logits, sizes = made("memory")(PROMPT, norms=True)
  assert logits.shape == (2, 5, V)
  assert sizes.shape == (2, 2, 2)  # layers, rows, heads
  assert (sizes > 0).all()
  assert sorted(norms_by_layer(sizes)) == [
    "layer0_memory_norm",
    "layer1_memory_norm",
  ]
  assert made("attention")(PROMPT, norms=True)[1] is None
  assert norms_by_layer(None) == {}


def test_the_control_climbs():
  config = MemoryLMConfig(objective_sign=-1)
  assert make_rule(config).objective == memory.negative(memory.l2())


def test_a_residual_is_a_choice_of_any_rule():
  for rule in ("titans", "delta_net"):
    structure = make_rule(MemoryLMConfig(rule=rule, residual=True)).structure
    plain = make_rule(MemoryLMConfig(rule=rule)).structure
    assert structure.residual
    assert structure.shapes(3, 3) == plain.shapes(3, 3)


def test_a_rule_lacks_what_it_is_to_lack_and_nothing_else():
  made = lambda **options: make_rule(MemoryLMConfig(**options))
  whole = made()
  momentum = made(without=("momentum",))
  assert momentum == dataclasses.replace(
    whole, algorithm=memory.gradient_descent()
  )
  decay = made(without=("decay",))
  assert decay == dataclasses.replace(whole, retention=memory.none())
  both = made(without=("decay", "momentum"))
  assert memory.wanted_gates(both) == ("rate",)
  # One map is a matrix, whose gradient is that of `memory.matrix`.
  assert made(memory_depth=1).structure.shapes(3, 5) == {"map_0": (3, 5)}
  assert len(made(memory_depth=3, rule="titans").structure.shapes(3, 3)) == 3
  assert made(memory_depth=2) == whole


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"without": ("momentum",)}, "momentum leaves out what rule=delta_net has"),
    ({"without": ("decay",)}, "without=decay leaves out what rule=delta_net"),
    ({"memory_depth": 1}, "memory_depth=1 counts the maps of a perceptron"),
  ],
)
def test_a_rule_cannot_lack_what_it_has_not(options, words):
  with pytest.raises(ValueError, match=words):
    make_rule(MemoryLMConfig(rule="delta_net", **options))


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"without": ("rate",)}, "without must be .*momentum, decay"),
    ({"memory_depth": 0}, "memory_depth must be at least 1, got 0"),
    ({"architecture": "mag"}, "attends to a window; give model.window"),
    ({"heads": 3}, "heads=3 must divide width=128"),
    ({"chunk": 0}, "chunk must be at least 1, got 0"),
    ({"objective_sign": 0}, "objective_sign must be one of 1, -1, got 0"),
  ],
)
def test_a_config_that_cannot_be(options, words):
  with pytest.raises(ValueError, match=words):
    MemoryLMConfig(**options)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"architecture": "gate"}, "must be one of attention, .* got 'gate'"),
    ({"rule": "titan"}, "rule must be one of linear_attention, .* got 'titan'"),
  ],
)
def test_what_there_is_not_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    MemoryLMConfig(**SIZES | changes)
