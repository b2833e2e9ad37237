"""Trains every size for every length, fits the law, and forecasts a pod."""

import json
from pathlib import Path

from attnjax.data import TextData, load_text
from attnjax.runs import run, write_results
from attnjax.training import from_primary
from experiments.scaling import pod, report, sweep
from experiments.scaling.config import PRESETS, ScalingConfig
from experiments.scaling.law import enough, fit


def main(config: ScalingConfig, workdir: Path) -> None:
  """Trains missing runs, one seed of the whole sweep at a time."""
  text = load_text(config.data)
  sweep.check_fresh(config, text)
  mesh = pod.mesh_for(config)
  found, fitted = [], None

  # Seeds outside: a sweep that is cut short has as many of every size.
  for seed in range(config.seeds):
    found += trained(config, text, seed, workdir)
    sweep.require_some(found, workdir)
    fitted = fit(config.law, found) if enough(found) else None
    print(report.tables(config, found, fitted), flush=True)
    print(*report.draw(workdir, found, fitted), sep="\n", flush=True)

  if mesh is None or fitted is None:
    print(pod.NO_LAW if mesh else pod.HOW_TO_ASK)
    return

  spent = pod.spending(config, fitted.law)
  planned = pod.plan(config, mesh, spent)
  print(pod.forecast_text(config, found, fitted, spent, planned))


def trained(
  config: ScalingConfig, text: TextData, seed: int, workdir: Path
) -> list[dict]:
  """Runs of a seed, trained or found; those that diverged are left out."""
  file, found = workdir / "result.json", []

  # All processes train a size, or none: two that looked could see two moments.
  known = from_primary(lambda: _known(file))

  for size in sweep.planned(config):
    key = sweep.key_of(sweep.run_config(config, size), text, seed)
    if key not in known:
      if not config.train_more:
        continue
      try:
        known[key] = sweep.trial(config, text, size, seed, workdir)
      except FloatingPointError as error:  # a result too: said, and left out
        print(f"{size}, seed {seed} diverged: {error}", flush=True)
        continue
      # After every run: a sweep takes hours and may be stopped at any time.
      write_results(workdir, {"runs": known})
      print(report.line(known[key]), flush=True)
    found.append(known[key])

  return found


def _known(file: Path) -> dict[str, dict]:
  """Reads the runs in a results file, by key.

  Raises:
    ValueError: it holds something else.
  """
  if not file.exists():
    return {}

  try:
    return json.loads(file.read_text(encoding="utf-8"))["runs"]
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"{file}: expected the results of a sweep of sizes, got something else"
      f" ({error!r}); name another --workdir, or remove it: what is trained is"
      " found again"
    ) from None


if __name__ == "__main__":
  run(main, PRESETS, experiment="scaling")
