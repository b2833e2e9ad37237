"""Planning of a step for machines that are not here: will it fit, how long?

  topology("v5e:4x4") -> mesh_of(machine, axes) -> make_plan(job, machine, mesh)

The step is compiled ahead of time for the chips of a TPU slice or of GPU hosts.
A `Job` is a step with the shapes and shardings of its arguments; a `Plan` says
what each device holds, computes, reads and writes, and sends to the others.
"""

from attnjax.moved import forward_names
from attnjax.plan.collectives import Collective, collectives
from attnjax.plan.costs import Costs, costs
from attnjax.plan.device_memory import Memory, device_bytes
from attnjax.plan.figure import plan_figure, save_plan
from attnjax.plan.hardware import CHIPS, Chip
from attnjax.plan.hlo import Program, read_program
from attnjax.plan.jaxpr_costs import jaxpr_flops, residual_bytes
from attnjax.plan.planning import Job, Plan, make_plan
from attnjax.plan.report import caveats, to_dict
from attnjax.plan.roofline import Roofline, roofline
from attnjax.plan.topology import Topology, mesh_of, topology

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
  "jaxpr_flops",
  "make_plan",
  "mesh_of",
  "plan_figure",
  "read_program",
  "residual_bytes",
  "roofline",
  "save_plan",
  "to_dict",
  "topology",
]


# `kept_bytes` and `written_flops` were renamed.
__getattr__ = forward_names(__name__)
