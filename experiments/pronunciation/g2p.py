"""The published GRU encoder-decoder of g2p-en, on our recurrent primitives.

The encoder reads the letters and `</s>`. Its last state initialises the
decoder and is all that the decoder is given: a fixed vector, no attention.
"""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from attnjax.data import G2P_GRAPHEMES, G2P_PHONEMES, g2p_weights
from attnjax.models.encoded_source import SequenceMemory
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.ops.recurrent import GRUParams, gru_scan, gru_step
from attnjax.typing import Array, Float
from experiments.pronunciation.measure import Speaker

__all__ = ["NAME", "Published", "published", "speaker"]

NAME = "g2p-en, saw these words"
_UNKNOWN = G2P_GRAPHEMES.index("<unk>")
_LAST = G2P_GRAPHEMES.index("</s>")
_END = G2P_PHONEMES.index("</s>")


@pytree_dataclass
class Published:
  """Weights and methods of an encoder-decoder for `models.translate`."""

  source_embed: Float[Array, "letters M"]
  encoder: GRUParams
  target_embed: Float[Array, "phonemes M"]
  decoder: GRUParams
  kernel: Float[Array, "M phonemes"]
  bias: Float[Array, " phonemes"]

  def encode(self, source, lengths=None) -> SequenceMemory:
    """Runs the encoder; the memory holds its last state alone."""
    _, last = gru_scan(self.encoder, self.source_embed[source], lengths=lengths)
    return SequenceMemory(None, None, last[None], lengths)

  def init_state(self, memory: SequenceMemory, capacity: int):
    """The decoder's initial state: the encoder's last, ``1 B M``."""
    del capacity  # the state of a GRU does not grow with the length
    return memory.last

  def step(self, memory: SequenceMemory, state, tokens):
    """Logits ``B V`` of the next phoneme, and the new state ``1 B M``."""
    del memory  # no attention: the source is in the initial state alone
    state = gru_step(self.decoder, state[0], self.target_embed[tokens])
    return state @ self.kernel + self.bias[None], state[None]


def published(weights: dict[str, np.ndarray]) -> Published:
  """Converts the arrays of `attnjax.data.g2p_weights` to our layout."""

  def gru(side: str) -> GRUParams:
    # PyTorch's (3M, D) with gates stacked along rows is our (D, 3, M).
    own = lambda name: jnp.asarray(weights[f"{side}_{name}"])
    kernel = lambda name: own(name).T.reshape((own(name).shape[1], 3, -1))
    bias = lambda name: own(name).reshape((3, -1))
    return GRUParams(kernel("w_ih"), kernel("w_hh"), bias("b_ih"), bias("b_hh"))

  return Published(
    jnp.asarray(weights["enc_emb"]),
    gru("enc"),
    jnp.asarray(weights["dec_emb"]),
    gru("dec"),
    jnp.asarray(weights["fc_w"]).T,
    jnp.asarray(weights["fc_b"]),
  )


def speaker() -> Speaker:
  """The published network with its alphabets.

  Raises:
    AssetError: its weights cannot be fetched.
  """
  start = G2P_PHONEMES.index("<s>")
  return Speaker(published(g2p_weights()), _encode, _decode, start, _END)


def _encode(spelling: str) -> list[int]:
  """Ids of letters and of the end; its alphabet has no apostrophe."""
  known = {letter: place for place, letter in enumerate(G2P_GRAPHEMES)}
  return [*(known.get(letter, _UNKNOWN) for letter in spelling), _LAST]


def _decode(ids: Iterable[int]) -> list[str]:
  """Phonemes up to the end, without stress digits."""
  found = []
  for number in ids:
    if number == _END:
      break
    found.append(G2P_PHONEMES[number].rstrip("012"))
  return found
