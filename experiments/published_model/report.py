"""The table and the figures of a published model."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import viz
from attnjax.models import DecoderLM, PublishedTokenizer

__all__ = ["attention_page", "draw", "table"]


def table(bits: float, size: int, speed: dict[str, float]) -> str:
  """Bits per byte and speed as text."""
  lines = [
    f"bits per byte of held-out English   {bits:8.4f}  ({size:,} bytes)",
    f"tokens a second, reading            {speed['read']:8.1f}",
    f"tokens a second, writing            {speed['written']:8.1f}",
  ]
  if "accepted" in speed:
    lines += [f"share of drafted tokens accepted    {speed['accepted']:8.2f}"]
  return "\n".join(lines)


def draw(workdir: Path, model: DecoderLM, ids: np.ndarray) -> Path:
  """Draws the pattern of every head on the prompt."""
  run = jax.jit(lambda model, ids: model(ids, aux=("weights",))[1].weights)
  weights = np.asarray(run(model, jnp.asarray(ids)))
  figure = viz.head_overview_figure(weights)
  return viz.save_figure(figure, workdir / "attention.png")


def attention_page(
  model: DecoderLM, tokenizer: PublishedTokenizer, ids: np.ndarray
) -> viz.Page:
  """A page of the attention weights of every head on the prompt."""
  return viz.page(
    viz.capture(model, jnp.asarray(ids)),
    [tokenizer.show(token) for token in ids.tolist()],
    title="published_model: what each head attends to",
  )
