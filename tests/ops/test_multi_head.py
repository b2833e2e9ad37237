"""Many heads: two forms that agree, and what each parameter may change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import attnjax
from attnjax import cache, masks, positions, score_mods
from attnjax.ops import heads as maps
from attnjax.ops.multi_head import decode_attention
from attnjax.testing import oracle
from tests.drawn import arrays
from tests.few import few

B, T, S, M, H, K, D, E = 3, 5, 7, 13, 4, 2, 6, 11
SHAPES = ((M, H, D), (M, K, D), (M, K, E), (H, E, M))
ATTEND = jax.jit(
  attnjax.multi_head_attention,
  static_argnames=("combine", "position_encoding", "aux"),
)
SELF = jax.jit(attnjax.self_attention, static_argnames=("aux",))
PROJECT = jax.jit(maps.project_heads)


def projections(shapes=SHAPES, bias=True, seed=1):
  """Parameters of many heads."""
  biases = [s[-2:] for s in shapes[:3]] + [shapes[3][-1:]]
  drawn = arrays(*shapes, *biases, seed=seed, scale=0.5)
  pairs = zip(drawn[:4], drawn[4:] if bias else [None] * 4, strict=True)
  return maps.MultiHeadParams(*(maps.Projection(*p) for p in pairs))


@pytest.fixture(scope="module")
def params():
  return projections()


@pytest.fixture(scope="module")
def x():
  return np.asarray(arrays((B, T, M))[0])


@pytest.fixture(scope="module")
def memory():
  return np.asarray(arrays((B, S, M), seed=2)[0])


def explicit(params, x, memory, bias=None):
  """Head after head in float64, each a matrix of its own; `bias` by head."""
  pick = lambda p, h: (np.asarray(p.kernel)[:, h], np.asarray(p.bias)[h])
  x, memory = (np.asarray(a, np.float64) for a in (x, memory))
  out = np.asarray(params.output.bias, np.float64)
  group = params.query.kernel.shape[1] // params.key.kernel.shape[1]
  for h in range(params.query.kernel.shape[1]):
    named = zip(params[:3], (h, h // group, h // group), strict=True)
    (wq, bq), (wk, bk), (wv, bv) = (pick(*one) for one in named)
    one_head = [a[:, :, None] for a in (x @ wq + bq, memory @ wk + bk)]
    value = (memory @ wv + bv)[:, :, None]
    read = oracle.attention(*one_head, value, bias=bias).out
    out = out + read[:, :, 0] @ np.asarray(params.output.kernel)[h]
  return out


def test_equals_explicit_single_heads(params, x, memory):
  got = ATTEND(params, x, memory)
  np.testing.assert_allclose(got, explicit(params, x, memory), atol=1e-5)


def test_concatenating_equals_adding_proposed_changes(params, x, memory):
  joined = ATTEND(params, x, memory, combine="concatenate")
  added = ATTEND(params, x, memory, combine="sum")
  np.testing.assert_allclose(joined, added, atol=1e-5)


def test_a_head_that_is_silenced_takes_its_change_away(params):
  (read,) = arrays((B, T, H, E))
  combine = jax.jit(maps.combine_heads, static_argnums=2)
  changes = np.asarray(jax.jit(maps.proposed_changes)(params.output, read))
  without = np.array(read)
  without[:, :, 2] = 0
  whole, less = (
    np.asarray(combine(params.output, x, "concatenate"))
    for x in (read, without)
  )
  np.testing.assert_allclose(whole - less, changes[:, :, 2], atol=1e-5)


def test_the_value_map_of_a_head_has_low_rank(params):
  value, output = np.asarray(params.value.kernel), params.output.kernel
  down, up = value[:, 1], np.asarray(output)[2]
  singular = np.linalg.svd(down @ up, compute_uv=False)
  assert (singular[:E] > 1e-3).all()
  assert (singular[E:] < 1e-5).all()


def test_self_attention_is_attention_to_the_inputs(params, x):
  np.testing.assert_array_equal(ATTEND(params, x), ATTEND(params, x, x))


def test_positions_of_the_inputs_are_those_of_their_memory(params, x):
  where = np.array([0, 1, 5, 9, 30], np.int32)
  kw = {"position_encoding": positions.Rotary(), "mask": masks.causal()}
  attend = lambda *x, **at: np.asarray(ATTEND(params, *x, **at, **kw))
  own = attend(x, positions=where)
  both = attend(x, x, positions=where, memory_positions=where)
  np.testing.assert_array_equal(own, both)
  # Rotary knows distances: it matters where, not from where it is counted.
  shifted = attend(x, positions=where + 3)
  np.testing.assert_allclose(own, shifted, atol=1e-4)
  assert np.abs(own - attend(x)).max() > 1e-2


def test_one_head_is_self_attention_and_a_map(x):
  params = projections(((M, 1, D), (M, 1, D), (M, 1, E), (1, E, M)))
  flat = maps.SelfAttentionParams(
    *(
      maps.Projection(np.asarray(p.kernel)[:, 0], np.asarray(p.bias)[0])
      for p in params[:3]
    )
  )
  kernel, bias = map(np.asarray, params.output)
  expected = np.asarray(SELF(flat, x)) @ kernel[0] + bias
  np.testing.assert_allclose(ATTEND(params, x), expected, atol=1e-5)


def test_the_self_attention_of_the_seed(x):
  # The notes' layer: three linear maps of one width, with biases, and scores
  # over the square root of that width.
  shapes = ((M, M), (M, M), (M, M))
  kernels, biases = arrays(*shapes, scale=0.5), arrays(*[(M,)] * 3, seed=3)
  params = maps.SelfAttentionParams(*map(maps.Projection, kernels, biases))
  got, aux = SELF(params, x, aux=("weights",))
  q, k, v = (
    (np.asarray(x, np.float64) @ np.asarray(w) + np.asarray(b))[:, :, None]
    for w, b in zip(kernels, biases, strict=True)
  )
  expected = oracle.attention(q / M**0.5, k, v, scoring="dot")
  np.testing.assert_allclose(got, expected.out[:, :, 0], atol=1e-5)
  np.testing.assert_allclose(aux.weights, expected.weights, atol=1e-6)


def test_grouped_heads_equal_repeated_heads(params, x, memory):
  repeat = lambda p: maps.Projection(
    np.repeat(p.kernel, H // K, axis=1), np.repeat(p.bias, H // K, axis=0)
  )
  repeated = params._replace(key=repeat(params.key), value=repeat(params.value))
  np.testing.assert_allclose(
    ATTEND(params, x, memory), ATTEND(repeated, x, memory), atol=1e-5
  )


def test_values_do_not_choose_and_queries_and_keys_do_not_speak(params, x):
  other = projections(seed=7)

  def attend(params):
    out, aux = ATTEND(params, x, aux=("weights",))
    return np.asarray(out), np.asarray(aux.weights)

  out, weights = attend(params)
  louder, same = attend(params._replace(value=other.value))
  np.testing.assert_array_equal(weights, same)
  assert (out != louder).any()
  values = PROJECT(params, x, None)[2]
  for name in ("query", "key"):
    changed = params._replace(**{name: getattr(other, name)})
    np.testing.assert_array_equal(values, PROJECT(changed, x, None)[2])
    _, elsewhere = attend(changed)
    assert (weights != elsewhere).any()


@pytest.mark.parametrize(
  "kind", few(["none", "rotary", "alibi", "learned"], "rotary")
)
def test_decoding_equals_full_causal_attention(kind):
  params = projections(bias=False)
  chunks = (3, 3, 1, 1)
  length = sum(chunks)
  drawn = arrays((B, length, M), (length, M))
  x, table = map(np.asarray, drawn)
  kw = {}
  if kind == "rotary":
    kw["position_encoding"] = positions.Rotary(interleaved=True)
  if kind == "alibi":
    kw["score_mod"] = score_mods.alibi(positions.alibi_slopes(H))

  def placed(x, where):
    if kind != "learned":
      return x
    return x + positions.learned(jnp.asarray(table), where)

  @jax.jit
  def step(x, state):
    inputs = placed(x, state.next_positions(x.shape[1]))
    return decode_attention(params, inputs, state, **kw)

  state, outs, start = cache.init((B,), length, K, D, value_width=E), [], 0
  for size in chunks:
    out, state = step(x[:, start : start + size], state)
    outs.append(out)
    start += size
  inputs = x + table if kind == "learned" else x
  whole = ATTEND(params, inputs, mask=masks.causal(), **kw)
  np.testing.assert_allclose(np.concatenate(outs, 1), whole, atol=1e-5)


def test_decoding_with_a_window_that_rolls(params):
  x = np.asarray(arrays((B, 9, M))[0])
  kw = {"mask": masks.sliding_window(2)}
  state, outs = cache.init((B,), 2 + 3, K, D, value_width=E), []
  step = jax.jit(
    lambda x, s: decode_attention(params, x, s, store=cache.roll, **kw)
  )
  for start in range(0, 9, 3):
    out, state = step(x[:, start : start + 3], state)
    outs.append(out)
  whole = ATTEND(params, x, **kw)
  np.testing.assert_allclose(np.concatenate(outs, 1), whole, atol=1e-5)


def test_decoding_can_show_its_weights(params, x):
  state = cache.init((B,), 8, K, D, value_width=E)
  decode = jax.jit(decode_attention, static_argnames=("aux",))
  plain, _ = decode(params, x, state)
  out, state, aux = decode(params, x, state, aux=("weights",))
  np.testing.assert_allclose(out, plain, rtol=1e-5, atol=1e-6)
  weights = np.asarray(aux.weights)
  assert (weights[..., T:] == 0).all()  # slots that hold nothing
  assert (np.triu(weights[..., :T], 1) == 0).all()
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


def test_gradients_reach_every_parameter():
  params = projections(((3, 2, 2), (3, 1, 2), (3, 1, 2), (2, 2, 3)))
  x, memory = arrays((2, 3), (3, 3))
  f = jax.jit(attnjax.multi_head_attention)
  check_grads(f, (params, x, memory), order=1, atol=1e-2, rtol=1e-2)
  loss = lambda p: (f(p, x, memory) ** 2).sum()
  grads = jax.tree.map(np.asarray, jax.jit(jax.grad(loss))(params))
  key = grads.key
  for leaf in jax.tree.leaves(grads._replace(key=maps.Projection(key.kernel))):
    assert np.abs(leaf).max() > 1e-4
  # A bias of the keys adds one number to a row of logits: no softmax sees it.
  np.testing.assert_allclose(key.bias, 0, atol=1e-5)


@pytest.mark.usefixtures("as_a_user")
def test_a_combination_that_does_not_exist(params, x):
  with pytest.raises(ValueError, match="'concatenate' or 'sum', got 'mean'"):
    attnjax.multi_head_attention(params, x, combine="mean")
