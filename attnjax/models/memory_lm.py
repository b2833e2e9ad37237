"""`MemoryLM`: a language model of attention, neural memory, or both."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.models.memory_config import MemoryLMConfig, make_mixer
from attnjax.moved import forward_names
from attnjax.nn import Embedding, FeedForward
from attnjax.nn.initializers import fan_in
from attnjax.nn.norm import make_norm
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.value_checks import poison, refuse
from attnjax.typing import Array, Bool, DTypeLike, Float, Int, PyTree

__all__ = ["MemoryLM", "norms_by_layer"]


class _Block(nnx.Module):
  """A pre-norm block of a token mixer and a feed-forward layer."""

  def __init__(self, config: MemoryLMConfig, attend: Callable, rngs: nnx.Rngs):
    norm = lambda: make_norm("rms", config.width, False, rngs)
    self.mixer_norm = norm()
    self.mixer: PyTree = make_mixer(config, attend, rngs)
    self.feed_forward_norm = norm()
    self.feed_forward = FeedForward(
      config.width,
      config.hidden,
      activation=config.activation,
      output_init=fan_in(1 / (2 * config.depth)),
      rngs=rngs,
    )

  def __call__(self, x):
    """(x, norm of each memory after the last token, ``*B H``)."""
    change, state = self.mixer(self.mixer_norm(x))
    norm = None if state is None else state.memory.norm
    return self._add(x, change), norm

  def init_state(self, batch, capacity: int, dtype: DTypeLike):
    """The state of the mixer before the first token."""
    state = self.mixer.init_state(batch, capacity, dtype)
    # An empty state holds numpy, where values are known while tracing; the
    # carry of a scan must be an array from the first turn on.
    return jax.tree.map(jnp.asarray, state)

  def decode(self, x, state):
    """(x of the next tokens, state after them)."""
    change, state = self.mixer.decode(self.mixer_norm(x), state)
    return self._add(x, change), state

  def _add(self, x, change):
    """x plus the mixer's output, then plus the feed-forward layer's."""
    x = x + change
    return x + self.feed_forward(self.feed_forward_norm(x))


class MemoryLM(nnx.Module):
  """A causal language model that mixes tokens by attention, memory, or both.

      x      = embed(tokens)
      x      = block[l](x), l = 0 .. L-1, causal
      logits = norm(x) · table

  Half of the attention heads have ALiBi, the others no positions, so that texts
  may be longer than in training. There are no segment ids: a memory does not
  separate packed documents.

  Args:
    config: sizes and choices.
    vocabulary: V, tokens.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: from the parts, if sizes do not fit.

  >>> import jax.numpy as jnp
  >>> from attnjax.models import MemoryLMConfig
  >>> from flax import nnx
  >>> config = MemoryLMConfig(
  ...   architecture="memory", rule="delta_net", width=8, depth=1, heads=2,
  ...   hidden=16)
  >>> model = MemoryLM(config, 11, rngs=nnx.Rngs(0))
  >>> first, second = jnp.array([3, 1, 4]), jnp.array([3, 1, 5])
  >>> bool((model(first)[:2] == model(second)[:2]).all())
  True

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test Time", 2025,
    arXiv 2501.00663, section 4.
  """

  # Read by `generate`: texts have no length limit, but all prompts one length.
  position_table = None
  ragged = False

  def __init__(
    self,
    config: MemoryLMConfig,
    vocabulary: int,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    self.config, self.vocabulary = config, vocabulary
    self.embed = Embedding(vocabulary, config.width, rngs=rngs)
    block = lambda key: _Block(config, attend, nnx.Rngs(key))
    self.blocks = jax.vmap(block)(jax.random.split(rngs.params(), config.depth))
    self.norm = make_norm("rms", config.width, False, rngs)

  def __call__(self, tokens: Int[Array, "*B T"], *, norms: bool = False):
    """Logits of the next token at every position.

    Args:
      tokens: int ``*B T``, in [0, V); another id makes its row NaN.
      norms: whether to return the norms of the memories too, to watch them in
        training.

    Returns:
      float32 ``*B T V``; with `norms` a pair, with ``L *B H`` or None where
      there is no memory.
    """
    x, memory_norms = jax.lax.scan(
      lambda x, block: block(x),
      self.embed(tokens),
      self.blocks,
      unroll=self.config.unroll,
    )
    logits = self.embed.logits(self.norm(x))
    return (logits, memory_norms) if norms else logits

  def init_cache(
    self,
    batch: tuple[int, ...],
    capacity: int,
    dtype: DTypeLike = jnp.float32,
  ) -> PyTree:
    """State of every block before the first token, stacked as the blocks are.

    Args:
      batch: sizes of the batch axes ``*B``.
      capacity: tokens that attention without a window may read; the other
        mixers have a state of constant size, and do not use it.
      dtype: float32 or wider.
    """
    # By block, for the initial weights of a memory are its parameters.
    one = lambda block: block.init_state(batch, capacity, dtype)
    return jax.vmap(one)(self.blocks)

  def decode(
    self,
    tokens: Int[Array, "*B T"],
    cache: PyTree,
    *,
    lengths: Int[Array, "*B"] | None = None,
  ):
    """(logits, cache) of new tokens after those in the cache.

    As `__call__`, all tokens of a layer at once; of MAC, whole segments, and
    token after token what is not one. A cache is all that is known of a text so
    far: to train on rows that go on where the last ones ended, give the cache
    that came with those, through `jax.lax.stop_gradient`, and `restart` it
    where a row begins a document.

    Args:
      tokens: int ``*B T``, a prompt or one token.
      cache: from `init_cache`, or from the call before.
      lengths: None; a memory has no padding.

    Returns:
      Logits ``*B T V``, and the cache with the new tokens.

    Raises:
      ValueError: if lengths are given.

    A text in pieces has the logits of the whole:

    >>> import jax.numpy as jnp
    >>> from attnjax.models import MemoryLMConfig
    >>> from flax import nnx
    >>> config = MemoryLMConfig(width=8, depth=1, heads=2, hidden=16, window=3)
    >>> model = MemoryLM(config, 11, rngs=nnx.Rngs(0))
    >>> text = jnp.array([3, 1, 4, 1, 5, 9])
    >>> _, cache = model.decode(text[:4], model.init_cache((), 6))
    >>> rest, _ = model.decode(text[4:], cache)
    >>> bool(jnp.allclose(rest, model(text)[4:], atol=1e-5))
    True
    """
    if lengths is not None:
      raise ValueError(
        "MemoryLM: every row must be as long as the others, got lengths; a"
        " memory cannot leave padding out; decode rows of one length together"
      )

    x, cache = jax.lax.scan(
      lambda x, scanned: scanned[0].decode(x, scanned[1]),
      self.embed(tokens),
      (self.blocks, cache),
    )
    return self.embed.logits(self.norm(x)), cache

  def restart(
    self, cache: PyTree, begins: Bool[Array, "B"], capacity: int
  ) -> PyTree:
    """A cache in which some rows are as before the first token.

    The others go on. The rows of a batch may so end their documents at
    different times, if each begins its documents with a call of its own.

    Args:
      cache: from `init_cache` of one batch axis B, or from `decode`.
      begins: bool ``B``, the rows that begin anew.
      capacity: as the cache was made with.

    Returns:
      The cache. Of the rows that begin, no array depends on what was read, and
      the initial weights of a memory have their gradient.

    Raises:
      ValueError: if the sizes are not those of the cache, or what was read is
        no whole number of chunks or, of MAC, of segments: the rows of a memory
        count them together. Where that is traced, the rows that begin are NaN.

    >>> import jax.numpy as jnp
    >>> from attnjax.models import MemoryLMConfig
    >>> from flax import nnx
    >>> config = MemoryLMConfig(
    ...   architecture="memory", rule="delta_net", width=8, depth=1, heads=2,
    ...   hidden=16, chunk=2)
    >>> model = MemoryLM(config, 11, rngs=nnx.Rngs(0))
    >>> tokens = jnp.array([[3, 1], [4, 1]])
    >>> first, cache = model.decode(tokens, model.init_cache((2,), 2))
    >>> cache = model.restart(cache, jnp.array([True, False]), 2)
    >>> again, _ = model.decode(tokens, cache)
    >>> (again == first).all((1, 2)).tolist()
    [True, False]
    """
    fresh = self.init_cache(begins.shape, capacity)
    shapes = lambda tree: [*map(jnp.shape, jax.tree.leaves(tree))]
    if shapes(fresh) != shapes(cache):
      raise ValueError(
        f"MemoryLM: restart of {begins.shape[0]} rows and a capacity of"
        f" {capacity} must be of a cache of these sizes; give those that"
        " init_cache was given"
      )

    wrong = self._within_chunk(cache)

    def choose(new, old):
      # What all rows share: how many tokens a memory read.
      if new.ndim < 2:
        return old
      rows = begins.reshape(-1, *[1] * (new.ndim - 2))
      if wrong is not None and jnp.issubdtype(new.dtype, jnp.floating):
        new = poison(new, wrong)
      return jnp.where(rows, new.astype(old.dtype), old)

    return jax.tree.map(choose, fresh, cache)

  def _within_chunk(self, cache: PyTree) -> Bool[Array, "L"] | None:
    """Layers whose memory is within a chunk; raises where that is known."""
    if cache.memory is None:
      return None
    mac = self.config.architecture == "mac"
    period = self.config.segment if mac else self.config.chunk
    period *= self.config.writes

    return refuse(
      lambda position: position % period != 0,
      lambda position: ValueError(
        f"MemoryLM: restart expects that whole chunks of {period} writes were"
        f" read, got {position.tolist()} by layer; decode rows of such a length"
      ),
      cache.memory.memory.position,
    )

  def read(
    self,
    tokens: Int[Array, "*B T"],
    cache: PyTree,
    *,
    lengths: Int[Array, "*B"] | None = None,
  ):
    """(logits ``*B V`` after the last token alone, cache); see `decode`."""
    logits, cache = self.decode(tokens, cache, lengths=lengths)
    return logits[..., -1, :], cache


def norms_by_layer(sizes: Float[Array, "L *B H"] | None) -> dict[str, Array]:
  """Largest memory norm of each layer, as named metrics of training.

  Where one is not finite, training stops with the layer and the step; see
  `training.train`.

  Args:
    sizes: ``L *B H``, of `MemoryLM` with ``norms=True``; None where there is no
      memory.

  >>> import jax.numpy as jnp
  >>> norms_by_layer(jnp.array([[1.0, 3.0], [2.0, 0.0]]))
  {'layer0_memory_norm': Array(3., dtype=float32), 'layer1_memory_norm': ...}
  """
  if sizes is None:
    return {}
  return {
    f"layer{layer}_memory_norm": size.max() for layer, size in enumerate(sizes)
  }


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
