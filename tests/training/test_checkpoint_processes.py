"""Two processes share a checkpoint, agree on damage, and one reads it alone."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnjax.training.checkpoint import CheckpointConfig, Checkpoints
from attnjax.training.step_directories import MANIFEST
from tests.side_by_side import SideBySide, free_address

CONFIG = CheckpointConfig(keep_last=2)


def table_at(step):
  """The whole table, a pure function of the step."""
  return np.arange(16 * 5, dtype=np.float32).reshape(16, 5) + step


def child(address, process, directory):
  """Saves a sharded state thrice, damages the last, and restores."""
  jax.distributed.initialize(address, 2, process)
  mesh = Mesh(np.array(jax.devices()), ("data",))
  rows = NamedSharding(mesh, PartitionSpec("data"))
  everywhere = NamedSharding(mesh, PartitionSpec())
  split = lambda: jax.random.split(jax.random.key(0), 3)
  like = {
    "table": jax.ShapeDtypeStruct((16, 5), np.float32, sharding=rows),
    "keys": jax.jit(split, out_shardings=everywhere)(),
    "step": np.int64(0),
  }
  with Checkpoints(directory, CONFIG) as checkpoints:
    assert checkpoints.restore(like) is None
    with pytest.raises(ValueError, match=r"\['keys'\] lives on the devices of"):
      checkpoints.save(0, {"keys": split()})
    for step in (1, 2, 3):
      table = jax.make_array_from_callback(
        (16, 5), rows, lambda index, step=step: table_at(step)[index]
      )
      state = {"table": table, "keys": like["keys"], "step": np.int64(step)}
      checkpoints.save(step, state, metric=float(step))
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2, 3]
    if process == 0:
      (checkpoints._root / "3" / MANIFEST).unlink()
    restored = checkpoints.restore(like)
    assert restored.step == 2, restored
    assert "step 3: digests.json is missing" in restored.skipped[0]
    assert checkpoints.best() == 1
    assert checkpoints.steps() == [1, 2]
    assert restored.state["step"] == 2
    for shard in restored.state["table"].addressable_shards:
      np.testing.assert_array_equal(shard.data, table_at(2)[shard.index])
    checkpoints.save(2, restored.state, metric=0.0)  # replaced by both
    assert checkpoints.restore(like).step == 2
    checkpoints.save(3, restored.state | {"step": np.int64(3)})
  print("done", flush=True)


@pytest.mark.slow
def test_two_processes(tmp_path):
  source = (
    "import sys; sys.path[:0] = ['tests/training'];"
    "import test_checkpoint_processes as t;"
    "t.child(sys.argv[1], int(sys.argv[2]), sys.argv[3])"
  )
  address = free_address()
  commands = [["-c", source, address, index, tmp_path] for index in range(2)]
  with SideBySide(address, commands, devices=1) as two:
    for code, out, error in two.ends(0, 1):
      assert code == 0, error[-3000:]
      assert out.endswith("done\n")
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    "2",
    "3",
    "3.damaged",
  ]
  like = {
    "table": np.zeros((16, 5), np.float32),
    "keys": jax.random.split(jax.random.key(0), 3),
    "step": np.int64(0),
  }
  with Checkpoints(tmp_path, CONFIG) as checkpoints:
    restored = checkpoints.restore(like)
  assert restored.state["step"] == 3
  np.testing.assert_array_equal(restored.state["table"], table_at(2))
