"""Calls at random, held to the same law as those that were thought of."""

from collections.abc import Callable

from attnjax.testing.laws import conforms
from attnjax.testing.problem import Problem
from attnjax.testing.strategies import problems

__all__ = ["check_random"]


def check_random(
  attend: Callable,
  *,
  max_examples: int = 50,
  seed: int = 0,
  shrink: bool = True,
) -> None:
  """Holds an attention to its contract on calls that hypothesis draws.

  Masks and their compositions, shapes, parts and dtypes, all at once.

  Args:
    attend: called like `attnjax.attend`.
    max_examples: calls to draw, some of them twice; one takes about a second.
    seed: of the draw. The same seed tries the same calls.
    shrink: whether what fails is made as small as it will go before it is
      reported, which takes minutes.

  Raises:
    AssertionError: with a call that goes wrong.
    ImportError: without hypothesis, which ``pip install 'attnjax[test]'``
      brings.

  >>> import attnjax
  >>> check_random(attnjax.attend, max_examples=1)
  """
  drawn = problems()  # says what to install, if it is missing
  import hypothesis

  passed: set[Problem] = set()
  phases = [hypothesis.Phase.generate]
  if shrink:
    phases.append(hypothesis.Phase.shrink)

  @hypothesis.seed(seed)
  @hypothesis.settings(
    deadline=None,
    max_examples=max_examples,
    database=None,
    phases=phases,
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(drawn)
  def conforms_at_random(options):
    problem = Problem(**options)
    if problem in passed:  # hypothesis likes to repeat itself
      return
    try:
      conforms(attend, problem)
    except AssertionError as wrong:
      raise AssertionError(f"{problem}: {wrong}") from wrong
    passed.add(problem)

  conforms_at_random()
