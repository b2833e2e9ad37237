"""Entry point: trains a decoder on text, scores it, samples and draws."""

from pathlib import Path
from typing import Any

from attnjax import runs
from attnjax.data import TextData, load_text, train_batches, yardsticks
from attnjax.models import DecoderLM
from attnjax.runs import next_token_loss
from attnjax.viz import Page
from experiments.language_model import report, task
from experiments.language_model.config import PRESETS, LanguageModelConfig
from experiments.language_model.start import (
  check_flags,
  fine_tune,
  load_start,
)


def main(config: LanguageModelConfig, workdir: Path) -> None:
  """Trains or resumes; writes bits per byte, a sample, and figures."""
  text, params, records = trained(config, workdir)
  known = yardsticks(text.train, text.heldout) if config.yardsticks else {}
  report.print_table(workdir, records[-1]["bits_per_byte"], known)
  print("\n" + report.write_sample(workdir, params, text, config.sample))
  print(*report.draw_attention(workdir, params, text, config.sample), sep="\n")
  print(report.draw_curves(workdir, records, known))


def view(config: LanguageModelConfig, workdir: Path) -> Page:
  """Trains or resumes; makes a page of every head on one sentence."""
  text, params, _ = trained(config, workdir)
  return report.attention_page(params, text, config.sample)


def trained(
  config: LanguageModelConfig, workdir: Path
) -> tuple[TextData, DecoderLM, list]:
  """The text, a decoder trained on it, and the records of its training."""
  # All that can be refused is refused before training.
  check_flags(config)
  start = None if config.start_from is None else load_start(config)
  if start is None:
    # 257 is the smallest vocabulary.
    task.check_fits(config.model, 257, config.train.mesh, _SMALLER)
  text = load_text(config.data, None if start is None else start.tokenizer)
  report.print_text(text)

  if start is None:
    model = task.make_model(config, text.tokenizer.vocabulary_size)
  else:
    model = start.model
  report.check_sample(model, text, config.sample)
  how: dict[str, Any] = {
    "loss": next_token_loss,
    "batches": train_batches(
      text.packed_train, config.data.batch_size, config.data.seed
    ),
    "experiment": "language_model",
    "identity": task.identity(
      config, text, None if start is None else start.digest
    ),
    "optimizer": config.optimizer,
    "train": config.train,
    "evaluate": task.heldout(config, text),
    "observe": report.attention_watch(text, config.sample, config.train),
  }
  if start is not None:
    return text, *fine_tune(config, workdir, start, **how)

  params, records = runs.fit(model, workdir=workdir, **how)
  # Beside the checkpoints, which mean nothing without it.
  text.tokenizer.save(workdir)
  return text, params, records


_SMALLER = (
  "choose a smaller preset (--preset=tiny) or lower --config.model.width or"
  " --config.model.depth"
)


if __name__ == "__main__":
  runs.run(main, PRESETS, experiment="language_model", view=view)
