"""Cases of arguments: masks, biases, positions, shapes, parts, dtypes."""

from typing import Any

from attnjax.testing.case import Case
from attnjax.testing.laws import conforms, conforms_optimized
from attnjax.testing.parts import NORMALIZERS, SCORE_MODS, SCORINGS
from attnjax.testing.problem import Problem

__all__ = ["feature_cases"]

Options = dict[str, Any]  # of a Problem

_CAUSAL, _WINDOW = ("causal",), ("window", 3, 1)
_MASKS: dict[str, tuple] = {
  "full": ("full",),
  "causal": _CAUSAL,
  "window": _WINDOW,
  "dilated": ("dilated", 3),
  "chunked": ("chunked", 5),
  "from_fn": ("striped",),
  "dilated and causal": ("and", ("dilated", 2), _CAUSAL),
  "causal or chunked": ("or", _CAUSAL, ("chunked", 4)),
  "not window": ("not", _WINDOW),
  "not (causal and window) or dilated": (
    "or",
    ("not", ("and", _CAUSAL, ("window", 5, 0))),
    ("dilated", 7),
  ),
  "nothing": ("not", ("full",)),
}
_WITH_ARRAYS: dict[str, tuple] = {
  "prefix": ("prefix",),
  "causal or prefix": ("or", _CAUSAL, ("prefix",)),
  "lengths": ("lengths",),
  "lengths of keys": ("key_lengths",),
  "lengths and window": ("and", ("lengths",), _WINDOW),
  "not lengths": ("not", ("lengths",)),
  "segments": ("segments",),
  "segments and causal": ("and", ("segments",), _CAUSAL),
  "from_fn with arrays": ("shifted",),
  "dense": ("dense", "B H T S"),
  "dense by head": ("dense", "H T S"),
  "dense T S and causal": ("and", ("dense", "T S"), _CAUSAL),
}
_BIASES = ("B H T S", "H T S", "T S", "B 1 1 S", "1 H 1 1", "S", "B H T 1", "")
# Empty, single, and primes.
_LENGTHS = ((0, 17), (13, 0), (0, 0), (1, 17), (13, 1), (1, 1), (17, 13))
# Around 128 and 256, usual sizes of a block.
_LONG = ((127, 129), (129, 127), (257, 257), (1, 300))
# No batch and few heads, for the length alone matters in these cases.
_LONGER: Options = {"batch": (), "heads": 2, "shared": 1}


def feature_cases() -> list[Case]:
  """Every case of an argument; each checks values, gradients and dtypes."""
  named: dict[str, Options] = {
    "plain/no aux": {"aux": ()},
    **_masks(),
    **_biases(),
    **_places(),
    **_shapes(),
    **_parts(),
    **_rows_that_see_nothing(),
  }
  # Their rounding depends on the optimizations that a user has.
  optimized: dict[str, Options] = {"plain/plain": {}, **_numbers()}

  return [
    Case(name, law, Problem(**options))
    for law, table in ((conforms_optimized, optimized), (conforms, named))
    for name, options in table.items()
  ]


def _masks() -> dict[str, Options]:
  """Each mask; one that holds arrays with known and with traced values."""
  found: dict[str, Options] = {
    f"mask/{name}": {"mask": mask} for name, mask in _MASKS.items()
  }

  # Known arrays may decide while tracing which tiles are computed; traced ones
  # cannot, and take another path.
  for name, mask in _WITH_ARRAYS.items():
    found[f"mask/{name}"] = {"mask": mask}
    found[f"mask/{name}, traced"] = {"mask": mask, "traced": True}
  for axes in ("B H T S", "T S", "B 1 1 S", "1 S"):
    found[f"mask/array {axes}"] = {"array_mask": axes}
  found["mask/array T S, traced"] = {"array_mask": "T S", "traced": True}
  return found


def _biases() -> dict[str, Options]:
  """Every way a bias may broadcast, alone and with other arguments."""
  found: dict[str, Options] = {
    f"bias/{axes or 'scalar'}": {"bias": axes} for axes in _BIASES
  }
  found["bias/with a causal mask"] = {"bias": "H T S", "mask": _CAUSAL}
  found["bias/with a score mod and a window"] = {
    "bias": "B H T S",
    "mask": _WINDOW,
    "score_mod": "softcap then alibi",
  }
  found["bias/hides"] = {"bias": "B H T S", "hidden_bias": True}
  found["bias/hides keys"] = {"bias": "S", "hidden_bias": True}

  return found


def _places() -> dict[str, Options]:
  """Positions and segment ids."""
  found: dict[str, Options] = {}
  asked: Options

  for positions in ("decode", "negative", "repeated", "permuted"):
    name = f"positions/{positions}"
    asked = {"positions": positions}
    found[name] = asked | {"mask": _CAUSAL, "score_mod": "alibi"}
  for name, mask in (("window", _WINDOW), ("segments", ("segments",))):
    asked = {"positions": "permuted", "mask": mask, "traced": True}
    found[f"positions/permuted with {name}, traced"] = asked

  found["positions/permuted with lengths"] = {
    "positions": "permuted",
    "mask": ("and", ("lengths",), _CAUSAL),
  }
  found["positions/one query after a cache"] = {
    "positions": "decode",
    "mask": _CAUSAL,
    "length": 1,
  }

  packed: Options = {"segments": True, "length": 17}
  found["segments/packed"] = packed
  found["segments/packed and causal"] = packed | {"mask": _CAUSAL}
  found["segments/packed and causal, traced"] = packed | {
    "mask": _CAUSAL,
    "traced": True,
  }
  found["segments/of another sequence"] = {"segments": True}
  return found


def _shapes() -> dict[str, Options]:
  """Lengths, batch axes, heads and widths."""
  found: dict[str, Options] = {}
  asked: Options

  for length, keys in _LENGTHS:
    asked = {
      "length": length,
      "keys": keys,
      "mask": _CAUSAL,
      "bias": "H T S",
    }
    found[f"length/T={length} S={keys}"] = asked

  for length, keys in _LONG:
    asked = {
      "length": length,
      "keys": keys,
      "mask": ("window", 100, 30),
    }
    found[f"length/T={length} S={keys}"] = asked | _LONGER

  for batch in ((), (1,), (2, 3), (0,), (3, 0)):
    asked = {"batch": batch, "mask": ("lengths",), "bias": "B 1 T S"}
    found[f"batch/{' x '.join(map(str, batch)) or 'none'}"] = asked
  # One head, multi-head and multi-query; every other case is grouped, 6 over 2.
  for heads, shared in ((1, 1), (6, 6), (6, 1)):
    asked = {"heads": heads, "shared": shared, "bias": "H 1 S"}
    found[f"heads/H={heads} K={shared}"] = asked

  for width, value_width in ((1, 1), (16, 16), (64, 3), (3, 64)):
    asked = {
      "width": width,
      "value_width": value_width,
      "mask": _CAUSAL,
    }
    found[f"width/D={width} E={value_width}"] = asked
  return found


def _parts() -> dict[str, Options]:
  """Each scoring, score mod and normalizer, under a mask."""
  found: dict[str, Options] = {}
  for role, table in (
    ("scoring", SCORINGS),
    ("score_mod", SCORE_MODS),
    ("normalizer", NORMALIZERS),
  ):
    for name in table:
      found[f"{role}/{name}"] = {role: name, "mask": _CAUSAL}

  for name in ("sink", "plus_one", "sigmoid", "top_k"):
    found[f"normalizer/{name} where rows see nothing"] = {
      "normalizer": name,
      "mask": ("and", ("lengths",), ("window", 2, 2)),
    }
    found[f"aux/entropy of {name}"] = {"normalizer": name, "aux": ("entropy",)}
  for name in ("additive", "gaussian"):
    found[f"scoring/{name} with a score mod, bias and sink"] = {
      "scoring": name,
      "score_mod": "captured arrays",
      "bias": "H T S",
      "normalizer": "sink",
      "mask": _WINDOW,
    }

  for name in ("weights", "entropy", "max_logit"):
    found[f"aux/{name}"] = {"aux": (name,), "mask": ("lengths",)}
  every = ("logsumexp", "weights", "entropy", "max_logit")
  found["aux/all"] = {"aux": every, "mask": _CAUSAL, "bias": "B H T S"}
  return found


def _rows_that_see_nothing() -> dict[str, Options]:
  """Empty rows: output 0, log-sum-exp -inf, every gradient 0 and finite."""
  hidden: tuple = ("and", ("lengths",), ("dilated", 4))

  return {
    "empty rows/by a mask": {"mask": ("lengths",)},
    "empty rows/by two masks": {"mask": hidden},
    "empty rows/by a mask, traced": {"mask": hidden, "traced": True},
    "empty rows/by a bias": {"bias": "B H T 1", "hidden_bias": True},
    "empty rows/by segments": {"segments": True, "positions": "negative"},
    "empty rows/all of them": {"mask": ("not", ("full",)), "bias": "H T S"},
    "empty rows/without keys": {"keys": 0, "normalizer": "sink"},
  }


def _numbers() -> dict[str, Options]:
  """Dtypes, large logits, and huge values that are hidden."""
  long: Options = {"keys": 257, **_LONGER}
  found: dict[str, Options] = {}
  for dtype in ("bfloat16", "float16", "float64"):
    asked = {"dtype": dtype, "mask": _CAUSAL, "bias": "H T S"}
    found[f"dtype/{dtype}"] = asked
    mods = {"score_mod": "captured arrays", "normalizer": "sink"}
    if dtype != "float16":
      found[f"dtype/{dtype} with captured arrays"] = asked | mods

  # The offset keeps sums from cancelling, so that rounding them shows.
  sums = {"dtype": "bfloat16", "offset": 3.0}
  found["dtype/bfloat16 sums of 257 keys"] = long | sums
  found["numbers/logits of 1e4"] = {"scale": 100.0, "mask": _CAUSAL}
  found["numbers/logits of 1e4 over 257 keys"] = long | {"scale": 100.0}
  # Queries end at position 12 and the huge key is at 16, hidden from all: exp
  # of its logits overflows, and 0 times infinity is NaN.
  for huge in (1e30, -1e30):
    found[f"numbers/hidden keys of {huge:g}"] = {
      "huge": huge,
      "mask": ("and", ("window", 3, 2), ("window", 300, 0)),
    }
  return found
