"""Mixture of experts as a Flax module: a router, experts, and a shared one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.nn.initializers import FAN_IN
from attnjax.nn.transformer_block import FeedForward
from attnjax.ops.activations import GATED, activated
from attnjax.ops.heads import Projection
from attnjax.ops.mixture import ExpertParams, mixture_of_experts, route
from attnjax.typing import Array, Float

__all__ = ["ExpertLinear", "MixtureOfExperts"]


class ExpertLinear(nnx.Module):
  """The linear maps of all experts: a kernel ``X M F``, a bias ``X F`` or None.

  Args:
    experts: X.
    inputs: M.
    outputs: F.
    use_bias: whether there is a bias.
    kernel_init: of each expert's kernel.
    rngs: Flax NNX random streams; uses "params".

  >>> from flax import nnx
  >>> ExpertLinear(3, 2, 5, rngs=nnx.Rngs(0)).kernel.shape
  (3, 2, 5)
  """

  def __init__(
    self,
    experts: int,
    inputs: int,
    outputs: int,
    *,
    use_bias: bool = False,
    kernel_init: Callable = FAN_IN,
    rngs: nnx.Rngs,
  ):
    # Each by itself: the fan-in of a kernel of three axes would be M X.
    one = lambda key: kernel_init(key, (inputs, outputs), jnp.float32)
    keys = jax.random.split(rngs.params(), experts)
    self.kernel = nnx.Param(jax.vmap(one)(keys))
    bias = jnp.zeros((experts, outputs), jnp.float32)
    self.bias = nnx.Param(bias) if use_bias else None

  @property
  def params(self) -> Projection:
    """Kernel and bias, as the primitive takes them."""
    return Projection(
      self.kernel[...], None if self.bias is None else self.bias[...]
    )


class MixtureOfExperts(nnx.Module):
  """Feed-forward experts, of which a router sends each token to a few.

      out = Σ_a weights[a] f_x(u), x = experts[a],  + [σ(u w)] shared(u)

  It stands where a `FeedForward` does.

  Args:
    width: M.
    hidden: F, features between the maps of each expert.
    experts: X, how many there are.
    active: A, experts a token.
    activation: of the experts, as in `FeedForward`.
    use_bias: whether the router and the experts have biases.
    normalized: whether the weights of a token sum to 1; see `route`.
    scale: of the weights.
    shared: hidden features of an expert that every token goes through; 0 is
      none.
    shared_gate: whether its output is multiplied by a sigmoid of its input.
    output_init: of the maps down.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: the activation is unknown.

  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> layer = MixtureOfExperts(3, 7, experts=5, active=2, rngs=nnx.Rngs(0))
  >>> layer(jnp.ones((4, 3))).shape
  (4, 3)

  Reference:
    Jiang et al., "Mixtral of Experts", 2024, arXiv 2401.04088; shared experts:
    Dai et al., "DeepSeekMoE", 2024, arXiv 2401.06066; their gate: Qwen Team,
    "Qwen1.5-MoE", 2024.
  """

  def __init__(
    self,
    width: int,
    hidden: int,
    *,
    experts: int,
    active: int,
    activation: str = "swiglu",
    use_bias: bool = False,
    normalized: bool = False,
    scale: float = 1.0,
    shared: int = 0,
    shared_gate: bool = False,
    output_init: Callable = FAN_IN,
    rngs: nnx.Rngs,
  ):
    of_all = lambda n, m, init: ExpertLinear(
      experts, n, m, use_bias=use_bias, kernel_init=init, rngs=rngs
    )
    self.router = nnx.Linear(
      width, experts, use_bias=use_bias, kernel_init=FAN_IN, rngs=rngs
    )

    gated = activation in GATED
    self.gate = of_all(width, hidden, FAN_IN) if gated else None
    self.up = of_all(width, hidden, FAN_IN)
    self.down = of_all(hidden, width, output_init)

    one = lambda: FeedForward(
      width,
      shared,
      activation=activation,
      use_bias=use_bias,
      output_init=output_init,
      rngs=rngs,
    )
    gate = lambda: nnx.Linear(
      width, 1, use_bias=False, kernel_init=FAN_IN, rngs=rngs
    )

    self.shared = one() if shared else None
    self.shared_gate = gate() if shared and shared_gate else None
    self.activation = activation
    self.active, self.normalized, self.scale = active, normalized, scale

  def __call__(self, x: Float[Array, "*B T M"]) -> Float[Array, "*B T M"]:
    """The output of each position, which a block adds to x."""
    routing = route(
      self.router(x),
      self.active,
      normalized=self.normalized,
      scale=self.scale,
    )
    gate = None if self.gate is None else self.gate.params
    out = mixture_of_experts(
      ExpertParams(self.up.params, self.down.params, gate),
      x,
      routing,
      activation=lambda up, gate: activated(self.activation, up, gate),
    )
    if self.shared is None:
      return out
    shared = self.shared(x)
    if self.shared_gate is not None:
      shared = jax.nn.sigmoid(self.shared_gate(x)) * shared
    return out + shared
