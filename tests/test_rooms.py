"""`import attnjax` is light, and every room is an attribute of it."""

import subprocess
import sys
from pathlib import Path

import pytest
from children import environment

import attnjax

PLACE = Path(attnjax.__file__).parent
# Everything public of one file or folder at the top of the library.
ROOMS = sorted(
  path.stem
  for path in PLACE.iterdir()
  if not path.name.startswith("_")
  and (path.suffix == ".py" or (path / "__init__.py").is_file())
)
# What `import attnjax` must not bring.
HEAVY = ("flax", "optax", "orbax", "matplotlib", "tensorboardX")

PROGRAM = f"""
import sys
import attnjax
brought = {HEAVY!r}
assert not {{*brought}} & {{*sys.modules}}, "import attnjax is not light"
for name in {ROOMS!r}:
  assert name in dir(attnjax), name
  assert getattr(attnjax, name).__name__ == "attnjax." + name
assert "flax" in sys.modules
"""


def test_every_room_is_reached_after_a_light_import():
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    env=environment(),
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr


def test_there_are_rooms_to_reach():
  assert {"nn", "models", "parallel", "training", "masks"} <= {*ROOMS}


def test_what_is_not_there_is_an_attribute_error():
  with pytest.raises(AttributeError, match="no attribute 'attention'"):
    _ = attnjax.attention
  assert not hasattr(attnjax, "nnn")
