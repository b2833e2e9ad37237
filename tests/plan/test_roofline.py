"""Wires, times and what follows from them, on machines made up for it."""

import importlib.util
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from attnjax.plan import (
  CHIPS,
  Collective,
  Costs,
  Job,
  make_plan,
  mesh_of,
  roofline,
  topology,
)
from attnjax.plan.roofline import send_bandwidth

# The meshes below are made of stand-ins.
pytestmark = pytest.mark.usefixtures("as_a_user")


def torus(machine, axes):
  """A mesh over devices that have nothing but their places."""
  places = [*np.ndindex(*machine.shape)]
  devices = np.empty(len(places), object)
  for number, place in enumerate(places):
    devices[number] = types.SimpleNamespace(id=number, coords=place)
  return types.SimpleNamespace(
    axis_names=tuple(axes),
    shape=axes,
    size=len(places),
    devices=devices.reshape(tuple(axes.values())),
  )


@pytest.mark.parametrize(
  ("name", "axes", "along", "links"),
  [
    ("v5e:16x16", {"data": 16, "tensor": 16}, ["tensor"], 2),  # a ring
    ("v5e:4x4", {"data": 4, "tensor": 4}, ["tensor"], 1),  # a line
    ("v5e:4x4", {"data": 4, "tensor": 4}, ["data", "tensor"], 2),
    ("v5p:4x4x4", {"data": 4, "tensor": 16}, ["tensor"], 4),  # two rings
    ("v5p:4x4x4", {"data": 4, "tensor": 16}, ["data"], 2),
    ("v5p:2x2x1", {"data": 2, "tensor": 2}, ["data"], 1),
  ],
)
def test_a_torus_has_two_links_a_ring(name, axes, along, links):
  machine = topology(name)
  link = machine.chip.link
  assert send_bandwidth(machine, torus(machine, axes), along) == links * link


def test_gpus_of_one_machine_have_a_switch_and_others_the_network():
  machine = topology("h100:16")
  mesh = torus(machine, {"data": 2, "tensor": 8})
  assert send_bandwidth(machine, mesh, ["tensor"]) == CHIPS["h100"].link
  assert send_bandwidth(machine, mesh, ["data"]) == CHIPS["h100"].network


def test_the_longest_limit_bounds_the_step():
  machine = topology("v5e:4x4")
  mesh = torus(machine, {"data": 4, "tensor": 4})
  chip = machine.chip
  spent = Costs(2 * chip.flops, chip.flops, 3 * chip.bandwidth, 0.0, {})
  told = Collective("all-reduce", ("tensor",), 4, 1.0, 0.0, 0.5 * chip.link)
  times = roofline(machine, mesh, spent, [told], 16 * chip.flops)
  assert (times.compute, times.memory, times.network) == (2.0, 3.0, 0.5)
  assert (times.bound, times.seconds_overlapped, times.seconds_serial) == (
    "memory",
    3.0,
    5.5,
  )
  assert times.utilisation(times.seconds_overlapped) == pytest.approx(1 / 3)


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="needs libtpu: pip install 'attnjax[tpu]'",
)
def test_a_slice_of_tpus_that_is_not_here_is_compiled_for():
  machine = topology("v5e:2x2")
  mesh = mesh_of(machine, {"data": 2, "tensor": 2})
  place = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))

  def job(rows):
    x = jax.ShapeDtypeStruct((rows, 256), jnp.bfloat16, sharding=place("data"))
    w = jax.ShapeDtypeStruct(
      (256, 512), jnp.bfloat16, sharding=place(None, "tensor")
    )
    step = lambda x, w: jnp.sum(jnp.tanh(x @ w), axis=1)
    parts = {"x": x, "w": w}
    return Job("product", step, (x, w), parts, rows, 2.0 * rows * 256 * 512)

  small = make_plan(job(1024), machine, mesh)
  assert small.memory.fits
  assert small.costs.flops == 2 * 512 * 256 * 256
  assert {each.axes for each in small.exchanges} == {("tensor",)}
  assert 0 < small.times.utilisation(small.times.seconds_overlapped) <= 1
  large = make_plan(job(2**28), machine, mesh)
  assert not large.memory.fits
  assert "does not fit: at least" in large.memory.verdict()
