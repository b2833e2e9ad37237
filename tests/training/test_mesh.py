"""One model on any mesh: the same losses, and no device has all of it."""

import dataclasses
import signal

import decoder_run
import jax
import mesh_run
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from attnjax import training
from attnjax.runs import MeshConfig

MESHES = [
  {"data": 8},
  {"fsdp": 4, "tensor": 2},
  {"data": 2, "sequence": 4, "layout": "zigzag"},
]


@pytest.fixture(scope="module")
def alone():
  """The losses of twenty steps on one device."""
  losses, _ = decoder_run.train()
  assert losses[-1] < 0.95 * losses[0]
  return losses


@pytest.mark.slow
@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_losses_of_twenty_steps_agree(alone, sizes):
  losses, state = decoder_run.train(**sizes)
  np.testing.assert_allclose(losses, alone, rtol=1e-5)
  # Of the matrices and of both their moments nobody has more than a part;
  # 13 words cannot be shared out.
  parts = sizes.get("fsdp", 1) * sizes.get("tensor", 1)
  for leaf in jax.tree.leaves(state):
    if leaf.ndim > 2:
      assert leaf.size == parts * leaf.addressable_shards[0].data.size


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  """The losses of a run of `fit` on one device, and what it learned."""
  workdir = tmp_path_factory.mktemp("unbroken")
  fitted = mesh_run.fit(workdir, MeshConfig())
  found = mesh_run.losses(workdir)
  assert len(found) == mesh_run.STEPS + 3
  assert found[12, "eval"] < found[5, "eval"]
  return found, fitted.params


@dataclasses.dataclass(frozen=True)
class Stopped(mesh_run.Batches):
  """The same batches; before one of them somebody asks the run to stop."""

  at: int = 0

  def __call__(self, step):
    if step == self.at:
      signal.raise_signal(signal.SIGTERM)
    return super().__call__(step)


@pytest.mark.slow
def test_a_run_goes_on_on_another_mesh(tmp_path, unbroken):
  meshes = [MeshConfig(fsdp=4, tensor=2), MeshConfig(data=0, fsdp=2)]
  for stop, mesh in zip((3, 9), meshes, strict=True):
    with pytest.raises(SystemExit):
      mesh_run.fit(tmp_path, mesh, Stopped(at=stop))
  fitted = mesh_run.fit(tmp_path, MeshConfig(tensor=8))
  assert mesh_run.losses(tmp_path) == pytest.approx(unbroken[0], rel=1e-5)
  for leaf, expected in zip(
    jax.tree.leaves(fitted.params), jax.tree.leaves(unbroken[1]), strict=True
  ):
    # What is asked of the model afterwards is asked of one device.
    assert leaf.devices() == {jax.devices()[0]}
    np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-6)


def test_pmap_takes_the_same_steps():
  transform = training.make_optimizer(mesh_run.OPTIMIZER, mesh_run.STEPS)
  quiet = lambda params, batch, key: mesh_run.loss(params, batch, None)
  step = training.make_step(quiet, transform)
  replicate, stepped = training.pmap_step(step)
  alone = training.init_state(mesh_run.make(), transform)
  copies, jitted = replicate(alone), training.jit_step(step)
  for number in range(5):
    batch = mesh_run.Batches()(number)
    copies, found = stepped(copies, batch)
    alone, expected = jitted(alone, batch)
    for name in expected:
      np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
  for all_of, one in zip(
    jax.tree.leaves(copies), jax.tree.leaves(alone), strict=True
  ):
    for copy in all_of:
      np.testing.assert_allclose(copy, one, rtol=1e-4, atol=1e-6)
  with pytest.raises(ValueError, match="rows that 8 devices divide, got"):
    stepped(copies, mesh_run.Batches().rows(0, 0, 20))


def test_parameters_are_never_whole_on_one_device():
  def make():
    return {"kernel": jax.random.normal(jax.random.key(0), (64, 1024))}

  mesh = MeshConfig(fsdp=8).make()
  place = training.shardings(jax.eval_shape(make), mesh)
  compiled = jax.jit(make, out_shardings=place).lower().compile()
  whole = 64 * 1024 * 4
  memory = compiled.memory_analysis()
  assert memory.output_size_in_bytes <= whole // 8 + 64
  assert memory.temp_size_in_bytes < whole // 2


@pytest.mark.parametrize(
  ("sizes", "message"),
  [
    ({"data": 3}, r"the 8 devices, got data=3 x .* = 3; choose data=8, or"),
    (
      {"data": 2, "fsdp": 3},
      r"data=2 x fsdp=3 .*; choose a product of",
    ),
    ({"data": 0, "tensor": 16}, r"tensor=16 .* = 16; choose a product"),
  ],
)
def test_a_mesh_that_does_not_suit_the_devices(sizes, message):
  with pytest.raises(ValueError, match=message):
    MeshConfig(**sizes).make()


def test_sizes_below_one_are_refused():
  with pytest.raises(ValueError, match="tensor must be at least 1, got 0"):
    MeshConfig(tensor=0)


@pytest.mark.parametrize(
  ("rules", "message"),
  [
    (None, "mesh.tensor: expected 1, got 2: nobody says which axes"),
    ([("bias", P())], r"no pattern is found in up\.kernel; add a row"),
    (
      [("up", P("fsdp", None), P(None, ("fsdp", "tensor")))],
      r"up\.kernel has shape \(6, 12\): mesh.fsdp=4 does not divide the 6 of "
      r"axis 0; mesh.fsdp=4 x mesh.tensor=2 does not divide the 12 of axis 1",
    ),
    ([("up", P("fsdp", None, None))], "speaks of 3 axes"),
  ],
)
def test_a_table_that_does_not_suit_the_model(rules, message):
  mesh = MeshConfig(fsdp=4, tensor=2).make()
  model = {"up": {"kernel": np.zeros((6, 12), np.float32)}}
  with pytest.raises(ValueError, match=message):
    training.shardings(model, mesh, rules)


@pytest.mark.parametrize(
  ("shape", "message"),
  [
    (
      (6, 4),
      r"mesh.data=2 x mesh.fsdp=2 does not divide its 6",
    ),
    ((4, 7), r"mesh.sequence=2 does not divide its 7 tokens; choose a div"),
  ],
)
def test_a_batch_that_the_mesh_does_not_divide(shape, message):
  mesh = MeshConfig(data=2, fsdp=2, sequence=2).make()
  with pytest.raises(ValueError, match=message):
    training.GlobalBatches(lambda step: {"x": np.zeros(shape)}, mesh)(0)


def test_nothing_is_written_where_the_mesh_does_not_suit(tmp_path):
  short = lambda step: mesh_run.Batches().rows(step, 0, 20)
  with pytest.raises(ValueError, match="does not divide its 20 rows"):
    mesh_run.fit(tmp_path / "run", MeshConfig(data=8), short)
  assert not (tmp_path / "run").exists()


def test_microbatches_that_the_rows_of_a_device_do_not_divide():
  mesh = MeshConfig(data=4, fsdp=2).make()
  batches = lambda step: {"x": np.zeros((24, 4))}
  feed = training.GlobalBatches(batches, mesh, microbatches=2)
  with pytest.raises(ValueError, match=r"microbatches=2: .* the 3 rows"):
    feed(0)
  assert training.GlobalBatches(batches, mesh, microbatches=3)(0)[
    "x"
  ].shape == (24, 4)
