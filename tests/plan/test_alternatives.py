"""What is tried where a step does not fit, told by a compiler that refuses."""

import math
import types

import jax
import numpy as np
import pytest

from attnjax.config import replace_leaves
from attnjax.plan import Job, make_plan, mesh_of, planning, topology
from attnjax.plan.hardware import CHIPS
from experiments.language_model.config import PRESETS
from launch import plan_alternatives
from launch.plan_text import ranking

GIB = 2**30
CHIP = topology("v5e:1x1")
REFUSED = (
  "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for"
  " HLO temporaries ({:.2f}G) exceeds available HBM (15.75G)."
)
PROGRAM = """\
ENTRY %f (x: f32[3,3]) -> f32[3,3] {
  %x = f32[3,3] parameter(0)
  ROOT %y = f32[3,3] dot(%x, %x), lhs_contracting_dims={1},\
 rhs_contracting_dims={0}
"""


class Compiled:
  """What a compiler returns for a program that fits."""

  def __init__(self, need):
    self.need = need

  def as_text(self):
    return PROGRAM

  def memory_analysis(self):
    return types.SimpleNamespace(
      argument_size_in_bytes=GIB,
      temp_size_in_bytes=int(self.need * GIB) - GIB,
      output_size_in_bytes=0,
      alias_size_in_bytes=0,
      generated_code_size_in_bytes=0,
    )


def config_of(**changes):
  """64 rows, in one microbatch."""
  fixed = {"data.batch_size": 64, "train.microbatches": 1}
  return replace_leaves(PRESETS["tiny"](), fixed | changes)


@pytest.fixture
def planned_for(monkeypatch):
  """Config -> plan: 1 GiB of parameters, 1 of gradients, 96 of all rows."""
  x = jax.ShapeDtypeStruct((GIB // 4,), "float32")
  job = Job(
    "s", abs, (x,), {"parameters": x}, 1, 1.0, gradients=("parameters",)
  )
  mesh = mesh_of(topology("cpu:1"), {"data": 1})

  def plan(config):
    rows = 96 / config.train.microbatches
    need = 2 + (rows / 2 if config.model.remat else rows)

    def compile(job, mesh):
      if need > 15.75:
        raise jax.errors.JaxRuntimeError(REFUSED.format(need))
      return Compiled(need)

    monkeypatch.setattr(planning, "_compile", compile)
    return make_plan(job, CHIP, mesh)

  return plan


def test_a_refusal_says_by_how_much(planned_for):
  memory = planned_for(config_of()).memory
  assert memory.total == 98 * GIB
  assert memory.temporaries == 97 * GIB  # the parameters are not among them
  assert memory.verdict() == (
    "does not fit: at least 98.00 GiB, and a device has 15.75: 82.25 GiB too"
    " much"
  )
  assert plan_alternatives.excess(memory) == pytest.approx(96 / 13.75)


@pytest.mark.parametrize("remat", [False, True])
def test_what_is_tried_ends_with_something_that_fits(
  planned_for, remat, capsys
):
  """Microbatches as many as it takes, not twice as many and no more."""
  config = config_of(**{"model.remat": remat})
  first = planned_for(config)
  over = plan_alternatives.excess(first.memory)
  found = plan_alternatives.compile_alternatives(
    config, 1, 4, planned_for, over
  )
  assert any(each.memory.fits for each in found.values())
  assert "train.microbatches=8" in found
  assert capsys.readouterr().out.count("tried ") == len(found) == 4
  lines = ranking({"as it is": first} | found).splitlines()
  assert " yes |" in lines[2]
  assert " no |" in lines[-1]


def test_what_no_rows_explain_is_shared_out_first(planned_for):
  config = config_of(**{"train.mesh.data": 4})
  change = next(plan_alternatives.alternatives(config, 4, math.inf))
  assert change["train.mesh.fsdp"] > 1
  for each in plan_alternatives.alternatives(config, 4, math.inf):
    new = replace_leaves(config, each)
    sizes = new.train.mesh.axes(4)
    assert np.prod([*sizes.values()]) == 4


def test_a_compiler_that_fails_otherwise_is_passed_over(planned_for, capsys):
  def planned(config):
    if config.model.remat:
      raise jax.errors.JaxRuntimeError("INTERNAL: no\nand much more")
    return planned_for(config)

  found = plan_alternatives.compile_alternatives(
    config_of(), 1, 2, planned, 7.0
  )
  assert list(found) == ["train.microbatches=8", "train.microbatches=16"]
  assert "failed: INTERNAL: no\n" in capsys.readouterr().out


def test_decoding_is_helped_by_another_mesh_alone():
  config = config_of(**{"train.mesh.data": 4})
  found = list(plan_alternatives.alternatives(config, 4, step="decode"))
  assert found
  for change in found:
    assert all(name.startswith("train.mesh.") for name in change)


def test_programs_have_less_of_a_gpu_than_it_has():
  for name, share in (("h100", 0.95), ("v5e", 1)):
    chip = CHIPS[name]
    assert chip.capacity == int(share * chip.memory)
