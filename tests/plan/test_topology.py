"""Machines that exist, and what is said of those that do not."""

import math

import pytest

from attnjax.plan import CHIPS, mesh_of, topology


@pytest.mark.parametrize(
  ("text", "devices"),
  [
    ("v4:2x2x1", 4),
    ("v5e:1x1", 1),
    ("v5e:8x16", 128),
    ("v6e:16x16", 256),
    ("v5p:8x8x16", 1024),
    ("v5p:16x16x24", 6144),
    ("tpu7x:2x2x1", 8),  # two devices a chip
    ("h100:1", 1),
    ("b200:64", 64),
  ],
)
def test_machines_that_are_sold_have_their_devices(text, devices):
  assert topology(text).devices == devices
  assert topology(text).name == text


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("v5e:3x3", "v5e:2x4 (8 chips), v5e:4x4 (16 chips)"),
    ("v5e:4x2", "in order: v5e:2x4"),
    ("v5p:8x8x9", "v5p:8x8x8 (512 chips), v5p:8x8x12 (768 chips)"),
    ("v6e:32x32", "v6e:16x16"),
    ("v5p:64x64x64", "6144 chips"),
    ("h100:3", "h100:2, h100:4"),
    ("v7x:2x2x1", "did you mean tpu7x"),
    ("h1000:8", "did you mean h100"),
    ("v5p", "expected sizes after the colon, such as v5p:4x4x4"),
    ("v5e:axb", "such as v5e:4x4"),
    ("v5e:0x4", "such as v5e:4x4"),
    ("", "unknown chip ''"),
  ],
)
def test_machines_that_do_not_exist_are_refused_by_name(text, words):
  with pytest.raises(ValueError, match="topology") as error:
    topology(text)
  assert words in str(error.value)


@pytest.mark.parametrize(
  ("axes", "words"),
  [
    ({"data": 3, "tensor": 2}, "data=3 x tensor=2 = 6 devices do not fill"),
    ({"data": 4}, "choose mesh.data=8"),
    ({"data": 3, "fsdp": 5}, "choose divisors of 8, or cpu:16"),
  ],
)
def test_a_mesh_that_does_not_fill_its_machine_is_refused(axes, words):
  with pytest.raises(ValueError, match="mesh: ") as error:
    mesh_of(topology("cpu:8"), axes)
  assert words in str(error.value)


def test_a_cpu_with_too_few_devices_names_the_flag():
  with pytest.raises(ValueError, match="device_count=4096"):
    mesh_of(topology("cpu:4096"), {"data": 4096})


@pytest.mark.parametrize("name", CHIPS)
def test_the_figures_of_a_chip_are_of_its_kind(name):
  """Between what a slow chip of the table and a fast one could have."""
  chip = CHIPS[name]
  assert 15 * 2**30 < chip.memory < 2**38
  assert 1e14 < chip.flops < 1e16
  assert 100 < chip.flops / chip.bandwidth < 1000  # FLOP a byte
  assert 4e10 < chip.link < 1e12
  assert (chip.dimensions == 0) == (chip.platform == "cuda")
  if chip.clock:
    doublings = math.log2(chip.flops / chip.clock)
    assert doublings == pytest.approx(round(doublings), abs=0.01)
