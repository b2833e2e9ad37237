"""Makes the results of a `jax.custom_jvp` consistent under `jax.vmap`."""

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

__all__ = ["vmap_consistent"]


@custom_vmap
def vmap_consistent(results, arguments):
  """The results, all mapped where `vmap` maps any of them or of the arguments.

  A `jax.custom_jvp` needs it whose rule mixes its arguments: of a result that
  is the same for the whole batch `vmap` makes no batch, but the rule may, of
  its tangent. Under `jit` JAX then finds two shapes where it promised one.

  Args:
    results: a pytree of arrays.
    arguments: a pytree of arrays, those that the results are of.

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
  """Repeats what the batch shares; a batch of batches asks again."""
  repeat = lambda x: jnp.broadcast_to(x, (size, *jnp.shape(x)))
  results = jax.tree.map(
    lambda x, is_mapped: x if is_mapped else repeat(x), results, mapped[0]
  )
  every = jax.tree.map(lambda _: True, mapped[0])
  return vmap_consistent(results, arguments), every


mapped_alike = vmap_consistent  # its old name, which its old path asks for
