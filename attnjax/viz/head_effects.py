"""What heads are worth: a loss without a head, and what a head adds to a logit.

The output of a head is multiplied by a gate g in the calls of `attend`
themselves, so that no model needs a line for it: g = 1 is the model, g = 0 is
the model with the head silenced, and a derivative by g is linear attribution.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.viz.captured import chosen
from attnjax.viz.harvest import Found, Program, in_order, trace
from attnjax.viz.named_array import NamedArray

__all__ = ["head_ablation", "head_attribution"]


def head_ablation(
  loss: Callable,
  *args: Any,
  layers: Sequence[int] | None = None,
  **kwargs: Any,
) -> NamedArray:
  """Change of a loss when one head is silenced, L(g[l, h] = 0) - L.

  Above 0 where the head helps. The function is compiled once and run once a
  head.

  Args:
    loss: ``(*args, **kwargs)`` to one number; calls attention within, as a
      model and its loss do.
    *args: for it, such as the model and a batch.
    layers: calls of attention to silence heads of; None is all.
    **kwargs: for it.

  Returns:
    Axes (layer, head); heads that a layer lacks are NaN.

  Raises:
    ValueError: the result is not one number, or attention is never called.

  A head whose values are 0 is not missed:

  >>> import attnjax, jax, jax.numpy as jnp
  >>> x = jax.random.normal(jax.random.key(0), (5, 2, 4))
  >>> v = x.at[:, 1].set(0)
  >>> loss = lambda x, v: jnp.square(attnjax.attend(x, x, v)).sum()
  >>> change = head_ablation(loss, x, v).values[0]
  >>> bool(change[0] < 0), float(change[1])
  (True, 0.0)

  Reference:
    Michel, Levy, Neubig, "Are Sixteen Heads Really Better than One?", 2019,
    arXiv 1905.10650, section 3.
  """
  program, found, gates = _gated(loss, args, kwargs)
  value = jax.jit(lambda leaves, gates: program.run(leaves, gates)[0])
  whole = float(value(program.leaves, gates))

  calls = in_order(found)
  numbers = chosen("layers", layers, len(calls))
  most = max(gates[calls[k][0]].shape[-1] for k in numbers)
  values = np.full((len(numbers), most), np.nan)
  for place, layer in enumerate(numbers):
    which, at = calls[layer]
    for head in range(gates[which].shape[-1]):
      silent = [*gates]
      silent[which] = gates[which].at[(*at, head)].set(0)
      values[place, head] = float(value(program.leaves, silent)) - whole
  return NamedArray(values, ("layer", "head"), {"layer": numbers})


def head_attribution(output: Callable, *args: Any, **kwargs: Any) -> NamedArray:
  """What each head adds to a number of the model, to first order, ∂y/∂g[l, h].

  The number is such as the logit of one token, or its lead over another. What a
  head adds by way of later layers counts, linearized where these are not
  linear; where all that follows is linear, it is exactly what silencing the
  head takes away.

  Args:
    output: ``(*args, **kwargs)`` to one number; calls attention within.
    *args: for it.
    **kwargs: for it.

  Returns:
    Axes (layer, head); heads that a layer lacks are NaN.

  Raises:
    ValueError: the result is not one number, or attention is never called.

  >>> import attnjax, jax
  >>> x = jax.random.normal(jax.random.key(0), (5, 2, 4))
  >>> add = lambda x: attnjax.attend(x, x, x)[-1].sum()
  >>> bool(abs(head_attribution(add, x).values.sum() - add(x)) < 1e-5)
  True

  Reference:
    Michel, Levy, Neubig, 2019, arXiv 1905.10650, equation 2 (without the
    absolute value); attribution of logits: Elhage et al., "A Mathematical
    Framework for Transformer Circuits", 2021.
  """
  program, found, gates = _gated(output, args, kwargs)

  @jax.jit
  def slopes(leaves, gates):
    return jax.grad(lambda gates: program.run(leaves, gates)[0])(gates)

  by_site = slopes(program.leaves, gates)
  rows = [np.asarray(by_site[which][at]) for which, at in in_order(found)]
  most = max(map(len, rows))
  pad = lambda row: np.pad(
    row.astype(np.float64), (0, most - len(row)), constant_values=np.nan
  )
  return NamedArray(np.stack([pad(row) for row in rows]), ("layer", "head"))


def _gated(
  function: Callable, args: tuple, kwargs: dict
) -> tuple[Program, list[Found], list[jax.Array]]:
  """The program of a function, its calls, and gates of 1 for each."""
  program = trace(function, *args, **kwargs)
  out, found = jax.eval_shape(program.run, program.leaves)
  shape = getattr(out, "shape", None)
  if shape != ():
    raise ValueError(
      f"the function must return one number, got {out}; a loss, or a logit"
    )
  if not found:
    raise ValueError("the function must call attention, and none was seen")

  gates = []
  for one in found:
    query = one.site.arguments(one.operands)[0]
    gates.append(jnp.ones((*one.steps, query.shape[-2]), jnp.float32))
  return program, found, gates
