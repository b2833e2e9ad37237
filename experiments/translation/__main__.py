"""Entry point: trains translators of verses, scores them on a held-out book."""

from collections.abc import Sequence
from pathlib import Path

from attnjax.data import VersePair
from attnjax.runs import run, write_results
from attnjax.viz import Page
from experiments.translation import measure, report, task
from experiments.translation.config import NAMES, PRESETS, TranslationConfig
from experiments.translation.corpus import load


def main(
  config: TranslationConfig,
  workdir: Path,
  verses: Sequence[VersePair] | None = None,
) -> None:
  """Trains every variant and seed; scores each on the test split.

  Args:
    config: of the experiment.
    workdir: for runs, results and figures.
    verses: parallel text; None loads the two Bibles.
  """
  corpus = load(config, verses)
  print(report.size_table(corpus), flush=True)

  found: dict[str, list[measure.Measures]] = {}
  records: dict[str, list[list[dict]]] = {}
  models: dict[str, task.Model] = {}
  # Seeds are the outer loop: what is cut short has as many of every variant.
  for seed in range(config.seeds):
    for variant in config.variants:
      fitted = task.fit(config, corpus, variant, seed, workdir)
      name = NAMES[variant]
      scored = measure.measure(config, corpus, fitted.params)
      found.setdefault(name, []).append(scored)
      records.setdefault(name, []).append(fitted.records)
      models.setdefault(name, fitted.params)
      print(f"{name}, seed {seed}: BLEU {scored.beam[0]:.2f}", flush=True)

  print(report.score_table(corpus, found))
  print(report.length_table(corpus, found))
  print(report.example_table(corpus, found))
  write_results(
    workdir, {k: [m._asdict() for m in v] for k, v in found.items()}
  )
  if config.text is not None:
    print(f"\n{config.text}")
    for name, model in models.items():
      print(f"{name}: {measure.say(config, corpus, model, config.text)}")

  for path in report.draw_alignment(workdir, corpus, models):
    print(path)

  print(report.draw_curves(workdir, records))


def view(
  config: TranslationConfig,
  workdir: Path,
  verses: Sequence[VersePair] | None = None,
) -> Page:
  """Trains or resumes the transformer; makes a page of a held-out verse.

  Raises:
    ValueError: the transformer is none of the variants. An RNN attends one
      step at a time, which a page does not show; its figure of alignments does.
  """
  if "transformer" not in config.variants:
    raise ValueError(
      "variants must have the transformer, whose attention --view shows, got"
      f" {','.join(config.variants)}; --config.variants=transformer"
    )

  corpus = load(config, verses)
  fitted = task.fit(config, corpus, "transformer", 0, workdir)
  return report.attention_page(corpus, fitted.params)


if __name__ == "__main__":
  run(main, PRESETS, experiment="translation", view=view)
