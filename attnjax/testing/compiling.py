"""How the programs of the suite are compiled."""

from collections.abc import Callable

import jax

__all__ = ["compiled"]


def compiled(
  f: Callable, *, hurry: bool = True, static: tuple[int, ...] = ()
) -> Callable:
  """`jax.jit`; in a hurry without XLA's costly optimizations, on a CPU.

  Most programs of the suite run once, and compiling them is most of its time.
  Cases on which rounding depends (dtypes, large numbers, determinism) are not
  in a hurry: they are compiled as a user's program is.

  Args:
    f: the function.
    hurry: whether compile time matters more than what is compiled.
    static: numbers of the arguments that are no arrays.
  """
  quick = hurry and jax.default_backend() == "cpu"
  options = {"xla_backend_optimization_level": 0} if quick else None
  return jax.jit(f, static_argnums=static, compiler_options=options)
