"""Hypothesis strategies of masks and calls, and a check on random calls.

The strategies draw plain descriptions, see `mask_descriptions` and `Problem`.
No code of attnjax runs while hypothesis draws.
"""

from collections.abc import Callable
from typing import Any

from attnjax.extras import needs_extra
from attnjax.testing.laws import conforms
from attnjax.testing.mask_descriptions import captured_arrays
from attnjax.testing.parts import NORMALIZERS, SCORE_MODS, SCORINGS
from attnjax.testing.problem import Problem

__all__ = ["check_random", "masks", "problems"]

_WORDS = ("full", "causal", "prefix", "lengths", "key_lengths", "segments")
_TABLES = ("B H T S", "H T S", "T S", "1 S", "T 1")
_BIASES = (None, "B H T S", "H T S", "T S", "S", "B 1 1 1")
# "log distance" is undefined unless keys after the query are hidden.
_ANYWHERE = sorted(set(SCORE_MODS) - {"log distance"})


def masks() -> Any:
  """Strategy of mask descriptions: every kind, under ``and``, ``or``, ``not``.

  Returns:
    A strategy of nested tuples, for ``Problem(mask=...)``.

  Raises:
    ImportError: without hypothesis, which ``pip install 'attnjax[test]'``
      brings.

  >>> from hypothesis import find
  >>> find(masks(), lambda mask: mask[0] == "window")
  ('window', 0, 0)
  """
  st = _hypothesis().strategies
  small = st.integers(0, 9)
  single = st.one_of(
    st.sampled_from([(word,) for word in (*_WORDS, "shifted", "striped")]),
    st.tuples(st.just("window"), small, small),
    st.tuples(st.sampled_from(["dilated", "chunked"]), st.integers(1, 9)),
    st.tuples(st.just("dense"), st.sampled_from(_TABLES)),
  )

  return st.recursive(
    single,
    lambda inner: st.one_of(
      st.tuples(st.sampled_from(["and", "or"]), inner, inner),
      st.tuples(st.just("not"), inner),
    ),
    max_leaves=4,
  )


def problems() -> Any:
  """Strategy of calls of attention, as the arguments of a `Problem`.

  Returns:
    A strategy of dictionaries; ``Problem(**drawn)`` is the call.

  Raises:
    ImportError: without hypothesis, which ``pip install 'attnjax[test]'``
      brings.

  >>> from hypothesis import find
  >>> found = find(problems(), lambda drawn: drawn["length"] > drawn["keys"])
  >>> found["length"] - found["keys"], found["dtype"], found["bias"]
  (1, 'float32', None)
  """
  st = _hypothesis().strategies
  maybe = lambda names: st.one_of(st.none(), st.sampled_from(names))
  heads = [(1, 1), (2, 2), (4, 2), (3, 1)]

  return st.fixed_dictionaries(
    {
      "mask": st.one_of(masks(), masks(), st.none()),
      "batch": st.sampled_from([(2,), (), (2, 1), (3,)]),
      # Empty calls are rarer than lengths of 2 and more.
      "length": st.one_of(st.integers(2, 40), st.integers(0, 40)),
      "keys": st.one_of(st.integers(2, 40), st.integers(0, 40)),
      "heads, shared": st.sampled_from(heads),
      "width": st.integers(1, 9),
      "value_width": st.integers(1, 9),
      "dtype": st.sampled_from(["float32", "bfloat16"]),
      "bias": st.sampled_from(_BIASES),
      "hidden_bias": st.booleans(),
      "scoring": maybe(sorted(SCORINGS)),
      "score_mod": maybe(_ANYWHERE),
      "normalizer": maybe(sorted(NORMALIZERS)),
      "positions": maybe(["decode", "negative", "repeated", "permuted"]),
      "segments": st.booleans(),
      "traced": st.booleans(),
      "seed": st.integers(0, 99),
    }
  ).map(_unpacked)


def _unpacked(drawn: dict) -> dict:
  """Converts a drawn dictionary into the arguments of a `Problem`.

  Heads and key heads are drawn together, for they must divide. Tables of
  positions have the lengths of the call, and no entry for positions beyond.
  """
  drawn = dict(drawn)
  drawn["heads"], drawn["shared"] = drawn.pop("heads, shared")
  needed = () if drawn["mask"] is None else captured_arrays(drawn["mask"])
  tables = any(name.startswith(("table", "query_ids")) for name in needed)
  if tables and drawn["positions"] in ("decode", "negative"):
    drawn["positions"] = None
  return drawn


def _hypothesis():
  """The package hypothesis, imported only when it is used."""
  with needs_extra("test", "attnjax.testing.strategies needs hypothesis"):
    import hypothesis

  return hypothesis


def check_random(
  attend: Callable,
  *,
  max_examples: int = 50,
  seed: int = 0,
  shrink: bool = True,
) -> None:
  """Checks the law `conforms` on random calls that hypothesis draws.

  Masks and their compositions, shapes, parts and dtypes vary together.

  Args:
    attend: called like `attnjax.attend`.
    max_examples: number of calls to draw; one takes about a second.
    seed: of the draw. The same seed draws the same calls.
    shrink: whether a call that fails is made as small as possible before it
      is reported, which takes minutes.

  Raises:
    AssertionError: with a call that fails.
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
    # No deadline and no health checks, for each example compiles for about a
    # second. No database: nothing is written to the folder of the caller.
    deadline=None,
    max_examples=max_examples,
    database=None,
    phases=phases,
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(drawn)
  def conforms_at_random(options):
    problem = Problem(**options)
    if problem in passed:  # hypothesis repeats examples
      return
    try:
      conforms(attend, problem)
    except AssertionError as wrong:
      raise AssertionError(f"{problem}: {wrong}") from wrong
    passed.add(problem)

  conforms_at_random()
