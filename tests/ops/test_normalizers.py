"""Normalizers: their laws, empty rows, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import attnjax
from attnjax import masks, normalizers
from tests.few import few

B, H, T, S = 2, 3, 5, 7
INF = jnp.inf


def _normalizers(dtype=jnp.float32):
  sink = jnp.asarray([-0.5, 0.0, 2.0], dtype)
  return {
    "softmax": normalizers.softmax(),
    "sink": normalizers.softmax(sink),
    "scalar sink": normalizers.softmax(jnp.asarray(0.7, dtype)),
    "plus one": normalizers.softmax_plus_one(),
    "sigmoid": normalizers.sigmoid(-1.5),
    "top 3": normalizers.top_k(3),
    "top 1": normalizers.top_k(1),
  }


NAMES = list(_normalizers())


@pytest.fixture
def logits(key):
  """Some hidden; row 2 sees nothing."""
  keys = jax.random.split(key)
  x = 3 * jax.random.normal(keys[0], (B, H, T, S))
  hidden = jax.random.bernoulli(keys[1], 0.3, x.shape)
  return jnp.where(hidden, -INF, x).at[:, :, 2].set(-INF)


def _defined(name, x):
  """Weights and log-sum-exp by their equations, in float64 numpy."""
  x = np.asarray(x, np.float64)
  if name.startswith("top"):
    order = np.argsort(-x, axis=-1, kind="stable")
    first = order[..., : int(name[-1])]
    kept = np.zeros(x.shape, bool)
    np.put_along_axis(kept, first, True, axis=-1)
    x = np.where(kept, x, -np.inf)
  e = np.exp(x)
  total = e.sum(-1)
  logsumexp = np.log(total, out=np.full_like(total, -np.inf), where=total > 0)
  if name == "sigmoid":
    return 1 / (1 + np.exp(1.5 - x)), logsumexp
  sink = {
    "sink": np.exp([-0.5, 0.0, 2.0])[:, None],
    "scalar sink": np.exp(0.7),
    "plus one": 1.0,
  }.get(name, 0.0)
  below = (total + sink)[..., None]
  return np.divide(e, below, out=np.zeros_like(e), where=below > 0), logsumexp


@pytest.mark.parametrize("name", NAMES)
def test_equals_its_equation(logits, name):
  weights, logsumexp = _normalizers()[name](logits)
  expected = _defined(name, logits)
  np.testing.assert_allclose(weights, expected[0], atol=1e-6)
  np.testing.assert_allclose(logsumexp, expected[1], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_that_sees_nothing(logits, name):
  normalizer = _normalizers()[name]
  weights, logsumexp = normalizer(logits)
  assert (weights[:, :, 2] == 0).all()
  assert jnp.isneginf(logsumexp[:, :, 2]).all()

  @jax.jit
  def loss(normalizer, x):
    weights, logsumexp = normalizer(x)
    finite = jnp.where(jnp.isneginf(logsumexp), 0, logsumexp)
    return (weights**2).sum() + finite.sum() + logsumexp[:, :, 2].sum()

  both = jax.jit(jax.grad(loss, argnums=(0, 1)))
  to_normalizer, to_logits = both(normalizer, logits)
  assert (to_logits[:, :, 2] == 0).all()
  for g in jax.tree.leaves((to_normalizer, to_logits)):
    assert jnp.isfinite(g).all()
  twice = jax.grad(lambda x: both(normalizer, x)[1].sum())
  again = jax.jit(twice)(logits)
  assert jnp.isfinite(again).all()
  # Rows alone with nothing to see move no sink either.
  empty = both(normalizer, jnp.full((B, H, T, S), -INF))
  assert all((g == 0).all() for g in jax.tree.leaves(empty))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_hidden_weighs_nothing_and_moves_nothing(logits, name):
  normalizer = _normalizers()[name]
  hidden = jnp.isneginf(logits)
  assert (jnp.where(hidden, normalizer(logits)[0], 0) == 0).all()
  grad = jax.grad(lambda x: (normalizer(x)[0] ** 2).sum())(logits)
  assert (jnp.where(hidden, grad, 0) == 0).all()
  assert (grad != 0).any() or name == "top 1"


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_make_the_whole(logits, name):
  # What an engine computes from keep, weigh and factor.
  normalizer = _normalizers()[name]
  x = logits
  if normalizer.keep is not None:
    least = jnp.sort(x, axis=-1)[..., S - normalizer.keep, None]
    x = jnp.where(x >= least, x, -INF)
  logsumexp = jax.nn.logsumexp(x, axis=-1)
  weights = normalizer.weigh(x)
  if weights is None:
    finite = jnp.where(jnp.isneginf(logsumexp), 0, logsumexp)
    weights = jnp.exp(x - finite[..., None])
    factor = normalizer.factor(logsumexp)
    if factor is not None:
      assert (factor[:, :, 2] == 0).all()
      weights = weights * factor[..., None]
  whole = normalizer(logits)
  np.testing.assert_allclose(weights, whole[0], atol=1e-6)
  np.testing.assert_allclose(logsumexp, whole[1], atol=1e-5)


@pytest.mark.parametrize("name", few(NAMES, "sink", "sigmoid", "top 3"))
def test_gradients_by_differences(name):
  with jax.enable_x64(True):
    normalizer = _normalizers(jnp.float64)[name]
    x = np.random.default_rng(0).normal(size=(1, H, 2, S))

    @jax.jit
    def f(normalizer, x):
      return jax.tree.map(jnp.asarray, normalizer)(jnp.asarray(x))

    order = 1 if name in ("scalar sink", "plus one", "top 1") else 2
    check_grads(f, (normalizer, x), order=order, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["sink", "scalar sink"])
def test_gradients_reach_the_sink(logits, name):
  normalizer = _normalizers()[name]
  grads = jax.grad(lambda n: n(logits)[0].sum())(normalizer)
  assert grads.sink.shape == normalizer.sink.shape
  # A larger sink leaves less.
  assert (grads.sink < 0).all()


@pytest.mark.parametrize("name", ["softmax", "top 3", "top 1"])
def test_rows_sum_to_one(logits, name):
  total = _normalizers()[name](logits)[0].sum(-1)
  seen = (logits > -INF).any(-1)
  np.testing.assert_allclose(total, jnp.where(seen, 1.0, 0.0), atol=1e-6)


def test_a_sink_is_one_more_key_without_a_value(logits):
  sink = jnp.array([-0.5, 0.0, 2.0])
  column = jnp.broadcast_to(sink[None, :, None, None], (B, H, T, 1))
  more, _ = normalizers.softmax()(jnp.concatenate([logits, column], -1))
  weights, logsumexp = normalizers.softmax(sink)(logits)
  np.testing.assert_allclose(weights, more[..., :-1], atol=1e-6)
  plain = normalizers.softmax()(logits)[1]
  np.testing.assert_array_equal(logsumexp, plain)


def test_a_sink_shifts_with_the_logits(logits):
  sink = jnp.array([-0.5, 0.0, 2.0])
  weights, logsumexp = normalizers.softmax(sink)(logits)
  moved, higher = normalizers.softmax(sink + 5)(logits + 5)
  np.testing.assert_allclose(moved, weights, atol=1e-6)
  np.testing.assert_allclose(higher, logsumexp + 5, atol=1e-5)


def test_plus_one_is_a_sink_of_zero(logits):
  one = normalizers.softmax_plus_one()(logits)
  for sink in (jnp.zeros(H), jnp.zeros(()), 0.0):
    zero = normalizers.softmax(sink)(logits)
    np.testing.assert_array_equal(one[0], zero[0])
    np.testing.assert_array_equal(one[1], zero[1])


def test_a_sink_of_minus_infinity_is_none(logits):
  def loss(normalizer, x):
    return (normalizer(x)[0] ** 2).sum()

  none = normalizers.softmax()
  absent = normalizers.softmax(jnp.full(H, -INF))
  np.testing.assert_array_equal(absent(logits)[0], none(logits)[0])
  to_sink, to_logits = jax.grad(loss, (0, 1))(absent, logits)
  assert (to_sink.sink == 0).all()
  np.testing.assert_allclose(to_logits, jax.grad(loss, 1)(none, logits))


@pytest.mark.parametrize("size", [1e4, 1e38])
@pytest.mark.parametrize("name", NAMES)
def test_huge_logits_are_finite(name, size):
  x = size * jnp.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
  x = jnp.broadcast_to(x[None], (H, 4, 2))
  normalizer = _normalizers()[name]

  @jax.jit
  def loss(normalizer, x):
    weights, logsumexp = normalizer(x)
    return weights.sum() + (logsumexp / size).sum()

  for g in jax.tree.leaves(jax.value_and_grad(loss, (0, 1))(normalizer, x)):
    assert jnp.isfinite(g).all()


@pytest.mark.parametrize("size", [-1e38, -1e4, 1e4, 1e38])
def test_huge_sinks_are_finite(logits, size):
  normalizer = normalizers.softmax(jnp.full(H, size))
  weights, _ = normalizer(logits)
  total = jnp.where((logits > -INF).any(-1), float(size < 0), 0)
  np.testing.assert_allclose(weights.sum(-1), total, atol=1e-6)
  grads = jax.grad(lambda n, x: n(x)[0].sum(), (0, 1))(normalizer, logits)
  for g in jax.tree.leaves(grads):
    assert jnp.isfinite(g).all()


def test_sigmoid_looks_at_no_other_key(logits):
  normalizer = normalizers.sigmoid()
  weights = normalizer(logits)[0]
  alone = normalizer(logits[..., 4:5])[0]
  np.testing.assert_array_equal(weights[..., 4:5], alone)
  assert float(normalizer(jnp.zeros((1, 1)))[0][0, 0]) == 0.5


def test_sigmoid_with_the_bias_of_the_paper_begins_as_softmax():
  weights, logsumexp = normalizers.sigmoid(-float(np.log(1000.0)))(
    jnp.zeros((1, 1000))
  )
  np.testing.assert_allclose(weights.sum(-1), 1, atol=2e-3)
  # The bias is no logit.
  np.testing.assert_allclose(logsumexp, np.log(1000.0), rtol=1e-6)


@pytest.mark.parametrize("k", [S, S + 1, 1000])
def test_top_of_all_keys_is_softmax(logits, k):
  every = normalizers.top_k(k)(logits)
  plain = normalizers.softmax()(logits)
  np.testing.assert_array_equal(every[0], plain[0])
  np.testing.assert_array_equal(every[1], plain[1])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_ties_keep_exactly_k_and_the_first(k):
  x = jnp.array([1.0, 2.0, 1.0, 1.0, 2.0, -INF])
  order = [1, 4, 0, 2]
  weights, _ = normalizers.top_k(k)(x)
  np.testing.assert_array_equal(np.flatnonzero(weights > 0), sorted(order[:k]))


def test_k_more_than_are_visible_shows_no_hidden_key():
  weights, logsumexp = normalizers.top_k(3)(jnp.array([0.0, -INF, 0.0, -INF]))
  np.testing.assert_allclose(weights, [0.5, 0, 0.5, 0], atol=1e-6)
  np.testing.assert_allclose(logsumexp, np.log(2), rtol=1e-6)


def test_hard_attention_reads_the_best_value(logits):
  hard, _ = normalizers.top_k(1)(logits)
  best = jax.nn.one_hot(jnp.argmax(logits, -1), S)
  seen = (logits > -INF).any(-1, keepdims=True)
  np.testing.assert_array_equal(hard, jnp.where(seen, best, 0))
  grad = jax.grad(lambda x: (normalizers.top_k(1)(x)[0] ** 3).sum())(logits)
  assert (grad == 0).all()


def test_what_is_not_chosen_gets_no_gradient():
  x = jnp.array([1.0, 3.0, 2.0, 0.0])
  weights = jax.jacobian(lambda x: normalizers.top_k(2)(x)[0])(x)
  assert (weights[:, [0, 3]] == 0).all()
  assert (weights[jnp.array([0, 3])] == 0).all()
  assert (weights[np.ix_([1, 2], [1, 2])] != 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_not_hidden(name):
  x = jnp.zeros((H, 1, S)).at[:, :, 3].set(jnp.nan)
  weights, logsumexp = _normalizers()[name](x)
  assert jnp.isnan(weights[..., 3]).all()
  assert jnp.isnan(logsumexp).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(B, H, T, 0), (B, H, 0, S), (0, H, T, S)])
def test_sizes_of_zero(name, shape):
  weights, logsumexp = _normalizers()[name](jnp.ones(shape))
  assert weights.shape == shape
  assert logsumexp.shape == shape[:-1]
  assert jnp.isneginf(logsumexp).all() or shape[-1]


@pytest.mark.parametrize("name", NAMES)
def test_a_sink_is_cast_to_the_dtype_of_the_logits(name):
  x = jnp.ones((B, H, T, S), jnp.bfloat16)
  for result in _normalizers()[name](x):
    assert result.dtype == jnp.bfloat16


@pytest.mark.parametrize("implementation", ["reference", None])
@pytest.mark.parametrize("name", NAMES)
def test_attend_takes_it(logits, key, name, implementation):
  q, k, v = jax.random.normal(key, (3, B, T, H, S))

  @jax.jit
  def f(normalizer, q, k, v):
    return attnjax.attend(
      q,
      k,
      v,
      mask=masks.causal(),
      normalizer=normalizer,
      aux=("weights", "logsumexp"),
      implementation=implementation,
    )

  out, aux = f(_normalizers()[name], q, k, v)
  scores = np.einsum("bthd,bshd->bhts", q, k) / np.sqrt(S)
  scores = np.where(np.tri(T, dtype=bool), scores, -np.inf)
  weights, logsumexp = _defined(name, scores)
  np.testing.assert_allclose(aux.weights, weights, atol=1e-5)
  np.testing.assert_allclose(aux.logsumexp, logsumexp, atol=1e-5)
  expected = np.einsum("bhts,bshe->bthe", weights, v)
  np.testing.assert_allclose(out, expected, atol=1e-5)


def test_equal_normalizers_are_equal_and_others_are_not():
  make = normalizers
  assert make.softmax() == make.softmax()
  assert hash(make.top_k(3)) == hash(make.top_k(3))
  assert make.top_k(3) != make.top_k(4)
  assert make.sigmoid() != make.sigmoid(1.0)
  assert make.softmax() != make.softmax_plus_one()
  with pytest.raises(TypeError, match="captures arrays"):
    make.softmax(jnp.zeros(3)) == make.softmax(jnp.ones(3))  # noqa: B015


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("shape", [(H + 1,), (1,), (H, 1)])
def test_a_sink_that_does_not_fit(shape):
  with pytest.raises(ValueError, match=r"sink has shape .* query head, \[3\]"):
    normalizers.softmax(jnp.zeros(shape)).validate(H)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("k", [0, -1, 2.0, True, jnp.ones((), int)])
def test_a_k_that_is_no_count(k):
  with pytest.raises(ValueError, match="k must be a Python int >= 1, got"):
    normalizers.top_k(k)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("bias", [float("inf"), float("nan"), jnp.ones(())])
def test_a_bias_that_is_no_number(bias):
  with pytest.raises(ValueError, match="bias must be a finite Python number"):
    normalizers.sigmoid(bias)
