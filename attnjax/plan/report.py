"""A plan as a dict for JSON, and the caveats of its estimates."""

from typing import Any

from attnjax.plan.planning import Plan

__all__ = ["caveats", "to_dict"]


def to_dict(planned: Plan, token_budget: float | None = None) -> dict[str, Any]:
  """A plan as nested dicts of numbers and strings, for JSON.

  Args:
    planned: from `make_plan`.
    token_budget: tokens to handle in all; None leaves the device hours out.

  >>> import jax, json
  >>> from attnjax.plan import Job, make_plan, mesh_of, topology
  >>> machine = topology("cpu:1")
  >>> x = jax.ShapeDtypeStruct((3, 5), "float32")
  >>> job = Job("double", lambda x: 2 * x, (x,), {"x": x}, 3, 0.0)
  >>> values = to_dict(make_plan(job, machine, mesh_of(machine, {"data": 1})))
  >>> json.loads(json.dumps(values))["memory"]["parts"]
  {'x': 60}
  """
  memory, times = planned.memory, planned.times

  values: dict[str, Any] = {
    "job": planned.job,
    "topology": planned.machine.name,
    "devices": planned.machine.devices,
    "mesh": dict(planned.axes),
    "tokens_per_step": planned.tokens,
    "verdict": memory.verdict(),
    "fits": memory.fits,
    "memory": {
      "parts": dict(memory.parts),
      "padding": memory.padding,
      "temporaries": memory.temporaries,
      "of_which_gradients": memory.gradients,
      "of_which_activations_kept": memory.kept,
      "fresh_results": memory.fresh,
      "code": memory.code,
      "total": memory.total,
      "capacity": memory.capacity,
    },
    "model_flops": planned.model_flops,
    "compile_seconds": round(planned.compile_seconds, 1),
  }

  if planned.costs is not None:
    values["per_device"] = {
      "flops": planned.costs.flops,
      "branches_taken": planned.taken,
      "flops_at_least": planned.costs.certain_flops,
      "bytes": planned.costs.bytes,
      "kernels_not_seen": planned.costs.opaque,
    }
    values["collectives"] = [vars(each) for each in planned.exchanges]

  if times is not None:
    least, serial = times.seconds_overlapped, times.seconds_serial
    values["time"] = {
      "compute_seconds": times.compute,
      "memory_seconds": times.memory,
      "network_seconds": times.network,
      "compiler_seconds": times.compiler,
      "bound": times.bound,
      "step_seconds_at_least": least,
      "step_seconds_without_overlap": serial,
      "utilisation_at_most": times.utilisation(least),
      "utilisation_without_overlap": times.utilisation(serial),
      "tokens_per_second_at_most": planned.tokens_per_second,
    }
    if token_budget is not None:
      values["time"]["token_budget"] = token_budget
      hours = planned.device_hours(token_budget)
      values["time"]["device_hours_at_least"] = hours

  values["not_known"] = caveats(planned)
  return values


def caveats(planned: Plan) -> list[str]:
  """Sentences that say what the estimates of a plan leave out.

  Args:
    planned: from `make_plan`.

  Returns:
    Those of every plan, then those of this one.

  >>> import jax
  >>> from attnjax.plan import Job, make_plan, mesh_of, topology
  >>> machine = topology("cpu:1")
  >>> x = jax.ShapeDtypeStruct((3, 5), "float32")
  >>> job = Job("double", lambda x: 2 * x, (x,), {"x": x}, 3, 0.0)
  >>> planned = make_plan(job, machine, mesh_of(machine, {"data": 1}))
  >>> caveats(planned)[-1]
  'Nobody publishes the rates of this CPU: there are no times.'
  """
  said = [
    "Peaks and bandwidths are those published; no machine was timed. Latency,"
    " launches, stragglers, input, evaluation, checkpoints and restarts are"
    " not in the times.",
    "Memory is of the step alone: evaluation, fragmentation and what other"
    " programs hold come on top.",
  ]

  spent = planned.costs
  if spent is None:
    said.append(
      "The compiler refused the program before it was whole: no arithmetic, no"
      " traffic and no time can be told, and it may need more than is said."
    )
    return said

  if spent.flops > spent.certain_flops:
    share = 1 - spent.certain_flops / spent.flops
    often = "all are counted as taken"
    # `taken` of a job below 1 comes from its mask: the share of live tiles.
    if planned.taken < 1:
      often = (
        f"{100 * planned.taken:.0f} % of them are counted as taken, by the mask"
      )
    said.append(
      f"{100 * share:.0f} % of the arithmetic is in branches that the data"
      f" decide; {often}."
    )

  if spent.opaque:
    names = ", ".join(sorted(spent.opaque))
    said.append(f"Kernels that nobody can look into count as nothing: {names}.")

  if planned.unknown_loops:
    said.append(
      f"{planned.unknown_loops} loops do not tell their turns and count once."
    )
  return said + _caveats_of_platform(planned)


def _caveats_of_platform(planned: Plan) -> list[str]:
  """Caveats that hold for TPUs, for GPUs, or for a CPU."""
  platform = planned.machine.chip.platform
  if platform == "tpu":
    return [
      "Collectives are timed as if each had its wires for itself, and none"
      " crosses another's."
    ]
  if platform == "cpu":
    return ["Nobody publishes the rates of this CPU: there are no times."]

  said = [
    "Traffic with memory is between kernels, as if no cache held anything."
  ]
  memory = planned.memory
  # By default JAX preallocates 0.75 of the memory; the capacity here is 0.95.
  if memory.fits and memory.total > 0.75 / 0.95 * memory.capacity:
    said.append(
      "JAX takes three quarters of a GPU's memory unless told otherwise: set"
      ' XLA_PYTHON_CLIENT_MEM_FRACTION=0.95, which gives what "a device has"'
      " says."
    )
  return said
