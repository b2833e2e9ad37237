"""Which queries a loss depends on: those that are no padding."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.viz.harvest import Program, in_order

__all__ = ["queries_that_count"]


def queries_that_count(
  program: Program, total: Callable
) -> Callable[[Sequence], list[np.ndarray]]:
  """Says of each call which of its queries a number depends on.

  The output of query t in head h is multiplied by a gate g[t, h] = 1, and t
  counts where ∂L/∂g[t, h] is not 0 for some h. What a mask, a length or a
  weight of the loss leaves out has a derivative of exactly 0, whatever says so.
  Before a projection that starts at 0 no query does.

  Args:
    program: of a function, traced.
    total: what the function returns -> one number.

  Returns:
    The arrays of the program -> bool ``T`` a call, in the order of the calls;
    over all rows of a batch together. Compiled once.

  >>> import attnjax, jax.numpy as jnp
  >>> from attnjax.viz.harvest import trace
  >>> x = jnp.ones((3, 1, 2))
  >>> program = trace(lambda x: attnjax.attend(x, x, x)[:2].sum(), x)
  >>> queries_that_count(program, lambda y: y)(program.leaves)[0].tolist()
  [True, True, False]
  """
  _, found = jax.eval_shape(program.run, program.leaves)
  gates = []
  for one in found:
    query = one.site.arguments(one.operands)[0]
    gates.append(jnp.ones((*one.steps, *query.shape[-3:-1]), jnp.float32))

  @jax.jit
  def slopes(leaves, gates):
    return jax.grad(lambda gates: total(program.run(leaves, gates)[0]))(gates)

  def counts(leaves: Sequence) -> list[np.ndarray]:
    by_site = [np.asarray(x) for x in slopes(list(leaves), gates)]
    return [(by_site[k][at] != 0).any(-1) for k, at in in_order(found)]

  return counts
