"""Depthwise causal convolution along a sequence."""

import jax.numpy as jnp

from attnjax.typing import Array, Float

__all__ = ["causal_convolution"]


def causal_convolution(
  inputs: Float[Array, "*B T A"],
  kernel: Float[Array, "K A"],
  tail: Float[Array, "*B J A"] | None = None,
) -> tuple[Float[Array, "*B T A"], Float[Array, "*B J A"]]:
  """Depthwise causal convolution: a weighted sum of the latest K inputs.

      out[t] = Σ_n kernel[n] inputs[t - K + 1 + n],   n = 0 .. K - 1

  Args:
    inputs: ``*B T A``.
    kernel: ``K A``; its last row weighs the token itself.
    tail: the ``J = K - 1`` inputs before these; None is zeros.

  Returns:
    ``*B T A``, and the tail for the next call.

  Calls on consecutive parts give the result of one call:

  >>> import jax.numpy as jnp
  >>> x, kernel = jnp.arange(5.0)[:, None], jnp.array([[1.0], [2.0]])
  >>> at_once, _ = causal_convolution(x, kernel)
  >>> first, tail = causal_convolution(x[:2], kernel)
  >>> rest, _ = causal_convolution(x[2:], kernel, tail)
  >>> at_once[:, 0].tolist() == [*first[:, 0].tolist(), *rest[:, 0].tolist()]
  True

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans", 2025, arXiv 2501.00663, section 4.4, of
    which this is the depthwise part: the maps before it mix the features.
  """
  size, length = kernel.shape[0], inputs.shape[-2]
  if tail is None:
    lead = inputs.shape[:-2]
    tail = jnp.zeros((*lead, size - 1, inputs.shape[-1]), inputs.dtype)

  padded = jnp.concatenate([tail.astype(inputs.dtype), inputs], axis=-2)
  shifted = lambda n: padded[..., n : n + length, :]
  shape = (1,) * (inputs.ndim - 1) + (-1,)
  weight = lambda n: kernel[n].astype(inputs.dtype).reshape(shape)

  # One product a tap: K is small, by default 4 in `nn.NeuralMemory`.
  out = weight(0) * shifted(0)
  for n in range(1, size):
    out = out + weight(n) * shifted(n)

  return out, padded[..., length:, :]
