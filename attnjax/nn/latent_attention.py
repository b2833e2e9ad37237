"""Multi-head latent attention as a Flax module."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from attnjax.nn.attention import projection_of
from attnjax.nn.initializers import FAN_IN
from attnjax.nn.norm import make_norm
from attnjax.ops import cache as caches
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.latent import (
  LatentParams,
  decode_latent_attention,
  latent_attention,
)
from attnjax.typing import Array, DTypeLike, Float

__all__ = ["LatentAttention"]


class LatentAttention(nnx.Module):
  """Multi-head latent attention: a token's keys and values from one vector.

  It stands where a `MultiHeadAttention` does, and its cache has Z + R numbers a
  token whatever the heads; see `ops.latent` for the equations.

  Args:
    width: M, of inputs and output.
    heads: H.
    latent_width: Z, of the latent of keys and values.
    head_width: D, of a query and a key, those rotated included.
    rotary_width: R, how many of them are rotated: the last.
    value_width: E, of a value.
    query_latent_width: Q, of a latent of queries; None maps them from the
      inputs.
    use_bias: whether the maps from the inputs to latents and rotated keys, and
      that of the output, have biases.
    epsilon: of the RMS norms of the latents.
    scale: of the logits; None is 1 / sqrt(D).
    position_encoding: ``(x, positions) -> x`` on R features, such as
      `positions.Rotary()`; None encodes nothing.
    attend: the attention to call; see `MultiHeadAttention`.
    output_init: of the output projection.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if R is not within 1 and D - 1, or a width is below 1.

  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> layer = LatentAttention(
  ...   7, 2, latent_width=4, head_width=5, rotary_width=2, value_width=6,
  ...   rngs=nnx.Rngs(0))
  >>> out, state = layer.decode(jnp.ones((3, 7)), layer.init_cache((), 8))
  >>> out.shape, state.key.shape, state.value.shape
  ((3, 7), (8, 1, 2), (8, 1, 4))

  Reference:
    DeepSeek-AI, "DeepSeek-V2", 2024, arXiv 2405.04434, section 2.1.
  """

  def __init__(
    self,
    width: int,
    heads: int,
    *,
    latent_width: int,
    head_width: int,
    rotary_width: int,
    value_width: int,
    query_latent_width: int | None = None,
    use_bias: bool = False,
    epsilon: float = 1e-6,
    scale: float | None = None,
    position_encoding: Callable | None = None,
    attend: Callable = default_attend,
    output_init: Callable = FAN_IN,
    rngs: nnx.Rngs,
  ):
    sizes = (width, heads, latent_width, value_width, query_latent_width or 1)
    if min(sizes) < 1:
      raise ValueError(
        "LatentAttention: width, heads, latent_width, value_width and"
        f" query_latent_width must be at least 1, got {sizes}"
      )
    if not 1 <= rotary_width < head_width:
      raise ValueError(
        "LatentAttention: rotary_width must be at least 1 and below"
        f" head_width={head_width}, got {rotary_width}"
      )

    def linear(inputs, outputs, bias=False, init=FAN_IN):
      axis = (-2, -1) if isinstance(inputs, tuple) else -1
      return nnx.LinearGeneral(
        inputs, outputs, axis=axis, use_bias=bias, kernel_init=init, rngs=rngs
      )

    norm = lambda n: make_norm("rms", n, False, rngs, epsilon=epsilon)
    through = query_latent_width
    self.query_latent = (
      None if through is None else linear(width, through, use_bias)
    )
    self.query_norm = None if through is None else norm(through)
    self.query = linear(through or width, (heads, head_width))
    self.latent = linear(width, latent_width, use_bias)
    self.latent_norm = norm(latent_width)
    self.rotary_key = linear(width, rotary_width, use_bias)
    self.key = linear(latent_width, (heads, head_width - rotary_width))
    self.value = linear(latent_width, (heads, value_width))
    self.output = linear((heads, value_width), width, use_bias, output_init)
    self.scale = scale
    self.position_encoding = position_encoding
    self.attend = attend

  @property
  def params(self) -> LatentParams:
    """The parameters, as the primitives take them."""
    through = self.query_latent
    return LatentParams(
      self.query.kernel[...],
      self.key.kernel[...],
      self.value.kernel[...],
      projection_of(self.latent),
      projection_of(self.rotary_key),
      projection_of(self.output),
      None if through is None else projection_of(through),
    )

  def init_cache(
    self,
    batch: tuple[int, ...],
    capacity: int,
    dtype: DTypeLike = "float32",
  ) -> caches.KeyValueCache:
    """An empty cache of one layer: keys ``*B C 1 R``, values ``*B C 1 Z``."""
    # From the last: layers may be stacked.
    rotary, latent = (
      layer.kernel.shape[-1] for layer in (self.rotary_key, self.latent)
    )
    return caches.init(
      batch, capacity, 1, rotary, value_width=latent, dtype=dtype
    )

  def __call__(self, inputs: Float[Array, "*B T M"], **attend_kw):
    """Attends; see `ops.latent.latent_attention` for the keywords."""
    return latent_attention(
      self.params, inputs, **(self._options() | attend_kw)
    )

  def decode(
    self,
    inputs: Float[Array, "*B T M"],
    cache: caches.KeyValueCache,
    **attend_kw,
  ):
    """(out, cache) of new tokens; see `ops.latent.decode_latent_attention`."""
    return decode_latent_attention(
      self.params, inputs, cache, **(self._options() | attend_kw)
    )

  def _options(self) -> dict[str, Any]:
    """Options of this module that the primitives take as keywords."""
    return {
      "position_encoding": self.position_encoding,
      "query_norm": self.query_norm,
      "latent_norm": self.latent_norm,
      "scale": self.scale,
      "attend": self.attend,
    }
