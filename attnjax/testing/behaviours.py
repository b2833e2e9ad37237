"""Cases of behaviour: derivatives, transforms, locality, dropout, devices."""

from collections.abc import Callable
from typing import Any

from attnjax.testing import dropout_laws, hidden_keys
from attnjax.testing.case import Case
from attnjax.testing.derivatives import reverse
from attnjax.testing.laws import (
  Agrees,
  Mapped,
  Sharded,
  checkpointed,
  deterministic,
  exported,
  linearizes,
  pmapped,
  pushes,
  scanned,
  second_orders,
  serialized,
)
from attnjax.testing.problem import Problem

__all__ = ["behaviour_cases"]

# Small, for a derivative of second order takes seconds to compile. T and S
# differ, so that an axis that is swapped shows.
_SMALL: dict[str, Any] = {
  "batch": (2,),
  "length": 7,
  "keys": 11,
  "heads": 2,
  "shared": 1,
}
_EVERYTHING: dict[str, Any] = {
  "mask": ("and", ("causal",), ("key_lengths",)),
  "bias": "H T S",
  "score_mod": "softcap then alibi",
}
# Lengths and -inf in the bias each leave queries without a key, where softmax
# is 0 / 0 and its derivatives are NaN unless they are guarded.
_EMPTY_ROWS: dict[str, Any] = {
  "mask": ("lengths",),
  "bias": "B 1 T S",
  "hidden_bias": True,
}
# No aux: the Jacobians are of the output alone.
_SQUARE: dict[str, Any] = {"length": 13, "keys": 13, "aux": ()}
# Checked in forward mode, and most of them in second order.
_DIFFERENTIATED: dict[str, dict[str, Any]] = {
  "causal with bias and score mod": _EVERYTHING,
  "empty rows": _EMPTY_ROWS,
  "traced lengths": {"mask": ("lengths",), "traced": True},
  "general scoring": {"scoring": "general"},
  "additive scoring": {"scoring": "additive"},
  "cosine scoring": {"scoring": "cosine"},
  "gaussian scoring": {"scoring": "gaussian"},
  "relative bias": {"score_mod": "relative_bias"},
  "sink": {"normalizer": "sink", "mask": ("lengths",)},
  "plus one": {"normalizer": "plus_one"},
  "sigmoid": {"normalizer": "sigmoid", "mask": ("window", 2, 1)},
  "top_k": {"normalizer": "top_k"},
  "entropy and max_logit": {"aux": ("entropy", "max_logit")},
}

# Their second derivative takes the path of another entry: it is left out, for
# a second order compiles for seconds.
_FIRST_ORDER_ONLY = (
  "traced lengths",
  "general scoring",
  "relative bias",
  "plus one",
)
# A second derivative by forward over reverse contains the JVP of these.
_SECOND_ORDER_ONLY = (
  "cosine scoring",
  "gaussian scoring",
  "sink",
  "sigmoid",
  "entropy and max_logit",
)


def behaviour_cases() -> list[Case]:
  """Every case of behaviour, group by group."""
  return [
    *_derivatives(),
    *_transforms(),
    *_mapped(),
    *_local(),
    *_dropped(),
    *_divided(),
  ]


def _derivatives() -> list[Case]:
  """Cases of the JVP and of second derivatives."""
  found = []

  for name, options in _DIFFERENTIATED.items():
    problem = Problem(**(_SMALL | options))
    if name not in _SECOND_ORDER_ONLY:
      found.append(Case(f"jvp/{name}", pushes, problem))
    if name not in _FIRST_ORDER_ONLY:
      law = second_orders["jvp of grad"]
      found.append(Case(f"second/{name}", law, problem))

  rich = Problem(**(_SMALL | _EVERYTHING))
  empty = Problem(**(_SMALL | _EMPTY_ROWS))
  # The first order, jvp of grad, is checked in the loop above.
  for order, law in list(second_orders.items())[1:]:
    found.append(Case(f"second/{order}", law, rich))
    found.append(Case(f"second/{order} where rows are empty", law, empty))
  return found


def _transforms() -> list[Case]:
  """Cases of transforms that must not change values or gradients."""
  rich = Problem(**_EVERYTHING)
  laws: dict[str, Callable] = {
    "eager": Agrees(reverse, reverse, how="eager"),
    "linearize": linearizes,
    "checkpoint": Agrees(checkpointed, reverse),
    "scan": Agrees(scanned, reverse),
    # Eager, for `exported` has a jit of its own: its program is what is
    # exported.
    "export": Agrees(exported, reverse, how="eager"),
    "determinism": deterministic,
  }

  found = [Case(f"transform/{name}", law, rich) for name, law in laws.items()]
  # jax.export serializes with flatbuffers, which JAX does not install.
  law = Agrees(serialized, reverse, how="eager")
  name = "transform/export through bytes"
  return [*found, Case(name, law, rich, needs_package="flatbuffers")]


def _mapped() -> list[Case]:
  """Cases of `vmap` over every kind of argument and over each axis."""
  alone: dict[str, Problem] = {
    name: Problem(**_EVERYTHING) for name in ("query", "key", "value")
  }
  alone["bias"] = alone["score_mod slopes"] = Problem(**_EVERYTHING)
  alone["key_lengths"] = alone["query"]
  positions: dict[str, Any] = {
    "mask": ("window", 4, 1),
    "positions": "negative",
  }
  alone["query_positions"] = alone["key_positions"] = Problem(**positions)
  alone["segments"] = Problem(segments=True, length=17, mask=("causal",))
  alone["mask"] = Problem(array_mask="T S")
  names = {"segments": ("query_segment_ids", "key_segment_ids")}
  found = [
    Case(f"vmap/{name}", Mapped(names.get(name, (name,))), problem)
    for name, problem in alone.items()
  ]

  every = ("query", "key", "value", "bias", "key_lengths")
  rich = Problem(**_EVERYTHING)
  for axis in (0, 1, 2):
    law = Mapped(every, axis)
    found.append(Case(f"vmap/every argument on axis {axis}", law, rich))

  # The gradient of a vmapped attention, not the vmapped gradient.
  moving = ("query", "value", "bias", "score_mod slopes")
  others = dict.fromkeys(moving, rich)
  others["normalizer sink"] = Problem(normalizer="sink")
  for name, problem in others.items():
    law = Mapped((name,), how="grad")
    found.append(Case(f"vmap/gradient of a mapped {name}", law, problem))

  lengths = Problem(mask=("lengths",))
  for how in ("scan", "map"):
    law = Mapped(("query", "key_lengths", "query_lengths"), 0, how)
    found.append(Case(f"transform/{how} over lengths", law, lengths))
  return found


def _local() -> list[Case]:
  """Cases of Jacobians: a query depends on the keys it sees and no other."""
  found = []

  problems: dict[str, dict[str, Any]] = {
    "causal": {"mask": ("causal",)},
    "window": {"mask": ("window", 3, 2)},
    "window and lengths, traced": {
      "mask": ("and", ("window", 3, 2), ("lengths",)),
      "traced": True,
    },
    "permuted and causal": {"mask": ("causal",), "positions": "permuted"},
    "packed": {"mask": ("causal",), "segments": True},
  }
  for name, options in problems.items():
    problem = Problem(**(_SQUARE | options))
    for how, law in {
      "reverse": hidden_keys.reads_only_what_it_sees,
      "forward": hidden_keys.tells_only_who_sees_it,
    }.items():
      found.append(Case(f"local/{name}, {how}", law, problem))

  return found


def _dropped() -> list[Case]:
  """Cases of dropout."""
  problem = Problem(dropout_rate=0.3, mask=("window", 9, 1))
  # Long enough for several blocks of any usual size.
  long = Problem(dropout_rate=0.3, batch=(2,), length=300, keys=600, heads=2)

  return [
    Case("dropout/drops and scales", dropout_laws.drops_and_scales, problem),
    Case(
      "dropout/same backward", dropout_laws.drops_the_same_backward, problem
    ),
    Case("dropout/rate zero", dropout_laws.drops_nothing_at_rate_zero, problem),
    Case("dropout/keys decide", dropout_laws.keys_decide, problem),
    Case("dropout/right on average", dropout_laws.is_right_on_average, problem),
    Case("dropout/by place", dropout_laws.drops_by_place, long),
    Case(
      "dropout/as the reference", dropout_laws.drops_as_reference_does, problem
    ),
  ]


def _divided() -> list[Case]:
  """Cases of sharding over two devices."""
  problem = Problem(
    batch=(2, 3),
    heads=4,
    mask=("or", ("causal",), ("dense", "B H T S")),
    score_mod="alibi",
  )
  # pmap splits every float array on axis 0 and no integer array: no score mod
  # that captures arrays by head, and no mask by row.
  simple = Problem(batch=(2, 3), mask=("causal",))

  return [
    Case("devices/shard_map on batch", Sharded("batch"), problem, 2),
    Case("devices/shard_map on heads", Sharded("heads"), problem, 2),
    *(
      Case(
        f"devices/{axes} mesh on {over}", Sharded(over, axes=axes), problem, 2
      )
      for axes in ("explicit", "auto")
      for over in ("batch", "heads")
    ),
    Case("devices/pmap", pmapped, simple, 2),
  ]
