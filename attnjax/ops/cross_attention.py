"""Cross-attention over a memory whose keys and values are projected once."""

from collections.abc import Callable, Sequence
from typing import Any, overload

from attnjax.ops.attention import Aux
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.attention.arguments import AuxNames
from attnjax.ops.heads import (
  Combine,
  MultiHeadParams,
  combine_heads,
  project_heads,
)
from attnjax.typing import Array, Float

__all__ = ["project_memory", "read_memory"]


def project_memory(
  params: MultiHeadParams, memory: Float[Array, "*B S M"]
) -> tuple[Float[Array, "*B S K D"], Float[Array, "*B S K E"]]:
  """Projects keys and values of a memory, once for all calls.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.heads import MultiHeadParams, Projection
  >>> up = Projection(jnp.ones((6, 2, 3)))
  >>> params = MultiHeadParams(up, up, up, Projection(jnp.ones((2, 3, 6))))
  >>> [x.shape for x in project_memory(params, jnp.ones((5, 6)))]
  [(5, 2, 3), (5, 2, 3)]
  """
  # No queries: an empty axis, whose projection costs nothing.
  _, key, value = project_heads(params, memory[..., :0, :], memory)
  return key, value


@overload
def read_memory(
  params: MultiHeadParams,
  inputs: Float[Array, "*B T M"],
  key: Float[Array, "*B S K D"],
  value: Float[Array, "*B S K E"],
  *,
  aux: tuple[()] = ...,
  combine: Combine = ...,
  attend: Callable = ...,
  **attend_kw: Any,
) -> Array: ...


@overload
def read_memory(
  params: MultiHeadParams,
  inputs: Float[Array, "*B T M"],
  key: Float[Array, "*B S K D"],
  value: Float[Array, "*B S K E"],
  *,
  aux: AuxNames,
  combine: Combine = ...,
  attend: Callable = ...,
  **attend_kw: Any,
) -> tuple[Array, Aux]: ...


@overload
def read_memory(
  params: MultiHeadParams,
  inputs: Float[Array, "*B T M"],
  key: Float[Array, "*B S K D"],
  value: Float[Array, "*B S K E"],
  *,
  aux: Sequence[str],
  combine: Combine = ...,
  attend: Callable = ...,
  **attend_kw: Any,
) -> Array | tuple[Array, Aux]: ...


def read_memory(
  params: MultiHeadParams,
  inputs: Float[Array, "*B T M"],
  key: Float[Array, "*B S K D"],
  value: Float[Array, "*B S K E"],
  *,
  combine: Combine = "concatenate",
  attend: Callable = default_attend,
  **attend_kw,
):
  """Multi-head cross-attention over keys and values of `project_memory`.

      read_memory(params, x, *project_memory(params, memory))
        = multi_head_attention(params, x, memory)

  Args:
    params: projections to heads and back.
    inputs: ``*B T M``, from which queries are projected.
    key: ``*B S K D``.
    value: ``*B S K E``.
    combine: as in `multi_head_attention`.
    attend: the attention to call.
    **attend_kw: for it; see `attend`.

  Returns:
    ``*B T M``; with ``aux=`` a pair, as `attend` returns.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.heads import MultiHeadParams, Projection
  >>> up = Projection(jnp.ones((6, 2, 3)))
  >>> params = MultiHeadParams(up, up, up, Projection(jnp.ones((2, 3, 6))))
  >>> key, value = project_memory(params, jnp.ones((5, 6)))
  >>> read_memory(params, jnp.ones((4, 6)), key, value).shape
  (4, 6)
  """
  # The keys and values are given: an empty memory is projected for free.
  query, _, _ = project_heads(params, inputs, inputs[..., :0, :])
  result = attend(query, key, value, **attend_kw)
  heads, *aux = result if isinstance(result, tuple) else (result,)
  out = combine_heads(params.output, heads, combine)
  return (out, *aux) if aux else out
