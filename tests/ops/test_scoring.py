"""Scorings against their definitions, slice by slice, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import attnjax
from attnjax import scoring
from tests.few import few

B, K, G, T, S, D, A = 2, 3, 2, 5, 7, 11, 13


def _scorings(draw):
  """One of each kind; `draw` makes its arrays from a shape."""
  return {
    "dot": scoring.dot(),
    "scaled_dot": scoring.scaled_dot(),
    "general": scoring.general(draw((D, D))),
    "additive": scoring.additive(draw((D, A)), draw((D, A)), draw((A,))),
    "cosine": scoring.cosine(jnp.asarray(0.5)),
    "gaussian": scoring.gaussian(jnp.asarray(1.7)),
  }


NAMES = list(_scorings(jnp.ones))


def _draw(seed, shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield


@pytest.fixture
def qk(x64):
  return _draw(0, (B, K, G, T, D)), _draw(1, (B, K, S, D))


def _defined(name, rule, q, k):
  """One logit by its published equation, in numpy."""
  q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
  if name == "dot":
    return q @ k
  if name == "scaled_dot":
    return q @ k / np.sqrt(D)
  if name == "general":
    return q @ np.asarray(rule.weight) @ k
  if name == "additive":
    hidden = q @ np.asarray(rule.query_weight) + k @ np.asarray(rule.key_weight)
    return np.asarray(rule.vector) @ np.tanh(hidden)
  if name == "cosine":
    return q @ k / (np.linalg.norm(q) * np.linalg.norm(k) * 0.5)
  return -(np.linalg.norm(q - k) ** 2) / (2 * 1.7**2)


@pytest.mark.parametrize("name", NAMES)
def test_equals_its_equation_logit_by_logit(qk, name):
  rule = _scorings(lambda shape: _draw(2, shape))[name]
  # An argument and no closure: what captures arrays has no hash to jit by.
  logits = jax.jit(lambda rule, q, k: rule(q, k))(rule, *qk)
  assert logits.dtype == jnp.float64
  expected = np.zeros((B, K, G, T, S))
  for b, h, g, t, s in np.ndindex(expected.shape):
    expected[b, h, g, t, s] = _defined(
      name, rule, qk[0][b, h, g, t], qk[1][b, h, s]
    )
  np.testing.assert_allclose(logits, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_slice_of_prepared_ones_gives_a_slice_of_the_logits(qk, name):
  rule = _scorings(lambda shape: _draw(2, shape))[name]
  q, k = rule.prepare(*qk)
  tile = rule.score(q[..., 1:4, :], k[..., 2:5, :])
  np.testing.assert_allclose(tile, rule(*qk)[..., 1:4, 2:5], atol=1e-14)


@pytest.mark.parametrize("name", few(NAMES, "general", "additive", "gaussian"))
def test_gradients_reach_queries_keys_and_every_array(qk, name):
  q, k = (x[:1, :1, ..., :2, :] for x in qk)
  rule = _scorings(lambda shape: _draw(2, shape))[name]

  @jax.jit
  def f(rule, q, k):
    rule, q, k = jax.tree.map(jnp.asarray, (rule, q, k))
    return rule(q, k)

  check_grads(f, (rule, q, k), order=2, atol=1e-5, rtol=1e-5)
  to_rule = jax.grad(lambda r: jnp.sin(f(r, q, k)).sum())(rule)
  for x, g in zip(jax.tree.leaves(rule), jax.tree.leaves(to_rule), strict=True):
    assert g.shape == x.shape
    assert (g != 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_captured_arrays_are_cast_to_the_dtype_of_the_query(name):
  rule = _scorings(lambda shape: jnp.ones(shape, jnp.bfloat16))[name]
  q, k = jnp.ones((G, T, D)), jnp.ones((S, D))
  assert rule(q, k).dtype == jnp.float32
  half = rule(q.astype(jnp.bfloat16), k.astype(jnp.bfloat16))
  assert half.dtype == jnp.bfloat16


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("implementation", ["reference", None])
def test_attend_takes_it(name, implementation):
  rule = _scorings(lambda shape: _draw(2, shape).astype(jnp.float32))[name]
  q = _draw(0, (B, T, K * G, D)).astype(jnp.bfloat16)
  k = _draw(1, (B, S, K, D)).astype(jnp.bfloat16)
  v = _draw(3, (B, S, K, 3)).astype(jnp.bfloat16)

  @jax.jit
  def f(rule, q, k, v):
    return attnjax.attend(q, k, v, scoring=rule, implementation=implementation)

  out = f(rule, q, k, v)
  heads = jnp.moveaxis(q, 2, 1).reshape(B, K, G, T, D).astype(jnp.float32)
  logits = rule(heads, jnp.moveaxis(k, 2, 1).astype(jnp.float32))
  weights = jax.nn.softmax(logits, axis=-1)
  expected = jnp.einsum("bkgts,bske->btkge", weights, v.astype(jnp.float32))
  assert out.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    out.astype(jnp.float32), expected.reshape(B, T, K * G, 3), atol=2e-2
  )


def test_footprints():
  got = {n: r.footprint for n, r in _scorings(jnp.ones).items()}
  assert got == dict.fromkeys(NAMES, 1) | {"additive": A}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("t", "s", "d"), [(0, S, D), (T, 0, D), (0, 0, D)])
def test_no_queries_or_no_keys(name, t, s, d):
  rule = _scorings(jnp.ones)[name]
  assert rule(jnp.ones((G, t, d)), jnp.ones((s, d))).shape == (G, t, s)


@pytest.mark.parametrize("name", ["dot", "scaled_dot", "cosine", "gaussian"])
def test_a_width_of_zero_has_logit_zero(name):
  rule = _scorings(jnp.ones)[name]
  logits = rule(jnp.ones((G, T, 0)), jnp.ones((S, 0)))
  assert (logits == 0).all()


def test_general_is_not_symmetric(qk):
  q, k = qk
  weight = _draw(2, (D, D))
  there = scoring.general(weight)(k[..., None, :, :], q[:, :, 0])
  back = scoring.general(weight.T)(q[:, :, :1], k)
  np.testing.assert_allclose(jnp.swapaxes(there, -1, -2), back, atol=1e-12)
  assert not np.allclose(back, scoring.general(weight)(q[:, :, :1], k))


@pytest.mark.parametrize("length", [1e-30, 1e-9, 1e9, 1e30])
def test_cosine_does_not_see_lengths(length):
  q, k = _draw(0, (G, T, D)), _draw(1, (S, D))
  q, k = q.astype(jnp.float32), k.astype(jnp.float32)
  rule = scoring.cosine(1.0)
  np.testing.assert_allclose(rule(length * q, k), rule(q, k), atol=1e-6)
  np.testing.assert_allclose(rule(q, length * k), rule(q, k), atol=1e-6)


def test_cosine_is_bounded_and_reaches_its_bounds(qk):
  q, k = qk[0][0, 0], qk[1][0, 0]
  assert (abs(scoring.cosine(0.25)(q, k)) <= 4).all()
  itself = scoring.cosine(0.25)(k[None], k)[0]
  np.testing.assert_allclose(jnp.diagonal(itself), 4, atol=1e-12)
  np.testing.assert_allclose(scoring.cosine(0.25)(-k[None], k)[0], -itself)


@pytest.mark.parametrize("tiny", [0.0, 1e-40])
def test_a_zero_vector_has_cosine_zero_and_finite_gradients(tiny):
  q = jnp.ones((1, T, D)).at[0, 2].set(tiny)
  k = jnp.ones((S, D)).at[3].set(tiny)

  @jax.jit
  def f(q, k, temperature):
    return scoring.cosine(temperature)(q, k)

  logits = f(q, k, 0.5)
  assert (logits[0, 2] == 0).all()
  assert (logits[..., 3] == 0).all()
  grads = jax.grad(lambda *x: f(*x).sum(), argnums=(0, 1, 2))(q, k, 0.5)
  again = jax.grad(
    lambda q: (jax.grad(lambda q: f(q, k, 0.5).sum())(q) ** 2).sum()
  )(q)
  for g in (*grads, again):
    assert jnp.isfinite(g).all()
  assert (grads[0][0, 2] == 0).all()
  assert (grads[1][3] == 0).all()


def test_cosine_is_divided_by_its_temperature(qk):
  cold, warm = scoring.cosine(0.1)(*qk), scoring.cosine(1.0)(*qk)
  np.testing.assert_allclose(cold, 10 * warm, rtol=1e-12)


def test_gaussian_does_not_see_a_shift(qk):
  rule = scoring.gaussian(0.5)
  # A grid of whole numbers, so that the shift itself is exact.
  q, k = (jnp.round(8 * x) for x in qk)
  np.testing.assert_array_equal(rule(q + 2**30, k + 2**30), rule(q, k))


def test_gaussian_of_near_points_far_from_the_origin():
  # Multiplied out, in float32 the error would be 4096² eps / h² = 1e2.
  x = jnp.arange(S, dtype=jnp.float32)[:, None] / 16
  logits = scoring.gaussian(1 / 16)(x[None] + 4096, x + 4096)[0]
  steps = np.subtract.outer(np.arange(S), np.arange(S))
  np.testing.assert_array_equal(logits, -0.5 * steps**2)


def test_gaussian_of_a_narrow_kernel_is_finite():
  x = jnp.arange(3, dtype=jnp.float32)[:, None]
  logits = scoring.gaussian(1e-20)(x[None], x)[0]
  assert (jnp.diagonal(logits) == 0).all()
  assert (logits[0, 1:] < -1e30).all()


def test_gaussian_gradient_in_float32_far_from_the_origin():
  # The derivative is multiplied out; it loses R eps / h², not R² eps / h².
  q = jnp.array([[[0.25]]]) + 1024
  k = jnp.array([[0.0], [0.5], [0.75]]) + 1024
  grad = jax.grad(lambda q: scoring.gaussian(1.0)(q, k)[0, 0, 1])(q)
  np.testing.assert_allclose(grad, 0.25, atol=1024 * 2**-23)


def test_gaussian_attention_is_kernel_regression(x64):
  x = jnp.linspace(0, 1, 9)[:, None, None]
  y = jnp.sin(3 * x)
  at = jnp.linspace(0, 1, 5)[:, None, None]
  got = attnjax.attend(at, x, y, scoring=scoring.gaussian(0.1))
  kernel = np.exp(-((at[:, 0] - x[:, 0].T) ** 2) / (2 * 0.1**2))
  expected = kernel @ y[:, 0] / kernel.sum(-1, keepdims=True)
  np.testing.assert_allclose(got[:, 0], expected, atol=1e-12)


def test_gaussian_holds_nothing_of_the_width():
  def f(q, k):
    return scoring.gaussian(1.0)(q, k).sum()

  held = {}
  for width in (16, 64):
    shapes = [jax.ShapeDtypeStruct((1, 128, width), jnp.float32)]
    shapes += [jax.ShapeDtypeStruct((256, width), jnp.float32)]
    for name, g in (("value", f), ("grad", jax.grad(f, (0, 1)))):
      memory = jax.jit(g).lower(*shapes).compile().memory_analysis()
      held[name, width] = memory.temp_size_in_bytes
  for name in ("value", "grad"):
    # 48 more features of 128 x 256 pairs would be 6 MiB.
    assert held[name, 64] - held[name, 16] < 2**20


def test_equal_rules_are_equal_and_others_are_not():
  assert scoring.scaled_dot() == scoring.scaled_dot()
  assert hash(scoring.scaled_dot()) == hash(scoring.scaled_dot())
  assert scoring.dot() != scoring.scaled_dot()
  one, two = scoring.general(jnp.eye(D)), scoring.general(-jnp.eye(D))
  with pytest.raises(TypeError, match="captures arrays"):
    one == two  # noqa: B015


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
  ("rule", "words"),
  [
    (
      scoring.general(jnp.ones((D, 4))),
      r"general: weight has shape \[11, 4\], expected 'D D' = \[11, 11\]",
    ),
    (
      scoring.additive(jnp.ones((4, A)), jnp.ones((D, A)), jnp.ones(A)),
      r"additive: query_weight has shape \[4, 13\] and vector \[13\],"
      r" expected 'D A' and 'A' with the width D=11",
    ),
    (
      scoring.additive(jnp.ones((D, A)), jnp.ones((D, 2)), jnp.ones(A)),
      r"additive: key_weight has shape \[11, 2\]",
    ),
  ],
)
def test_a_weight_that_does_not_fit(rule, words):
  with pytest.raises(ValueError, match=words):
    rule.validate(D)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
  ("make", "name"),
  [(scoring.cosine, "temperature"), (scoring.gaussian, "bandwidth")],
)
@pytest.mark.parametrize(
  ("value", "words"),
  [
    (0.0, "must be positive and finite, got 0.0"),
    (-1, "must be positive and finite, got -1"),
    (float("nan"), "must be positive and finite"),
    (float("inf"), "must be positive and finite"),
    (jnp.zeros(()), "must be positive and finite"),
    (jnp.ones(3), r"must be one number for all heads, got shape \[3\]"),
  ],
)
def test_a_scalar_that_cannot_be(make, name, value, words):
  with pytest.raises(ValueError, match=f"{name} {words}"):
    make(value)


def test_a_traced_temperature_is_taken():
  q, k = jnp.ones((1, T, D)), jnp.ones((S, D))
  logits = jax.jit(lambda t: scoring.cosine(t)(q, k))(0.5)
  np.testing.assert_allclose(logits, 2, rtol=1e-6)
