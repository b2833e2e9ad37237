"""The text of a kernel of a GPU, in Triton, whatever the function of a tile."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.fold import FULL, MIXED
from attnjax.ops.tiles.gpu.outline import Outline, dtype_of_sum
from attnjax.ops.tiles.gpu.statements import Statements
from attnjax.ops.tiles.gpu.sums import new_sum, zeroed
from attnjax.ops.tiles.gpu.terms import Listed, Term, literal, type_of
from attnjax.ops.tiles.kernel_arrays import GivenArray, by_head

__all__ = ["HELPERS", "Source", "source_of"]

# What a kernel calls; `device` is `triton.jit`, or nothing in interpretation.
# Exact near 0, where 1 + x has forgotten x.
HELPERS = """
@device
def tanh(x):
  e = tl.exp(-2 * tl.abs(x))
  far = (1 - e) / (1 + e)
  y = x * x
  near = tl.abs(x) * (1 - y * (1 / 3 - y * (2 / 15 - y * (17 / 315))))
  found = tl.where(tl.abs(x) < 0.1, near, far)
  return tl.where(x < 0, -found, found)

@device
def log1p(x):
  y = 1 + x
  safe = tl.where(y == 1, 2.0, y)
  far = tl.where(tl.abs(y) == float("inf"), y, tl.log(safe) * (x / (safe - 1)))
  return tl.where(y == 1, x, far)

@device
def expm1(x):
  y = x * 0.5
  half = tanh(y)
  near = 2 * half / (1 - half)
  return tl.where(tl.abs(x) < 1, near, tl.exp(x) - 1)

@device
def sign(x):
  return tl.where(x > 0, 1, tl.where(x < 0, -1, x))
"""


class Source(NamedTuple):
  """A kernel's text, and which of its operands it reads.

  Args:
    text: of the function "kernel" of Triton.
    used: places of the operands that it reads.
  """

  text: str
  used: tuple[int, ...]


def source_of(outline: Outline) -> Source:
  """The text of a kernel.

  Raises:
    CannotLower: naming the part of a tile's function that has no text.
  """
  return _Text(outline).source()


class _Text:
  """The text, while it is written."""

  def __init__(self, outline: Outline):
    self.of = outline
    self.axes = outline.axes
    self.lines: list[str] = []
    self.depth = 1
    self.used: set[int] = set()
    self.fixed: dict[int, Term | Listed] = {}
    self.number = 0

  def put(self, *lines: str) -> None:
    """Adds lines at the depth of the loop that is written."""
    self.lines += ["  " * self.depth + line for line in lines]

  def source(self) -> Source:
    """The whole."""
    of, group = self.of, self.of.group
    self._begin()
    for k, (x, value) in enumerate(zip(of.sums, of.values, strict=True)):
      if group.crew:
        self.put(*zeroed(of, k))
      else:
        self.put(f"state{k} = {self._start(k, x, value)}")
    if group.crew:  # other threads add to it than set it to zero
      self.put("tl.debug_barrier()")
    for letter in group.over:
      self.put(f"for at_{letter} in range({of.counts[letter]}):")
      self.depth += 1
    if group.crew:
      letter = group.inner
      n = of.counts[letter]
      self.put(f"for at_{letter} in range(first_{letter}, {n}, {group.crew}):")
      self.depth += 1
    self._heads()
    self._fix()
    if len(group.inner) == 2:
      self._one_tile()
    else:
      for kind in (FULL, MIXED):
        if kind in of.programs:
          self._loop(kind)
    self.depth = 1
    for k, x in enumerate(of.sums):
      self._write(k, x)

    used = tuple(sorted(self.used))
    names = [f"p{k}" for k in used] + ["bounds", "order"]
    names += [f"o{k}" for k in range(len(of.sums))]
    head = f"@device\ndef kernel({', '.join(names)}):"
    return Source("\n".join([HELPERS, head, *self.lines, ""]), used)

  def _begin(self) -> None:
    """Which part of the sums the program owns."""
    of, group = self.of, self.of.group
    # Programs of one head follow one another, so that its keys stay in the
    # cache; of a causal call the longest loops come first.
    self.put("program = tl.program_id(0)")
    self.put("left = program")
    for letter in group.inner:
      n = group.crew or of.counts[letter]
      name = f"first_{letter}" if group.crew else f"at_{letter}"
      self.put(f"{name} = {n - 1} - left % {n}", f"left = left // {n}")
    for letter in reversed(group.own):
      n = of.counts[letter]
      self.put(f"at_{letter} = left % {n}", f"left = left // {n}")
    for letter in of.counts:
      if letter not in group.own + group.over + "ths":
        self.put(f"at_{letter} = program * 0")
    for name in sorted(self.axes.sizes):
      size = self.axes.long(name)
      self.put(f"{self.axes.along(name)} = tl.arange(0, {size})")

  def _heads(self) -> None:
    """The number of the query head."""
    self.put(f"at_h = at_k * {self.of.heads} + at_g")
    width = self.of.counts["t"] * self.of.counts["s"]
    row = "at_b" if self.of.rows else "at_b * 0"
    self.put(f"row = {row}", f"table = row * {width}")

  def _fix(self) -> None:
    """Reads what is the same for all tiles of a loop."""
    inner = self.of.group.inner
    for k, x in enumerate(self.of.operands):
      if set(x.names) & set("ts") <= set(inner) and self._is_read(k):
        self.fixed[k] = self._read(k, f"p{k}_")

  def _is_read(self, k: int) -> bool:
    """Whether a program reads an operand."""
    for program in self.of.programs.values():
      v = program.jaxpr.invars[4 + k]
      lines = program.jaxpr.eqns
      if any(w is v for line in lines for w in line.invars):
        return True
      if any(w is v for w in program.jaxpr.outvars):
        return True
    return False

  def _loop(self, kind: int) -> None:
    """The loop over the tiles of one kind."""
    of = self.of
    major = of.group.inner
    minor = "s" if major == "t" else "t"
    n = of.counts[major]
    place = 0 if kind == FULL else 2
    self.put(f"first = bounds + (row * {n} + at_{major}) * 4 + {place}")
    self.put("begin = tl.load(first)", "end = tl.load(first + 1)")
    turn = "turn" if of.listed else f"at_{minor}"
    self.put(f"for {turn} in range(begin, end):")
    self.depth += 1
    if of.listed:
      self.put(f"at_{minor} = tl.load(order + turn)")
    self._tile(kind)
    self.depth -= 1

  def _one_tile(self) -> None:
    """The one tile of a program that owns a block of queries and of keys."""
    n = self.of.counts["s"]
    self.put(f"code = tl.load(order + table + at_t * {n} + at_s)")
    for kind in (FULL, MIXED):
      if kind in self.of.programs:
        self.put(f"if code == {kind}:")
        self.depth += 1
        self._tile(kind)
        self.depth -= 1

  def _tile(self, kind: int) -> None:
    """The statements of one tile."""
    of = self.of
    statements = Statements(self.axes, of.narrow, self.number)
    before = self.lines, self.depth

    def read(k: int):
      self.lines, self.depth = statements.lines, 0
      found = self._read(k, f"q{self.number}_{k}_")
      self.lines, self.depth = before
      return found

    arguments: list = [
      Term(f"tl.cast(at_{a}, tl.int32)", (), jnp.dtype(jnp.int32))
      for a in "bhts"
    ]
    for k in range(len(of.operands)):
      arguments.append(self.fixed.get(k) or (lambda k=k: read(k)))
    if not of.adds:
      arguments += [
        Term(f"state{k}", self.axes.sorted(x.names), x.dtype)
        for k, x in enumerate(of.sums)
      ]
    found = statements.run(of.programs[kind], arguments)
    news = [new_sum(of, statements, k, new) for k, new in enumerate(found)]
    # All that replaces a state was computed from the one before.
    self.put(*statements.lines)
    if not of.group.crew:
      self.put(*(f"state{k} = {new}" for k, new in enumerate(news)))
    self.number = statements.count

  def _start(self, k: int, x: GivenArray, value) -> str:
    """What a sum begins with."""
    shape = self.axes.shape(self.axes.sorted(x.names))
    if not x.inner:
      shape = f"({self.of.shares(k)},)"
    dtype = dtype_of_sum(x)
    return f"tl.full({shape}, {literal(value, dtype).text}, {type_of(dtype)})"

  def _lead(self, x: GivenArray) -> str:
    """Where what a program has of an array begins."""
    strides = _strides(x.shape)
    places = [
      f"at_{a} * {strides[d]}"
      for d, (a, n) in enumerate(zip(x.axes, x.shape, strict=True))
      if n > 1 and (by_head(a) != a or a in "bkg" or a.isdigit())
    ]
    for d, a in x.inner:
      if a in "ts":
        places.append(f"at_{a} * {strides[d] * self.axes.sizes[a]}")
    return " + ".join(["tl.full((), 0, tl.int64)", *places])

  def _pointers(self, x: GivenArray) -> tuple[str, tuple[str, ...], str]:
    """(offsets within a tile, their axes, mask) of an array."""
    strides, parts, masks = _strides(x.shape), [], []
    places = dict(zip(x.names, x.inner, strict=True))
    if len(places) < len(x.inner):
      raise CannotLower(
        f"an array with the axes {list(x.names)}, twice the same"
      )
    axes = self.axes.sorted(x.names)
    for name in axes:
      index = self.axes.spread(self.axes.along(name), (name,), axes)
      parts.append(f"{index} * {strides[places[name][0]]}")
      if self.axes.is_padded(name):
        masks.append(f"({index} < {self.axes.sizes[name]})")
    if masks:
      shape = self.axes.shape(axes)
      masks = [f"tl.broadcast_to({' & '.join(masks)}, {shape})"]
    return " + ".join(parts), axes, "".join(masks)

  def _read(self, k: int, name: str) -> Term | Listed:
    """The part of an operand that a tile has."""
    x = self.of.operands[k]
    self.used.add(k)
    dtype = x.dtype
    at = f"p{k} + ({self._lead(x)})" if x.axes else f"p{k}"
    is_bool = dtype == bool
    value = lambda text: f"{text} != 0" if is_bool else text
    if not x.inner:
      if x.whole is None:
        self.put(f"{name} = {value(f'tl.load({at})')}")
        return Term(name, (), dtype)
      read = lambda place: Term(
        f"({value(f'tl.load({at} + {place.text})')})", place.axes, dtype
      )
      return Listed(read, x.shape[len(x.lead) :], dtype)
    offsets, axes, mask = self._pointers(x)
    other = f", mask={mask}, other=0" if mask else ""
    self.put(f"{name} = {value(f'tl.load({at} + ({offsets}){other})')}")
    if self.of.narrowed[k]:
      dtype = self.of.narrow
    return Term(name, axes, jnp.dtype(dtype), clean=True)

  def _write(self, k: int, x: GivenArray) -> None:
    """Writes what a program has of a sum in registers."""
    if self.of.group.crew:
      return  # it lies there
    if not x.inner:
      n = self.of.shares(k)
      self.put(f"tl.store(o{k} + program * {n} + tl.arange(0, {n}), state{k})")
      return
    offsets, _, mask = self._pointers(x)
    masked = f", mask={mask}" if mask else ""
    at = f"o{k} + ({self._lead(x)}) + ({offsets})"
    self.put(f"tl.store({at}, state{k}{masked})")


def _strides(shape: Sequence[int]) -> list[int]:
  """How far entries are apart along each axis, row-major."""
  return [int(np.prod(shape[d + 1 :], dtype=int)) for d in range(len(shape))]
