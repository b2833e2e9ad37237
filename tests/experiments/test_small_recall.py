"""With the default start the memories learn to recall, in 500 small steps."""

import jax
import pytest
from flax import nnx

from attnjax.models import MemoryLM, MemoryLMConfig
from attnjax.training import OptimizerConfig, make_evaluate
from experiments import recall_task as task
from experiments.memory_models import fitted
from experiments.recall_beyond_window.config import VARIANTS
from experiments.seeds_at_once import train

pytestmark = pytest.mark.slow
# One block, one head of 32, rows of 48 with 2 to 8 pairs.
MODEL = {"window": 8, "persistent": 4, "width": 32, "depth": 1, "heads": 1}
TASK = task.TaskConfig(length=48, questions=12)
LEAST = {"delta net": 0.95} | dict.fromkeys(("LMM", "MAC", "MAG", "MAL"), 0.85)


def learned(variant, **changes):
  """Accuracy after 500 steps, of 2 to 8 pairs that no step has seen."""
  words = task.vocabulary(TASK)
  config = fitted(
    MemoryLMConfig(**MODEL, segment=16, **changes),
    VARIANTS[variant],
    vocabulary=words,
    parameters=30_000,
  )
  *_, last = train(
    [MemoryLM(config, words, rngs=nnx.Rngs(0))],
    task.loss,
    [task.Batches(TASK, 0)],
    OptimizerConfig(1e-2, warmup=0.05, weight_decay=0.0),
    steps=500,
    every=50,
  )
  model = jax.tree.map(lambda x: x[0], last.params)
  batches = [task.Batches(TASK, 88_888)(n) for n in range(8)]
  return make_evaluate(task.loss).on(batches)(model)["accuracy"]


@pytest.mark.parametrize("variant", LEAST)
def test_recall_is_learned_in_500_steps(variant):
  assert learned(variant) >= LEAST[variant]


def test_without_the_start_it_is_not():
  assert learned("LMM", start="identity") < 0.5
