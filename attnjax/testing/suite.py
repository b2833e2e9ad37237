"""The lists of cases: all, a quick choice, and those of linear memory."""

from collections.abc import Sequence
from typing import Any

from attnjax.testing.behaviours import behaviour_cases
from attnjax.testing.case import Case, chosen
from attnjax.testing.features import feature_cases
from attnjax.testing.memory_growth import GrowsLinearly
from attnjax.testing.problem import Problem

__all__ = ["cases", "linear_memory_cases", "quick_cases"]

# One of each group, among the cheapest to compile.
_QUICK = (
  "plain/no aux",
  "mask/causal",
  "mask/lengths",
  "mask/array T S",
  "bias/H T S",
  "length/T=1 S=17",
  "heads/H=6 K=1",
  "batch/2 x 3",
  "empty rows/by a mask",
  "segments/packed",
  "score_mod/softcap",
  "normalizer/sink",
  "dtype/bfloat16",
  "jvp/empty rows",
  "transform/determinism",
  "local/causal, reverse",
)


def cases(
  only: str | Sequence[str] | None = None, skip: dict[str, str] | None = None
) -> list[Case]:
  """Every case but those of memory, as a list to parametrize a test with.

      @pytest.mark.parametrize("case", testing.cases(), ids=str)
      def test_conforms(case):
        case.check(mine)

  Args:
    only: shell patterns of names, "group/what" or "what" alone; None is all.
    skip: reasons by pattern. A case that is skipped stays in the list, and
      raises SkipTest with the reason when it is checked.

  Returns:
    The cases.

  Raises:
    ValueError: for a pattern that matches no case, or a skip without a reason.

  >>> len(cases()) > 150
  True
  >>> [str(case) for case in cases(only="dtype/*64*")]
  ['dtype/float64', 'dtype/float64 with captured arrays']
  >>> cases(skip={"top_k": ""})
  Traceback (most recent call last):
    ...
  ValueError: testing.cases: skip['top_k'] must be the reason, in words, got ''
  """
  every = [*feature_cases(), *behaviour_cases()]
  return chosen(every, only, skip)


def quick_cases(skip: dict[str, str] | None = None) -> list[Case]:
  """One case of each group, for every change: under a minute on two cores.

  Args:
    skip: reasons by pattern, as of `cases`.

  >>> 10 < len(quick_cases()) < 30
  True
  """
  return [c for c in cases(skip=skip) if c.name in _QUICK]


def linear_memory_cases(
  only: str | Sequence[str] | None = None, skip: dict[str, str] | None = None
) -> list[Case]:
  """Cases that memory grows with the length, and not with its square.

  A dense implementation, which holds all logits, fails each of them.

  Args:
    only: as of `cases`.
    skip: as of `cases`.

  Returns:
    The cases; each compiles three lengths and runs nothing.

  >>> [str(case) for case in linear_memory_cases(only="* causal")]
  ['memory/forward, causal', 'memory/grad, causal', 'memory/jvp, causal',
   'memory/hvp, causal']
  """
  sizes: dict[str, Any] = {
    "batch": (1,),
    "heads": 2,
    "width": 16,
    "value_width": 16,
  }
  problems: dict[str, dict[str, Any]] = {
    "plain": {"aux": ()},
    "causal": {"mask": ("causal",), "aux": ("logsumexp", "entropy")},
    "packed, grouped, softcap and alibi": {
      "mask": ("causal",),
      "segments": True,
      "traced": True,
      "shared": 1,
      "score_mod": "softcap then alibi",
    },
  }

  found = []
  for name, options in problems.items():
    problem = Problem(**(sizes | options))
    for transform in ("forward", "grad", "jvp", "hvp"):
      law = GrowsLinearly(transform)
      found.append(Case(f"memory/{transform}, {name}", law, problem))
  return chosen(found, only, skip)
