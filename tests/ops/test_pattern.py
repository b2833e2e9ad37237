"""The pattern in two layouts, low-rank value maps, cross-attention, rollout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks
from attnjax.ops.cross_attention import project_memory, read_memory
from attnjax.ops.heads import MultiHeadParams, Projection, proposed_changes
from attnjax.patterns import (
  attention_pattern,
  attention_rollout,
  move,
  value_maps,
)
from tests import drawn

B, T, S, M, H, K, D, E = 3, 5, 7, 13, 4, 2, 6, 3
X, MEMORY, *KERNELS = drawn.arrays(
  (B, T, M), (B, S, M), (M, H, D), (M, K, D), (M, K, E), (H, E, M)
)
BIASES = drawn.arrays((H, D), (K, D), (K, E), (M,), seed=1)
PARAMS = MultiHeadParams(*map(Projection, KERNELS))
BIASED = MultiHeadParams(*map(Projection, KERNELS, BIASES))


def attention(**kw):
  run = lambda: attnjax.multi_head_attention(
    PARAMS, X, aux=("weights",), mask=masks.causal(), **kw
  )
  return jax.jit(run)()


def test_columns_sum_to_one_and_later_words_give_nothing():
  weights = attention()[1].weights
  columns = np.asarray(attention_pattern(weights, "columns"))
  np.testing.assert_allclose(columns.sum(-2), 1, atol=1e-6)
  np.testing.assert_array_equal(columns, np.asarray(weights).swapaxes(-1, -2))
  # In a column the words that come after its own are below it.
  assert (np.tril(columns, -1) == 0).all()
  assert attention_pattern(weights) is weights


def test_the_heads_add_what_their_low_rank_maps_propose():
  out, aux = attention()
  maps = value_maps(PARAMS)
  np.testing.assert_allclose(move(aux.weights, X, maps), out, atol=1e-3)
  together = np.zeros((B, T, M))
  for h in range(H):
    # Down and up as they are multiplied, and a head at a time.
    down, up = KERNELS[2][:, h // (H // K)], KERNELS[3][h]
    change = np.asarray(aux.weights[:, h]) @ np.asarray(X)
    together += change @ np.asarray(down) @ np.asarray(up)
    np.testing.assert_allclose(maps[h], down @ up, atol=1e-4)
  np.testing.assert_allclose(together, out, atol=1e-3)


def test_the_rank_of_a_map_is_the_width_of_a_value():
  singular = np.linalg.svd(np.asarray(value_maps(PARAMS)), compute_uv=False)
  assert singular.shape == (H, M)
  assert (singular[:, :E] > 0.1).all()
  assert (singular[:, E:] < 1e-4).all()


def test_the_changes_of_the_heads_are_those_of_their_outputs():
  out, aux = attention()
  value = jnp.einsum("bsm,mke->bske", X, KERNELS[2])
  value = jnp.repeat(value, H // K, axis=2)
  heads = jnp.einsum("bhts,bshe->bthe", aux.weights, value)
  changes = proposed_changes(PARAMS.output, heads)
  np.testing.assert_allclose(changes.sum(-2), out, atol=1e-4)


@pytest.mark.parametrize("combine", ["concatenate", "sum"])
def test_a_memory_projected_once_is_read_as_ever(combine):
  mask = masks.lengths(key=jnp.array([7, 1, 4]))
  kw = {"mask": mask, "aux": ("weights",), "combine": combine}
  out, aux = read_memory(BIASED, X, *project_memory(BIASED, MEMORY), **kw)
  out_, aux_ = attnjax.multi_head_attention(BIASED, X, MEMORY, **kw)
  np.testing.assert_allclose(out, out_, atol=1e-5)
  np.testing.assert_allclose(aux.weights, aux_.weights, atol=1e-6)


# --- rollout ------------------------------------------------------------------

L = 3


def rows(*shape):
  weights = jax.nn.softmax(drawn.arrays(shape, seed=2)[0], axis=-1)
  return weights


def test_rollout_is_the_product_of_the_paper():
  weights = rows(L, B, H, T, T)
  share = attention_rollout(weights)
  for b in range(B):
    expected = np.eye(T)
    for layer in np.asarray(weights, np.float64)[:, b].mean(1):
      expected = (0.5 * layer + 0.5 * np.eye(T)) @ expected
    np.testing.assert_allclose(share[b], expected, atol=1e-6)


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_shares_of_the_inputs_sum_to_one(heads):
  share = attention_rollout(rows(L, B, H, T, T), heads=heads, residual=0.3)
  assert share.shape == (B, T, T)
  np.testing.assert_allclose(share.sum(-1), 1, atol=1e-5)
  assert (np.asarray(share) > 0).all()


def test_what_attends_to_itself_comes_from_itself():
  eye = jnp.broadcast_to(jnp.eye(T)[None, None], (L, H, T, T))
  np.testing.assert_array_equal(attention_rollout(eye), np.eye(T))
  weights = rows(L, H, T, T)
  np.testing.assert_array_equal(
    attention_rollout(weights, residual=1.0), np.eye(T)
  )
  one = attention_rollout(weights[:1], residual=0.0)
  np.testing.assert_allclose(one, weights[0].mean(0), atol=1e-6)


def test_a_causal_model_rolls_out_to_the_past_alone():
  weights = rows(L, H, T, T) * jnp.tri(T)[None, None]
  weights = weights / weights.sum(-1, keepdims=True)
  assert (np.triu(np.asarray(attention_rollout(weights)), 1) == 0).all()


def test_errors_name_what_came(as_a_user):
  with pytest.raises(ValueError, match=r"'L \*B H T T', .* \[3, 2, 5, 7\]"):
    attention_rollout(jnp.ones((3, 2, 5, 7)))
  with pytest.raises(ValueError, match="within 0 and 1, got 2"):
    attention_rollout(rows(L, H, T, T), residual=2)
  with pytest.raises(ValueError, match="'max' or 'min', got 'sum'"):
    attention_rollout(rows(L, H, T, T), heads="sum")
  with pytest.raises(ValueError, match="'rows' or 'columns', got 'diagonal'"):
    attention_pattern(rows(T, T), "diagonal")
