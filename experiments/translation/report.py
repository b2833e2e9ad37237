"""Tables, examples and pictures of the experiment."""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.runs import spread, table
from attnjax.viz import save_attention, save_lines
from experiments.translation.config import NAMES
from experiments.translation.corpus import Corpus
from experiments.translation.measure import Measures, length_groups, scores
from experiments.translation.task import Model

__all__ = [
  "draw_alignment",
  "draw_curves",
  "example_table",
  "length_table",
  "score_table",
  "size_table",
]

SHOWN = 5  # verses
DRAWN = 14  # pieces of the verse whose alignment is drawn


def size_table(corpus: Corpus) -> str:
  """How many verses of each side are short enough."""
  rows = [
    [name, side.total, len(side.texts), f"{len(side.texts) / side.total:.1%}"]
    for name, side in corpus.sides.items()
  ]
  return table(["side", "verses", "short enough", "share"], rows)


def score_table(corpus: Corpus, found: Mapping[str, list[Measures]]) -> str:
  """Of each variant, over the seeds; and of two that translate nothing."""
  columns = ["", "parameters", "nats a piece", "another's source"]
  columns += ["BLEU greedy", "BLEU beam", "chrF greedy", "chrF beam"]
  rows = [[name, *_scored(runs)] for name, runs in found.items()]
  texts = corpus.sides["test"].texts
  references = [target for _, target in texts]
  nothing = {
    "the source as it is": [source for source, _ in texts],
    "the target of another verse": references[1:] + references[:1],
  }

  for name, said in nothing.items():
    bleu, chrf = (f"{x:.2f}" for x in scores(said, references))
    rows.append([name, "-", "-", "-", bleu, bleu, chrf, chrf])

  return f"\n{len(texts)} held-out verses\n\n" + table(columns, rows)


def _scored(runs: list[Measures]) -> list[str]:
  """The cells of one variant."""
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
  """chrF of the beam by the length of the source."""
  side = corpus.sides["test"]
  sizes = [[side.lengths[n] for n in group] for group in length_groups(side)]
  columns = [f"{min(size)} to {max(size)} pieces" for size in sizes]
  rows = [
    [name, *(spread(x) for x in zip(*(r.lengths for r in runs), strict=True))]
    for name, runs in found.items()
  ]
  return "\nchrF, by the length of the source\n\n" + table(["", *columns], rows)


def example_table(corpus: Corpus, found: Mapping[str, list[Measures]]) -> str:
  """Some verses from end to end of the book, as the first seeds say them."""
  side = corpus.sides["test"]
  lines = []
  for place in np.linspace(0, len(side.texts) - 1, SHOWN).astype(int):
    source, reference = side.texts[place]
    lines += [f"\nsource: {source}", f"reference: {reference}"]
    lines += [f"{name}: {runs[0].texts[place]}" for name, runs in found.items()]
  return "\n".join(lines)


def draw_alignment(
  workdir: Path, corpus: Corpus, models: Mapping[str, Model]
) -> list[Path]:
  """Where models look in one held-out verse, its translation given.

  A picture of all that look, a panel each; none where none does.
  """
  titles = {
    NAMES["transformer"]: "transformer, last layer, mean of heads",
    NAMES["attentive"]: NAMES["attentive"],
  }
  looking = [name for name in titles if name in models]
  if not looking:
    return []

  side = corpus.sides["test"]
  first = side.buckets[0]
  far = np.abs(np.array(side.lengths[: len(first)]) - DRAWN)
  row = first[int(far.argmin())]
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


def _looks(model: Model, row: Mapping) -> np.ndarray:
  """Weights ``T S`` of the target over the source."""
  names = ("source", "inputs", "source_lengths")
  given = (jnp.asarray(row[name]) for name in names)
  _, aux = jax.jit(_attentive)(model, *given)
  last = aux.cross.weights[-1] if hasattr(aux, "cross") else aux.weights
  return np.asarray(last).mean(0)


def _attentive(model: Model, source, inputs, length):
  """A pass that keeps the attention."""
  return model(source, inputs, source_lengths=length, aux=("weights",))


def draw_curves(workdir: Path, records: Mapping[str, list[list[dict]]]) -> Path:
  """The loss on the validation side while training, a band over the seeds."""
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
