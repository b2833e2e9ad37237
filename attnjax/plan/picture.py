"""A plan as a picture: what fills the memory, and what fills the step."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnjax.plan.hardware import GIB
from attnjax.plan.memory import Memory
from attnjax.plan.planning import Plan
from attnjax.viz import style

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = ["plan_figure", "save_plan"]

_FONT = 8.5


def plan_figure(planned: Plan) -> "matplotlib.figure.Figure":
  """Draws memory as one bar up to the capacity, and the times as bars.

  Args:
    planned: from `make_plan`.

  Returns:
    A matplotlib Figure, to save or to display.

  Raises:
    ImportError: matplotlib is not installed.

  >>> import jax
  >>> from attnjax.plan import Job, make_plan, mesh_of, topology
  >>> machine = topology("cpu:1")
  >>> x = jax.ShapeDtypeStruct((3, 5), "float32")
  >>> job = Job("double", lambda x: 2 * x, (x,), {"x": x}, 3, 0.0)
  >>> planned = make_plan(job, machine, mesh_of(machine, {"data": 1}))
  >>> len(plan_figure(planned).axes)  # no times on a CPU
  1
  """
  timed = planned.times is not None
  figure = style.new_figure(7.2, 3.4 if timed else 1.8)
  rows = figure.subplots(2 if timed else 1, 1, squeeze=False)[:, 0]
  _draw_memory(rows[0], planned.memory)
  if timed:
    _draw_times(rows[1], planned)
  mesh = ", ".join(f"{k} {v}" for k, v in planned.axes.items() if v > 1)
  figure.suptitle(
    f"{planned.job} on {planned.machine.name}" + (f" ({mesh})" if mesh else ""),
    fontsize=10,
    color=style.INK,
    x=0.01,
    ha="left",
  )
  return figure


def save_plan(path: str | Path, planned: Plan) -> Path:
  """Writes what `plan_figure` draws; the suffix says the format.

  Args:
    path: file to write; its directory is made if missing.
    planned: from `make_plan`.

  >>> import jax, tempfile
  >>> from attnjax.plan import Job, make_plan, mesh_of, topology
  >>> machine = topology("cpu:1")
  >>> x = jax.ShapeDtypeStruct((3, 5), "float32")
  >>> job = Job("double", lambda x: 2 * x, (x,), {"x": x}, 3, 0.0)
  >>> planned = make_plan(job, machine, mesh_of(machine, {"data": 1}))
  >>> save_plan(f"{tempfile.mkdtemp()}/plan.png", planned).exists()
  True
  """
  return style.save_figure(plan_figure(planned), path)


def bars_of(memory: Memory) -> dict[str, int]:
  """Name -> bytes of what lies in memory, side by side; together the total.

  Gradients and kept activations are only what a program as written needs: where
  the compiler needs less for all its temporaries, they are not shown apart.
  """
  parts = dict(memory.parts)
  rest = memory.temporaries
  for name, size in (
    ("gradients", memory.gradients),
    ("kept activations", memory.kept or 0),
  ):
    if 0 < size <= rest:
      parts[name] = size
      rest -= size
  parts["other temporaries"] = rest
  parts["results, code, padding"] = memory.fresh + memory.code + memory.padding
  return {name: size for name, size in parts.items() if size > 0}


def _draw_memory(axes: Any, memory: Memory) -> None:
  """One stacked bar, and a line where a device is full."""
  left = 0.0
  for index, (name, size) in enumerate(bars_of(memory).items()):
    color = (*style.PALETTE, style.RULE)[min(index, len(style.PALETTE))]
    label = f"{name} {size / GIB:.2f}"
    axes.barh(0, size / GIB, left=left, color=color, label=label, height=0.6)
    left += size / GIB
  capacity = memory.capacity / GIB
  axes.axvline(capacity, color=style.INK, linewidth=1.2, dashes=(4, 3))
  axes.set_xlim(0, 1.04 * max(left, capacity))
  axes.set_title(
    "memory of a device, GiB: " + memory.verdict().split(":")[0],
    fontsize=9,
    color=style.QUIET,
    loc="left",
  )
  axes.legend(
    fontsize=7,
    ncols=3,
    frameon=False,
    loc="upper left",
    bbox_to_anchor=(0, -0.2),
  )
  _dress(axes)


def _draw_times(axes: Any, planned: Plan) -> None:
  """A bar a limit: the longest is the least that a step takes."""
  times = planned.times
  if times is None:
    return
  seconds = {
    "arithmetic": times.compute,
    "memory": times.memory,
    "network": times.network,
  }
  if times.compiler is not None:
    seconds["compiler's kernels"] = times.compiler
  names = list(seconds)[::-1]
  values = [1000 * seconds[name] for name in names]
  axes.barh(names, values, color=style.PALETTE[0], height=0.6)
  for place, value in enumerate(values):
    axes.text(value, place, f" {value:,.1f}", va="center", fontsize=_FONT)
  share = 100 * times.utilisation(times.best)
  axes.set_title(
    f"a step, ms, each alone; at most {share:.0f} % of the peak is the model's",
    fontsize=9,
    color=style.QUIET,
    loc="left",
  )
  axes.set_xlim(0, 1.15 * max(values))
  _dress(axes, names=True)


def _dress(axes: Any, *, names: bool = False) -> None:
  """Thin spines, small letters."""
  style.quiet_axes(axes, sides=("bottom",))
  axes.tick_params(labelsize=_FONT)
  if not names:
    axes.set_yticks([])
