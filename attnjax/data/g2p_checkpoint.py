"""Weights of g2p-en: a published encoder-decoder without attention.

A GRU of width 256 reads the letters; its last state is the first state of a
second GRU that predicts phonemes: the fixed-length vector that attention was
invented to replace. It was trained on the CMU dictionary, all of whose words it
has seen.
"""

import zipfile
from pathlib import Path

import numpy as np

from attnjax.data.assets import fetch
from attnjax.data.pronunciations import phoneme_vocabulary

__all__ = [
  "G2P_GRAPHEMES",
  "G2P_PHONEMES",
  "SHAPES",
  "g2p_weights",
]


# The tables of the package, ids by place. It has a `UW` without stress beside
# the 69 phonemes, and no apostrophe.
G2P_GRAPHEMES = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
# The phonemes that the published network answers with, ids by place.
G2P_PHONEMES = (
  "<pad>",
  "<unk>",
  "<s>",
  "</s>",
  *sorted({*phoneme_vocabulary(stress=True).symbols, "UW"}),
)

_WIDTH = 256
_GATES = 3 * _WIDTH  # reset, update, candidate, as in PyTorch
SHAPES = {
  "enc_emb": (len(G2P_GRAPHEMES), _WIDTH),
  "enc_w_ih": (_GATES, _WIDTH),
  "enc_w_hh": (_GATES, _WIDTH),
  "enc_b_ih": (_GATES,),
  "enc_b_hh": (_GATES,),
  "dec_emb": (len(G2P_PHONEMES), _WIDTH),
  "dec_w_ih": (_GATES, _WIDTH),
  "dec_w_hh": (_GATES, _WIDTH),
  "dec_b_ih": (_GATES,),
  "dec_b_hh": (_GATES,),
  "fc_w": (len(G2P_PHONEMES), _WIDTH),
  "fc_b": (len(G2P_PHONEMES),),
}


def g2p_weights(path: Path | None = None) -> dict[str, np.ndarray]:
  """The arrays of the checkpoint, by the package's names.

  A GRU step is r, z = sigmoid(W_ih x + b_ih + W_hh h + b_hh) of the first two
  thirds, n = tanh(W_ih x + b_ih + r (W_hh h + b_hh)) of the last, and
  h' = (1 - z) n + z h; a word is read with `</s>` behind it.

  Args:
    path: the npz file; None: the asset "g2p-en", which is downloaded if it is
      not here yet.

  Returns:
    The twelve arrays of `SHAPES`, float32.

  Raises:
    ValueError: the file is broken, or its arrays are others.
    AssetError: the asset is not available.

  Reference: Kyubyong Park and Jongseok Kim, "g2pE", 2019.

  >>> SHAPES["enc_emb"], SHAPES["fc_w"]
  ((29, 256), (74, 256))
  """
  if path is None:
    path = fetch("g2p-en") / "g2p_en" / "checkpoint20.npz"

  try:
    # Opened here, for NumPy leaves a broken file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
      arrays = {name: archive[name] for name in archive.files}
  except (zipfile.BadZipFile, ValueError, EOFError) as error:
    raise ValueError(
      f"path={str(path)!r} is no npz file of arrays ({error}); get it anew."
    ) from error

  # Checked whole before any use: another version of the package may have arrays
  # of the same names in other shapes.
  got = {
    name: (array.dtype.name, array.shape) for name, array in arrays.items()
  }

  expected = {name: ("float32", shape) for name, shape in SHAPES.items()}
  if got != expected:
    other = sorted(n for n in got | expected if got.get(n) != expected.get(n))
    raise ValueError(
      f"path={str(path)!r}: {other[0]!r} should be {expected.get(other[0])}, it"
      f" is {got.get(other[0])}; expected the checkpoint of g2p-en 2.1.0."
    )

  return arrays
