"""Entry point: trains a decoder on text, scores it, samples and draws."""

from pathlib import Path

from attnjax import runs
from attnjax.data import TextData, load_text, train_batches, yardsticks
from attnjax.models import DecoderLM
from attnjax.runs import next_token_loss
from attnjax.viz import Page
from experiments.language_model import report, task
from experiments.language_model.config import PRESETS, LanguageModelConfig


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
  task.check_fits(config)
  text = load_text(config.data)
  report.print_text(text)

  model = task.make_model(config, text.tokenizer.vocabulary_size)
  report.check_sample(model, text, config.sample)
  params, records = runs.fit(
    model,
    next_token_loss,
    train_batches(text.packed_train, config.data.batch_size, config.data.seed),
    workdir=workdir,
    experiment="language_model",
    identity=task.identity(config, text),
    optimizer=config.optimizer,
    train=config.train,
    evaluate=task.heldout(config, text),
    observe=report.attention_watch(text, config.sample, config.train),
  )
  # Beside the checkpoints, which mean nothing without it.
  text.tokenizer.save(workdir)
  return text, params, records


if __name__ == "__main__":
  runs.run(main, PRESETS, experiment="language_model", view=view)
