"""Text of figures without markup, and without characters that no font has."""

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attnjax.viz.tokens import glyph, number, shortened

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = [
  "drawable",
  "write_plainly",
]


def drawable(
  text: str,
  families: Sequence[str] | None = None,
  *,
  longest: int | None = None,
) -> str:
  r"""Replaces the characters that the fonts of a figure lack.

  A character that no font has is written as its code point, instead of as a
  box, and so is a control character, which is an error in an SVG file. Newlines
  stay.

  Args:
    text: any text.
    families: fonts, the first that has a character draws it; None is those of
      matplotlib's settings.
    longest: characters kept, as `visible` does; None keeps all.

  >>> drawable("$x_1$ costs\t2 \x07"), drawable("\U0010fffe")
  ('$x_1$ costs⇥2 ⟨7⟩', '⟨10fffe⟩')
  """
  from matplotlib import rcParams

  known = _characters(tuple(families or rcParams["font.family"]))

  def shown(letter: str) -> str:
    if letter in " \n":
      return letter
    seen = glyph(letter)
    return seen if known.issuperset(map(ord, seen)) else number(letter)

  # First replaced, then cut: a code point is several characters long.
  written = "".join(map(shown, text))
  return written if longest is None else shortened(written, longest)


def write_plainly(figure: "matplotlib.figure.Figure") -> None:
  """Makes a figure draw its text literally, without markup.

  In titles, names of axes, labels and legends `$`, `_` and a backslash are
  drawn as they are, for any settings of matplotlib. Numbers at the ticks keep
  their markup: on a logarithmic axis they are powers of ten.

  Args:
    figure: with all its text; changed in place.

  >>> from attnjax.viz.style import new_figure
  >>> figure = new_figure(2.0, 2.0)
  >>> title = figure.subplots().set_title("$$")
  >>> write_plainly(figure)
  >>> title.get_parse_math()
  False
  """
  for text in _words(figure):
    text.set_parse_math(False)
    text.set_usetex(False)
    text.set_text(drawable(text.get_text(), text.get_fontfamily()))
  for axes in figure.axes:
    for axis in filter(_is_worded, (axes.xaxis, axes.yaxis)):
      _write_ticks_plainly(axis)


def _write_ticks_plainly(axis: Any) -> None:
  """The same for tick labels of words, which the formatter holds."""
  ticks, labels = axis.get_major_ticks(), axis.get_majorticklabels()
  for text in (text for tick in ticks for text in (tick.label1, tick.label2)):
    text.set_parse_math(False)
    text.set_usetex(False)
  given = [label.get_text() for label in labels]
  written = [drawable(x.get_text(), x.get_fontfamily()) for x in labels]
  if written != given:
    axis.set_ticks(axis.get_majorticklocs(), written)


def _words(figure: Any) -> Iterator[Any]:
  """Every text of a figure but the tick labels."""
  from matplotlib.axis import Axis
  from matplotlib.legend import Legend
  from matplotlib.text import Text

  for child in (
    *figure.texts,
    *figure.legends,
    *(child for axes in figure.axes for child in axes.get_children()),
  ):
    if isinstance(child, Text):
      yield child
    elif isinstance(child, Legend):
      yield child.get_title()
      yield from child.get_texts()
    elif isinstance(child, Axis):
      yield child.label


def _is_worded(axis: Any) -> bool:
  """Whether the tick labels of an axis are words and not numbers."""
  from matplotlib.category import StrCategoryFormatter
  from matplotlib.ticker import FixedFormatter, FuncFormatter

  # `set_ticks` with labels makes a function of them.
  words = FixedFormatter | FuncFormatter | StrCategoryFormatter
  return isinstance(axis.get_major_formatter(), words)


@functools.cache
def _characters(families: tuple[str, ...]) -> frozenset[int]:
  """The code points that at least one of the fonts has."""
  from matplotlib.font_manager import FontProperties, findfont, get_font

  found: set[int] = set()
  for family in families:
    try:
      path = findfont(FontProperties(family), fallback_to_default=False)
    except ValueError:  # not on this machine: matplotlib passes it over too
      continue
    found |= get_font(path).get_charmap().keys()
  # Where no family is found, matplotlib falls back to the font it ships.
  default = FontProperties("DejaVu Sans")
  return frozenset(found or get_font(findfont(default)).get_charmap())
