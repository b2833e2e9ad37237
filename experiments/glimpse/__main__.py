"""Entry point: glimpse networks on numbers, and on mosaics of digits."""

from pathlib import Path

from attnjax.runs import run, write_results
from experiments.glimpse import mosaic, pictures, places, report
from experiments.glimpse.config import PRESETS, GlimpseConfig


def main(config: GlimpseConfig, workdir: Path) -> None:
  """Trains every variant and seed of both tasks; draws their glimpses."""
  results: dict[str, dict] = {}
  # Digits first: a missing scikit-learn costs no training.
  digits = mosaic.load(config.mosaic) if config.tasks != "places" else None
  if config.tasks != "mosaic":
    found = {
      name: [
        places.run(config.places, name, seed, workdir / "places")
        for seed in range(config.seeds)
      ]
      for name in places.names(config.places)
    }
    print(report.places_table(found))
    results["places"] = report.plain(found)
    write_results(workdir, results)
    print(pictures.draw_effective(workdir / "effective.png", found))
    print(report.draw_curves(workdir / "curves.png", found))

  if digits is not None:
    for question in mosaic.QUESTIONS:
      answers = {
        name: [
          mosaic.run(
            config.mosaic, digits, question, name, seed, workdir / question
          )
          for seed in range(config.seeds)
        ]
        for name in mosaic.VARIANTS
      }
      print(report.mosaic_table(question, answers))
      results[question] = report.plain(answers)
      # After every question: a run that is stopped keeps those that are done.
      write_results(workdir, results)
      path = workdir / f"{question}.png"
      print(pictures.draw_glimpses(path, config.mosaic, question, answers))


if __name__ == "__main__":
  run(main, PRESETS, experiment="glimpse")
