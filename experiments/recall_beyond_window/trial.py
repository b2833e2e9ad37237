"""One training run, and the measures of the trained model."""

from pathlib import Path

from attnjax.config import to_dict
from attnjax.models import MemoryLM
from attnjax.runs import fit, run_folder, train_and_measure, trial_arguments
from attnjax.training import make_evaluate
from experiments.recall_beyond_window import measure, variants
from experiments.recall_beyond_window.config import RecallConfig
from experiments.recall_beyond_window.interventions import has_memory, intervene
from experiments.recall_task import Batches, loss

__all__ = ["trial"]


def trial(config: RecallConfig, variant: str, seed: int, workdir: Path) -> dict:
  """Trains a variant with a seed; returns its measures, as JSON holds them.

  Raises:
    FloatingPointError: training diverges.
  """
  new = variants.make(config, variant, seed)

  return train_and_measure(
    lambda: fit(
      new,
      loss,
      Batches(config.task, seed),
      evaluate=make_evaluate(loss).on(
        [Batches(config.task, 88_888)(n) for n in range(4)]
      ),
      **trial_arguments(
        config,
        experiment="recall_beyond_window",
        variant=variant,
        seed=seed,
        workdir=workdir,
        data={"model": to_dict(new.config)},
      ),
    ),
    lambda model: _answers(config, model),
    folder=run_folder(workdir, variant, seed),
    test={"test": to_dict(config.test)},
  )


def _answers(config: RecallConfig, model: MemoryLM) -> dict:
  """All measures of a trained model."""
  named = lambda numbers: {str(name): x for name, x in numbers.items()}
  return {
    "parameters": variants.count(config, model.config),
    "bytes": named(variants.state_bytes(model, config.test.lengths)),
    "by length": named(measure.by_length(config, model)),
    "by capacity": named(measure.by_capacity(config, model)),
    "overwritten": measure.overwritten(config, model),
    "interventions": intervene(config, model) if has_memory(model) else {},
  }
