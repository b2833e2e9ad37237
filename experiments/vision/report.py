"""Tables and learning curves of the vision experiment."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from attnjax import viz
from attnjax.models import ViT
from attnjax.runs import Fitted, spread, table
from attnjax.viz import save_lines
from experiments.vision.config import VisionConfig
from experiments.vision.networks import NAMES, count

__all__ = [
  "accuracy_table",
  "attention_page",
  "draw_curves",
  "exchanged_table",
  "plain",
]


def accuracy_table(
  config: VisionConfig, found: Mapping[str, Sequence[Fitted]]
) -> str:
  """Table of parameters, held-out accuracy and loss of each variant."""
  rows = [
    [
      NAMES[variant],
      f"{count(runs[0].params):,}",
      spread([run.records[-1]["accuracy"] for run in runs]),
      spread([run.records[-1]["loss"] for run in runs]),
    ]
    for variant, runs in found.items()
  ]
  columns = ["network", "parameters", f"accuracy, {config.examine}", "nats"]

  return f"\n{config.data}\n\n{table(columns, rows)}"


def exchanged_table(
  config: VisionConfig, vits: Sequence[Fitted], exchanged: Sequence[Mapping]
) -> str:
  """Table of the ViT's accuracy by which patches were exchanged."""
  rows = [["none", spread([run.records[-1]["accuracy"] for run in vits])]]
  rows += [
    [name, spread([seed[name] for seed in exchanged])] for name in exchanged[0]
  ]
  share = f"{config.exchanged:.0%}".replace("%", " %")
  head = [f"{share} of the patches exchanged", "accuracy of the ViT"]
  return f"\n{table(head, rows)}"


def draw_curves(path: Path, found: Mapping[str, Sequence[Fitted]]) -> Path:
  """Draws held-out accuracy over optimizer steps, a band over seeds."""
  curves = {
    NAMES[variant]: (
      [record["step"] for record in runs[0].records],
      [[record["accuracy"] for record in run.records] for run in runs],
    )
    for variant, runs in found.items()
  }

  return save_lines(
    path, curves, x_label="optimizer steps", y_label="accuracy, held out"
  )


def attention_page(model: ViT, image: np.ndarray) -> viz.Page:
  """A page of where each patch of an image looks, in every head."""
  rows, columns = model.config.grid
  before = ("class",) if model.config.pool == "token" else ()
  return viz.page(
    viz.capture(model, jnp.asarray(image)[None]),
    viz.patch_tokens(rows, columns, before),
    title="vision: where each patch looks",
    image=image,
    patches=(rows, columns),
    most=model.config.tokens,
  )


def plain(found: Mapping[str, Sequence[Fitted]]) -> dict[str, list[dict]]:
  """Last record and parameters of every run, for JSON."""
  return {
    variant: [
      run.records[-1] | {"parameters": count(run.params)} for run in runs
    ]
    for variant, runs in found.items()
  }
