"""The glimpse: its five identities, where weights lie, what is hidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import attnjax
from attnjax import normalizers
from tests.drawn import arrays

B, T, D, N = 3, 7, 5, 2
NAMES = ("none", "softmax", "sigmoid", "hard")
HOUSE = {
  "softmax": normalizers.softmax(),
  "sink": normalizers.softmax(0.7),
  "plus one": normalizers.softmax_plus_one(),
  "sigmoid": normalizers.sigmoid(-1.5),
  "top 3": normalizers.top_k(3),
}
STATIC = ("axis", "normalizer", "pool", "aux")
GLIMPSE = jax.jit(attnjax.glimpse, static_argnames=STATIC)
ALL = ("weights", "entropy")


@pytest.fixture(scope="module")
def x():
  return arrays((B, T, D))[0]


@pytest.fixture(scope="module")
def logits():
  return arrays((B, T), seed=1, scale=2.0)[0]


@pytest.fixture(scope="module")
def mask():
  """Some are hidden; of row 1 all are."""
  seen = np.random.default_rng(2).random((B, T)) < 0.6
  seen[0, 3] = seen[2, 1] = True
  seen[1] = False
  return jnp.asarray(seen)


def defined(name, logits):
  """Weights along the last axis by their equations, in float64 numpy."""
  s = np.asarray(logits, np.float64)
  if name == "none":
    return s
  if name == "sigmoid":
    return 1 / (1 + np.exp(-s))
  if name == "hard":
    return np.eye(s.shape[-1])[s.argmax(-1)]
  e = np.exp(s)
  return e / e.sum(-1, keepdims=True)


# --- where weights lie --------------------------------------------------------

# inputs, axis, logits -> the logits' axes on the inputs, and those of weights
LAID = [
  ((B, T), -1, (B, T), "bt->bt"),
  ((B, T), 1, (T,), "t->t"),
  ((B, T, D), -2, (B, T), "bt->bt"),
  ((B, T, D), -2, (T,), "t->t"),
  ((B, T, D), -1, (B, D), "bd->bd"),
  ((B, T, D), 2, (B, T, D), "btd->btd"),
  ((B, T, D), 1, (B, T, D), "btd->btd"),
  ((B, T, D), -1, (D,), "d->d"),
  ((B, T, D), 0, (B,), "b->b"),
  ((N, B, T, D), -2, (N, B, T), "obt->obt"),
  ((N, B, T, D), -1, (N, D), "od->od"),
]


# Every layout by one normalizer, every normalizer in one layout.
LAID_BY = [(*line, "softmax") for line in LAID]
LAID_BY += [(*LAID[2], name) for name in NAMES if name != "softmax"]


@pytest.mark.parametrize(("shape", "axis", "given", "axes", "name"), LAID_BY)
def test_equals_its_equation_however_logits_lie(name, shape, axis, given, axes):
  x, logits = arrays(shape, given, scale=2.0)
  letters = {2: "bt", 3: "btd", 4: "obtd"}[len(shape)]
  shared = axes.split("->")[0].index(letters[axis])
  weights = np.moveaxis(
    defined(name, np.moveaxis(logits, shared, -1)), -1, shared
  )
  subscripts = f"{letters},{axes.split('->')[0]}->"
  expected = np.einsum(subscripts + letters, np.float64(x), weights)
  got, aux = GLIMPSE(
    x, logits, axis=axis, normalizer=name, temperature=1.0, aux=("weights",)
  )
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(aux.weights, weights, rtol=1e-5, atol=1e-6)
  pooled = letters.replace(letters[axis], "")
  expected = np.einsum(subscripts + pooled, np.float64(x), weights)
  got = GLIMPSE(x, logits, axis=axis, normalizer=name, pool=True)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_full_axes_broadcast_both_ways(x, logits):
  every = GLIMPSE(x[:1], logits[..., None], axis=1)  # three contexts, one input
  for b in range(B):
    one = GLIMPSE(x[0], logits[b], axis=0)
    np.testing.assert_allclose(every[b], one, atol=1e-6)


def test_auxiliary_results_have_the_axes_of_the_logits(x, logits, mask):
  def shapes(*args, **kw):
    _, aux = GLIMPSE(*args, axis=-2, aux=ALL, **kw)
    return aux.weights.shape, aux.entropy.shape

  assert shapes(x, logits) == ((B, T), (B,))
  assert shapes(x, logits[0]) == ((T,), ())
  assert shapes(x, logits[0], mask=mask) == ((B, T), (B,))
  assert shapes(x, logits[..., None]) == ((B, T, 1), (B, 1))
  assert shapes(x, x) == ((B, T, D), (B, D))


# --- the five identities ------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", HOUSE)
def test_pooled_it_is_attention_with_one_query(x, mask, name, masked):
  query, key = arrays((B, D), (B, T, D), seed=3)
  scores = jnp.einsum("bd,btd->bt", query, key)
  kw = {"mask": mask} if masked else {}
  got = GLIMPSE(
    x,
    scores,
    axis=-2,
    normalizer=HOUSE[name],
    temperature=D**0.5,
    pool=True,
    **kw,
  )
  kw = {"mask": mask[:, None, None]} if masked else {}
  expected = attnjax.attend(
    query[:, None, None],
    key[:, :, None],
    x[:, :, None],
    normalizer=HOUSE[name],
    **kw,
  )[:, 0, 0]
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_weights_and_entropy_are_those_of_attention(x):
  query, key = arrays((B, D), (B, T, D), seed=3)
  scores = jnp.einsum("bd,btd->bt", query, key)
  _, aux = GLIMPSE(x, scores, axis=-2, temperature=D**0.5, aux=ALL)
  _, expected = attnjax.attend(
    query[:, None, None], key[:, :, None], x[:, :, None], aux=ALL
  )
  np.testing.assert_allclose(aux.weights, expected.weights[:, 0, 0], atol=1e-6)
  np.testing.assert_allclose(
    aux.entropy, expected.entropy[:, 0, 0], rtol=1e-5, atol=1e-6
  )


def test_a_readout_shared_by_positions_may_come_before_or_after(x, logits):
  kernel, bias = arrays((D, N), (N,), seed=4)
  read = np.tile(kernel, (T, 1))  # of all positions, each the same
  flat = GLIMPSE(x, logits, axis=-2).reshape(B, T * D) @ read + bias[None]
  pooled = GLIMPSE(x, logits, axis=-2, pool=True) @ kernel + bias[None]
  np.testing.assert_allclose(flat, pooled, rtol=1e-5, atol=1e-5)


def test_hot_is_the_mean_and_cold_the_hard_glimpse(x, logits, mask):
  seen = np.asarray(mask)[0]
  hot = GLIMPSE(x, logits, axis=-2, temperature=1e6, pool=True, mask=mask)
  mean = np.asarray(x)[0, seen].mean(0)
  np.testing.assert_allclose(hot[0], mean, rtol=1e-4, atol=1e-5)
  cold = GLIMPSE(x, logits, axis=-2, temperature=1e-3, mask=mask)
  hard = GLIMPSE(x, logits, axis=-2, normalizer="hard", mask=mask)
  np.testing.assert_allclose(cold, hard, atol=1e-6)
  first = np.where(seen, logits[0], -np.inf).argmax()
  np.testing.assert_array_equal(hard[0, first], x[0, first])
  assert np.count_nonzero(hard) == 2 * D  # of row 1 nothing is seen


def test_only_shared_weights_ignore_a_shift(x, logits):
  for name, ignores in zip(NAMES, (False, True, False, True), strict=True):
    plain = GLIMPSE(x, logits, axis=-2, normalizer=name)
    shifted = GLIMPSE(x, logits + 3.0, axis=-2, normalizer=name)
    same = np.allclose(plain, shifted, rtol=1e-4, atol=1e-5)
    assert same == ignores, name


def test_a_pooled_glimpse_lies_between_what_it_sees(x, logits, mask):
  out = np.asarray(GLIMPSE(x, logits, axis=-2, pool=True, mask=mask))
  for b in (0, 2):
    seen = np.asarray(x)[b, np.asarray(mask)[b]]
    assert (out[b] >= seen.min(0) - 1e-6).all()
    assert (out[b] <= seen.max(0) + 1e-6).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_permutation_moves_the_glimpse_and_not_its_sum(x, logits, name):
  order = np.random.default_rng(5).permutation(T)
  kw = {"axis": -2, "normalizer": name}
  moved = GLIMPSE(x[:, order], logits[:, order], **kw)
  expected = np.asarray(GLIMPSE(x, logits, **kw))[:, order]
  np.testing.assert_allclose(moved, expected, atol=1e-6)
  pooled = [
    GLIMPSE(*pair, pool=True, **kw)
    for pair in ((x, logits), (x[:, order], logits[:, order]))
  ]
  np.testing.assert_allclose(*pooled, rtol=1e-5, atol=1e-5)


def test_of_two_softmax_is_the_sigmoid_of_the_difference():
  x, logits = jnp.ones((B, 2)), arrays((B, 2), scale=3.0)[0]
  shared = GLIMPSE(x, logits)
  alone = GLIMPSE(x[:, :1], logits[:, :1] - logits[:, 1:], normalizer="sigmoid")
  np.testing.assert_allclose(shared[:, :1], alone, rtol=1e-6)


def test_the_gradient_of_a_weight_is_its_input_times_that_of_the_glimpse(
  x, logits
):
  (upstream,) = arrays((B, T, D), seed=6)
  loss = lambda a: jnp.vdot(
    upstream, attnjax.glimpse(x, a, axis=-2, normalizer="none")
  )
  got = jax.jit(jax.grad(loss))(logits)
  expected = (np.asarray(x) * np.asarray(upstream)).sum(-1)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


# --- gradients and transforms -------------------------------------------------


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("name", ["none", "softmax", "sigmoid"])
def test_gradients_are_those_of_finite_differences(x, logits, mask, name, pool):
  def f(x, logits, heat):
    return attnjax.glimpse(
      x,
      logits,
      axis=-2,
      normalizer=name,
      temperature=heat,
      pool=pool,
      mask=mask,
    )

  args = (x, logits, jnp.float32(1.3))
  check_grads(jax.jit(f), args, order=1, atol=1e-2, rtol=1e-2)


def test_hard_weights_are_0_and_1_with_the_gradient_of_softmax(x, logits):
  (upstream,) = arrays((B, T, D), seed=6)

  def grads(name):
    loss = lambda x, s: jnp.vdot(
      upstream, attnjax.glimpse(x, s, axis=-2, normalizer=name, temperature=0.7)
    )
    return jax.jit(jax.grad(loss, argnums=(0, 1)))(x, logits)

  np.testing.assert_allclose(grads("hard")[1], grads("softmax")[1], atol=1e-6)
  # Of the input it is that of the weights there are: one of each row.
  _, aux = GLIMPSE(x, logits, axis=-2, normalizer="hard", aux=ALL)
  weights = np.asarray(aux.weights)
  assert set(weights.ravel().tolist()) == {0.0, 1.0}
  assert (aux.entropy == 0).all()
  np.testing.assert_allclose(
    grads("hard")[0], weights[..., None] * upstream, atol=1e-6
  )


def test_of_equal_logits_hard_takes_the_first():
  assert GLIMPSE(jnp.ones(4), jnp.array([1.0, 2, 2, 0]), normalizer="hard")[
    1
  ] == pytest.approx(1.0)
  got = GLIMPSE(jnp.ones(3), jnp.zeros(3), normalizer="hard")
  assert got.tolist() == [1, 0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_every_transform(x, logits, mask, name):
  f = lambda x, s, m: attnjax.glimpse(
    x, s, axis=-2, normalizer=name, mask=m, aux=("weights",)
  )
  out, aux = f(x, logits, mask)
  mapped, mapped_aux = jax.jit(
    jax.vmap(
      lambda x, s, m: attnjax.glimpse(
        x, s, axis=0, normalizer=name, mask=m, aux=("weights",)
      )
    )
  )(x, logits, mask)
  np.testing.assert_allclose(mapped, out, rtol=1e-6, atol=1e-7)
  np.testing.assert_allclose(mapped_aux.weights, aux.weights, atol=1e-7)
  tangents = tuple(arrays((B, T, D), (B, T), seed=7))
  g = lambda x, s: (f(x, s, mask)[0] ** 2).sum()
  _, forward = jax.jit(lambda p, t: jax.jvp(g, p, t))((x, logits), tangents)
  reverse = jax.jit(jax.grad(g, argnums=(0, 1)))(x, logits)
  pairs = zip(reverse, tangents, strict=True)
  expected = sum(jnp.vdot(a, b) for a, b in pairs)
  np.testing.assert_allclose(forward, expected, rtol=1e-4, atol=1e-4)


# --- what is hidden -----------------------------------------------------------


@pytest.mark.parametrize("junk", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("name", [*NAMES, "sink", "top 3"])
def test_hidden_parts_weigh_0_and_have_gradient_0(x, logits, mask, name, junk):
  x = jnp.where(mask[..., None], x, junk)

  def loss(x, logits, heat):
    out, aux = attnjax.glimpse(
      x,
      logits,
      axis=-2,
      normalizer=HOUSE.get(name, name),
      temperature=heat,
      mask=mask,
      aux="weights",
    )
    return (out**2).sum() + aux.weights.sum(), (out, aux.weights)

  grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
  (dx, dlogits, dheat), (out, weights) = grad(x, logits, jnp.float32(0.9))
  hidden = ~np.asarray(mask)
  for array in (dx, dlogits, out, weights):
    assert np.isfinite(array).all()
    assert (np.asarray(array)[hidden] == 0).all()
  assert np.isfinite(dheat)
  assert np.abs(np.asarray(out)[0]).max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_logit_of_minus_infinity_hides_as_the_mask_does(
  x, logits, mask, name
):
  buried = jnp.where(mask, logits, -jnp.inf)
  kw = {"axis": -2, "normalizer": name}
  f = lambda s, heat, **m: attnjax.glimpse(x, s, temperature=heat, **kw, **m)
  np.testing.assert_array_equal(f(buried, 0.8), f(logits, 0.8, mask=mask))
  loss = lambda s, heat: (f(s, heat) ** 2).sum()
  for g in jax.jit(jax.grad(loss, argnums=(0, 1)))(buried, jnp.float32(0.8)):
    assert np.isfinite(g).all()


def test_masks_lie_by_the_rule_of_the_logits(x, logits, mask):
  full = GLIMPSE(x, x, axis=1, mask=mask)  # a full gate, by position
  for d in range(D):
    one = GLIMPSE(x[..., d], x[..., d], mask=mask)
    np.testing.assert_allclose(full[..., d], one, atol=1e-6)
  # One mask bit a row hides or shows the whole of it.
  rows = GLIMPSE(x, logits, axis=1, mask=jnp.array([[True], [False], [True]]))
  assert (rows[1] == 0).all()
  np.testing.assert_allclose(rows[0], GLIMPSE(x, logits, axis=1)[0], atol=1e-6)
  assert (GLIMPSE(x, logits, axis=1, mask=jnp.array(False)) == 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [0, 1])
def test_lengths_of_none_and_one(name, length):
  x, logits = arrays((B, length, D), (B, length))
  kw = {"axis": -2, "normalizer": name}
  pooled, aux = GLIMPSE(x, logits, pool=True, aux="weights", **kw)
  assert aux.weights.shape == (B, length)
  if length == 0:
    assert GLIMPSE(x, logits, **kw).shape == (B, 0, D)
    np.testing.assert_array_equal(pooled, np.zeros((B, D)))
  elif name in ("softmax", "hard"):
    np.testing.assert_array_equal(pooled, x[:, 0])


# --- dtypes -------------------------------------------------------------------


def test_few_bits_are_summed_in_float32(key):
  length = 4096
  x = jax.random.uniform(key, (length,)).astype(jnp.bfloat16)
  logits = jnp.zeros(length, jnp.bfloat16)
  out, aux = GLIMPSE(x, logits, pool=True, aux=ALL)
  assert out.dtype == jnp.bfloat16
  assert aux.weights.dtype == aux.entropy.dtype == jnp.float32
  exact = np.asarray(x, np.float64).mean()
  np.testing.assert_allclose(float(out), exact, rtol=2**-8)
  np.testing.assert_allclose(aux.entropy, np.log(length), rtol=1e-4)


def test_float64_is_float64_throughout():
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    x, s = (jnp.asarray(rng.standard_normal(shape)) for shape in ((B, T),) * 2)
    out, aux = attnjax.glimpse(x, s, aux="weights")
    assert out.dtype == aux.weights.dtype == jnp.float64
    expected = defined("softmax", s) * np.asarray(x)
    np.testing.assert_allclose(out, expected, rtol=1e-14)
    mixed = attnjax.glimpse(x.astype(jnp.float32), s)
    assert mixed.dtype == jnp.float32


# --- words --------------------------------------------------------------------

ONES = jnp.ones((B, T, D))
WRONG = [
  (
    {"logits": jnp.ones((B, D)), "axis": -2},
    r"shape \[3, 5\].*size 7",
  ),
  ({"logits": jnp.ones((B, 1)), "axis": -2}, "do not lie on inputs"),
  ({"logits": jnp.ones((T, D))}, r"at most 3: the first axes"),
  ({"logits": jnp.ones((1, B, T, D))}, "do not lie on inputs"),
  ({"logits": jnp.ones((B, T)), "axis": 0}, "at most 1"),
  ({"axis": 3}, r"axis must be one of the 3 axes.*got 3"),
  ({"mask": jnp.ones((B, T + 1), bool), "axis": 1}, "mask of shape"),
  ({"mask": jnp.ones(D)}, "mask must be bool.*float32"),
  ({"normalizer": "sparsemax"}, "none, softmax, sigmoid, hard.*'sparsemax'"),
  ({"normalizer": ["softmax"]}, "normalizer must be one of"),
  ({"normalizer": normalizers.softmax(jnp.ones(3))}, "sink has shape"),
  ({"temperature": 0.0}, "above 0 and finite, got 0.0"),
  ({"temperature": -1.0}, "above 0"),
  ({"temperature": jnp.inf}, "finite"),
  ({"temperature": jnp.nan}, "above 0"),
  ({"temperature": jnp.ones(3)}, r"one number, got shape \[3\]"),
  ({"aux": "logsumexp"}, r"\['logsumexp'\], which is not among"),
  ({"aux": "entropy", "normalizer": "none"}, "no distribution"),
  ({"inputs": jnp.arange(D)}, "inputs must be floating point, got int32"),
  ({"logits": jnp.arange(D)}, "logits must be floating point"),
  ({"inputs": jnp.float32(1)}, "inputs must have an axis"),
  ({"logits": jnp.float32(1)}, "logits must have an axis"),
]


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_bad_input_says_so(wrong, words):
  kw = {"inputs": ONES, "logits": jnp.ones(D)} | wrong
  if "axis" in wrong and "logits" not in wrong:
    kw["logits"] = jnp.ones((B, T, D))
  with pytest.raises(ValueError, match=words):
    attnjax.glimpse(kw.pop("inputs"), kw.pop("logits"), **kw)


@pytest.mark.usefixtures("as_a_user")
def test_numpy_and_whole_temperatures_are_taken():
  got = attnjax.glimpse(
    np.ones((2, 2), np.float32), np.zeros(2, np.float32), temperature=2
  )
  assert got.tolist() == [[0.5, 0.5], [0.5, 0.5]]
