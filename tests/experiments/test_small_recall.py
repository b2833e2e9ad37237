"""With the default start the memories learn to recall, in 500 small steps."""

import pytest

from attnjax.config import replace_leaves
from attnjax.runs import fit, trial_arguments
from attnjax.training import make_evaluate
from experiments import recall_task as task
from experiments.recall_beyond_window import variants
from experiments.recall_beyond_window.config import PRESETS

pytestmark = pytest.mark.slow
# One block, one head of 32, rows of 48 with 2 to 8 pairs.
SMALLEST = {
  "parameters": 30_000,
  "seeds": 1,
  "model.window": 8,
  "model.width": 32,
  "model.depth": 1,
  "model.heads": 1,
  "model.segment": 16,
  "task.length": 48,
  "task.questions": 12,
  "optimizer.peak_learning_rate": 1e-2,
  "train.steps": 500,
  "train.evaluate_every": 500,
}
LEAST = {"delta net": 0.95} | dict.fromkeys(("LMM", "MAC", "MAG", "MAL"), 0.85)


def learned(variant, tmp_path, **changes):
  """Accuracy after 500 steps, of 2 to 8 pairs that no step has seen."""
  config = replace_leaves(PRESETS["tiny"](), SMALLEST | changes)
  batches = [task.Batches(config.task, 88_888)(n) for n in range(8)]
  found = fit(
    variants.make(config, variant, 0),
    task.loss,
    task.Batches(config.task, 0),
    evaluate=make_evaluate(task.loss).on(batches),
    **trial_arguments(
      config, experiment="recall", variant=variant, seed=0, workdir=tmp_path
    ),
  )
  return found.records[-1]["accuracy"]


@pytest.mark.parametrize("variant", LEAST)
def test_recall_is_learned_in_500_steps(variant, tmp_path):
  assert learned(variant, tmp_path) >= LEAST[variant]


def test_without_the_start_it_is_not(tmp_path):
  changes = {"model.start": "identity"}
  assert learned("LMM", tmp_path, **changes) < 0.5
