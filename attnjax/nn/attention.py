"""Multi-head attention and single-head self-attention as Flax modules."""

from collections.abc import Callable, Sequence
from typing import Any, overload

import jax.numpy as jnp
from flax import nnx

from attnjax.nn.initializers import FAN_IN
from attnjax.nn.norm import HeadNorm
from attnjax.ops import heads as maps
from attnjax.ops.attention import Aux
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.attention.arguments import AuxNames
from attnjax.ops.cache import KeyValueCache
from attnjax.ops.cross_attention import project_memory, read_memory
from attnjax.ops.multi_head import (
  decode_attention,
  multi_head_attention,
  self_attention,
)
from attnjax.ops.normalizers import softmax
from attnjax.ops.scoring import scaled_dot
from attnjax.typing import Array, Float

__all__ = ["MultiHeadAttention", "SelfAttention", "projection_of"]


class MultiHeadAttention(nnx.Module):
  """Multi-head self-attention, or cross-attention over a memory m.

      out = concat_h(attend(x W_q[h], m W_k[h // G], m W_v[h // G])) W_o

  Args:
    width: M, of inputs, memory and output.
    heads: H, query heads.
    kv_heads: K, key/value heads, a divisor of H; None is H.
    head_width: D, of a query and a key; None is M / H.
    value_width: E, of a value; None is D.
    use_bias: whether the four projections have biases.
    output_bias: whether that of the output has one; None is `use_bias`.
    query_key_norm: norms of queries and keys before positions are encoded:
      "none"; "head", one over the D features of each head; or "heads", one over
      the H D features of all.
    norm: of these, a name of `make_norm`.
    epsilon: of these.
    scale: of the logits q · k; None is 1 / sqrt(D).
    sinks: whether each head has a learned logit that takes weight from the
      keys; see `normalizers.softmax`.
    position_encoding: ``(x, positions) -> x`` on queries and keys, such as
      `positions.Rotary()`; None encodes nothing.
    combine: "concatenate" or "sum"; see `multi_head_attention`.
    attend: the attention to call: `attnjax.attend`, or anything called like
      it. A top-level function or a frozen dataclass, so that it hashes.
    kernel_init: of queries, keys and values.
    output_init: of the output projection.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if heads do not divide the width, K does not divide H, or
      `query_key_norm` is none of the three.

  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> layer = MultiHeadAttention(6, heads=3, rngs=nnx.Rngs(0))
  >>> layer(jnp.ones((2, 5, 6)), jnp.ones((2, 7, 6))).shape
  (2, 5, 6)

  Reference:
    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762;
    grouped heads: Ainslie et al., "GQA", 2023, arXiv 2305.13245.
  """

  def __init__(
    self,
    width: int,
    heads: int,
    *,
    kv_heads: int | None = None,
    head_width: int | None = None,
    value_width: int | None = None,
    use_bias: bool = False,
    output_bias: bool | None = None,
    query_key_norm: str = "none",
    norm: str = "rms",
    epsilon: float = 1e-6,
    scale: float | None = None,
    sinks: bool = False,
    position_encoding: Callable | None = None,
    combine: maps.Combine = "concatenate",
    attend: Callable = default_attend,
    kernel_init: Callable = FAN_IN,
    output_init: Callable = FAN_IN,
    rngs: nnx.Rngs,
  ):
    kv_heads = heads if kv_heads is None else kv_heads
    if heads < 1 or (head_width is None and width % heads):
      raise ValueError(
        f"MultiHeadAttention: heads={heads} must divide width={width}; choose"
        " another number of heads, or give head_width"
      )
    if kv_heads < 1 or heads % kv_heads:
      raise ValueError(
        f"MultiHeadAttention: kv_heads={kv_heads} must divide heads={heads}"
      )

    # By default the heads divide M among them, as in the paper.
    head_width = width // heads if head_width is None else head_width
    value_width = head_width if value_width is None else value_width

    # Only the output projection has a tuple of inputs: it contracts two axes,
    # heads and their features.
    def projection(inputs, outputs, init, bias=use_bias):
      axis = (-2, -1) if isinstance(inputs, tuple) else -1
      return nnx.LinearGeneral(
        inputs,
        outputs,
        axis=axis,
        use_bias=bias,
        kernel_init=init,
        rngs=rngs,
      )

    self.query = projection(width, (heads, head_width), kernel_init)
    self.key = projection(width, (kv_heads, head_width), kernel_init)
    self.value = projection(width, (kv_heads, value_width), kernel_init)
    self.output = projection(
      (heads, value_width),
      width,
      output_init,
      use_bias if output_bias is None else output_bias,
    )
    head_norm = lambda n: (
      None
      if query_key_norm == "none"
      else HeadNorm(norm, n, head_width, query_key_norm, epsilon, rngs)
    )
    self.query_norm, self.key_norm = head_norm(heads), head_norm(kv_heads)
    self.sink = nnx.Param(jnp.zeros((heads,), jnp.float32)) if sinks else None
    self.scale = scale
    self.position_encoding = position_encoding
    self.combine = combine
    self.attend = attend

  @property
  def params(self) -> maps.MultiHeadParams:
    """The parameters, as the primitives take them."""
    layers = (self.query, self.key, self.value, self.output)
    return maps.MultiHeadParams(*map(projection_of, layers))

  # The overloads tell a type checker whether a pair is returned: never without
  # `aux`, always for a literal that names something, and maybe for a sequence.
  @overload
  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    memory: Float[Array, "*B S M"] | None = ...,
    *,
    aux: tuple[()] = ...,
    **attend_kw: Any,
  ) -> Array: ...

  @overload
  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    memory: Float[Array, "*B S M"] | None = ...,
    *,
    aux: AuxNames,
    **attend_kw: Any,
  ) -> tuple[Array, Aux]: ...

  @overload
  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    memory: Float[Array, "*B S M"] | None = ...,
    *,
    aux: Sequence[str],
    **attend_kw: Any,
  ) -> Array | tuple[Array, Aux]: ...

  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    memory: Float[Array, "*B S M"] | None = None,
    **attend_kw,
  ):
    """Attends; see `attnjax.multi_head_attention` for the keywords."""
    return multi_head_attention(
      self.params, inputs, memory, **(self._options() | attend_kw)
    )

  def decode(
    self,
    inputs: Float[Array, "*B T M"],
    cache: KeyValueCache,
    **attend_kw,
  ):
    """(out, cache) of new tokens over a cache; see `decode_attention`."""
    return decode_attention(
      self.params, inputs, cache, **(self._options() | attend_kw)
    )

  def project_memory(self, memory: Float[Array, "*B S M"]):
    """(keys, values) of a memory, for `read`; see `ops.cross_attention`."""
    return project_memory(self.params, memory)

  @overload
  def read(
    self,
    inputs: Float[Array, "*B T M"],
    key: Float[Array, "*B S K D"],
    value: Float[Array, "*B S K E"],
    *,
    aux: tuple[()] = ...,
    **attend_kw: Any,
  ) -> Array: ...

  @overload
  def read(
    self,
    inputs: Float[Array, "*B T M"],
    key: Float[Array, "*B S K D"],
    value: Float[Array, "*B S K E"],
    *,
    aux: AuxNames,
    **attend_kw: Any,
  ) -> tuple[Array, Aux]: ...

  @overload
  def read(
    self,
    inputs: Float[Array, "*B T M"],
    key: Float[Array, "*B S K D"],
    value: Float[Array, "*B S K E"],
    *,
    aux: Sequence[str],
    **attend_kw: Any,
  ) -> Array | tuple[Array, Aux]: ...

  def read(
    self,
    inputs: Float[Array, "*B T M"],
    key: Float[Array, "*B S K D"],
    value: Float[Array, "*B S K E"],
    **attend_kw,
  ):
    """Attends over projected keys and values, without position encoding.

    Positions of two different sequences are not comparable.

    Raises:
      NotImplementedError: if queries and keys have norms.
    """
    if self.query_norm is not None:
      raise NotImplementedError(
        "MultiHeadAttention.read: query_key_norm must be 'none', for projected"
        " keys have had no norm; call the module on the memory itself"
      )
    return read_memory(
      self.params,
      inputs,
      key,
      value,
      combine=self.combine,
      attend=self.attend,
      **(self._weighing() | attend_kw),
    )

  def _options(self) -> dict:
    """Options of this module that the primitives take as keywords."""
    return self._weighing() | {
      "position_encoding": self.position_encoding,
      "query_norm": self.query_norm,
      "key_norm": self.key_norm,
      "combine": self.combine,
      "attend": self.attend,
    }

  def _weighing(self) -> dict:
    """Scoring and normalizer, where they are not the defaults of `attend`."""
    found: dict[str, Any] = {}
    if self.scale is not None:
      found["scoring"] = scaled_dot(self.scale)
    if self.sink is not None:
      found["normalizer"] = softmax(sink=self.sink[...])
    return found


def projection_of(layer: nnx.Linear | nnx.LinearGeneral) -> maps.Projection:
  """Kernel and bias of a Flax layer as arrays.

  >>> from flax import nnx
  >>> projection_of(nnx.Linear(2, 3, rngs=nnx.Rngs(0))).kernel.shape
  (2, 3)
  """
  # `[...]` takes the array out of an `nnx.Param`: the primitives take arrays.
  bias = None if layer.bias is None else layer.bias[...]
  return maps.Projection(layer.kernel[...], bias)


class SelfAttention(nnx.Module):
  """Self-attention of one head of width M, without an output map.

      q, k, v = x W_q + b_q, x W_k + b_k, x W_v + b_v
      out     = softmax(q kᵀ / sqrt(M)) v

  Its layers have the names of the usual PyTorch class; a ``weight`` of PyTorch
  is the transpose of a ``kernel``.

  Args:
    width: M, of inputs, queries, keys and values.
    use_bias: whether the three layers have biases.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the width is below 1.

  >>> import jax
  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> layer = SelfAttention(6, rngs=nnx.Rngs(0))
  >>> x = jax.random.normal(jax.random.key(0), (2, 5, 6))
  >>> out, aux = layer(x, aux=("weights",))
  >>> bool(jnp.allclose(aux.weights[:, 0] @ layer.value(x), out, atol=1e-5))
  True

  Reference:
    Lin et al., "A Structured Self-attentive Sentence Embedding", 2017, arXiv
    1703.03130; Vaswani et al., 2017, arXiv 1706.03762, equation 1.
  """

  def __init__(
    self,
    width: int,
    *,
    use_bias: bool = True,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    if width < 1:
      raise ValueError(f"SelfAttention: width must be at least 1, got {width}")

    def square():
      return nnx.Linear(
        width, width, use_bias=use_bias, kernel_init=FAN_IN, rngs=rngs
      )

    self.query, self.key, self.value = square(), square(), square()
    self.attend = attend

  @property
  def params(self) -> maps.SelfAttentionParams:
    """The parameters, as the primitive takes them."""
    layers = (self.query, self.key, self.value)
    return maps.SelfAttentionParams(*map(projection_of, layers))

  @overload
  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    *,
    aux: tuple[()] = ...,
    **attend_kw: Any,
  ) -> Array: ...

  @overload
  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    *,
    aux: AuxNames,
    **attend_kw: Any,
  ) -> tuple[Array, Aux]: ...

  @overload
  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    *,
    aux: Sequence[str],
    **attend_kw: Any,
  ) -> Array | tuple[Array, Aux]: ...

  def __call__(self, inputs: Float[Array, "*B T M"], **attend_kw):
    """Attends; see `attnjax.self_attention`."""
    return self_attention(self.params, inputs, attend=self.attend, **attend_kw)
