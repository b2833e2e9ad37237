"""Text tables of plans."""

from attnjax.plan import Plan, caveats
from attnjax.runs import table

__all__ = ["describe", "ranking"]

GIB = 2**30


def describe(planned: Plan, token_budget: float) -> str:
  """Formats a plan as text: verdict, tables and caveats.

  Args:
    planned: from `make_plan`.
    token_budget: number of tokens to estimate device-hours for.
  """
  mesh = " x ".join(f"{axis}={n}" for axis, n in planned.axes.items() if n > 1)
  parts = [
    f"{planned.job} on {planned.machine.name}: {planned.machine.devices}"
    f" devices, mesh {mesh or 'of one device'}, {planned.tokens:,} tokens a"
    " step",
    f"verdict: {planned.memory.verdict()}",
    _memory_table(planned),
  ]
  if planned.costs is not None:
    parts.append(_work_table(planned))

  if planned.exchanges:
    parts.append(_collectives_table(planned))

  if planned.times is not None:
    parts.append(_time_table(planned, token_budget))

  known = "\n".join(f"- {sentence}" for sentence in caveats(planned))
  return "\n\n".join([*parts, f"What this cannot know:\n\n{known}"])


def ranking(plans: dict[str, Plan]) -> str:
  """Table of plans by change: those that fit first, then by seconds.

  Args:
    plans: change -> its plan.
  """

  def order(name: str) -> tuple:
    planned = plans[name]
    seconds = planned.times.seconds_serial if planned.times else float("inf")
    return (not planned.memory.fits, seconds, planned.memory.total)

  rows = []
  for name in sorted(plans, key=order):
    planned, times = plans[name], plans[name].times
    memory = planned.memory
    rows.append(
      (
        name,
        "yes" if memory.fits else "no",
        f"{'' if memory.exact else '> '}{memory.total / GIB:.2f}",
        f"{1000 * times.seconds_overlapped:,.0f}" if times else "-",
        f"{1000 * times.seconds_serial:,.0f}" if times else "-",
        f"{100 * times.utilisation(times.seconds_overlapped):.0f} %"
        if times
        else "-",
      )
    )
  columns = ("change", "fits", "GiB", "step >= ms", "apart ms", "MFU <=")
  return table(columns, rows)


def _memory_table(planned: Plan) -> str:
  """Table of the memory of a device."""
  memory = planned.memory
  rows = [(name, memory.parts[name]) for name in memory.parts]
  rows += [("layouts, less what is unused", memory.padding)]
  rows += [("temporaries", memory.temporaries)]
  if memory.gradients:
    rows += [("  of which gradients, about", memory.gradients)]

  if memory.kept is not None:
    rows += [("  of which activations kept, about", memory.kept)]

  rows += [
    ("results that replace nothing", memory.fresh),
    ("program", memory.code),
    ("total", memory.total),
    ("a device has", memory.capacity),
  ]
  # Adding 0 makes a minus nought a nought.
  cells = [(name, f"{round(size / GIB, 3) + 0:,.3f}") for name, size in rows]
  return table(("memory of a device", "GiB"), cells)


def _work_table(planned: Plan) -> str:
  """Table of FLOPs and bytes of a device."""
  spent = planned.costs
  if spent is None:
    return ""

  own = planned.model_flops / planned.machine.devices
  rows = [
    ("FLOPs of the model", f"{own / 1e12:,.3f} T"),
    ("FLOPs compiled", f"{spent.flops / 1e12:,.3f} T"),
    ("  outside branches", f"{spent.certain_flops / 1e12:,.3f} T"),
    ("bytes from and to memory", f"{spent.bytes / 1e9:,.3f} G"),
  ]
  return table(("work of a device, a step", ""), rows)


def _collectives_table(planned: Plan) -> str:
  """Table of collectives."""
  rows = [
    (
      each.kind,
      ", ".join(each.axes) or "none",
      each.size,
      f"{each.count:,.0f}",
      f"{each.bytes / 1e9:,.3f}",
      f"{each.sent / 1e9:,.3f}",
    )
    for each in planned.exchanges
  ]
  columns = ("collective", "axes", "group", "times", "GB", "GB sent")

  return table(columns, rows)


def _time_table(planned: Plan, token_budget: float) -> str:
  """Table of seconds, utilisation and device-hours."""
  times = planned.times
  if times is None:
    return ""

  percent = lambda seconds: f"{100 * times.utilisation(seconds):.1f} %"
  rows = [
    ("arithmetic alone", format_seconds(times.compute)),
    ("memory alone", format_seconds(times.memory)),
    ("network alone", format_seconds(times.network)),
  ]
  if times.compiler is not None:
    rows.append(
      ("kernels, as the compiler thinks", format_seconds(times.compiler))
    )

  hours = planned.device_hours(token_budget) or 0.0
  slow = hours * times.seconds_serial / times.seconds_overlapped
  rate = planned.tokens_per_second or 0.0
  rows += [
    (
      f"step, at least ({times.bound})",
      format_seconds(times.seconds_overlapped),
    ),
    ("step, nothing overlapping", format_seconds(times.seconds_serial)),
    ("model-FLOP utilisation, at most", percent(times.seconds_overlapped)),
    (
      "model-FLOP utilisation, nothing overlapping",
      percent(times.seconds_serial),
    ),
    ("tokens a second, at most", f"{rate:,.0f}"),
    (f"device-hours for {token_budget:.3g} tokens", f"{hours:,.1f}"),
    ("device-hours, nothing overlapping", f"{slow:,.1f}"),
  ]
  return table(("time", ""), rows)


def format_seconds(seconds: float) -> str:
  """Seconds as text in ms, s or h."""
  if seconds < 10:
    return f"{1000 * seconds:,.1f} ms"
  return f"{seconds:,.1f} s" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
