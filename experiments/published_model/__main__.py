"""Entry point: a published model answers, is measured, and shows its heads."""

from pathlib import Path

from attnjax import runs
from attnjax.data import smollm2
from attnjax.models import DecoderLM, PublishedTokenizer, load
from attnjax.viz import Page
from experiments.published_model import beside, measure, report
from experiments.published_model.config import PRESETS, PublishedModelConfig


def main(config: PublishedModelConfig, workdir: Path) -> None:
  """Continues the prompt; writes bits per byte, speed, and a figure."""
  model, tokenizer = loaded(config)
  draft = load(config.draft)[0] if config.draft else None
  ids = measure.encoded(config, tokenizer)
  tokens, speed = measure.continued(config, model, ids, tokenizer.stop, draft)
  answer = tokenizer.decode(tokens)
  print(f"\n{config.prompt}\n▸ {answer}\n")

  windows = measure.windows_of(config, tokenizer)
  bits = measure.bits_per_byte(model, windows, config.length)
  size = sum(window.size for window in windows)
  print(report.table(bits, size, speed))
  runs.write_results(
    workdir,
    {"answer": answer, "bits_per_byte": bits, "bytes": size, "speed": speed},
  )
  print(report.draw(workdir, model, ids))
  if config.beside:
    print(beside.table(beside.measured(config, model, ids, workdir)))


def view(config: PublishedModelConfig, workdir: Path) -> Page:
  """Makes a page of every head on the prompt."""
  del workdir
  model, tokenizer = loaded(config)
  ids = measure.encoded(config, tokenizer)
  return report.attention_page(model, tokenizer, ids)


def loaded(
  config: PublishedModelConfig,
) -> tuple[DecoderLM, PublishedTokenizer]:
  """The model and its tokenizer, which has to be there."""
  model, tokenizer = load(config.path or smollm2())
  if tokenizer is None:
    raise ValueError(
      f"path={config.path} must have a tokenizer.json to read a prompt, and has"
      " none"
    )
  return model, tokenizer


if __name__ == "__main__":
  runs.run(main, PRESETS, experiment="published_model", view=view)
