"""What context costs: the slopes, what is too large, and a run."""

import json

import pytest

from experiments.context_cost.config import ContextCostConfig
from experiments.context_cost.measure import Cost, costs, slope


def test_the_slope_is_the_exponent():
  found = [
    Cost(n, "dense", "forward", 3 * n**2, [1e-6 * n**1.5])
    for n in (64, 128, 256, 512)
  ]
  assert slope(found, "dense", "forward", "bytes") == pytest.approx(2)
  assert slope(found, "dense", "forward", "seconds") == pytest.approx(1.5)


@pytest.mark.slow
def test_dense_memory_is_quadratic_and_the_engine_s_is_not():
  config = ContextCostConfig(
    lengths=(2048, 4096, 8192, 16384), heads=1, width=8, rounds=1, limit_gb=1e-9
  )
  found = [cost for length in config.lengths for cost in costs(config, length)]
  assert all(not cost.seconds for cost in found)  # planned, never run
  for what in ("forward", "gradient"):
    assert slope(found, "dense", what, "bytes") == pytest.approx(2, abs=0.05)
    assert slope(found, "engine", what, "bytes") < 1.1


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_figures(tmp_path, typed):
  small = {"lengths": (32, 64), "heads": 1, "width": 8, "rounds": 1}
  ended = typed("context_cost", tmp_path, small)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert len(written["costs"]) == 8
  assert (tmp_path / "bytes.png").stat().st_size > 1000
  assert "exponent of T" in ended.out


def test_bad_settings_are_named():
  with pytest.raises(ValueError, match="lengths"):
    ContextCostConfig(lengths=(256,))
  with pytest.raises(ValueError, match="rounds"):
    ContextCostConfig(rounds=0)
