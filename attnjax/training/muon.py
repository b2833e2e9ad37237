"""Muon: the momentum of a matrix, made orthogonal, is its update."""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from attnjax.typing import PyTree

__all__ = [
  "MatrixAxes",
  "matrix_axes",
  "scale_by_muon_or_adam",
  "with_promotion",
]

# (pattern of a path, axes summed over, axes that come out), from the last.
MatrixAxes = Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]]
_KERNELS: MatrixAxes = ((r"kernel(\.value|\.raw_value)?$", (-2,), (-1,)),)

# The root mean square of an update of Adam, which Muon's is scaled to: Liu et
# al., 2025, section 2.2. So both take one learning rate.
_ROOT_MEAN_SQUARE = 0.2


def matrix_axes(params: PyTree, table: MatrixAxes | None = None) -> PyTree:
  """The axes of each weight that is a matrix, and None for other leaves.

  Axes that a row does not name are of a stack of matrices, as layers are.

  Args:
    params: of arrays or shapes.
    table: the first row whose pattern is found in a leaf's path decides; None
      takes the last two axes of what is named `kernel`.

  Returns:
    A tree of the same structure, of `optax.contrib.MuonDimensionNumbers`.

  Raises:
    ValueError: a matrix has fewer axes than its row names, or none is found.

  >>> import jax.numpy as jnp
  >>> params = {"kernel": jnp.ones((2, 3, 5)), "bias": jnp.ones((2, 5))}
  >>> matrix_axes(params)["kernel"].output_axis, matrix_axes(params)["bias"]
  ((-1,), None)
  """
  rows = _KERNELS if table is None else table

  def of(path: Any, leaf: Any) -> MuonDimensionNumbers | None:
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    for pattern, inputs, outputs in rows:
      if not re.search(pattern, name):
        continue
      if leaf.ndim < max(-axis for axis in (*inputs, *outputs)):
        raise ValueError(
          f"muon: {name} must have the axes {inputs} and {outputs}, got"
          f" {leaf.ndim} axes; give its own row of a table"
        )
      return MuonDimensionNumbers(inputs, outputs)
    return None

  found = jax.tree_util.tree_map_with_path(of, params)
  if not jax.tree.leaves(found):
    patterns = ", ".join(repr(pattern) for pattern, *_ in rows)
    raise ValueError(
      f"muon: no path of a parameter matches {patterns}; give a table that"
      " names the matrices, or take kind='adamw'"
    )

  return found


def scale_by_muon_or_adam(
  *,
  momentum: float,
  beta1: float,
  beta2: float,
  epsilon: float,
  table: MatrixAxes | None = None,
) -> optax.GradientTransformation:
  """Updates of matrices by Muon, and of all other leaves by Adam.

  With `m` the momentum of a matrix of `a` by `b` and its singular value
  decomposition `U S V`, which five steps of Newton and Schulz approach,

      m' = μ m + (1 - μ) g,   Δ = 0.2 sqrt(max(a, b)) U V

  Args:
    momentum: `μ` of Muon, in [0, 1); it looks ahead, as Nesterov's.
    beta1: of Adam.
    beta2: of Adam.
    epsilon: of Adam.
    table: see `matrix_axes`.

  Returns:
    An Optax transformation without learning rate and decay.

  Reference:
    Jordan et al. Muon: An optimizer for hidden layers in neural networks. 2024.
    Liu et al. Muon is Scalable for LLM Training. 2025. arXiv:2502.16982.

  >>> import jax.numpy as jnp
  >>> rule = scale_by_muon_or_adam(
  ...   momentum=0.95, beta1=0.9, beta2=0.95, epsilon=1e-8)
  >>> params = {"kernel": jnp.diag(jnp.array([3.0, 0.1]))}
  >>> updates, _ = rule.update(params, rule.init(params), params)
  >>> large, small = jnp.diag(updates["kernel"])  # 30 to 1 in the gradient
  >>> bool(large / small < 2)
  True
  """
  axes = lambda tree: matrix_axes(tree, table)

  def scaled(update: jax.Array, numbers: MuonDimensionNumbers) -> jax.Array:
    sides = (
      math.prod(update.shape[axis] for axis in side)
      for side in (numbers.reduction_axis, numbers.output_axis)
    )
    return update * (_ROOT_MEAN_SQUARE * math.sqrt(max(sides)))

  def by_shape(updates: PyTree, params: PyTree | None = None) -> PyTree:
    return jax.tree.map(scaled, updates, axes(updates))

  muon = optax.chain(
    scale_by_muon(beta=momentum, weight_dimension_numbers=axes),
    optax.stateless(by_shape),
  )
  adam = optax.scale_by_adam(beta1, beta2, epsilon)

  def kinds(params: PyTree) -> PyTree:
    leaf = lambda x: x is None or isinstance(x, MuonDimensionNumbers)
    name = lambda x: "adam" if x is None else "muon"
    return jax.tree.map(name, axes(params), is_leaf=leaf)

  return with_promotion(optax.partition({"muon": muon, "adam": adam}, kinds))


def with_promotion(
  rule: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """The rule under JAX's standard promotion of dtypes.

  Optax mixes float and int scalars, which strict promotion refuses.
  """

  def update(*args: Any, **kwargs: Any) -> Any:
    with jax.numpy_dtype_promotion("standard"):
      return rule.update(*args, **kwargs)

  return optax.GradientTransformationExtraArgs(rule.init, update)
