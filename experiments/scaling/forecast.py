"""The forecast for a pod, in words: loss by the law, time by the plan."""

from collections.abc import Sequence

from attnjax.plan import Plan, caveats
from experiments.results import table
from experiments.scaling.config import ScalingConfig
from experiments.scaling.pod import Spending
from experiments.scaling.uncertainty import Fit

__all__ = ["HOW_TO_ASK", "NO_LAW", "forecast_text"]

HOW_TO_ASK = (
  "\nno forecast for a pod: none was asked for; pip install 'attnjax[tpu]', set"
  " JAX_PLATFORMS=cpu and add --config.pod.topology=v5e:4x4 (runs that are done"
  " are not trained again)"
)
NO_LAW = "\nno forecast for a pod: there is no law to say what to train there"


def forecast_text(
  config: ScalingConfig,
  runs: Sequence[dict],
  fitted: Fit,
  spent: Spending,
  planned: Plan,
) -> str:
  """What a compute would buy there, how long it would take, what is unsure.

  Args:
    config: of the sweep.
    runs: that the law was fitted to.
    fitted: the law.
    spent: the size it wants.
    planned: the step of that size on the pod.
  """
  title = f"\n{config.pod.flops:.3g} FLOPs on {planned.machine.name}\n\n"
  rows = _law_rows(config, runs, fitted, spent)
  rows += _plan_rows(planned, spent)
  known = [
    "The interval is of laws fitted to runs drawn again: it holds if the law"
    " does so far outside of what was measured, of which these runs say"
    " nothing.",
    f"The law is of this text, of rows of {config.data.length} bytes, and of"
    " bytes that are read once: so long a run wants a text as long.",
    *caveats(planned),
  ]
  listed = "\n".join(f"- {sentence}" for sentence in known)
  return f"{title}{table(['', ''], rows)}\n\nWhat this cannot know:\n\n{listed}"


def _law_rows(
  config: ScalingConfig, runs: Sequence[dict], fitted: Fit, spent: Spending
) -> list[list[str]]:
  """What the law says, and how far from home it says so."""
  n, d, model = float(spent.parameters), float(spent.tokens), spent.model
  low, high = fitted.interval(lambda law: law(n, d))
  few, many = fitted.interval(lambda law: law.best_parameters(config.pod.flops))
  most = {
    name: max(run[name] for run in runs)
    for name in ("parameters", "tokens", "flops")
  }
  beyond = f"{n / most['parameters']:,.0f}, {d / most['tokens']:,.0f},"
  beyond += f" {spent.flops / most['flops']:,.0f} times"
  return [
    [
      "best N, by the law",
      f"{fitted.law.best_parameters(config.pod.flops):.3g}",
    ],
    ["its interval", f"{few:.3g} to {many:.3g}"],
    [
      "the model",
      f"width {model.width}, depth {model.depth}, heads {model.heads}:"
      f" N = {spent.parameters:,}",
    ],
    ["tokens D", f"{spent.tokens:,} in {spent.steps:,} steps"],
    ["bits per byte, by the law", f"{fitted.law(n, d):.3f}"],
    ["its interval", f"{low:.3f} to {high:.3f}"],
    ["beyond what was measured, in N, D, C", beyond],
  ]


def _plan_rows(planned: Plan, spent: Spending) -> list[list[str]]:
  """Memory, the time of a step and of them all."""
  rows = [["memory of a device", planned.memory.verdict()]]
  times = planned.times
  if planned.costs is None:
    why = "the compiler refused the program; raise pod.microbatches"
    return [*rows, ["times", f"none: {why}"]]
  if times is None:
    return [*rows, ["times", "none: nobody publishes the rates"]]
  hours = lambda seconds: seconds * spent.steps * planned.machine.devices / 3600
  for words, seconds in (
    (f"at least ({times.bound})", times.seconds_overlapped),
    ("nothing overlapping", times.seconds_serial),
  ):
    rows += [
      [f"a step, {words}", f"{1e3 * seconds:,.1f} ms"],
      ["  tokens a second", f"{planned.tokens / seconds:,.0f}"],
      ["  model-FLOP utilisation", f"{100 * times.utilisation(seconds):.1f} %"],
      ["  device-hours of all steps", f"{hours(seconds):,.2f}"],
    ]
  return rows
