"""Figure of a plan: a bar of the memory, and bars of the step's seconds."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from attnjax.plan.device_memory import Memory
from attnjax.plan.hardware import GIB
from attnjax.plan.planning import Plan
from attnjax.plan.roofline import Roofline
from attnjax.viz import style
from attnjax.viz.plain_text import write_plainly

if TYPE_CHECKING:
  import matplotlib.axes
  import matplotlib.figure

__all__ = ["plan_figure", "plan_svg", "save_plan"]

_FONT = 8.5


def plan_figure(planned: Plan) -> "matplotlib.figure.Figure":
  """Draws the memory as one stacked bar, and the seconds of a step as bars.

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
  times = planned.times
  figure = style.new_figure(7.2, 1.8 if times is None else 3.4)
  rows = figure.subplots(1 if times is None else 2, 1, squeeze=False)[:, 0]

  _draw_memory(rows[0], planned.memory)
  if times is not None:
    _draw_seconds(rows[1], times)

  mesh = ", ".join(f"{k} {v}" for k, v in planned.axes.items() if v > 1)
  figure.suptitle(
    f"{planned.job} on {planned.machine.name}" + (f" ({mesh})" if mesh else ""),
    fontsize=10,
    color=style.INK,
    x=0.01,
    ha="left",
  )
  write_plainly(figure)
  return figure


def plan_svg(planned: Plan) -> str:
  """The figure of a plan as an SVG element, for a page or a notebook.

  Args:
    planned: from `make_plan`.

  >>> import jax
  >>> from attnjax.plan import Job, make_plan, mesh_of, topology
  >>> machine = topology("cpu:1")
  >>> x = jax.ShapeDtypeStruct((3, 5), "float32")
  >>> job = Job("double", lambda x: 2 * x, (x,), {"x": x}, 3, 0.0)
  >>> plan_svg(make_plan(job, machine, mesh_of(machine, {"data": 1})))[:4]
  '<svg'
  """
  drawn = io.StringIO()
  plan_figure(planned).savefig(drawn, format="svg")
  text = drawn.getvalue()
  # Without the declaration of XML, which has no place in HTML.
  return text[text.index("<svg") :]


def save_plan(path: str | Path, planned: Plan) -> Path:
  """Writes the figure of a plan to a file; its suffix says the format.

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
  """Bytes of what fills the memory, by name, in the order of the bar.

  They add up to the total. Gradients and residuals are known only of the
  program as written: one that is larger than all that the compiler has for
  temporaries is not shown apart.
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


def _draw_memory(axes: "matplotlib.axes.Axes", memory: Memory) -> None:
  """Draws one stacked bar, and a line at the capacity."""
  left = 0.0
  for index, (name, size) in enumerate(bars_of(memory).items()):
    # More parts than colours: the last ones are all grey.
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

  style.quiet_axes(axes, sides=("bottom",))
  axes.tick_params(labelsize=_FONT)
  axes.set_yticks([])


def _draw_seconds(axes: "matplotlib.axes.Axes", times: Roofline) -> None:
  """Draws a bar a resource: the longest is the least that a step takes."""
  seconds = {
    "arithmetic": times.compute,
    "memory": times.memory,
    "network": times.network,
  }
  if times.compiler is not None:
    seconds["compiler's kernels"] = times.compiler

  # A horizontal bar chart begins at the bottom.
  names = list(seconds)[::-1]
  values = [1000 * seconds[name] for name in names]
  axes.barh(names, values, color=style.PALETTE[0], height=0.6)
  for place, value in enumerate(values):
    axes.text(value, place, f" {value:,.1f}", va="center", fontsize=_FONT)

  share = 100 * times.utilisation(times.seconds_overlapped)
  axes.set_title(
    f"a step, ms, each alone; at most {share:.0f} % of the peak is the model's",
    fontsize=9,
    color=style.QUIET,
    loc="left",
  )
  axes.set_xlim(0, 1.15 * max(values))
  style.quiet_axes(axes, sides=("bottom",))
  axes.tick_params(labelsize=_FONT)
