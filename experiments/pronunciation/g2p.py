"""The published network of g2p-en, run by our own recurrent units.

A GRU reads the letters and `</s>`; its last state, and nothing else, is what a
second GRU starts from: a fixed vector, and given only once.
"""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

from attnjax.data import G2P_GRAPHEMES, G2P_PHONEMES, g2p_weights
from attnjax.models.encoded_source import SequenceMemory
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.ops.recurrent import GRUParams, gru_scan, gru_step
from experiments.pronunciation.measure import Speaker

__all__ = ["NAME", "Published", "published", "speaker"]

NAME = "g2p-en, saw these words"
_UNKNOWN = G2P_GRAPHEMES.index("<unk>")
_LAST = G2P_GRAPHEMES.index("</s>")
_END = G2P_PHONEMES.index("</s>")


@pytree_dataclass
class Published:
  """An encoder-decoder that `attnjax.models.translate` can run."""

  source_embed: Any
  encoder: GRUParams
  target_embed: Any
  decoder: GRUParams
  kernel: Any
  bias: Any

  def encode(self, source, lengths=None) -> SequenceMemory:
    """The state after the last letter."""
    _, last = gru_scan(self.encoder, self.source_embed[source], lengths=lengths)
    return SequenceMemory(None, None, last[None], lengths)

  def init_state(self, memory: SequenceMemory, capacity: int):
    """The decoder starts where the encoder ended."""
    del capacity  # of a state that does not grow
    return memory.last

  def step(self, memory: SequenceMemory, state, tokens):
    """Logits of the next phoneme, and the state that has read this one."""
    del memory  # never looked at again
    state = gru_step(self.decoder, state[0], self.target_embed[tokens])
    return state @ self.kernel + self.bias[None], state[None]


def published(weights: dict[str, np.ndarray]) -> Published:
  """The network with the arrays of `attnjax.data.g2p_weights`."""

  def gru(side: str) -> GRUParams:
    # PyTorch's 3M x D, gates one below the other, is our D x 3 x M.
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
  """The network with its alphabets; AssetError where it cannot be had."""
  start = G2P_PHONEMES.index("<s>")
  return Speaker(published(g2p_weights()), _encode, _decode, start, _END)


def _encode(spelling: str) -> list[int]:
  """Ids of letters and the end; an apostrophe is unknown to it."""
  known = {letter: place for place, letter in enumerate(G2P_GRAPHEMES)}
  return [*(known.get(letter, _UNKNOWN) for letter in spelling), _LAST]


def _decode(ids: Iterable[int]) -> list[str]:
  """Phonemes up to the end, their stress taken off."""
  found = []
  for number in ids:
    if number == _END:
      break
    found.append(G2P_PHONEMES[number].rstrip("012"))
  return found
