"""Attention on GPUs: the presets start here, without one, and their tables."""

import importlib.util
import os
import subprocess
import sys

import pytest

from experiments.attention_speed import gpu_cost, gpu_speed
from experiments.attention_speed.config import PRESETS, GpuSpeedConfig
from experiments.attention_speed.tpu_calls import TpuCase
from tests.experiments import smallest

CAUSAL = TpuCase("causal", "forward", 16, 4, 2)


def timed(contender, **fields):
  known = {"status": "ok", "seconds": 0.0015}
  return {"contender": contender, **CAUSAL._asdict()} | known | fields


def test_the_table_says_what_conforms_and_who_did_not_run():
  said = [("mask/causal", "ok"), ("mask/full", "AssertionError: 3")]
  records = [
    timed("fused"),
    timed("cudnn", status="cannot: needs a GPU", seconds=None),
  ]
  suite, times = gpu_speed.speed_tables(said, records)
  assert suite.rows == [["1 of 2"]]
  assert suite.notes == ["mask/full: AssertionError: 3"]
  assert times.rows == [[CAUSAL.title, "1.50", "-"]]
  assert times.notes == ["cudnn: cannot: needs a GPU"]


def test_the_first_contender_is_ours():
  assert len(gpu_speed.cases_of(PRESETS["gpu"]())) == 40
  with pytest.raises(ValueError, match="the first must be fused"):
    GpuSpeedConfig(contenders="cudnn,fused")


def test_a_kernel_is_a_row_and_a_refusal_a_note():
  made = {"status": "ok", "sums": 2, "warps": 8, "stages": 2, "shared": 2048}
  made |= {"registers": 99, "spills": 0, "products": 24, "copies": 32}
  label = {"gpu": "h100", **CAUSAL._asdict()}
  refused = dict.fromkeys(made) | {"status": "cannot: no"}
  table = gpu_cost.gpu_table([label | made, label | refused])
  assert table.rows[0][2:] == ["2", "8", "2", "99", "0", "2", "24", "32"]
  assert table.rows[1][2:] == ["-"] * 8
  assert table.notes == [f"h100, {CAUSAL.title}: cannot: no"]


@pytest.mark.skipif(
  importlib.util.find_spec("triton") is not None, reason="Triton is installed"
)
def test_without_triton_the_remedy_is_told():
  with pytest.raises(ImportError, match="in Triton: pip install"):
    gpu_speed.check()


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("triton") is None,
  reason="needs Triton: pip install 'attnjax[cuda]'",
)
def test_the_line_for_a_gpu_starts_without_one(tmp_path):
  words = ["--preset=gpu"]
  words += smallest.flags("attention_speed", tmp_path, words)
  done = subprocess.run(
    [
      *(sys.executable, "-m", "experiments.attention_speed"),
      *words,
      f"--workdir={tmp_path}/out",
    ],
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert "mask/causal: ok" in done.stdout
  found = (tmp_path / "out/results.csv").read_text().splitlines()
  ran = [line for line in found if line.startswith("causal") and ",ok," in line]
  assert len(ran) == 4, found  # ours and our loops, forward and backward
