"""No damage on the disk ever yields a wrong state: it is found, or harmless."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from attnjax.training.checkpoint import CheckpointConfig, Checkpoints
from attnjax.training.step_directories import MANIFEST
from tests.few import few

CONFIG = CheckpointConfig(keep_last=100)
ORBAX_ONLY = ("_CHECKPOINT_METADATA", "commit_success.txt")  # never read


def make_state(step):
  """A module with its optimizer state, larger than what Orbax stores inline."""
  params = nnx.Linear(61, 67, rngs=nnx.Rngs(step))
  with jax.numpy_dtype_promotion("standard"):
    opt_state = optax.adam(1e-3).init(params)
  return {"step": jnp.int32(step), "params": params, "opt_state": opt_state}


def bits(tree):
  return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


STATES = {step: make_state(step) for step in (100, 200, 300)}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
  """Three whole steps."""
  directory = tmp_path_factory.mktemp("pristine")
  with Checkpoints(directory, CONFIG) as checkpoints:
    for step, state in STATES.items():
      checkpoints.save(step, state, metric=float(step))
  return directory


@pytest.fixture
def directory(pristine, tmp_path):
  """A copy of three whole steps, to be damaged."""
  return shutil.copytree(pristine, tmp_path / "checkpoints")


def files(directory, step=300):
  """Every file of a step, by its name in the manifest."""
  root = directory / str(step)
  paths = sorted(path for path in root.rglob("*") if path.is_file())
  return [path.relative_to(root).as_posix() for path in paths]


def names(directory):
  return sorted(path.name for path in directory.iterdir())


def restore(directory):
  """Opens the directory as a restarted run does, and restores."""
  with Checkpoints(directory, CONFIG) as checkpoints:
    restored = checkpoints.restore(STATES[100])
    assert bits(restored.state) == bits(STATES[restored.step])
    assert checkpoints.steps() == [s for s in STATES if s <= restored.step]
  return restored


def check_found(directory, name):
  """Step 300 is passed over for 200, and the sentence names step and file."""
  restored = restore(directory)
  assert restored.step == 200, f"{name} was not found damaged"
  (sentence,) = restored.skipped
  assert sentence.startswith("step 300: ")
  assert name in sentence
  assert "\n" not in sentence
  assert names(directory) == ["100", "200", "300.damaged"]


def check_found_or_harmless(directory, name):
  """Orbax's own notes may be damaged; everything else has to be found."""
  if name in ORBAX_ONLY:
    assert restore(directory).step == 300  # and its bits were compared
  else:
    check_found(directory, name)


def for_each_file(pristine, tmp_path, damage):
  """Damages each file of step 300 in turn, each in a fresh copy."""
  found = files(pristine)
  assert len(found) > 10
  assert MANIFEST in found
  assert ORBAX_ONLY[0] in found
  for number, name in enumerate(found):
    directory = shutil.copytree(pristine, tmp_path / str(number))
    damage(directory / "300" / name)
    check_found_or_harmless(directory, name)


@pytest.mark.parametrize("seed", few(range(3), 0))
def test_one_flipped_bit_in_any_file(pristine, tmp_path, seed):
  rng = np.random.default_rng(seed)

  def flip(path):
    data = bytearray(path.read_bytes())
    bit = int(rng.integers(len(data) * 8))
    data[bit // 8] ^= 1 << (bit % 8)
    if not bytes(data[bit // 8 : bit // 8 + 1]).isspace():
      path.write_bytes(bytes(data))
    else:
      path.write_bytes(bytes(data[1:]))  # white space for white space

  for_each_file(pristine, tmp_path, flip)


@pytest.mark.filterwarnings("ignore:Sharding info not provided")
def test_orbax_alone_would_restore_the_flipped_bit(directory):
  # Why the digests exist: should this fail one day, they could go.
  data = sorted((directory / "300/state/ocdbt.process_0/d").iterdir())
  largest = max(data, key=lambda path: path.stat().st_size)
  good = largest.read_bytes()
  silent = 0
  for position in range(1000, len(good) - 1000, len(good) // 11):
    flipped = bytearray(good)
    flipped[position] ^= 1
    largest.write_bytes(flipped)
    with ocp.PyTreeCheckpointer() as checkpointer:
      restored = checkpointer.restore(directory / "300" / "state")
    silent += sorted(bits(restored)) != sorted(bits(STATES[300]))
  assert silent > 0


def test_any_file_truncated(pristine, tmp_path):
  for_each_file(
    pristine,
    tmp_path,
    lambda path: path.write_bytes(
      path.read_bytes()[: path.stat().st_size // 2]
    ),
  )


@pytest.mark.slow
def test_any_file_emptied(pristine, tmp_path):
  for_each_file(pristine, tmp_path, lambda path: path.write_bytes(b""))


@pytest.mark.slow
def test_any_file_deleted(pristine, tmp_path):
  for_each_file(pristine, tmp_path, lambda path: path.unlink())


@pytest.mark.slow
def test_any_file_replaced_by_the_older_step_s(pristine, tmp_path):
  def replace(path):
    older = Path(str(path).replace("/300/", "/200/"))
    data = older.read_bytes() if older.exists() else b""
    if path.name == MANIFEST or data == path.read_bytes():
      data = path.read_bytes()[::-1]
    path.write_bytes(data)

  for_each_file(pristine, tmp_path, replace)


def test_the_manifest_of_an_older_step(directory):
  shutil.copy(directory / "200" / MANIFEST, directory / "300" / MANIFEST)
  assert restore(directory).step == 200


@pytest.mark.parametrize("name", ["extra", "state/d/0123456789abcdef"])
def test_an_unexpected_file(directory, name):
  (directory / "300" / name).write_bytes(b"where is this from?")
  check_found(directory, name)


def test_an_empty_step_directory(directory):
  shutil.rmtree(directory / "300")
  (directory / "300").mkdir()
  check_found(directory, MANIFEST)


def test_a_step_directory_under_the_wrong_name(directory):
  shutil.rmtree(directory / "300")
  shutil.copytree(directory / "100", directory / "300")
  check_found(directory, "about.json")


def test_several_damaged_steps_are_all_named(directory):
  (directory / "300" / "about.json").unlink()
  (directory / "200" / MANIFEST).write_text("{")
  restored = restore(directory)
  assert restored.step == 100
  assert [s.split(":")[0] for s in restored.skipped] == ["step 300", "step 200"]
  assert names(directory) == ["100", "200.damaged", "300.damaged"]


def test_an_older_damaged_step_is_left_alone(directory):
  (directory / "200" / MANIFEST).unlink()
  assert restore(directory).step == 300
  assert names(directory) == ["100", "200", "300"]


def test_a_damaged_step_can_be_saved_again_and_again(directory):
  for expected in ["300.damaged", "300.damaged-2", "300.damaged-3"]:
    (directory / "300" / MANIFEST).unlink()
    with Checkpoints(directory, CONFIG) as checkpoints:
      restored = checkpoints.restore(STATES[100])
      assert restored.step == 200
      assert restored.skipped[0].endswith(f"kept as {expected}")
      checkpoints.save(300, STATES[300])
    assert restore(directory).step == 300
    assert (directory / expected / "about.json").exists()  # nothing deleted


def test_all_damaged_is_an_error_every_time(directory):
  for step in STATES:
    (directory / str(step) / MANIFEST).unlink()
  for _ in range(2):  # a scheduler that starts again gets no fresh run
    with (
      Checkpoints(directory, CONFIG) as checkpoints,
      pytest.raises(ValueError, match="every step is damaged") as error,
    ):
      checkpoints.restore(STATES[100])
    message = str(error.value)
    assert all(
      f"step {step}: {MANIFEST} is missing" in message for step in STATES
    )
    assert "another --workdir" in message
    assert "\n" not in message
    assert names(directory) == ["100", "200", "300"]


def test_a_whole_step_that_does_not_fit_moves_nothing(directory):
  (directory / "300" / MANIFEST).unlink()
  with (
    Checkpoints(directory, CONFIG) as checkpoints,
    pytest.raises(ValueError, match="200 is whole but holds another state"),
  ):
    checkpoints.restore({"a": np.ones(3)})
  assert names(directory) == ["100", "200", "300"]


def test_a_damaged_metric_is_not_trusted(directory):
  with Checkpoints(directory, CONFIG) as checkpoints:
    assert checkpoints.best() == 100
  about = directory / "100" / "about.json"
  text = about.read_text()
  assert '"metric": 100.0' in text
  about.write_text(text.replace('"metric": 100.0', '"metric": 900.0'))
  with Checkpoints(directory, CONFIG) as checkpoints:
    assert checkpoints.best() == 200


def test_garbage_in_orbax_s_own_notes_does_not_stop_a_run(directory):
  for step in STATES:
    for name in ORBAX_ONLY:
      (directory / str(step) / name).write_bytes(b"\x00\xff garbage")
  assert restore(directory).step == 300


def test_other_entries_are_left_alone(directory):
  (directory / "notes.txt").write_text("mine")
  (directory / "500").write_text("a file, not a step")
  (directory / "400.backup").mkdir()
  assert restore(directory).step == 300
  assert {"notes.txt", "500", "400.backup"} <= set(names(directory))


def test_retention_goes_on_after_damage(directory):
  (directory / "300" / MANIFEST).unlink()
  config = CheckpointConfig(keep_last=2, keep_best=False)
  with Checkpoints(directory, config) as checkpoints:
    assert checkpoints.restore(STATES[100]).step == 200
    checkpoints.save(300, STATES[300])
  assert names(directory) == ["200", "300", "300.damaged"]
