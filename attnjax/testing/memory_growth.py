"""Growth of temporary memory with the length, by `memory_analysis`."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from attnjax.testing.derivatives import loss
from attnjax.testing.problem import Problem
from attnjax.testing.runner import called

__all__ = ["GrowsLinearly", "memory_growth"]

# Long enough for blocks to have their largest size, so that memory which is
# linear in the length shows as such.
LENGTHS = (2048, 4096, 8192)


def memory_growth(
  attend: Callable,
  transform: str | Callable = "grad",
  lengths: Sequence[int] = LENGTHS,
  problem: Problem | None = None,
) -> dict[int, int]:
  """Temporary memory of a compiled attention, in bytes, for each length.

  Programs are compiled and do not run: this is
  `compiled.memory_analysis().temp_size_in_bytes`.

  Args:
    attend: called like `attnjax.attend`.
    transform: "forward", "grad", "jvp", "hvp" (Hessian times vector), or a
      function ``(f, x) -> tree`` of a function f of a dictionary of arrays.
    lengths: T = S, each compiled once.
    problem: the call; None is two heads of width 16, no mask.

  Returns:
    bytes by length.

  Raises:
    NotImplementedError: if the compiler reports no memory on this platform.

  Dense attention holds T x S logits, so that twice the length is four times
  the memory:

  >>> import attnjax
  >>> def dense(*x, **options):
  ...   return attnjax.attend(*x, **options, implementation="reference")
  >>> held = memory_growth(dense, "forward", (256, 512))
  >>> 3.5 < held[512] / held[256] < 4.5
  True
  """
  if isinstance(transform, str):
    transform = _TRANSFORMS[transform]
  problem = _PLAIN if problem is None else problem
  return {n: _temporary(attend, transform, problem, n) for n in lengths}


def _temporary(attend, transform, problem: Problem, length: int) -> int:
  """Temporary bytes, inputs and outputs excluded, for T = S = length."""
  problem = dataclasses.replace(problem, length=length, keys=length)
  move = lambda x: jax.tree.map(jnp.asarray, x)
  floats, ints = move(problem.floats()), move(problem.ints())
  function = called(attend, problem)
  # Not `runner.compiled`, which leaves out optimizations: they decide how much
  # memory a user's program holds.
  run = jax.jit(lambda x, i: transform(lambda y: function(y, i), x))
  analysis = run.lower(floats, ints).compile().memory_analysis()
  if analysis is None:
    raise NotImplementedError(
      f"memory_growth: the compiler for {jax.default_backend()} keeps no"
      " account of memory; measure on another platform"
    )

  return int(analysis.temp_size_in_bytes)


@dataclasses.dataclass(frozen=True)
class GrowsLinearly:
  """Law: memory grows with the length, and not with its square.

  n times the length may take 1.5 n times the memory: a square takes n² times.

  Args:
    transform: as of `memory_growth`.
  """

  transform: str

  def __call__(self, attend: Callable, problem: Problem) -> None:
    """Raises AssertionError if it grows faster."""
    held = memory_growth(attend, self.transform, LENGTHS, problem)
    longer = LENGTHS[-1] / LENGTHS[0]
    # At least 1 byte: a program may hold nothing beside inputs and outputs.
    growth = held[LENGTHS[-1]] / max(held[LENGTHS[0]], 1)
    if growth > 1.5 * longer:
      account = ", ".join(f"{b:,} at {n}" for n, b in held.items())
      raise AssertionError(
        f"{self.transform} holds {account} bytes: {growth:.1f} times the"
        f" memory for {longer:g} times the length"
      )


def _forward(f, x):
  return f(x)


def _grad(f, x):
  return jax.grad(loss(f))(x)


def _jvp(f, x):
  return jax.jvp(f, (x,), (x,))


def _hvp(f, x):
  return jax.jvp(jax.grad(loss(f)), (x,), (x,))[1]


_TRANSFORMS = {"forward": _forward, "grad": _grad, "jvp": _jvp, "hvp": _hvp}
# Width 16, far below the lengths: T x S logits would outweigh everything
# linear.
_PLAIN = Problem(
  batch=(1,), heads=2, shared=2, width=16, value_width=16, aux=()
)
