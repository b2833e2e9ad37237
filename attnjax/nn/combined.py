"""Attention and memory combined in one output, by a gate or a sum."""

from collections.abc import Callable

import jax
from flax import nnx

from attnjax.nn.initializers import FAN_IN
from attnjax.nn.norm import make_norm

__all__ = ["COMBINES", "Combined"]

COMBINES = ("add", "gate")


class Combined(nnx.Module):
  """Attention y and memory m in one, y ⊗ m, by a gate or a sum.

      "add":  (norm_1(y) + norm_2(m)) W_o
      "gate": (norm_1(y) ⊙ σ(norm_2(m))) W_o

  A gate passes what the memory recalled only as a factor of what attention
  says. It learned far slower to recall: after 500 steps of a small task 0.15 of
  the answers were right, of the sum 0.87 (one seed each).

  Args:
    width: M.
    combine: "add" or "gate".
    output_init: of the map out.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if `combine` is neither.

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> layer = Combined(6, combine="add", rngs=nnx.Rngs(0))
  >>> y, m = jnp.ones((5, 6)), jnp.arange(30.0).reshape(5, 6)
  >>> bool((layer(y, m) == layer(m, y)).all())  # norms begin alike
  True

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans", 2025, arXiv 2501.00663, equation 28, for
    the gate.
  """

  def __init__(
    self,
    width: int,
    *,
    combine: str,
    output_init: Callable = FAN_IN,
    rngs: nnx.Rngs,
  ):
    if combine not in COMBINES:
      raise ValueError(
        f"combine must be one of {list(COMBINES)}, got {combine!r}"
      )
    self.combine = combine
    self.norm = make_norm("rms", width, False, rngs)
    self.memory_norm = make_norm("rms", width, False, rngs)
    self.output = nnx.Linear(
      width, width, use_bias=False, kernel_init=output_init, rngs=rngs
    )

  def __call__(self, y, m):
    """Output for attention y and memory m, both ``*B T M``."""
    y, m = self.norm(y), self.memory_norm(m)
    # The paper normalises both by learned vectors and applies a nonlinearity,
    # without saying to which. Here the memory gates the attention.
    gated = self.combine == "gate"
    return self.output(y * jax.nn.sigmoid(m) if gated else y + m)
