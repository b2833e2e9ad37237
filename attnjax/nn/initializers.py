"""Initializers of kernels, by the variance of what they give."""

import jax

__all__ = ["FAN_IN", "fan_in"]


def fan_in(scale: float = 1.0) -> jax.nn.initializers.Initializer:
  """Normal draws of variance scale / inputs, so that outputs have `scale`.

  Args:
    scale: > 0. A network of n residual additions gives 1 / n to each, so that
      the variance of the residual stream does not grow with depth.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> kernel = fan_in(0.25)(jax.random.key(0), (100, 100), jnp.float32)
  >>> 0.045 < float(kernel.std()) < 0.055  # 0.5 / sqrt(100)
  True

  Reference:
    LeCun et al., "Efficient BackProp", 1998; the scale by depth: Radford et
    al., "Language Models are Unsupervised Multitask Learners", 2019.
  """
  return jax.nn.initializers.variance_scaling(scale, "fan_in", "normal")


FAN_IN = fan_in()
