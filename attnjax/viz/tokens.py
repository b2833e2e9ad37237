"""Tokens as visible text: glyphs for spaces, newlines and lone bytes."""

import re
from collections.abc import Sequence

__all__ = [
  "LONGEST",
  "LONGEST_DRAWN",
  "Token",
  "glyph",
  "number",
  "shortened",
  "visible",
  "visible_all",
]


Token = str | bytes | int
_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍", "": "∅"}
_GAP = re.compile(r"(?<=\S) (?=\S)")
LONGEST = 14  # characters of a label
LONGEST_DRAWN = 48  # of a token in a figure, which has no room for more


def visible(token: Token, *, longest: int | None = LONGEST) -> str:
  r"""A token as text of visible characters.

  A space at either end, or beside another space, is a glyph; one between two
  words is the gap that it is.

  Args:
    token: text; bytes, shown as text where they are UTF-8 and in hexadecimal
      where they are not; or an int, shown as its digits.
    longest: characters kept, at least 2; a longer text ends in an ellipsis.
      None keeps all.

  Raises:
    ValueError: `longest` is less than 2.

  >>> visible(" a b"), visible("\n"), visible(b"\xe2"), visible(17)
  ('␣a b', '⏎', '⟨e2⟩', '17')
  """
  if longest is not None and longest < 2:
    raise ValueError(f"longest={longest}: expected at least 2 characters")
  text = _text(token)
  inner = {m.start() for m in _GAP.finditer(text)}
  shown = "".join(x if n in inner else glyph(x) for n, x in enumerate(text))
  shown = shown or _VISIBLE[""]
  return shown if longest is None else shortened(shown, longest)


def shortened(text: str, longest: int) -> str:
  """Truncates a text to a number of characters, with an ellipsis.

  >>> shortened("incomprehensible", 6)
  'incom…'
  """
  return text if len(text) <= longest else text[: longest - 1] + "…"


def visible_all(
  tokens: Sequence[Token], *, longest: int | None = LONGEST
) -> list[str]:
  """Every token of a sequence; a str is a sequence of its characters.

  Args:
    tokens: to show.
    longest: as of `visible`.

  >>> visible_all("to be")
  ['t', 'o', '␣', 'b', 'e']
  """
  # Else its items would be ints.
  if isinstance(tokens, bytes):
    tokens = [bytes([byte]) for byte in tokens]
  return [visible(token, longest=longest) for token in tokens]


def _text(token: Token) -> str:
  """The characters of a token; bytes that are no text become hexadecimal."""
  if isinstance(token, bytes):
    try:
      return token.decode()
    except UnicodeDecodeError:
      # Part of a character: a token of byte pairs need not be whole UTF-8.
      return f"⟨{token.hex()}⟩"
  return str(token)


def glyph(character: str) -> str:
  r"""One visible character; a control character is named by its number.

  >>> glyph("a"), glyph("\t"), glyph("\x07")
  ('a', '⇥', '⟨7⟩')
  """
  if character in _VISIBLE:
    return _VISIBLE[character]
  return character if character.isprintable() else number(character)


def number(character: str) -> str:
  r"""A character that cannot be drawn, as its code point in hexadecimal.

  >>> number("\x1b")
  '⟨1b⟩'
  """
  return f"⟨{ord(character):x}⟩"
