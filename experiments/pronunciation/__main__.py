"""Entry point: trains grapheme-to-phoneme models with and without attention."""

from pathlib import Path

from attnjax import runs, training
from attnjax.data import evaluation_batches
from attnjax.runs import run, write_results
from attnjax.viz import Page
from experiments.pronunciation import g2p, measure, report, task, words
from experiments.pronunciation.config import PRESETS, PronunciationConfig


def main(config: PronunciationConfig, workdir: Path) -> None:
  """Trains every variant and seed, and scores each on held-out words."""
  # Data and the published weights first: a failed download costs no training.
  data = task.load(config.data)
  speakers = {g2p.NAME: [g2p.speaker()]} if config.published else {}
  print(report.sizes(data))

  for variant in config.variants:
    speakers[report.NAMES[variant]] = [
      measure.ours(fit(config, data, variant, seed, workdir).params)
      for seed in range(config.seeds)
    ]

  found = {
    name: {
      search: [report.tested(one, data.test, beams) for one in seeds]
      for search, beams in report.searches(config.beams).items()
    }
    for name, seeds in speakers.items()
  }
  print(report.overall_table(found, speakers))
  print(report.length_tables(found))
  write_results(workdir, report.plain(found))
  print(words.words_table(config, data, speakers))
  print(report.draw_errors(workdir / "errors.png", found))

  for path in words.draw_alignments(config, workdir, speakers):
    print(path)


def fit(
  config: PronunciationConfig,
  data: task.Data,
  variant: str,
  seed: int,
  workdir: Path,
) -> runs.Fitted:
  """Trains one variant with one seed, or finds it trained."""
  held = evaluation_batches(data.validation, config.data.batch_size)

  return runs.fit(
    task.make(config, variant, seed),
    task.loss,
    task.Batches(data.train, config.data, seed),
    evaluate=training.make_evaluate(task.loss).on(held),
    **runs.trial_arguments(
      config,
      experiment="pronunciation",
      variant=variant,
      seed=seed,
      workdir=workdir,
      data={"words": data.digest},
    ),
  )


def view(config: PronunciationConfig, workdir: Path) -> Page:
  """Trains or resumes the first seeds with attention; makes a page of a word.

  Raises:
    ValueError: none of the variants attends.
  """
  looking = [variant for variant in config.variants if variant != "none"]
  if not looking or not config.words:
    raise ValueError(
      "variants must have one that attends, and words one to show, for --view,"
      f" got variants={','.join(config.variants)} and"
      f" words={','.join(config.words)}; --config.variants=additive"
    )

  data = task.load(config.data)
  models = {
    report.NAMES[variant]: fit(config, data, variant, 0, workdir).params
    for variant in looking
  }
  return words.attention_page(config, models)


if __name__ == "__main__":
  run(main, PRESETS, experiment="pronunciation", view=view)
