"""Scorings: functions from a query and a key to a logit.

A scoring is a frozen pytree, called as ``scoring(query, key, precision)`` with
query ``... G T D`` and key ``... S D``, that returns logits ``... G T S``.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.distances import squared_distance, unit_vectors
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.value import Value, format_call
from attnjax.ops.value_checks import poison, refuse
from attnjax.typing import Array, Float, PrecisionLike

__all__ = [
  "Scoring",
  "additive",
  "cosine",
  "dot",
  "gaussian",
  "general",
  "scaled_dot",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Scoring(Value):
  """Base of scorings: how queries and keys make logits; see `dot`.

      logit[t, s] = score(q'[t], k'[s]),   q', k' = prepare(q, k)

  `prepare` maps each query and key once (scale, normalize, project); `score`
  gives the same logits for any slice of them, so that `attend` can go tile by
  tile. Results have the dtype of the query, which `attend` has cast to that of
  the logits; captured arrays are cast to it. The widths of q' and k' may differ
  from D.

  >>> import jax.numpy as jnp
  >>> from attnjax import scoring
  >>> scale, q, k = scoring.scaled_dot(), jnp.ones((1, 5, 4)), jnp.ones((3, 4))
  >>> prepared_q, prepared_k = scale.prepare(q, k)
  >>> tile = scale.score(prepared_q[:, 2:4], prepared_k[1:])
  >>> bool((tile == scale(q, k)[:, 2:4, 1:]).all())
  True
  """

  @property
  def footprint(self) -> int:
    """Numbers in memory per logit while it is computed; 1 for a dot product."""
    return 1

  def prepare(
    self,
    query: Float[Array, "... G T D"],
    key: Float[Array, "... S D"],
    precision: PrecisionLike = None,
  ) -> tuple[Float[Array, "... G T A"], Float[Array, "... S A"]]:
    """Maps queries and keys, each on its own, before `score`."""
    return query, key

  def score(
    self,
    query: Float[Array, "... G T A"],
    key: Float[Array, "... S A"],
    precision: PrecisionLike = None,
  ) -> Float[Array, "... G T S"]:
    """Logits of prepared queries against prepared keys."""
    # G and T as one axis: with two, XLA transposes every tile of the gradient
    # to merge them.
    *lead, group, length, width = query.shape
    query = query.reshape((*lead, group * length, width))
    logits = jnp.einsum("...td,...sd->...ts", query, key, precision=precision)
    return logits.reshape((*lead, group, length, key.shape[-2]))

  def __call__(
    self,
    query: Float[Array, "... G T D"],
    key: Float[Array, "... S D"],
    precision: PrecisionLike = None,
  ) -> Float[Array, "... G T S"]:
    """Logits of every query against every key."""
    return self.score(*self.prepare(query, key, precision), precision)

  def validate(self, width: int) -> None:
    """Raises ValueError if a captured array does not fit the width D."""


@pytree_dataclass
class _Dot(Scoring):
  # None is 1 / sqrt(D), as in the paper, once D is known.
  scale: float | None = static()

  def __repr__(self):
    if self.scale == 1:
      return "dot()"
    return format_call("scaled_dot", scale=self.scale)

  def prepare(self, query, key, precision=None):
    scale = self.scale
    if scale is None:
      # A width of 0 makes every logit 0, whatever its scale.
      scale = 1 / math.sqrt(max(query.shape[-1], 1))
    # The query is the smaller operand, so the scale goes there.
    return query if scale == 1 else query * scale, key


@pytree_dataclass
class _General(Scoring):
  weight: Any

  def __repr__(self):
    return format_call("general", self.weight)

  def prepare(self, query, key, precision=None):
    # Projecting the query costs T D² and the key S D²; one is enough.
    weight = jnp.asarray(self.weight).astype(query.dtype)
    return jnp.einsum("...d,de->...e", query, weight, precision=precision), key

  def validate(self, width):
    if jnp.shape(self.weight) != (width, width):
      raise ValueError(
        f"scoring general: weight has shape {list(jnp.shape(self.weight))},"
        f" expected 'D D' = [{width}, {width}], the width of query and key;"
        " project them to one width before"
      )


def dot() -> Scoring:
  """Dot product, logit[t, s] = q[t] · k[s].

  >>> import jax.numpy as jnp
  >>> q, k = jnp.ones((1, 1, 4)), jnp.ones((2, 4))
  >>> dot()(q, k).tolist()
  [[[4.0, 4.0]]]

  Reference:
    Luong, Pham, Manning, "Effective Approaches to Attention-based Neural
    Machine Translation", 2015, arXiv 1508.04025, equation 8.
  """
  return _Dot(1.0)


def scaled_dot(scale: float | None = None) -> Scoring:
  """Scaled dot product, logit[t, s] = scale · q[t] · k[s].

  For independent queries and keys of unit variance q · k has variance D; the
  default scale brings it back to 1, so that the softmax does not saturate.

  Args:
    scale: any finite number; None is 1 / sqrt(D).

  Raises:
    ValueError: if the scale is not a finite number.

  >>> import jax.numpy as jnp
  >>> q, k = jnp.ones((1, 1, 4)), jnp.ones((2, 4))
  >>> scaled_dot()(q, k).tolist()
  [[[2.0, 2.0]]]

  Reference:
    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762,
    equation 1.
  """
  if scale is not None and not (
    isinstance(scale, int | float) and math.isfinite(scale)
  ):
    raise ValueError(
      f"scaled_dot: scale must be a finite Python number, got {scale!r}; to"
      " learn a scale, multiply the queries by it"
    )
  return _Dot(None if scale is None else float(scale))


def general(weight: Float[Array, "D D2"]) -> Scoring:
  """Bilinear form, logit[t, s] = q[t] · W k[s], not scaled.

  Args:
    weight: W, ``D D``, shared by all heads. Gradients reach it.

  Raises:
    ValueError: in `attend`, if the weight is not ``D D``.

  The identity makes it the dot product, and W need not be symmetric:

  >>> import jax, jax.numpy as jnp
  >>> q, k = jax.random.normal(jax.random.key(0), (2, 1, 5, 4))
  >>> bool((general(jnp.eye(4))(q, k[0]) == dot()(q, k[0])).all())
  True
  >>> turn = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
  >>> x = jnp.eye(2)
  >>> general(turn)(x[None], x)[0].tolist()
  [[0.0, 1.0], [-1.0, 0.0]]

  Reference:
    Luong, Pham, Manning, "Effective Approaches to Attention-based Neural
    Machine Translation", 2015, arXiv 1508.04025, equation 8.
  """
  return _General(weight)


@pytree_dataclass
class _Additive(Scoring):
  query_weight: Any
  key_weight: Any
  vector: Any

  def __repr__(self):
    arrays = self.query_weight, self.key_weight, self.vector
    return format_call("additive", *arrays)

  @property
  def footprint(self):
    return max(jnp.shape(self.vector)[-1], 1)

  def prepare(self, query, key, precision=None):
    # The first layer is linear, so it maps queries and keys separately.
    def project(x, weight):
      weight = jnp.asarray(weight).astype(x.dtype)
      return jnp.einsum("...d,da->...a", x, weight, precision=precision)

    return project(query, self.query_weight), project(key, self.key_weight)

  def score(self, query, key, precision=None):
    hidden = jnp.tanh(query[..., None, :] + key[..., None, None, :, :])
    vector = jnp.asarray(self.vector).astype(hidden.dtype)
    return jnp.einsum("...a,a->...", hidden, vector, precision=precision)

  def validate(self, width):
    layer = jnp.shape(self.vector)
    for name in ("query_weight", "key_weight"):
      shape = jnp.shape(getattr(self, name))
      if len(layer) != 1 or shape != (width, *layer):
        raise ValueError(
          f"scoring additive: {name} has shape {list(shape)} and vector"
          f" {list(layer)}, expected 'D A' and 'A' with the width"
          f" D={width} of query and key and one width A for both weights and"
          " the vector"
        )


def additive(
  query_weight: Float[Array, "D A"],
  key_weight: Float[Array, "D2 A2"],
  vector: Float[Array, " A3"],
) -> Scoring:
  """Additive scoring: a network of one hidden layer.

      logit[t, s] = v · tanh(q[t] W_q + k[s] W_k)

  It needs memory for A numbers per logit, where a dot product needs one.

  Args:
    query_weight: W_q, ``D A``, shared by all heads, as are the others.
      Gradients reach all three.
    key_weight: W_k, ``D A``.
    vector: v, ``A``.

  Raises:
    ValueError: in `attend`, if a weight is not ``D A``.

  A logit is bounded by Σ |v|, however long queries and keys are:

  >>> import jax.numpy as jnp
  >>> rule = additive(jnp.eye(2), jnp.eye(2), jnp.array([1.0, 2.0]))
  >>> q, k = 1e6 * jnp.ones((1, 1, 2)), jnp.ones((3, 2))
  >>> rule(q, k).tolist()
  [[[3.0, 3.0, 3.0]]]

  Reference:
    Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to
    Align and Translate", 2014, arXiv 1409.0473, appendix A.1.2.
  """
  return _Additive(query_weight, key_weight, vector)


@pytree_dataclass
class _Cosine(Scoring):
  temperature: Any

  def __repr__(self):
    return format_call("cosine", self.temperature)

  def prepare(self, query, key, precision=None):
    temperature = _positive("cosine", "temperature", self.temperature, query)
    return unit_vectors(query) / temperature, unit_vectors(key)

  def validate(self, width):
    _check_scalar("cosine", "temperature", self.temperature)


@pytree_dataclass
class _Gaussian(Scoring):
  bandwidth: Any

  def __repr__(self):
    return format_call("gaussian", self.bandwidth)

  # Multiplied out, q · k - |q|²/2 - |k|²/2 would be one dot product, but near
  # keys, which get the weight, would suffer cancellation: an error of R² eps at
  # distance R from the origin. Centring the data would make a row depend on
  # keys that are hidden from it. So differences are squared and summed, which
  # XLA fuses into one number per logit.
  def score(self, query, key, precision=None):
    inverse = 1 / _positive("gaussian", "bandwidth", self.bandwidth, query)
    # Two factors, because the square of a small bandwidth underflows.
    distance = squared_distance(precision, query, key)
    return distance * inverse * (-0.5 * inverse)

  def validate(self, width):
    _check_scalar("gaussian", "bandwidth", self.bandwidth)


def _check_scalar(rule: str, name: str, value):
  """Checks that a scalar is positive and finite; returns as `refuse` does."""
  shape = jnp.shape(value)
  if shape != ():
    raise ValueError(
      f"scoring {rule}: {name} must be one number for all heads, got shape"
      f" {list(shape)}; scale the queries and keys of each head instead"
    )

  return refuse(
    lambda x: ~((x > 0) & (x < math.inf)),
    lambda x: ValueError(
      f"scoring {rule}: {name} must be positive and finite, got {x}; to learn"
      " it without bounds, give its exponential"
    ),
    value,
  )


def _positive(rule: str, name: str, value, like) -> Float[Array, ""]:
  """The scalar in the dtype of the logits; NaN where it is out of range."""
  number = jnp.asarray(value, like.dtype)
  return poison(number, _check_scalar(rule, name, value))


def cosine(temperature: float | Float[Array, ""]) -> Scoring:
  """Cosine of the angle between query and key, over a temperature.

      logit[t, s] = q[t] · k[s] / (|q[t]| |k[s]| temperature)

  Logits stay within ±1 / temperature; a zero vector has logit 0, gradient 0.

  Args:
    temperature: > 0; a smaller one tells keys apart more sharply. A scalar
      array gets gradients.

  Raises:
    ValueError: if the temperature is not a positive scalar.

  The length of a vector does not matter:

  >>> import jax, jax.numpy as jnp
  >>> q, k = jax.random.normal(jax.random.key(0), (2, 1, 5, 4))
  >>> rule = cosine(0.1)
  >>> bool(jnp.allclose(rule(q, k[0]), rule(1e-9 * q, 1e9 * k[0])))
  True

  Reference:
    Graves, Wayne, Danihelka, "Neural Turing Machines", 2014, arXiv 1410.5401,
    equations 5 and 6 (with the key strength β = 1 / temperature).
  """
  _check_scalar("cosine", "temperature", temperature)
  return _Cosine(temperature)


def gaussian(bandwidth: float | Float[Array, ""]) -> Scoring:
  """Gaussian kernel, logit[t, s] = -|q[t] - k[s]|² / (2 h²).

  Under softmax, attention is then Nadaraya-Watson kernel regression: keys are
  the inputs of the known samples of a function, values their outputs.

  Args:
    bandwidth: h > 0, in the unit of queries and keys. A scalar array gets
      gradients.

  Raises:
    ValueError: if the bandwidth is not a positive scalar.

  A common shift changes nothing, and a key at the query has logit 0:

  >>> import jax.numpy as jnp
  >>> x = jnp.arange(3.0)[:, None]
  >>> logits = gaussian(1.0)(x[None] + 4096, x + 4096)
  >>> logits[0, 1].tolist() == [-0.5, 0.0, -0.5]
  True

  Reference:
    Nadaraya, "On Estimating Regression", 1964; Watson, "Smooth Regression
    Analysis", 1964.
  """
  _check_scalar("gaussian", "bandwidth", bandwidth)
  return _Gaussian(bandwidth)
