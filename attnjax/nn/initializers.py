"""Initializers of kernels that fix the variance of their outputs."""

import jax

__all__ = ["FAN_IN", "fan_in"]


def fan_in(scale: float = 1.0) -> jax.nn.initializers.Initializer:
  """Normal initializer of variance scale / fan-in.

  Outputs then have variance `scale` for inputs of variance 1.

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


# For all maps but those that a residual addition follows: `models.block_stack`
# gives these `fan_in(1 / additions)`.
FAN_IN = fan_in()
