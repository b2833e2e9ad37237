"""Arrays whose axes have names and labels, and their plain tables."""

import dataclasses
import html
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["NamedArray", "text_table"]


@dataclasses.dataclass(frozen=True, eq=False)
class NamedArray:
  """An array that knows what its axes are.

  `numpy.asarray` gives the values, `print` a table of up to two axes.

  Args:
    values: numpy, one axis a name.
    axes: their names.
    labels: what stands along an axis, by its name; an axis without labels is
      numbered.

  Raises:
    ValueError: names or labels do not fit the shape.

  >>> import numpy as np
  >>> mass = NamedArray(np.eye(2), ("head", "key"), {"key": ("a", "b")})
  >>> mass.at(head=1, key="b")
  1.0
  >>> print(mass)
  head      a      b
     0  1.000  0.000
     1  0.000  1.000
  """

  values: np.ndarray
  axes: tuple[str, ...]
  labels: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if len(self.axes) != self.values.ndim:
      raise ValueError(
        f"axes must name the {self.values.ndim} axes of the values, got"
        f" {self.axes}"
      )
    for axis, labels in self.labels.items():
      size = self.values.shape[self._index(axis)]
      if len(labels) != size:
        raise ValueError(
          f"labels of {axis!r} must be {size}, as the axis is long, got"
          f" {len(labels)}"
        )

  def __array__(self, dtype=None, copy=None):
    return np.array(self.values, dtype=dtype, copy=copy)

  def _repr_html_(self) -> str:
    """For a notebook, by treescope: every value on hover, its axes by name."""
    names = ", ".join(
      f"{name} {size}" for name, size in zip(self.axes, self.shape, strict=True)
    )
    with warnings.catch_warnings():
      # It looks through numpy.char, which numpy 2.5 deprecates.
      warnings.simplefilter("ignore", DeprecationWarning)
      import treescope

      drawn = treescope.render_array(self.values)._repr_html_()
    return f"<div>{html.escape(names)}</div>{drawn}"

  @property
  def shape(self) -> tuple[int, ...]:
    """Sizes of the axes."""
    return self.values.shape

  def names(self, axis: str) -> tuple:
    """The labels along an axis; the numbers of one without labels."""
    size = self.values.shape[self._index(axis)]
    return tuple(self.labels.get(axis, range(size)))

  def at(self, **places: Any) -> Any:
    """The part at a label of each axis named; a number where none is left.

    Args:
      **places: a label by the name of its axis.

    Raises:
      ValueError: there is no such axis, or no such label along it.
    """
    values, axes = self.values, list(self.axes)
    for axis, label in places.items():
      self._index(axis)
      names = self.names(axis)
      if label not in names:
        raise ValueError(f"{axis} must be one of {list(names)}, got {label!r}")
      values = np.take(values, names.index(label), axes.index(axis))
      axes.remove(axis)

    if not axes:
      return values.item()
    kept = {x: labels for x, labels in self.labels.items() if x in axes}
    return NamedArray(values, tuple(axes), kept)

  def mean(self, axis: str) -> "NamedArray":
    """The mean over an axis, of what is not NaN."""
    index = self._index(axis)
    known = ~np.isnan(self.values)
    total = np.where(known, self.values, 0).sum(index)
    with np.errstate(invalid="ignore"):
      values = total / known.sum(index)
    kept = {x: labels for x, labels in self.labels.items() if x != axis}
    axes = self.axes[:index] + self.axes[index + 1 :]
    return NamedArray(np.asarray(values), axes, kept)

  def table(self, *, sort: str | None = None, most: int | None = None) -> str:
    """A plain table: a line for each place, the last axis across.

    Args:
      sort: a label of the last axis, by which lines are sorted, largest first.
      most: lines to show; None shows all.

    Raises:
      ValueError: `sort` is no label of the last axis.
    """
    *down, across = self.axes
    columns = self.names(across)
    flat = self.values.reshape(-1, len(columns))
    places = list(np.ndindex(*self.values.shape[:-1]))
    order = [*range(len(places))]
    if sort is not None:
      if sort not in columns:
        raise ValueError(f"sort must be one of {list(columns)}, got {sort!r}")
      keys = flat[:, columns.index(sort)]
      # NaN last.
      order = sorted(order, key=lambda k: (np.isnan(keys[k]), -keys[k]))

    names = [self.names(axis) for axis in down]
    rows = [
      [
        *(str(of[i]) for of, i in zip(names, places[k], strict=True)),
        *map(_short, flat[k]),
      ]
      for k in order[:most]
    ]
    return text_table([*down, *map(str, columns)], rows)

  def __str__(self) -> str:
    return self.table()

  def _index(self, axis: str) -> int:
    """Where an axis stands."""
    if axis not in self.axes:
      raise ValueError(f"axis must be one of {list(self.axes)}, got {axis!r}")
    return self.axes.index(axis)


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Rows of text, right-aligned under their columns.

  >>> print(text_table(["head", "mass"], [["0", "0.5"]]))
  head  mass
     0   0.5
  """
  lines = [list(columns), *map(list, rows)]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return "\n".join(
    "  ".join(f"{x:>{w}}" for x, w in zip(line, widths, strict=True))
    for line in lines
  )


def _short(value: float) -> str:
  """A number of a table; a missing one is a dash."""
  return "-" if np.isnan(value) else f"{value:.3f}"
