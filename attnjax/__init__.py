"""attnjax: a functional research codebase for attention, in JAX and Flax.

Functions of arrays are here and in the modules that are imported below. Rooms
that need more than JAX (`attnjax.nn`, `attnjax.models`, `attnjax.training`...)
are imported when they are first asked for: `import attnjax` stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

from attnjax import (
  cache,
  glimpses,
  masks,
  memory,
  moved,
  normalizers,
  patterns,
  positions,
  score_mods,
  scoring,
  slots,
)
from attnjax.ops.attention import (
  Aux,
  Blockwise,
  Explanation,
  Fused,
  Partial,
  Verdict,
  attend,
  attention_weights,
  dot_product_attention,
  explain,
  merge,
)
from attnjax.ops.glimpse import glimpse
from attnjax.ops.multi_head import multi_head_attention, self_attention

__all__ = [
  "Aux",
  "Blockwise",
  "Explanation",
  "Fused",
  "Partial",
  "Verdict",
  "attend",
  "attention_weights",
  "cache",
  "dot_product_attention",
  "explain",
  "glimpse",
  "glimpses",
  "masks",
  "memory",
  "merge",
  "multi_head_attention",
  "normalizers",
  "patterns",
  "positions",
  "score_mods",
  "scoring",
  "self_attention",
  "slots",
]

__version__ = "0.2.0"

# Rooms that are imported when they are asked for: some bring Flax, Optax,
# Orbax, or take a second.
_ROOMS = (
  "config",
  "data",
  "extras",
  "models",
  "nn",
  "parallel",
  "plan",
  "retired",
  "runs",
  "testing",
  "training",
  "viz",
)


def __getattr__(name: str) -> Any:
  """Imports a room, so that `attnjax.nn` works after `import attnjax`."""
  if name in _ROOMS:
    # Python sets the module as an attribute: each room passes here once.
    return importlib.import_module(f"attnjax.{name}")
  raise AttributeError(f"module 'attnjax' has no attribute {name!r}")


def __dir__() -> list[str]:
  """Names of the package, with those of rooms that are not imported yet."""
  return sorted({*globals(), *_ROOMS})


if TYPE_CHECKING:  # for editors and type checkers
  from attnjax import config as config
  from attnjax import data as data
  from attnjax import extras as extras
  from attnjax import models as models
  from attnjax import nn as nn
  from attnjax import parallel as parallel
  from attnjax import plan as plan
  from attnjax import runs as runs
  from attnjax import testing as testing
  from attnjax import training as training
  from attnjax import viz as viz

# Last, once the modules are imported: old names below those that were packages
# and are files now become importable.
moved.install()
