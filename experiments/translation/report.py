"""Tables, example translations and figures of the translation experiment."""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import viz
from attnjax.runs import spread, table
from attnjax.viz import save_attention, save_lines
from experiments.translation.config import NAMES
from experiments.translation.corpus import Corpus
from experiments.translation.measure import Measures, length_groups, scores
from experiments.translation.task import Model

__all__ = [
  "attention_page",
  "draw_alignment",
  "draw_curves",
  "example_table",
  "length_table",
  "score_table",
  "size_table",
]

SHOWN = 5  # verses
DRAWN = 14  # pieces, about, of the verse whose alignment is drawn


def size_table(corpus: Corpus) -> str:
  """Table of the verses of each split, and how many fit a bucket."""
  rows = [
    [name, one.total, len(one.texts), f"{len(one.texts) / one.total:.1%}"]
    for name, one in corpus.splits.items()
  ]
  return table(["split", "verses", "short enough", "share"], rows)


def score_table(corpus: Corpus, found: Mapping[str, list[Measures]]) -> str:
  """Table of loss, BLEU and chrF by variant, with two trivial baselines."""
  columns = ["", "parameters", "nats a piece", "another's source"]
  columns += ["BLEU greedy", "BLEU beam", "chrF greedy", "chrF beam"]
  rows = [[name, *_scored(runs)] for name, runs in found.items()]
  texts = corpus.splits["test"].texts
  references = [target for _, target in texts]
  # What the scores are worth without translating: shared names, common words.
  nothing = {
    "the source as it is": [source for source, _ in texts],
    "the target of another verse": references[1:] + references[:1],
  }

  for name, said in nothing.items():
    bleu, chrf = (f"{x:.2f}" for x in scores(said, references))
    rows.append([name, "-", "-", "-", bleu, bleu, chrf, chrf])

  return f"\n{len(texts)} held-out verses\n\n" + table(columns, rows)


def _scored(runs: list[Measures]) -> list[str]:
  """Cells of one variant: its mean and deviation over seeds."""
  over = lambda number: spread([number(run) for run in runs])

  return [
    f"{runs[0].parameters:,}",
    over(lambda run: run.loss),
    over(lambda run: run.astray),
    *(
      over(lambda run, n=n, how=how: getattr(run, how)[n])
      for n in (0, 1)
      for how in ("greedy", "beam")
    ),
  ]


def length_table(corpus: Corpus, found: Mapping[str, list[Measures]]) -> str:
  """Table of chrF by beam search, a column a group of source lengths."""
  split = corpus.splits["test"]
  sizes = [[split.lengths[n] for n in group] for group in length_groups(split)]
  columns = [f"{min(size)} to {max(size)} pieces" for size in sizes]
  rows = [
    [name, *(spread(x) for x in zip(*(r.lengths for r in runs), strict=True))]
    for name, runs in found.items()
  ]
  return "\nchrF, by the length of the source\n\n" + table(["", *columns], rows)


def example_table(corpus: Corpus, found: Mapping[str, list[Measures]]) -> str:
  """Translations of a few evenly spaced test verses by the first seeds."""
  split = corpus.splits["test"]
  lines = []
  for place in np.linspace(0, len(split.texts) - 1, SHOWN).astype(int):
    source, reference = split.texts[place]
    lines += [f"\nsource: {source}", f"reference: {reference}"]
    lines += [f"{name}: {runs[0].texts[place]}" for name, runs in found.items()]
  return "\n".join(lines)


def draw_alignment(
  workdir: Path, corpus: Corpus, models: Mapping[str, Model]
) -> list[Path]:
  """Draws cross-attention on one test verse, teacher-forced, a panel a model.

  Returns:
    One path; none where no model has attention.
  """
  titles = {
    NAMES["transformer"]: "transformer, last layer, mean of heads",
    NAMES["attentive"]: NAMES["attentive"],
  }
  looking = [name for name in titles if name in models]
  if not looking:
    return []

  row = _drawn(corpus)
  heard, said = row["source_lengths"], row["target_lengths"]
  weights = np.stack([_looks(models[name], row) for name in looking])
  path = save_attention(
    workdir / "alignment.png",
    weights[:, :said, :heard],
    corpus.target.spelled(row["targets"][:said]),
    corpus.source.spelled(row["source"][:heard]),
    titles=[titles[name] for name in looking],
    columns=len(looking),
  )

  return [path]


def _drawn(corpus: Corpus) -> Mapping:
  """The test verse that is drawn, of about so many pieces."""
  # Of the first bucket: its rows come first in `lengths`.
  split = corpus.splits["test"]
  first = split.buckets[0]
  far = np.abs(np.array(split.lengths[: len(first)]) - DRAWN)
  return first[int(far.argmin())]


def attention_page(corpus: Corpus, model: Model) -> viz.Page:
  """A page of a translator on one test verse: both sentences, all layers.

  Encoder and decoder look at their own sentence, cross-attention from the
  target, which is given, at the source.
  """
  row = _drawn(corpus)
  heard, said = int(row["source_lengths"]), int(row["target_lengths"])
  source = jnp.asarray(row["source"])[:heard]
  inputs = jnp.asarray(row["inputs"])[:said]
  return viz.page(
    viz.capture(model, source, inputs),
    ["<s>", *corpus.target.spelled(row["targets"][: said - 1])],
    corpus.source.spelled(row["source"][:heard]),
    title="translation: a held-out verse",
  )


def _looks(model: Model, row: Mapping) -> np.ndarray:
  """Attention weights ``T S`` of target over source, the mean of heads."""
  names = ("source", "inputs", "source_lengths")
  given = (jnp.asarray(row[name]) for name in names)
  _, aux = jax.jit(_attentive)(model, *given)
  last = aux.cross.weights[-1] if hasattr(aux, "cross") else aux.weights
  return np.asarray(last).mean(0)


def _attentive(model: Model, source, inputs, length):
  """Logits and attention weights of a teacher-forced pass."""
  return model(source, inputs, source_lengths=length, aux=("weights",))


def draw_curves(workdir: Path, records: Mapping[str, list[list[dict]]]) -> Path:
  """Draws validation loss over training steps, a band over the seeds."""
  series = {
    name: (
      [record["step"] for record in runs[0]],
      np.array([[record["loss"] for record in run] for run in runs]),
    )
    for name, runs in records.items()
  }

  return save_lines(
    workdir / "curves.png",
    series,
    x_label="steps",
    y_label="validation loss, nats a piece",
  )
