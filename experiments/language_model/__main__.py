"""Trains a decoder on real text: data, model, loss, step, loop, picture."""

from pathlib import Path

import jax

from attnjax import config as configs
from attnjax import training
from attnjax.data import load_text, train_batches, yardsticks
from experiments.language_model import report, task
from experiments.language_model.config import PRESETS, LanguageModelConfig


def main(config: LanguageModelConfig, workdir: Path) -> None:
  """Trains, or goes on training, and shows what was learned."""
  task.check_fits(config)
  text = load_text(config.data)
  report.print_text(text)

  model = task.make_model(config, text.tokenizer.vocabulary_size)
  optimizer = training.make_optimizer(config.optimizer, config.train.steps)
  step = task.make_step(config, optimizer)
  batches = train_batches(
    text.packed_train, config.data.batch_size, config.data.seed
  )
  state = training.init_state(model, optimizer)
  jax.eval_shape(step, state, batches(0))
  report.check_sample(model, text, config.sample)

  # Only now is the run known to be sound: nothing was written before.
  training.claim_workdir(workdir, "language_model", task.identity(config, text))
  text.tokenizer.save(workdir)
  with (
    training.Checkpoints(
      workdir / "checkpoints", config.train.checkpoint
    ) as checkpoints,
    training.Metrics(workdir) as metrics,
  ):
    state = training.train(
      state,
      step=training.jit_step(step),
      batch_at=batches,
      checkpoints=checkpoints,
      metrics=metrics,
      config=config.train,
      evaluate=task.heldout(config, text),
    )
    records = metrics.evaluations()

  known = yardsticks(text.train, text.heldout) if config.yardsticks else {}
  report.print_table(workdir, records[-1]["bits_per_byte"], known)
  print("\n" + report.write_sample(workdir, state.params, text, config.sample))
  print(report.draw_attention(workdir, state.params, text, config.sample))
  print(report.draw_curves(workdir, records, known))


if __name__ == "__main__":
  configs.run(main, PRESETS, experiment="language_model")
