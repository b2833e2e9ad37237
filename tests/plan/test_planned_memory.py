"""The plan of a small model against what the same step takes when it runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from attnjax import training
from attnjax.config import replace_leaves
from attnjax.plan import Memory, make_plan, mesh_of, to_dict, topology
from attnjax.plan.figure import bars_of
from attnjax.training import AXES
from experiments.language_model.config import PRESETS
from launch import plan_alternatives
from launch.plan_jobs import decoding_job, training_job
from launch.plan_subjects import EXPERIMENTS
from launch.plan_text import describe, ranking
from tests.few import few

SMALL = {
  "model.width": 64,
  "model.depth": 1,
  "model.heads": 4,
  "model.hidden": 128,
  "model.unroll": 1,
  "data.length": 32,
  "data.batch_size": 8,
  # Of so small a model Muon's own products are as many as the model's.
  "optimizer.kind": "adamw",
}
MESHES = {"one": {}, "both": {"fsdp": 2, "tensor": 2}}


def config_of(name):
  mesh = {f"train.mesh.{k}": v for k, v in MESHES[name].items()}
  return replace_leaves(PRESETS["tiny"](), SMALL | mesh)


@pytest.fixture(scope="module", params=few(MESHES, "one"))
def planned(request):
  """A plan, its job and its mesh."""
  config = config_of(request.param)
  devices = int(np.prod([*MESHES[request.param].values()]))
  machine = topology(f"cpu:{devices}")
  mesh = mesh_of(machine, config.train.mesh.axes(devices))
  job = training_job(EXPERIMENTS["language_model"](config), mesh)
  return job, make_plan(job, machine, mesh), config


def test_memory_agrees_with_the_step_that_runs_here(planned):
  """The same step, made and compiled as `fit` does it, for arrays that are."""
  job, found, config = planned
  subject = EXPERIMENTS["language_model"](config)
  transform = training.make_optimizer(config.optimizer, config.train.steps)
  shapes, batch_shapes = job.arguments
  places = jax.tree.map(lambda x: x.sharding, shapes)
  make = lambda: training.init_state(subject.make_model(), transform)
  state = jax.jit(make, out_shardings=places)()
  batch = jax.tree.map(
    lambda x: jax.device_put(np.ones(x.shape, x.dtype), x.sharding),
    batch_shapes,
  )
  held = on_first_device((state, batch))
  assert sum(found.memory.parts.values()) == held
  step = training.jit_step(job.step, job.out_shardings)
  stats = step.lower(state, batch).compile().memory_analysis()
  total = held + stats.temp_size_in_bytes
  total += stats.output_size_in_bytes - stats.alias_size_in_bytes
  assert found.memory.total == pytest.approx(total, rel=0.1)
  if len(places.step.mesh.devices.ravel()) == 1:
    _, metrics = step(state, batch)
    assert np.isfinite(float(metrics["loss"]))


def on_first_device(tree):
  """Bytes that lie there."""
  return sum(
    shard.data.nbytes
    for leaf in jax.tree.leaves(tree)
    for shard in leaf.addressable_shards
    if shard.device == jax.devices()[0]
  )


def test_arithmetic_is_the_models_shared_out(planned):
  """No recomputation, no padding: what is compiled is what the model needs."""
  _, found, _ = planned
  own = found.model_flops / found.machine.devices
  assert own == pytest.approx(found.costs.certain_flops, rel=0.25)
  # Sharded attention walks as many tiles as a device has: data, to a compiler.
  assert found.machine.devices > 1 or found.unknown_loops == 0


def test_only_meshes_talk_and_along_their_axes(planned):
  _, found, _ = planned
  used = {axis for axis, size in found.axes.items() if size > 1}
  met = {axis for each in found.exchanges for axis in each.axes}
  assert met == used


def test_the_report_says_what_is_not_known(planned):
  _, found, _ = planned
  text = describe(found, 1e9)
  assert "verdict: fits: " in text
  assert "What this cannot know" in text
  assert "Nobody publishes the rates" in text
  values = to_dict(found, 1e9)
  assert values["fits"]
  assert sum(bars_of(found.memory).values()) == found.memory.total
  assert "as it is" in ranking({"as it is": found})


def test_one_token_more_reads_parameters_and_cache():
  config = config_of("one")
  machine = topology("cpu:1")
  mesh = mesh_of(machine, config.train.mesh.axes(1))
  job = decoding_job(EXPERIMENTS["language_model"](config), mesh)
  found = make_plan(job, machine, mesh)
  depth, rows, length, width = 1, 8, 32, 64
  # Keys and values; of each row the tokens read, and those rolled over, int32.
  cache = 2 * depth * rows * length * width * 4 + 2 * 4 * depth * rows
  assert found.memory.parts["cache"] == cache
  assert found.tokens == rows
  assert found.costs.bytes > found.memory.parts["parameters"]


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"train.mesh.data": 3}, "does not divide its 8 rows"),
    ({"train.mesh.sequence": 5}, "does not divide its 32 tokens"),
    ({"train.microbatches": 8, "train.mesh.data": 4}, "train.microbatches"),
    ({"train.mesh.tensor": 3, "data.batch_size": 9}, "heads|divide"),
  ],
)
def test_a_mesh_that_does_not_divide_the_job_is_refused(changes, words):
  config = replace_leaves(config_of("one"), changes)
  sizes = {axis: getattr(config.train.mesh, axis) for axis in AXES}
  mesh = mesh_of(topology(f"cpu:{int(np.prod([*sizes.values()]))}"), sizes)
  with pytest.raises(ValueError, match=words):
    training_job(EXPERIMENTS["language_model"](config), mesh)


def test_alternatives_keep_batch_and_devices():
  config = config_of("both")
  found = list(plan_alternatives.alternatives(config, 4))
  assert {"model.remat": True} in found
  for change in found:
    new = replace_leaves(config, change)
    sizes = new.train.mesh.axes(4)
    assert np.prod([*sizes.values()]) == 4
    assert new.data == config.data


def test_a_ring_turns_all_the_way_and_a_causal_mask_shows_half():
  config = replace_leaves(config_of("one"), {"train.mesh.sequence": 4})
  mesh = mesh_of(topology("cpu:4"), config.train.mesh.axes(4))
  job = training_job(EXPERIMENTS["language_model"](config), mesh)
  assert job.turns == 3
  assert job.taken == pytest.approx((32 + 1) / (2 * 32) / 2)


def test_what_fits_comes_first_in_the_ranking(planned):
  _, found, _ = planned
  import dataclasses

  memory = dataclasses.replace(found.memory, capacity=1)
  lines = ranking(
    {"too large": dataclasses.replace(found, memory=memory), "small": found}
  ).splitlines()
  assert "small" in lines[2]
  assert "too large" in lines[3]


def test_a_verdict_says_by_how_much():
  of = lambda total, exact=True: Memory(
    {"parameters": total}, 0, 0, None, 0, 0, 0, 2 * 2**30, exact
  ).verdict()
  assert of(2**30) == "fits: 1.00 of 2.00 GiB (50 %), 1.00 GiB to spare"
  assert of(3 * 2**30).endswith("2.00: 1.00 GiB too much")
  assert "at least 3.00" in of(3 * 2**30, exact=False)


def test_placed_shapes_are_what_training_places():
  """The plan's shardings are those that `fit` puts the state on."""
  config = config_of("both")
  mesh = mesh_of(topology("cpu:4"), config.train.mesh.axes(4))
  job = training_job(EXPERIMENTS["language_model"](config), mesh)
  state, batch = job.arguments
  specs = {x.sharding.spec for x in jax.tree.leaves(state.params)}
  assert any("fsdp" in spec for spec in specs)
  assert batch["tokens"].sharding == NamedSharding(
    mesh, PartitionSpec(("data", "fsdp"), "sequence")
  )
  assert batch["tokens"].dtype == jnp.int32
