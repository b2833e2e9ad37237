"""Accuracy of layers, ablation of heads, and figures of their attention."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from attnjax import training
from attnjax.runs import spread, table
from attnjax.viz import save_attention
from experiments.heads import task
from experiments.heads.config import HeadsConfig

__all__ = ["accuracy_table", "draw", "head_table", "heads_of"]

MEASURES = (*task.RELATIONS, "both")


def accuracy_table(results: dict[str, list[dict]]) -> str:
  """Table of held-out accuracy of each layer over seeds."""
  rows = [
    [name, *(spread([run[m] for run in runs]) for m in MEASURES)]
    for name, runs in results.items()
  ]
  return "\naccuracy\n\n" + table(["layer", *MEASURES], rows)


def heads_of(model: task.Answerer, batches: Sequence) -> list[dict]:
  """Measures of each head: accuracy without it, weight on each answer."""
  evaluate = training.make_evaluate(task.loss)
  batch = batches[0]
  _, aux = jax.jit(lambda model, x: model(x, aux=("weights",)))(model, batch)
  weights = np.asarray(aux.weights)[:, :, 0]  # B H S

  found = []
  for head in range(weights.shape[1]):
    silent = evaluate(task.without_head(model, head), batches)
    on = np.take_along_axis(weights[:, head], batch["at"], axis=1).mean(0)
    found.append(
      {m: silent[m] for m in MEASURES}
      | {f"weight on {r}": float(on[n]) for n, r in enumerate(task.RELATIONS)}
    )

  # Heads are interchangeable: a seed may give a relation to either one.
  return sorted(found, key=lambda head: -head["weight on place"])


def head_table(runs: list[list[dict]]) -> str:
  """Table of ablations of two heads, matched over seeds by their relation."""
  columns = list(runs[0][0])
  names = [f"the head of the {relation}" for relation in task.RELATIONS]
  rows = [
    [name, *(spread([run[n][c] for run in runs]) for c in columns)]
    for n, name in enumerate(names)
  ]
  head = ["silenced", *(f"accuracy {m}" for m in MEASURES), *columns[3:]]

  return "\ntwo heads: accuracy without one, and where it looks\n\n" + table(
    head, rows
  )


def draw(config: HeadsConfig, workdir: Path, models: dict) -> Path:
  """Draws attention weights of all heads, first seeds, on six questions."""
  # Seed 77,777: neither trained on nor evaluated on.
  batch = jax.device_put(task.Batches(config, 77_777)(0))

  panels, titles = [], []
  for name, model in models.items():
    _, aux = model(batch, aux=("weights",))
    for head in range(aux.weights.shape[1]):
      panels.append(np.asarray(aux.weights)[:6, head, 0])
      titles.append(_title(config, name, head))

  asked = [f"place {p}, colour {c}" for p, c in batch["asked"][:6]]
  things = [str(n) for n in range(config.items)]

  return save_attention(
    workdir / "heads.png",
    np.stack(panels),
    asked,
    things,
    titles=titles,
    columns=len(panels),
  )


def _title(config: HeadsConfig, name: str, head: int) -> str:
  """Title of a panel: head and its width."""
  heads, times = task.SHAPES[name]
  which = f"two heads: {head}" if heads == 2 else "one head"
  return f"{which}, D = {times * config.head_width}"
