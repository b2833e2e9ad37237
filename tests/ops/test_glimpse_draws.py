"""The hard glimpse drawn: its frequencies, and a gradient without bias.

The gradient of an expectation over eight parts is enumerated exactly; the mean
of many estimates must lie within a few standard errors of it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import glimpses
from tests.drawn import arrays

B, T, D = 3, 8, 5
DRAWS = 20_000
DRAW = jax.jit(glimpses.draw, static_argnames=("axis", "pool"))


@pytest.fixture(scope="module")
def x():
  return arrays((T,))[0]


@pytest.fixture(scope="module")
def logits():
  return arrays((T,), seed=1)[0]


def loss_of(part, readout):
  """Of what was seen: not linear, so that a soft glimpse would be wrong."""
  return (part * readout - 0.5) ** 2


def exact(x, logits, readout):
  """The gradient of Σ_i softmax(logits)[i] loss(x[i]), enumerated."""

  def expected(logits, readout, x):
    return jnp.vdot(jax.nn.softmax(logits), loss_of(x, readout))

  return jax.jit(jax.grad(expected, argnums=(0, 1, 2)))(logits, readout, x)


def estimates(x, logits, readout, baseline):
  """One estimate of that gradient a draw."""

  def one(logits, readout, x, key):
    part, drawn = glimpses.draw(x, logits, key, pool=True)
    loss = loss_of(part, readout)
    return glimpses.score_function(loss, drawn.log_probability, baseline)

  keys = jax.random.split(jax.random.key(0), DRAWS)
  mapped = jax.vmap(jax.grad(one, argnums=(0, 1, 2)), (None, None, None, 0))
  return jax.jit(mapped)(logits, readout, x, keys)


def errors(draws, truth):
  """Distance of the mean from the truth, in standard errors."""
  draws = np.asarray(draws, np.float64)
  standard = draws.std(0, ddof=1) / len(draws) ** 0.5
  return np.abs(draws.mean(0) - np.asarray(truth)) / standard


@pytest.mark.parametrize("baseline", [0.0, 1.7, -3.0])
def test_the_score_function_has_no_bias(x, logits, baseline):
  readout = jnp.float32(1.5)
  truth = exact(x, logits, readout)
  drawn = estimates(x, logits, readout, baseline)
  for estimate, gradient in zip(drawn, truth, strict=True):
    assert np.max(errors(estimate, gradient)) < 4
  # The test can fail: without the score the logits get nothing, and the
  # gradient of the soft glimpse is another one.
  assert np.max(errors(drawn[0], jnp.zeros(T))) > 10
  soft = jax.grad(lambda s: loss_of(attnjax.glimpse(x, s, pool=True), readout))(
    logits
  )
  assert np.max(errors(drawn[0], soft)) > 10


def test_straight_through_has_a_bias(x, logits):
  readout = jnp.float32(1.5)
  truth = exact(x, logits, readout)[0]
  hard = jax.grad(
    lambda s: loss_of(
      attnjax.glimpse(x, s, pool=True, normalizer="hard"), readout
    )
  )(logits)
  assert np.abs(hard).max() > 1e-2
  assert np.abs(np.asarray(hard) - np.asarray(truth)).max() > 1e-2


def test_leaving_one_out_has_no_bias_and_less_spread(x, logits):
  readout, group = jnp.float32(1.5), 5
  truth = exact(x, logits, readout)[0]

  def several(logits, key, compared):
    keys = jax.random.split(key, group)
    draw = lambda key: glimpses.draw(x, logits, key, pool=True)
    parts, drawn = jax.vmap(draw)(keys)
    losses = loss_of(parts, readout) + 2.0
    baseline = glimpses.leave_one_out(losses) if compared else 0.0
    scored = glimpses.score_function(losses, drawn.log_probability, baseline)
    return scored.mean()

  keys = jax.random.split(jax.random.key(1), DRAWS // group)
  spreads = []
  for compared in (False, True):
    one = lambda s, key, c=compared: several(s, key, c)
    found = jax.jit(jax.vmap(jax.grad(one), (None, 0)))(logits, keys)
    assert np.max(errors(found, truth)) < 4
    spreads.append(np.asarray(found).std(0).mean())
  assert spreads[1] < 0.7 * spreads[0]


def test_parts_come_as_often_as_their_weights_say(x, logits):
  keys = jax.random.split(jax.random.key(2), DRAWS)
  draw = lambda key: glimpses.draw(x, logits, key, temperature=0.5)
  out, drawn = jax.jit(jax.vmap(draw))(keys)
  weights = np.asarray(jax.nn.softmax(logits / 0.5), np.float64)
  counts = np.bincount(drawn.index, minlength=T)
  expected = DRAWS * weights
  chi2 = ((counts - expected) ** 2 / expected).sum()
  assert chi2 < 24.3  # 99.9 % of seven degrees of freedom
  np.testing.assert_allclose(
    drawn.log_probability, np.log(weights)[np.asarray(drawn.index)], atol=1e-5
  )
  onehot = np.eye(T)[np.asarray(drawn.index)]
  np.testing.assert_array_equal(out, onehot * np.asarray(x))


def test_rows_draw_for_themselves_and_never_what_is_hidden():
  x, logits = arrays((64, T, D), (64, T), scale=0.1)
  seen = np.random.default_rng(3).random((64, T)) < 0.4
  seen[0] = False
  mask = jnp.asarray(seen)
  key = jax.random.key(4)
  out, drawn = DRAW(x, logits, key, axis=-2, pool=True, mask=mask)
  index = np.asarray(drawn.index)
  assert index.shape == drawn.log_probability.shape == (64,)
  some = seen.any(1)
  assert (index[~some] == -1).all()
  assert (drawn.log_probability[~some] == 0).all()
  assert (np.asarray(out)[~some] == 0).all()
  assert seen[some, index[some]].all()
  picked = np.asarray(x)[np.flatnonzero(some), index[some]]
  np.testing.assert_array_equal(np.asarray(out)[some], picked)
  assert len(set(index[some].tolist())) > 3
  buried = DRAW(x, jnp.where(mask, logits, -jnp.inf), key, axis=-2)[1]
  np.testing.assert_array_equal(buried.index, index)


def test_what_is_hidden_has_gradient_0():
  x, logits = arrays((B, T), (B, T))
  seen = np.random.default_rng(5).random((B, T)) < 0.5
  seen[1] = False
  x = jnp.where(seen, x, jnp.nan)

  def loss(x, logits, heat):
    out, drawn = glimpses.draw(
      x,
      logits,
      jax.random.key(0),
      pool=True,
      temperature=heat,
      mask=jnp.asarray(seen),
    )
    losses = (out - 1.0) ** 2
    return glimpses.score_function(losses, drawn.log_probability).sum()

  grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
  dx, dlogits, dheat = map(np.asarray, grad(x, logits, jnp.float32(0.9)))
  for g in (dx, dlogits):
    assert np.isfinite(g).all()
    assert (g[~seen] == 0).all()
  assert np.isfinite(dheat)
  assert np.abs(dlogits).max() > 0


@pytest.mark.parametrize(("shape", "axis", "given", "row"), [
  ((B, T, D), -2, (B, T), (B,)),
  ((B, T, D), -2, (T,), ()),
  ((B, T, D), -1, (B, D), (B,)),
  ((B, T, D), -2, (B, T, D), (B, D)),
  ((B, 0), -1, (B, 0), (B,)),
])  # fmt: skip
def test_one_draw_for_each_row_of_logits(shape, axis, given, row):
  x, logits = arrays(shape, given)
  out, drawn = DRAW(x, logits, jax.random.key(0), axis=axis)
  assert out.shape == shape
  assert drawn.index.shape == drawn.log_probability.shape == row
  assert drawn.index.dtype == jnp.int32
  if 0 in shape:
    assert (drawn.index == -1).all()


def test_the_value_is_the_loss_even_where_it_is_not_finite():
  losses = jnp.array([1.25, jnp.inf, -2.0])
  scored = glimpses.score_function(losses, jnp.array([-1.0, -2.0, -0.5]))
  assert scored[0] == 1.25
  assert scored[2] == -2
  assert not jnp.isfinite(scored[1])


@pytest.mark.usefixtures("as_a_user")
def test_bad_input_says_so():
  ones = jnp.ones(3)
  with pytest.raises(ValueError, match="one loss a draw, not yet averaged"):
    glimpses.score_function(ones.mean(), ones)
  with pytest.raises(ValueError, match=r"baseline has shape \[2\]"):
    glimpses.score_function(ones, ones, jnp.ones(2))
  with pytest.raises(ValueError, match="at least 2 draws"):
    glimpses.leave_one_out(jnp.ones((1, 5)))
  with pytest.raises(ValueError, match="at least 2 draws"):
    glimpses.leave_one_out(jnp.float32(1))
  with pytest.raises(ValueError, match="temperature must be above 0"):
    glimpses.draw(ones, ones, jax.random.key(0), temperature=0.0)


def test_with_gumbel_noise_the_hard_glimpse_is_a_draw(logits):
  keys = jax.random.split(jax.random.key(6), DRAWS)
  noisy = lambda key: logits + jax.random.gumbel(key, logits.shape)
  hard = lambda key: attnjax.glimpse(
    jnp.ones(T), noisy(key), normalizer="hard", temperature=0.3
  )
  seen = np.asarray(jax.jit(jax.vmap(hard))(keys), np.float64)
  expected = DRAWS * np.asarray(jax.nn.softmax(logits), np.float64)
  assert (((seen.sum(0) - expected) ** 2) / expected).sum() < 24.3
