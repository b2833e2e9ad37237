"""Losses as (sum, weight) pairs: exact means over uneven batches."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from attnjax.training.flat_state import leaf_specs, spec_difference
from attnjax.typing import Array, DTypeLike, Float, Int, PyTree, Scalar

__all__ = [
  "RESERVED",
  "LossFn",
  "at_least_float32",
  "carried_loss_sums",
  "cross_entropy",
  "loss_sums",
]


# (params, batch, key) -> (total, weight[, extra]), see `make_step`.
LossFn = Callable[[Any, Any, Any], tuple[Any, ...]]

# Names that an extra metric must not have, for steps, evaluations and records
# write them.
RESERVED = frozenset(
  {
    *("loss", "perplexity", "weight", "learning_rate"),
    *("gradient_norm", "parameter_norm", "tokens_per_second"),
    *("step", "split"),
  }
)


def cross_entropy(
  logits: Float[Array, "*B V"],
  targets: Int[Array, "*B"],
  weights: Float[Array, "*B"],
) -> tuple[Scalar, Scalar]:
  """Summed cross-entropy of integer targets, in nats, and the summed weight.

      L              = Σ_i w[i] (log Σ_v exp(x[i, v]) - x[i, t[i]])
      ∂L / ∂x[i, v]  = w[i] (p[i, v] - [v = t[i]])

  Both sums are float32 or better whatever the logits are. `L / weight` is the
  mean in nats and `exp` of it the perplexity; sums of several calls add up.

  Args:
    logits: unnormalised log-probabilities of the `V` classes.
    targets: the class wanted. Where the weight is not 0, a target outside
      `[0, V)` makes the loss NaN rather than count for another class.
    weights: how much each target counts; where 0, it adds exactly 0 to the
      loss and to the gradient, whatever the logits and the target are there.

  Returns:
    The loss and the weight, both scalars.

  >>> import jax.numpy as jnp
  >>> logits = jnp.zeros((1, 3, 5))
  >>> targets = jnp.array([[0, 4, 2]])
  >>> total, weight = cross_entropy(logits, targets, jnp.ones((1, 3)))
  >>> print(f"{total / weight:.4f} = log 5")
  1.6094 = log 5
  """
  classes = logits.shape[-1]
  logits = at_least_float32(logits)
  weights = weights.astype(logits.dtype)
  counts = weights != 0
  # Selected before the arithmetic: 0 * inf is NaN, in the gradient too.
  safe = jnp.where(counts[..., None], logits, 0.0)
  # A negative index would count from the end; past the end the gather is NaN.
  outside = (targets < 0) | (targets >= classes)
  # Where nothing counts class 0 is read, whatever the target is.
  targets = jnp.where(counts, jnp.where(outside, classes, targets), 0)
  nats = optax.softmax_cross_entropy_with_integer_labels(safe, targets)

  return jnp.sum(weights * nats), jnp.sum(weights)


def loss_sums(
  loss_fn: LossFn,
  params: PyTree,
  batch: PyTree,
  key: Any,
  compute_dtype: DTypeLike | None = None,
) -> tuple[Scalar, Scalar, Mapping[str, Scalar]]:
  """Calls a loss function and checks its summed loss, weight and metrics.

  Args:
    loss_fn: as for `make_step`.
    params: cast to `compute_dtype` where float; None casts nothing.
    batch: given to the loss function as it is.
    key: random key, or None where nothing may be random.
    compute_dtype: see `params`.

  Returns:
    Three sums, float32 or better; the third is empty where there is none.

  Raises:
    ValueError: the loss returned something else than two or three sums, or an
      extra metric has a name that is taken; names it.

  >>> import jax.numpy as jnp
  >>> def loss_fn(params, batch, key):
  ...   return params * batch, 1
  >>> total, weight, extra = loss_sums(loss_fn, jnp.float32(3), 2.0, None)
  >>> float(total), float(weight), extra
  (6.0, 1.0, {})
  """
  return _as_sums(loss_fn(_cast(params, compute_dtype), batch, key))


def carried_loss_sums(
  loss_fn: Callable[..., Any],
  params: PyTree,
  batch: PyTree,
  key: Any,
  carry: PyTree,
  compute_dtype: DTypeLike | None = None,
) -> tuple[Scalar, Scalar, Mapping[str, Scalar], PyTree]:
  """As `loss_sums`, of a loss that is given a carry and returns the next one.

  No gradient passes through the carry that is given.

  Args:
    loss_fn: `(params, batch, key, carry) -> (total, weight[, extra], carry)`.
    params: as for `loss_sums`.
    batch: as for `loss_sums`.
    key: as for `loss_sums`.
    carry: arrays that the loss of the step before returned.
    compute_dtype: as for `loss_sums`; the carry is not cast.

  Returns:
    The three sums, and the next carry.

  Raises:
    ValueError: as `loss_sums`; or the carry that the loss returned has other
      leaves, shapes or dtypes than the one that it was given.

  >>> import jax.numpy as jnp
  >>> def loss_fn(params, batch, key, carry):
  ...   return params * carry, 1, carry + batch
  >>> found = carried_loss_sums(
  ...   loss_fn, jnp.float32(3), jnp.float32(2), None, jnp.float32(5))
  >>> float(found[0]), float(found[3])
  (15.0, 7.0)
  """
  carry = jax.lax.stop_gradient(carry)
  returned = loss_fn(_cast(params, compute_dtype), batch, key, carry)
  if not isinstance(returned, tuple | list) or len(returned) not in (3, 4):
    raise ValueError(
      "loss_fn: with a carry must return (total, weight, carry) or (total,"
      f" weight, extra, carry), got {type(returned).__name__}"
    )

  *sums, after = returned
  # A carry of another shape would compile each step anew, or never be resumed.
  difference = spec_difference(
    leaf_specs({"carry": carry}), leaf_specs({"carry": after})
  )
  if difference is not None:
    said = difference.replace("the checkpoint", "the carry given")
    said = said.replace("the state asked for", "the carry returned")
    raise ValueError(
      f"loss_fn: must return a carry like the one it was given: {said}"
    )
  return (*_as_sums(tuple(sums)), after)


def _cast(params: PyTree, dtype: DTypeLike | None) -> PyTree:
  """Casts float parameters; None casts nothing."""
  # Inside the differentiated function: gradients keep float32.
  if dtype is None:
    return params
  return jax.tree.map(lambda x: _cast_float(x, dtype), params)


def _as_sums(returned: Any) -> tuple[Scalar, Scalar, Mapping[str, Scalar]]:
  """What a loss function returned, as three sums of float32 or better."""
  total, weight, extra = _checked_sums(returned)

  if taken := RESERVED & set(extra):
    raise ValueError(
      f"loss_fn: an extra metric must not be called {', '.join(sorted(taken))},"
      " for a metric of that name is recorded anyway and this one would take"
      " its place; give it another name"
    )

  return jax.tree.map(at_least_float32, (total, weight, extra))


def _checked_sums(returned: Any) -> tuple[Any, Any, Mapping[str, Any]]:
  """The two or three sums that a loss function returned, each of them a scalar.

  Raises:
    ValueError: something else was returned; names it and the remedy.
  """
  if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
    raise ValueError(
      "loss_fn: must return (total, weight) or (total, weight, extra), the"
      f" summed loss and the summed weight, got {type(returned).__name__};"
      " of a mean, return it with weight 1"
    )

  total, weight, *rest = returned
  extra = rest[0] if rest else {}
  for name, x in {"total": total, "weight": weight, **extra}.items():
    if jnp.shape(x):
      raise ValueError(
        f"loss_fn: {name} must be a scalar, summed over the batch, got shape"
        f" {list(jnp.shape(x))}; sum it with {name}.sum()"
      )

  return total, weight, extra


def _cast_float(x: Any, dtype: DTypeLike) -> Any:
  """Casts an array of floats; any other is returned as it is."""
  return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x


def at_least_float32(x: Any) -> Array:
  """Casts narrower floats and other dtypes to float32; keeps float64.

  >>> import jax.numpy as jnp
  >>> at_least_float32(jnp.bfloat16(2.5)).dtype
  dtype('float32')
  """
  x = jnp.asarray(x)
  wide = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize >= 4
  return x if wide else x.astype(jnp.float32)
