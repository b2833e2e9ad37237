"""Entry point: finds induction heads, silences them, and compares losses."""

from pathlib import Path
from typing import Any

import numpy as np

from attnjax import runs
from attnjax.data import smollm2
from attnjax.models import load
from experiments.induction import measure, report
from experiments.induction.config import PRESETS, InductionConfig

SHOWN = 8  # heads of a line of the table


def main(config: InductionConfig, workdir: Path) -> None:
  """Scores every head; silences the best, and as many others."""
  model, _ = load(config.path or smollm2())
  rows = measure.rows_of(config, model.vocabulary)
  scores = measure.scores(model, rows)
  print("\n" + report.score_table(scores, SHOWN), flush=True)

  def without(name: str, *sets: measure.Heads) -> dict[str, Any]:
    """Mean losses without each of some sets of heads."""
    found = np.array(
      [measure.losses(measure.silence(model, one), rows) for one in sets]
    )
    first, second = found.mean(0).tolist()
    row = {"silenced": name, "first": first, "second": second}
    if len(sets) > 1:
      row |= {"least": found[:, 1].min(), "most": found[:, 1].max()}
    return row

  rng = np.random.default_rng(config.seed)
  results = [without("none", ())]
  for count in config.silenced:
    best = scores.best("induction", count)
    others = [
      measure.controls_of(best, model.config.heads, rng)
      for _ in range(config.controls)
    ]
    results += [
      without(f"{count} induction heads", best),
      without(f"{count} previous-token heads", scores.best("previous", count)),
      without(f"{count} others of those layers", *others),
    ]

  print("\n" + report.loss_table(results))
  named = {name: getattr(scores, name).tolist() for name in scores._fields}
  runs.write_results(workdir, {"losses": results, "scores": named})
  print(report.draw(workdir, scores))


if __name__ == "__main__":
  runs.run(main, PRESETS, experiment="induction")
