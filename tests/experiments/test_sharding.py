"""Sharding: what is read of a program, what is counted, and a run."""

import json

import pytest

from attnjax import masks
from attnjax.plan import topology
from attnjax.plan.topology import devices_of
from experiments.sharding.config import ShardingConfig
from experiments.sharding.measure import flights, plan_of

PROGRAM = """
  %start.1 = (f32[8]) collective-permute-start(%x), channel_id=1
  %start.2 = (f32[8]) collective-permute-start(%y), channel_id=2
  %loop = (s32[]) while(%tuple), condition=%c, body=%b
  %done.1 = f32[8] collective-permute-done(%start.1)
  %done.2 = f32[8] collective-permute-done(%start.2)
  %start.3 = (f32[8]) collective-permute-start(%z), channel_id=3
  %done.3 = f32[8] collective-permute-done(%start.3)
"""


def test_a_transfer_is_in_flight_while_a_loop_stands_between_its_ends():
  assert flights(PROGRAM) == (2, 3)
  assert flights("%sum = f32[8] add(%x, %y)") == (0, 0)


def test_zigzag_keeps_every_device_as_busy_as_the_mean():
  config = ShardingConfig(block=64)
  for layout, most in (("zigzag", 1.0), ("striped", 1.05), ("contiguous", 2)):
    tiles, steps = plan_of(config, layout, masks.causal(), "cpu:8", 16384)
    assert tiles.max() <= most * tiles.mean()
    assert sorted(steps) == list(range(8))


@pytest.mark.slow
def test_a_run_prints_its_tables_and_writes_its_numbers(tmp_path, typed):
  small = {
    "machines": ("cpu:2",),
    "kinds": ("ring",),
    "length": 128,
    "share": 64,
    "heads": 2,
    "shared": 1,
    "width": 4,
    "block": 16,
  }
  ended = typed("sharding", tmp_path, small)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert written["fixed"] == written["growing"]
  assert written["fixed"][0]["temporary"] > 0
  printed = ended.out
  assert "busiest device" in printed
  assert "window of T / n, zigzag" in printed


def test_machines_and_settings_are_named():
  assert topology("v5e:16x16").devices == 256
  with pytest.raises(ValueError, match="this process has 8 CPU devices"):
    devices_of(topology("cpu:9"))
  with pytest.raises(ValueError, match="kinds must be"):
    ShardingConfig(kinds=("star",))
  with pytest.raises(ValueError, match="share must be at least 1"):
    ShardingConfig(share=0)
