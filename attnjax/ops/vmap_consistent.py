"""Makes the results of a `jax.custom_jvp` consistent under `jax.vmap`."""

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

__all__ = ["vmap_consistent"]


@custom_vmap
def vmap_consistent(results, arguments):
  """Identity on results; under `vmap` all are batched if anything is.

  `vmap` leaves a result unbatched that is the same for the whole batch. The
  rule of a `jax.custom_jvp` that mixes its arguments may batch the tangent of
  that result, and under `jit` JAX then fails on primal and tangent of different
  shapes.

  Args:
    results: a pytree of arrays.
    arguments: a pytree of the arrays from which the results were computed.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> one = lambda x: vmap_consistent([jnp.float32(7), x], [x])
  >>> jax.vmap(one, out_axes=0)(jnp.arange(2.0))
  [Array([7., 7.], dtype=float32), Array([0., 1.], dtype=float32)]
  """
  del arguments
  return results


@vmap_consistent.def_vmap
def _(size, mapped, results, arguments):
  """Broadcasts unbatched results; calls itself again for nested `vmap`."""
  repeat = lambda x: jnp.broadcast_to(x, (size, *jnp.shape(x)))
  results = jax.tree.map(
    lambda x, is_mapped: x if is_mapped else repeat(x), results, mapped[0]
  )
  # All are reported as batched, also those that were the same for all rows.
  every = jax.tree.map(lambda _: True, mapped[0])
  return vmap_consistent(results, arguments), every


mapped_alike = vmap_consistent  # its old name, which its old path asks for
