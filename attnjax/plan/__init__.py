"""Will it fit, and how long? Compiled ahead of time, for machines not here.

  topology("v5e:4x4") -> mesh_of(machine, axes) -> make_plan(job, machine, mesh)

A `Job` is a step as a value, with the shapes and shardings of its arguments;
the `Plan` says what each device holds, computes, moves and tells the others.
"""

from attnjax.plan.collectives import Collective, collectives
from attnjax.plan.costs import Costs, costs
from attnjax.plan.devices import mesh_of
from attnjax.plan.hardware import CHIPS, Chip
from attnjax.plan.hlo import Program, read_program
from attnjax.plan.memory import Memory, device_bytes
from attnjax.plan.picture import plan_figure, save_plan
from attnjax.plan.planning import Job, Plan, make_plan
from attnjax.plan.report import caveats, to_dict
from attnjax.plan.roofline import Roofline, roofline
from attnjax.plan.topology import Topology, topology
from attnjax.plan.written import kept_bytes, written_flops

__all__ = [
  "CHIPS",
  "Chip",
  "Collective",
  "Costs",
  "Job",
  "Memory",
  "Plan",
  "Program",
  "Roofline",
  "Topology",
  "caveats",
  "collectives",
  "costs",
  "device_bytes",
  "kept_bytes",
  "make_plan",
  "mesh_of",
  "plan_figure",
  "read_program",
  "roofline",
  "save_plan",
  "to_dict",
  "topology",
  "written_flops",
]
