"""Public functions that nothing here calls any more, for one version.

`renames.NAMES` has their old names.
"""

from typing import Any

from attnjax.typing import Array, Float, Int

__all__ = ["check_at_least", "check_sizes", "embedded"]


def check_at_least(config: Any, least: int, *names: str, of: str = "") -> None:
  """Checks that fields of a config are not too small; None passes.

  Use ``setting(default, "meaning", at_least=1)``, which checks at construction.

  Args:
    config: has the fields.
    least: the smallest number allowed.
    *names: of the fields.
    of: the path of the config within another.

  Raises:
    ValueError: names the first field that is too small.

  >>> import types
  >>> check_at_least(types.SimpleNamespace(rows=2), 3, "rows", of="task")
  Traceback (most recent call last):
  ValueError: task.rows must be at least 3, got 2
  """
  for name in names:
    value = getattr(config, name)
    if value is not None and value < least:
      path = f"{of}.{name}" if of else name
      raise ValueError(f"{path} must be at least {least}, got {value}")


def check_sizes(name: str, **sizes: int) -> None:
  """Checks that sizes are at least 1.

  >>> check_sizes("Network", length=0)
  Traceback (most recent call last):
  ValueError: Network: length must be at least 1, got 0
  """
  for size, value in sizes.items():
    if value < 1:
      raise ValueError(f"{name}: {size} must be at least 1, got {value}")


def embedded(embedding, context: Int[Array, "*B"]) -> Float[Array, "*B M"]:
  """Embeddings of context tokens, without an axis of tokens.

  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> from attnjax.nn import Embedding
  >>> embedded(Embedding(5, 3, rngs=nnx.Rngs(0)), jnp.array(4)).shape
  (3,)
  """
  return embedding(context[..., None])[..., 0, :]
