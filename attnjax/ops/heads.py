"""Parameters of multi-head attention, and its projections to heads and back."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops.explicit_axes import einsum
from attnjax.typing import Array, Float

__all__ = [
  "Combine",
  "MultiHeadParams",
  "Projection",
  "SelfAttentionParams",
  "combine_heads",
  "linear",
  "project_heads",
  "proposed_changes",
]

# How heads make an output: concatenated and mapped, or summed as changes.
Combine = Literal["concatenate", "sum"]


class Projection(NamedTuple):
  """Kernel of a linear map, and its bias or None.

  >>> import jax.numpy as jnp
  >>> Projection(jnp.eye(2)).bias is None
  True
  """

  kernel: Float[Array, "..."]
  bias: Float[Array, "..."] | None = None


class SelfAttentionParams(NamedTuple):
  """Kernels ``M D``, ``M D`` and ``M E``.

  >>> import jax.numpy as jnp
  >>> eye = Projection(jnp.eye(2))
  >>> SelfAttentionParams(eye, eye, eye).query is eye
  True
  """

  query: Projection
  key: Projection
  value: Projection


class MultiHeadParams(NamedTuple):
  """Kernels ``M H D``, ``M K D``, ``M K E`` and ``H E M``.

  >>> import jax.numpy as jnp
  >>> up = Projection(jnp.ones((6, 2, 3)))
  >>> down = Projection(jnp.ones((2, 3, 6)))
  >>> MultiHeadParams(up, up, up, down).output.kernel.shape
  (2, 3, 6)
  """

  query: Projection
  key: Projection
  value: Projection
  output: Projection


def combine_heads(
  output: Projection, heads: Float[Array, "*B T H E"], combine: Combine
) -> Float[Array, "*B T M"]:
  """Output projection: concatenate heads and transform, or sum per head.

  >>> import jax.numpy as jnp
  >>> heads = jnp.ones((3, 2, 5))
  >>> combine_heads(Projection(jnp.ones((2, 5, 7))), heads, "sum").shape
  (3, 7)
  """
  if combine == "sum":
    out = proposed_changes(output, heads).sum(axis=-2)
  elif combine == "concatenate":
    rows = math.prod(heads.shape[-2:])  # not -1: there may be no tokens
    # One product over H E features; the sum has ``*B T H M`` numbers to add.
    joined = heads.reshape((*heads.shape[:-2], rows))
    kernel = output.kernel.reshape((rows, output.kernel.shape[-1]))
    out = einsum("...tx,xm->...tm", joined, kernel)
  else:
    raise ValueError(f"combine must be 'concatenate' or 'sum', got {combine!r}")
  return _add(out, output.bias)


def proposed_changes(
  output: Projection, heads: Float[Array, "*B T H E"]
) -> Float[Array, "*B T H M"]:
  """Output projection of each head on its own, head[h] W_o[h].

  The output of the layer is their sum over heads, plus the bias.

  >>> import jax.numpy as jnp
  >>> changes = proposed_changes(Projection(jnp.ones((2, 5, 7))),
  ...                            jnp.ones((3, 2, 5)))
  >>> changes.shape
  (3, 2, 7)

  Reference:
    Elhage et al., "A Mathematical Framework for Transformer Circuits", 2021.
  """
  return jnp.einsum("...the,hem->...thm", heads, output.kernel)


def project_heads(params: MultiHeadParams, inputs, memory):
  """Projects queries ``*B T H D`` of inputs, keys and values of a memory.

  >>> import jax.numpy as jnp
  >>> up = Projection(jnp.ones((6, 2, 3)))
  >>> down = Projection(jnp.ones((2, 3, 6)))
  >>> x = jnp.ones((5, 6))
  >>> query, _, _ = project_heads(MultiHeadParams(up, up, up, down), x, None)
  >>> query.shape
  (5, 2, 3)
  """
  memory = inputs if memory is None else memory
  with jax.named_scope("project"):
    return tuple(
      _add(jnp.einsum("...tm,mhd->...thd", x, p.kernel), p.bias)
      for p, x in zip(params[:3], (inputs, memory, memory), strict=True)
    )


def linear(projection: Projection, x):
  """Linear map x W + b.

  >>> import jax.numpy as jnp
  >>> linear(Projection(jnp.eye(2), jnp.ones(2)), jnp.zeros((1, 2))).tolist()
  [[1.0, 1.0]]
  """
  with jax.named_scope("project"):
    return _add(
      jnp.einsum("...tm,md->...td", x, projection.kernel), projection.bias
    )


def _add(x, bias):
  """Adds a bias on the trailing axes, where there is a bias."""
  if bias is None:
    return x
  # Batch axes by hand, so that it runs under strict rank promotion.
  return x + bias.reshape((1,) * (x.ndim - bias.ndim) + bias.shape)
