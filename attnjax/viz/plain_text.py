"""Text of figures without markup, and without characters that no font has."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attnjax.viz.tokens import glyph, number, shortened

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = [
  "drawable",
  "families_for",
  "write_plainly",
]


# Fonts of other scripts as systems name them, of which one that is installed is
# taken for what the fonts of a figure lack.
_OTHERS = (
  *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC"),
  *(
    "Noto Sans KR",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
  ),
  *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
  *("Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "MS Gothic", "SimSun"),
  *(
    "Noto Sans",
    "Noto Sans Hebrew",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
  ),
  *("Noto Sans Thai", "Noto Sans Symbols2", "Noto Emoji", "Symbola"),
)


def families_for(text: str, families: Sequence[str]) -> list[str]:
  """Fonts for a text: those given, and installed ones that have what they lack.

  Args:
    text: to draw.
    families: of a figure, the first that has a character draws it.

  >>> families_for("plain", ["DejaVu Sans"])
  ['DejaVu Sans']
  """
  found = list(families)
  lacking = {ord(x) for x in text if glyph(x) == x} - _characters(tuple(found))
  for family in _OTHERS:
    if not lacking:
      break
    _find_new_fonts()
    if lacking & (has := _of_family(family)):
      found.append(family)
      lacking -= has
  return found


def drawable(
  text: str,
  families: Sequence[str] | None = None,
  *,
  longest: int | None = None,
) -> str:
  r"""Replaces the characters that the fonts of a figure lack.

  A character that none of them has is written as its code point, instead of as
  a box, and so is a control character, which is an error in an SVG file.
  Newlines stay.

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
    fonts = families_for(text.get_text(), text.get_fontfamily())
    text.set_fontfamily(fonts)
    text.set_text(drawable(text.get_text(), fonts))
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
  if not labels:
    return
  own = labels[0].get_fontfamily()
  fonts = families_for("".join(given), own)
  written = [drawable(x, fonts) for x in given]
  if written != given or fonts != own:
    axis.set_ticks(axis.get_majorticklocs(), written, fontfamily=fonts)


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
  found = frozenset().union(*map(_of_family, families))
  # Where no family is found, matplotlib falls back to the font it ships.
  return found or _of_family("DejaVu Sans")


@functools.cache
def _find_new_fonts() -> None:
  """Shows matplotlib the fonts that were installed since its list was made."""
  from matplotlib.font_manager import findSystemFonts, fontManager

  known = {font.fname for font in fontManager.ttflist}
  for path in sorted(set(findSystemFonts()) - known):
    # Some files are no font that it reads.
    with contextlib.suppress(Exception):
      fontManager.addfont(path)


@functools.cache
def _of_family(family: str) -> frozenset[int]:
  """The code points that a font has; none where it is not on this machine."""
  from matplotlib.font_manager import FontProperties, findfont, get_font

  try:
    # A list: else "sans-serif" is read as a pattern, and is none.
    named = FontProperties(family=[family])
    path = findfont(named, fallback_to_default=False)
  except ValueError:  # matplotlib passes it over too
    return frozenset()
  return frozenset(get_font(path).get_charmap())
