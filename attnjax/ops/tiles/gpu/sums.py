"""What a tile adds to the sums of a kernel of a GPU.

A sum of few single numbers is a vector in registers. One of many, such as the
gradient of a table as long as the sequence, is in memory that no other program
writes to: what a program adds to it comes in one order.

Of numbers that are added by position, places are counted through from the least
to the greatest of a tile; at each the sum of all numbers whose place it is. It
is dear, and the same each time.
"""

from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.gpu.outline import Outline, dtype_of_sum
from attnjax.ops.tiles.gpu.statements import Statements
from attnjax.ops.tiles.gpu.terms import Added, Listed, Term, type_of

__all__ = ["new_sum", "zeroed"]

# Neighbours in memory that are added at once.
_STRIP = 128


def new_sum(of: Outline, statements: Statements, k: int, new) -> str:
  """What a sum is after a tile, an expression; "" of one in memory.

  Args:
    of: the kernel.
    statements: that it has so far; what is added is put there.
    k: the place of the sum.
    new: what the tile's function returns.

  Raises:
    CannotLower: if it is no part of an array that the tile has one of.
  """
  x = of.sums[k]
  kind = type_of(dtype_of_sum(x))
  if not x.inner:
    return _new_numbers(of, statements, k, _as_added(x, new))
  axes = of.axes.sorted(x.names)
  if isinstance(new, Added | Listed):
    raise CannotLower("a gradient of a captured array, along a tile")
  text = f"tl.cast({statements.fit(new, axes)}, {kind})"
  if set(new.axes) != set(axes):
    zeros = f"tl.full({of.axes.shape(axes)}, 0, {kind})"
    text = f"{zeros} + {text}"
  if of.adds:
    return f"state{k} + {text}"
  return statements.let(text, axes, x.dtype).text


def zeroed(of: Outline, k: int) -> list[str]:
  """The lines that set a sum in memory to zero."""
  kind, count = type_of(dtype_of_sum(of.sums[k])), of.shares(k)
  return [
    f"own{k} = o{k} + tl.cast(program, tl.int64) * {count}",
    f"for turn in range(0, {count}, {_STRIP * 8}):",
    f"  places = turn + tl.arange(0, {_STRIP * 8})",
    f"  none = tl.full(({_STRIP * 8},), 0, {kind})",
    f"  tl.store(own{k} + places, none, mask=places < {count})",
  ]


def _as_added(x, new) -> Added:
  """A result as what is added to single numbers."""
  if isinstance(new, Term) and not new.axes and x.whole is None:
    return Added(((Term("0", (), "int32"), new),))
  if isinstance(new, Term) and new.text in ("0", "0.0"):
    return Added(())
  if not isinstance(new, Added):
    raise CannotLower("a sum of whole arrays, but for single numbers")
  return new


def _new_numbers(of: Outline, statements: Statements, k: int, new: Added):
  """What a sum of single numbers is after a tile."""
  kind, count = type_of(dtype_of_sum(of.sums[k])), of.shares(k)
  text = f"state{k}"
  for at, number in new.numbers:
    value = f"tl.cast({number.text}, {kind})"
    if at.axes:
      value = statements.let(value, at.axes, dtype_of_sum(of.sums[k])).text
    if of.group.crew:
      lines = _to_memory(k, at, value, kind, statements.count)
    elif at.axes:
      name = f"m{statements.count}_"
      here = f"tl.arange(0, {count})"
      ends = f"{name}least", f"{name}most"
      lines = [
        *_ends(at, ends),
        f"{name}all = tl.full(({count},), 0, {kind})",
        *_counted(at, value, f"{name}all", ends, here),
      ]
      text += f" + {name}all"
    else:
      lines = []
      here = f"tl.arange(0, {count}) == {at.text}"
      text += f" + tl.where({here}, {value}, 0)"
    statements.lines += lines
    statements.count += 1
  return "" if of.group.crew else text


def _ends(at: Term, names: tuple[str, str]) -> list[str]:
  """The lines that find the least and the greatest place."""
  least, most = (_over_all(f"take_{by}", at.text, at) for by in ("min", "max"))
  return [f"{names[0]} = {least}", f"{names[1]} = {most}"]


def _over_all(function: str, text: str, like: Term) -> str:
  """A reduction over all axes of a term."""
  for axis in reversed(range(len(like.axes))):
    text = f"{function}({text}, {axis})"
  return text


def _counted(
  at: Term, value: str, name: str, ends: tuple[str, str], here: str
) -> list[str]:
  """The lines that add numbers to those of a vector, place by place.

  Args:
    at: the place of each number.
    value: the numbers.
    name: of the vector.
    ends: the first and the last place.
    here: the places of the vector's numbers.
  """
  total = _over_all("take_sum", f"{name}one", at)
  return [
    f"for {name}at in range({ends[0]}, {ends[1]} + 1):",
    f"  {name}one = tl.where({at.text} == {name}at, {value}, 0)",
    f"  {name} += tl.where({here} == {name}at, {total}, 0)",
  ]


def _to_memory(
  k: int, at: Term, value: str, kind: str, number: int
) -> list[str]:
  """The lines that add numbers to a sum in memory."""
  # Nobody else adds to it, and what was added before is there: so what comes is
  # the same each time.
  alone = 'sem="relaxed", scope="cta"'
  lines = ["tl.debug_barrier()"]
  if not at.axes:
    return [*lines, f"tl.atomic_add(own{k} + {at.text}, {value}, {alone})"]

  name = f"m{number}_"
  ends = f"{name}least", f"{name}most"
  first, last = (
    f"{name}strip * {_STRIP}",
    f"{name}strip * {_STRIP} + {_STRIP - 1}",
  )
  within = f"tl.maximum({ends[0]}, {first})", f"tl.minimum({ends[1]}, {last})"
  inside = f"({name}near >= {ends[0]}) & ({name}near <= {ends[1]})"
  inner = [
    f"{name}near = {first} + tl.arange(0, {_STRIP})",
    f"{name}all = tl.full(({_STRIP},), 0, {kind})",
    *_counted(at, value, f"{name}all", within, f"{name}near"),
    f"tl.atomic_add(own{k} + {name}near, {name}all, mask={inside}, {alone})",
  ]
  strips = f"range({ends[0]} // {_STRIP}, {ends[1]} // {_STRIP} + 1)"
  head = f"for {name}strip in {strips}:"
  return [*lines, *_ends(at, ends), head, *("  " + line for line in inner)]
