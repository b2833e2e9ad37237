"""Which implementation would compute a call, and what each says of it."""

import html
from collections.abc import Sequence
from typing import NamedTuple, Unpack

import jax

from attnjax.ops.attention.arguments import AttendOptions, Call, checked_call
from attnjax.ops.attention.implementations import (
  Implementation,
  named,
  ranked,
)
from attnjax.ops.target import target_platform, traced_for
from attnjax.typing import Array, Float

__all__ = ["Explanation", "Verdict", "explain"]


class Verdict(NamedTuple):
  """What one implementation says of a call.

  Args:
    name: of the implementation.
    forward: whether it computes the output.
    backward: whether it computes derivatives. Of the implementations here the
      same as forward, for they differentiate the program that they run; a
      kernel may have one and not the other.
    reason: why not, or how.

  >>> Verdict("reference", True, True, "T x S memory").name
  'reference'
  """

  name: str
  forward: bool
  backward: bool
  reason: str


class Explanation(NamedTuple):
  """One verdict an implementation; `str` draws a table.

  Args:
    chosen: the name of the one that computes the call; None if none does.
    verdicts: of all, the one asked for and then the best first.

  >>> print(Explanation("a", (Verdict("a", True, True, "of course"),)))
    implementation  forward  backward  why
  > a               yes      yes       of course
  """

  chosen: str | None
  verdicts: tuple[Verdict, ...]

  def __str__(self) -> str:
    """A line each, the chosen one marked."""
    word = {True: "yes", False: "no"}
    rows = [("", "implementation", "forward", "backward", "why")]
    rows += [
      (
        ">" if v.name == self.chosen else "",
        v.name,
        word[v.forward],
        word[v.backward],
        v.reason,
      )
      for v in self.verdicts
    ]
    line = "{:1} {:14}  {:7}  {:8}  {}"
    return "\n".join(line.format(*row).rstrip() for row in rows)

  def _repr_html_(self) -> str:
    """A table for a notebook, the chosen one bold."""
    word = {True: "yes", False: "no"}
    rows = ["<tr><th>implementation<th>forward<th>backward<th>why</tr>"]
    for v in self.verdicts:
      cells = (v.name, word[v.forward], word[v.backward], v.reason)
      name, *rest = map(html.escape, cells)
      name = f"<b>{name}</b>" if v.name == self.chosen else name
      rows.append("<tr><td>" + "<td>".join((name, *rest)) + "</tr>")
    return f"<table>{''.join(rows)}</table>"


def explain(
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B S K D"],
  value: Float[Array, "*B S K E"],
  *,
  aux: Sequence[str] = (),
  implementation: str | Implementation | None = None,
  platform: str | None = None,
  **options: Unpack[AttendOptions],
) -> Explanation:
  """Says which implementation computes a call of `attend`, and why.

  Args:
    query: ``*B T H D``.
    key: ``*B S K D``.
    value: ``*B S K E``.
    aux: as for `attend`.
    implementation: as for `attend`; one that is asked for computes the call or
      nobody does.
    platform: that the call would be compiled for, such as "tpu:v5e" or
      "gpu:h100", which need not be here; None is the one that programs are
      traced for now.
    **options: as for `attend`.

  Returns:
    One verdict an implementation, forward and backward, with the reason.

  Raises:
    ValueError: as `attend`; or of a platform that is not known, or is not that
      of the mesh in the types of the arrays.

  >>> import attnjax, jax.numpy as jnp
  >>> x = jnp.ones((4, 1, 2))
  >>> print(attnjax.explain(x, x, x, aux=("weights",)))
    implementation  forward  backward  why
    blockwise       no       no        aux 'weights' are T x S ...
    fused           no       no        its kernels are for ...
  > reference       yes      yes       every logit at once: 64 B of them
  >>> x = jnp.ones((256, 1, 64), jnp.bfloat16)
  >>> told = attnjax.explain(x, x, x, platform="tpu:v5e")
  >>> [v.reason for v in told.verdicts if v.name == "fused"]
  ['kernels for v5e, blocks of 256 x 256 in tiles of 256 x 256']
  """
  call = checked_call(query, key, value, {**options, "aux": aux})
  with traced_for(platform):
    return _explained(call, implementation, platform)


def _explained(
  call: Call, asked_for: str | Implementation | None, platform: str | None
) -> Explanation:
  """The verdicts on a call, of a program that is traced now."""
  found = target_platform(*jax.tree.leaves(call))
  if platform is not None and found != platform.partition(":")[0]:
    raise ValueError(
      f"platform: the arrays are on a mesh of {found!r}, got {platform!r}; give"
      " arrays of no mesh"
    )
  every, wanted = ranked(call), None
  if asked_for is not None:
    wanted, asked = named(asked_for)
    every = {wanted: asked} | {n: x for n, x in every.items() if n != wanted}
  verdicts, chosen = [], None
  for name, one in every.items():
    refusal = one.refuses(call)
    able = refusal is None
    if able and chosen is None and wanted in (None, name):
      chosen = name
    # Derivatives are those of the program itself: what goes forward goes back.
    verdicts.append(Verdict(name, able, able, refusal or one.describes(call)))
  return Explanation(chosen, tuple(verdicts))
