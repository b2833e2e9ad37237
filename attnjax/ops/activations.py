"""Nonlinearities of feed-forward layers, plain and gated, by name."""

import jax
import jax.numpy as jnp

from attnjax.typing import Array, Float

__all__ = ["ACTIVATIONS", "GATED", "activated"]

_PLAIN = {
  "gelu": jax.nn.gelu,
  "gelu_erf": lambda x: jax.nn.gelu(x, approximate=False),
  "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
  "relu": jax.nn.relu,
  "silu": jax.nn.silu,
  "squared_relu": lambda x: jnp.square(jax.nn.relu(x)),
}


def _clipped_swiglu(gate, up):
  """A gate clipped from above times 1 + a factor clipped on both sides."""
  gate, up = jnp.minimum(gate, 7.0), jnp.clip(up, -7.0, 7.0)
  return _PLAIN["quick_gelu"](gate) * (up + 1)


# Of two maps' outputs: the activation of one times the other.
_GATED = {
  "geglu": lambda gate, up: _PLAIN["gelu"](gate) * up,
  "geglu_erf": lambda gate, up: _PLAIN["gelu_erf"](gate) * up,
  "reglu": lambda gate, up: _PLAIN["relu"](gate) * up,
  "swiglu": lambda gate, up: _PLAIN["silu"](gate) * up,
  "clipped_swiglu": _clipped_swiglu,
}
GATED = (*_GATED,)
ACTIVATIONS = (*_PLAIN, *GATED)


def activated(
  name: str,
  up: Float[Array, "*B F"],
  gate: Float[Array, "*B F"] | None = None,
) -> Float[Array, "*B F"]:
  """Hidden features of a feed-forward layer, of what its maps up give.

      swiglu:          silu(gate) ⊙ up
      clipped_swiglu:  g sigmoid(1.702 g) ⊙ (1 + clip(up, -7, 7)), g the gate
                       or 7 where it is above

  Args:
    name: one of `ACTIVATIONS`.
    up: ``*B F``.
    gate: ``*B F``, of the names in `GATED`, and None of others.

  Raises:
    ValueError: the name is unknown, or the gate is missing or one too many.

  >>> import jax.numpy as jnp
  >>> one = jnp.ones(1)
  >>> activated("clipped_swiglu", 20 * one, 30 * one).round(2).tolist()
  [56.0]
  >>> activated("relu", -one, one)
  Traceback (most recent call last):
    ...
  ValueError: activation: a gate must be given for geglu, geglu_erf, ...

  Reference:
    Shazeer, "GLU Variants Improve Transformer", 2020, arXiv 2002.05202; the
    clipped one: OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025, arXiv
    2508.10925, and the code published with it.
  """
  if name not in ACTIVATIONS:
    raise ValueError(
      f"activation must be one of {[*ACTIVATIONS]}, got {name!r}"
    )
  if (gate is not None) != (name in GATED):
    raise ValueError(
      f"activation: a gate must be given for {', '.join(GATED)} and for no"
      f" other, got {name!r} with gate={gate}"
    )
  return _PLAIN[name](up) if gate is None else _GATED[name](gate, up)
