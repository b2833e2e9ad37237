"""Entry point: a hand-built attention head, trained heads, and controls."""

from pathlib import Path

from attnjax.runs import run, write_results
from attnjax.viz import Page
from experiments.fluffy_creature import model as models
from experiments.fluffy_creature import report
from experiments.fluffy_creature.config import PRESETS, FluffyCreatureConfig
from experiments.fluffy_creature.corpora import load
from experiments.fluffy_creature.fitting import fit
from experiments.fluffy_creature.measure import Measures, measure


def main(config: FluffyCreatureConfig, workdir: Path) -> None:
  """Builds a head by hand, trains one of each kind and seed, measures all."""
  corpus = load(config)
  built = report.by_hand()
  print(report.hand_table(built))

  found: dict[str, list[Measures]] = {}
  heads: list[models.OneHead] = []
  for look in config.looks:
    for seed in range(config.seeds):
      head = fit(config, corpus, look, seed, workdir)
      measured = measure(head, corpus.heldout, look, config.loss)
      found.setdefault(look, []).append(measured)
      heads.append(head)

  print(report.measures_table(found))
  # The first of `looks` with the first seed: "head", unless a flag says else.
  print(report.shift_table(heads[0], corpus.vocabulary, corpus.pairs))
  write_results(
    workdir, {k: [x._asdict() for x in v] for k, v in found.items()}
  )
  vocabulary, shown = corpus.vocabulary, corpus.shown
  print(report.draw(workdir, heads[0], vocabulary, shown, built))


def view(config: FluffyCreatureConfig, workdir: Path) -> Page:
  """Builds a head by hand, trains one of each kind; makes a page of all."""
  corpus, seed = load(config), config.train.seed
  heads = {x: fit(config, corpus, x, seed, workdir) for x in config.looks}
  return report.attention_page(heads, corpus, report.by_hand())


if __name__ == "__main__":
  run(main, PRESETS, experiment="fluffy_creature", view=view)
