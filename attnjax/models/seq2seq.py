"""`Seq2Seq`: a recurrent encoder-decoder, with attention or a fixed vector."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.config import Config, setting
from attnjax.models.block_stack import block_setting
from attnjax.models.encoded_source import SequenceMemory
from attnjax.nn import Embedding
from attnjax.nn.recurrent import GRU, STEP_SCORES, GRUCell, StepAttention
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.feature_dropout import Dropout
from attnjax.ops.recurrent import gru_inputs, gru_update, real_steps
from attnjax.typing import Array, Float, Int, Key

__all__ = ["Seq2Seq", "Seq2SeqConfig"]

# Numbers of the dropouts, so that each has a mask of its own. Layers add their
# index to the last two.
_SOURCE, _TARGET, _READOUT, _ENCODER, _DECODER = 0, 1, 2, 100, 200


@dataclasses.dataclass(frozen=True)
class Seq2SeqConfig(Config):
  """Sizes and choices of a `Seq2Seq`."""

  width: int = setting(256, "embedding width, features", at_least=1)
  hidden: int = setting(
    256, "state width M of encoder and decoder, features", at_least=1
  )
  depth: int = setting(
    2, "recurrent layers L of the encoder and the decoder", at_least=1
  )
  attention: str = setting(
    "additive",
    "how the decoder revisits the input; none: it has a fixed vector",
    choices=(*STEP_SCORES, "none"),
  )
  bidirectional: bool = setting(
    True, "the encoder reads both ways, half of its state width each"
  )
  dropout: float = block_setting("dropout", 0.2)

  def __post_init__(self):
    super().__post_init__()
    if self.bidirectional and self.hidden % 2:
      raise ValueError(
        f"model: two directions share the hidden width, which must be even,"
        f" got {self.hidden}"
      )


class Seq2Seq(nnx.Module):
  """An encoder-decoder of gated recurrent units, with attention.

      memory, h[·, 0] = encoder(embed(source))
      c[t]      = attention(h[0, t - 1], memory), or the top of h[·, 0]
      h[0, t]   = gru(h[0, t - 1], [embed(target[t]); c[t]])
      h[l, t]   = gru(h[l, t - 1], h[l - 1, t]),  l = 1 .. L - 1
      logits[t] = table · tanh(W [h[L - 1, t]; c[t]] + b)

  At every step the decoder attends to the encoder's outputs, with the state of
  its bottom layer before the token as the query. With ``attention="none"`` the
  context of every step is the encoder's last state, which is also the initial
  state of the decoder; nothing else differs. Luong's scores are used in the
  same place as Bahdanau's, so that models differ in the score only.

  Args:
    config: sizes and choices.
    source_vocabulary: tokens of the source.
    target_vocabulary: V, tokens of the target.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: from the config, if a size or an option cannot be.

  Logits depend on all of the source and on no later target:

  >>> import jax.numpy as jnp
  >>> from attnjax.models.seq2seq import Seq2SeqConfig
  >>> from flax import nnx
  >>> model = Seq2Seq(
  ...   Seq2SeqConfig(width=6, hidden=4, depth=1), 7, 11, rngs=nnx.Rngs(0))
  >>> source, target = jnp.array([3, 1, 4]), jnp.array([2, 7, 1])
  >>> logits = model(source, target)
  >>> bool((logits[:2] == model(source, target.at[2].set(9))[:2]).all())
  True
  >>> bool((logits[0] == model(source.at[2].set(5), target)[0]).any())
  False

  Reference:
    Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to
    Align and Translate", 2014, arXiv 1409.0473. The fixed vector at every step:
    Cho et al., 2014, arXiv 1406.1078. Queries of the bottom layer: Wu et al.,
    "Google's Neural Machine Translation System", 2016, arXiv 1609.08144,
    section 3.
  """

  def __init__(
    self,
    config: Seq2SeqConfig,
    source_vocabulary: int,
    target_vocabulary: int,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    self.config = config
    self.vocabulary = target_vocabulary
    self.source_vocabulary = source_vocabulary
    width, hidden = config.width, config.hidden
    per_direction = hidden // 2 if config.bidirectional else hidden

    # Embeddings of variance 1: with small ones the gates start near 1/2, and
    # leave it slowly in training.
    table = lambda rows: Embedding(rows, width, stddev=1.0, rngs=rngs)
    self.source_embed = table(source_vocabulary)
    self.target_embed = table(target_vocabulary)

    # A list, not stacked: layers differ in the width of their inputs.
    self.encoder = nnx.List(
      GRU(inputs, per_direction, bidirectional=config.bidirectional, rngs=rngs)
      for inputs in (width, *(hidden,) * (config.depth - 1))
    )
    # A cell, because its input includes the context of its previous state.
    self.bottom = GRUCell(width + hidden, hidden, rngs=rngs)
    self.upper = nnx.List(
      GRU(hidden, hidden, rngs=rngs) for _ in range(config.depth - 1)
    )

    self.attention = (
      None
      if config.attention == "none"
      else StepAttention(
        hidden, score=config.attention, attend=attend, rngs=rngs
      )
    )
    # To the embedding width, in which the readout table has its rows.
    self.merge = nnx.Linear(2 * hidden, width, rngs=rngs)
    self.readout = Embedding(target_vocabulary, width, rngs=rngs)

  def __call__(
    self,
    source: Int[Array, "*B S"],
    target: Int[Array, "*B T"],
    *,
    source_lengths: Int[Array, "*B"] | None = None,
    dropout_key: Key[Array, ""] | None = None,
    aux: tuple[str, ...] = (),
  ):
    """Logits of the token after each target token: teacher forcing.

    Args:
      source: int ``*B S``; padding may hold any id.
      target: int ``*B T``, the input of the decoder, a start token first;
        padding may be any token of the vocabulary.
      source_lengths: int ``*B``; None is S.
      dropout_key: of a training step; None is no dropout.
      aux: what to return of the attention, as in `attnjax.attend`.

    Returns:
      float32 ``*B T V``; with `aux`, a pair with an `Aux` of one head: weights
      are ``*B 1 T S``.

    Raises:
      ValueError: if `aux` is asked of a model without attention.
    """
    drop = Dropout(self.config.dropout, dropout_key)
    memory = self.encode(source, source_lengths, dropout_key=dropout_key)

    inputs = drop(self.target_embed(target), _TARGET)
    x, context, extra = self._decode_bottom(memory, inputs, aux)
    for place, layer in enumerate(self.upper, start=1):
      x, _ = layer(drop(x, _DECODER + place), memory.last[place])

    logits = self._read_out(x, context, drop)
    return (logits, extra) if aux else logits

  def encode(
    self,
    source: Int[Array, "*B S"],
    lengths: Int[Array, "*B"] | None = None,
    *,
    dropout_key: Key[Array, ""] | None = None,
  ) -> SequenceMemory:
    """Outputs, keys and last states of the encoder; see `__call__`."""
    drop = Dropout(self.config.dropout, dropout_key)
    x = self.source_embed(source)
    # A padding id outside of the table embeds to NaN, which no mask removes.
    real, _ = real_steps(lengths, source.shape[:-1], source.shape[-1])
    if real is not None:
      x = jnp.where(real[..., None], x, 0)

    x, last = drop(x, _SOURCE), []
    for place, layer in enumerate(self.encoder):
      # The input of the bottom layer had its dropout above.
      x = drop(x, _ENCODER + place) if place else x
      x, state = layer(x, lengths=lengths)
      last.append(state)

    keys = None if self.attention is None else self.attention.prepare(x)
    return SequenceMemory(x, keys, jnp.stack(last), lengths)

  def init_state(
    self, memory: SequenceMemory, capacity: int
  ) -> Float[Array, "L *B M"]:
    """States of the layers before the first token; `capacity` is not used."""
    return memory.last

  def step(
    self,
    memory: SequenceMemory,
    state: Float[Array, "L *B M"],
    tokens: Int[Array, "*B"],
  ) -> tuple[Float[Array, "*B V"], Float[Array, "L *B M"]]:
    """(logits of the next token, new state), as `NextToken` calls it."""
    context = self._context(memory, state[0], ())
    inputs = jnp.concatenate([self.target_embed(tokens), context], axis=-1)
    states = [self.bottom(state[0], inputs)]
    for layer, old in zip(self.upper, state[1:], strict=True):
      # One step of the cell, as `layer` would scan it over a whole target.
      states.append(layer.forward(old, states[-1]))

    logits = self._read_out(states[-1], context, Dropout(0.0, None))
    return logits, jnp.stack(states)

  def _decode_bottom(self, memory, inputs, aux):
    """(states, contexts, `Aux` or None) of the bottom layer, ``*B T M``."""
    if aux and self.attention is None:
      raise ValueError(
        f"Seq2Seq: aux={aux} asks for attention, and this model has"
        ' attention="none"; choose another'
      )

    # The part of the gates that depends on tokens: one product for all steps.
    width = self.config.width
    kernel = self.bottom.params.inputs
    params = self.bottom.params._replace(inputs=kernel[:width])
    gates = jnp.moveaxis(gru_inputs(params, inputs), -3, 0)

    def step(state, gates):
      result = self._context(memory, state, aux)
      context, *extra = result if aux else (result,)
      gates = gates + jnp.einsum("...d,dgm->...gm", context, kernel[width:])
      state = gru_update(params, state, gates)
      return state, (state, context, extra)

    _, (states, contexts, extra) = jax.lax.scan(step, memory.last[0], gates)
    states, contexts = (jnp.moveaxis(x, 0, -2) for x in (states, contexts))
    # The axis of steps becomes that of queries: T *B H 1 [S] to *B H T [S].
    axis = memory.last.ndim - 1
    queries = lambda x: jnp.moveaxis(x.squeeze(axis + 1), 0, axis)
    return states, contexts, jax.tree.map(queries, extra[0]) if aux else None

  def _context(self, memory, state, aux):
    """The context of a state, with its `Aux` where `aux` asks for some."""
    if self.attention is None:
      return memory.last[-1]
    return self.attention(
      state, memory.outputs, memory.keys, lengths=memory.lengths, aux=aux
    )

  def _read_out(self, x, context, drop):
    """Logits of states and contexts, by a hidden layer of width M."""
    merged = self.merge(jnp.concatenate([x, context], axis=-1))
    return self.readout.logits(drop(jnp.tanh(merged), _READOUT))
