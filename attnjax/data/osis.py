"""Plain text of a verse from its OSIS markup.

Footnotes, cross references, names of speakers, headings that editors added,
introductions and glossaries are removed; a psalm's own title is kept. A removed
element and the end of a line of verse become a space, so that
"God<note>...</note><w>created</w>" stays two words.
"""

import html
import re

__all__ = [
  "plain_text",
]


_TAG = re.compile(r"<(/?)(\w+)([^<>]*?)(/?)>")
_LEFT_OUT = frozenset({"note", "speaker"})
# Nearly all tags: words with their Greek or Hebrew number, and the like.
_INLINE = re.compile(r"</?(?:w|q|transChange|name|seg|hi)\b[^<>]*>")
_BREAKS = frozenset({"l", "lg", "lb", "div", "chapter", "list", "item"})
_BREAKS |= {"milestone", "title"}
_APPENDIX = re.compile(r'type="(?:glossary|introduction)"')
_CANONICAL = 'canonical="true"'


def plain_text(marked: str) -> str:
  """Converts a verse from OSIS markup to plain text with single spaces.

  Args:
    marked: a verse's OSIS text, as a SWORD module holds it.

  Returns:
    Plain text; "" where there is nothing but notes.

  Raises:
    ValueError: an element is not known here, or one that is left out does not
      end: what to do with it must be decided, not guessed.

  >>> plain_text("<w>God</w><note>Heb. <w>El</w></note><w>made</w> <w>it</w>.")
  'God made it.'
  """
  marked = _INLINE.sub("", marked)
  pieces: list[str] = []
  skipping: list[str] = []  # the elements that are being left out
  place = 0

  for tag in _TAG.finditer(marked):
    if not skipping:
      pieces.append(marked[place : tag.start()])
    place = tag.end()
    pieces.append(_step(skipping, *tag.groups()))

  if skipping:
    raise ValueError(f"marked: <{skipping[-1]}> has no end in {marked!r:.200}")

  pieces.append(marked[place:])
  # Unescaped last: `&lt;` in the text must not be read as a tag.
  return _spaced(html.unescape("".join(pieces)))


def _step(
  skipping: list[str], closing: str, name: str, rest: str, self_closing: str
) -> str:
  """Updates the elements being skipped; returns the text of the tag."""
  if skipping:
    ended = name if closing else f"div {_milestone(rest, 'e')}"
    # Tags inside of what is skipped matter only to find its end.
    if skipping[-1] == ended:
      skipping.pop()
    elif not (closing or self_closing) and name == skipping[-1]:
      skipping.append(name)  # nested
    return " "

  if name == "div" and _APPENDIX.search(rest) and _milestone(rest, "s"):
    skipping.append(f"div {_milestone(rest, 's')}")
    return " "

  if name in _LEFT_OUT or (name == "title" and _CANONICAL not in rest):
    if not (closing or self_closing):
      skipping.append(name)
    return " "

  if name not in _BREAKS:
    raise ValueError(
      f"marked: <{name}> is no element that is known here; decide in osis.py"
      " whether it is text, a break, or left out."
    )

  return " "


def _milestone(rest: str, kind: str) -> str:
  """The sID or eID of a milestone tag, which need not nest; "" without."""
  found = re.search(rf'\b{kind}ID="([^"]*)"', rest)
  return found[1] if found else ""


def _spaced(text: str) -> str:
  """Normalises spaces: single, none before punctuation or inside quotes."""
  text = re.sub(r"\s+", " ", text).strip()
  # Removed tags left a space there.
  text = re.sub(r" ([,.;:!?)”’\]])", r"\1", text)
  return re.sub(r"([(“‘¿¡\[]) ", r"\1", text)
