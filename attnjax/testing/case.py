"""A case of the conformance suite: one law checked on one problem.

A law is a function ``(attend, problem)`` that raises AssertionError. A problem
is one call of attention as plain data.
"""

import dataclasses
import fnmatch
import importlib.util
import unittest
from collections.abc import Callable, Sequence

import jax

from attnjax.testing.ordinary import as_tested, fitted
from attnjax.testing.problem import Problem

__all__ = ["Case", "chosen"]


class _Refused(Exception):
  """A NotImplementedError that the attention under test raised itself."""


@dataclasses.dataclass(frozen=True)
class Case:
  """One law that an attention must keep on one problem.

  Args:
    name: "group/what", such as "mask/causal"; also `str(case)`.
    law: raises AssertionError if an attention does not keep it.
    problem: the call that the law is about.
    needs_devices: devices it takes; with fewer the case is skipped.
    needs_package: a package without which the case is skipped.
    skip: reason why it is not checked; None checks it.

  >>> from attnjax import testing
  >>> import attnjax
  >>> (case,) = testing.cases(only="mask/causal")
  >>> case.check(attnjax.attend)
  >>> def sees_everything(query, key, value, mask=None, **options):
  ...   return attnjax.attend(query, key, value, **options)
  >>> case.check(sees_everything)
  Traceback (most recent call last):
    ...
  AssertionError: mask/causal: out is off by ...
  """

  name: str
  law: Callable
  problem: Problem = dataclasses.field(default_factory=Problem)
  needs_devices: int = 1
  needs_package: str | None = None
  skip: str | None = None

  def __str__(self) -> str:
    return self.name

  @property
  def not_applicable(self) -> str | None:
    """Reason why the case is skipped here; None if it is checked."""
    if self.skip is not None:
      return self.skip

    if jax.device_count() < self.needs_devices:
      return (
        f"needs {self.needs_devices} devices, there are {jax.device_count()};"
        " on a CPU set XLA_FLAGS=--xla_force_host_platform_device_count=8"
      )
    package = self.needs_package
    if package is not None and importlib.util.find_spec(package) is None:
      return f"needs the package {package}: pip install {package}"
    return None

  def check(self, attend: Callable) -> None:
    """Checks that an attention keeps the law.

    Args:
      attend: called like `attnjax.attend`; or an ordinary function whose
        signature says what it offers, see `attnjax.testing.ordinary`.

    Raises:
      AssertionError: it does not keep the law; the message names the case, the
        array, the error, its place and the budget.
      unittest.SkipTest: the case is not applicable, or the attention does not
        take an option of the case, or raises NotImplementedError (pytest
        reports the reason).
    """
    reason = self.not_applicable
    if reason is not None:
      raise unittest.SkipTest(f"{self.name}: {reason}")

    attend = as_tested(attend)
    problem, missing = fitted(attend, self.problem)
    if missing is not None:
      raise unittest.SkipTest(f"{self.name}: {missing}")

    # A NotImplementedError of the attention skips the case; one of JAX, for a
    # missing differentiation rule within the law, fails it.
    def asked(*arrays, **options):
      try:
        return attend(*arrays, **options)
      except NotImplementedError as refusal:
        raise _Refused(str(refusal)) from refusal

    try:
      self.law(asked, problem)
    except _Refused as refusal:
      raise unittest.SkipTest(
        f"{self.name}: this attention refuses: {refusal}"
      ) from refusal
    except AssertionError as wrong:
      raise AssertionError(f"{self.name}: {wrong}") from wrong
    # An error of another kind keeps its type. The note says which case it was,
    # where they are checked in a loop.
    except Exception as error:
      error.add_note(f"in case {self.name!r} of attnjax.testing")
      raise

  def matches(self, pattern: str) -> bool:
    """Whether a shell pattern matches the name, or its part after "/"."""
    rest = self.name.split("/", 1)[-1]
    return any(fnmatch.fnmatchcase(x, pattern) for x in (self.name, rest))


def chosen(
  cases: Sequence[Case],
  only: str | Sequence[str] | None,
  skip: dict[str, str] | None,
) -> list[Case]:
  """The cases whose name matches, with the reasons to skip some.

  Args:
    cases: to choose from.
    only: shell patterns; None is all.
    skip: reasons by pattern.

  Raises:
    ValueError: for a pattern that matches no case, or an empty reason.
  """
  wanted = [only] if isinstance(only, str) else only
  skip = {} if skip is None else skip

  # A pattern that matches nothing is a slip: less would be checked than it
  # says.
  for pattern in (*(wanted or ()), *skip):
    if not any(case.matches(pattern) for case in cases):
      names = ", ".join(sorted({case.name.split("/")[0] for case in cases}))
      raise ValueError(
        f"testing.cases: no case is called {pattern!r}; names are 'group/what'"
        f" and the groups are {names}"
      )

  for pattern, reason in skip.items():
    if not isinstance(reason, str) or not reason.strip():
      raise ValueError(
        f"testing.cases: skip[{pattern!r}] must be the reason, in words, got"
        f" {reason!r}"
      )

  if wanted is not None:
    cases = [c for c in cases if any(c.matches(p) for p in wanted)]
  return [_with_reason(case, skip) for case in cases]


def _with_reason(case: Case, skip: dict[str, str]) -> Case:
  """The case, with the reason of the first pattern that matches it."""
  for pattern, reason in skip.items():
    if case.matches(pattern):
      return dataclasses.replace(case, skip=reason)
  return case
