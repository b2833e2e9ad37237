"""Speed of reading and writing beside the `transformers` library, by turns.

Both have the same float32 weights, the same prompt and the same cores. Of the
library the model itself is called, in eager PyTorch and with its own cache, one
token at a time, without what its `generate` does beside.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.extras import needs_extra
from attnjax.models import DecoderLM, generate, save
from experiments.published_model.config import PublishedModelConfig

__all__ = ["measured", "table"]

Writer = Callable[[int], np.ndarray]


def measured(
  config: PublishedModelConfig, model: DecoderLM, ids: np.ndarray, workdir: Path
) -> dict[str, list[tuple[float, float]]]:
  """Tokens a second of (reading, writing) in every turn, by name.

  PyTorch is measured with one thread a core and with one alone, for other
  programs on the machine make its threads wait for each other.

  Raises:
    ImportError: the extra `torch` is missing.
    RuntimeError: the two do not write the same tokens.
  """
  # The library gets the same weights as we have, widened where they were.
  folder = workdir / "as_published"
  save(folder, model)
  library, set_threads = _library(folder, ids)
  cores = len(os.sched_getaffinity(0))
  runs: dict[str, tuple[Writer, int | None]] = {
    "attnjax": (_ours(model, ids), None),
    "attnjax, layers apart": (_ours(model.with_layers_apart(), ids), None),
  }
  for count in sorted({1, cores}):
    runs[f"transformers, {count} threads"] = (library, count)

  found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
  texts: dict[str, list[int]] = {}
  # The first turn compiles, and is dropped.
  for turn in range(config.turns + 1):
    for name, (write, threads) in runs.items():
      if threads is not None:
        set_threads(threads)
      texts[name], speed = _timed(write, len(ids), config.tokens)
      found[name].extend([speed] if turn else [])

  if len({tuple(text) for text in texts.values()}) != 1:
    raise RuntimeError(f"beside: all must write the same tokens, got {texts}")
  return found


def _timed(write: Writer, length: int, tokens: int):
  """(tokens, tokens a second of reading and of writing)."""
  begun = time.perf_counter()
  write(1)
  read = time.perf_counter() - begun
  text = write(tokens).tolist()
  whole = time.perf_counter() - begun - read
  return text, (length / read, (tokens - 1) / max(whole - read, 1e-9))


def _ours(model: DecoderLM, ids: np.ndarray) -> Writer:
  """Greedy tokens of our model."""
  prompt, key = jnp.asarray(ids)[None], jax.random.key(0)

  def write(tokens: int) -> np.ndarray:
    found = generate(model, prompt, steps=tokens, key=key, temperature=0.0)
    return np.asarray(found)[0]

  return write


def _library(folder: Path, ids: np.ndarray):
  """Greedy tokens of the library's model, and what sets its threads."""
  with needs_extra("torch", "the other library is transformers, in PyTorch"):
    import torch
    from transformers import AutoModelForCausalLM

  kw = {"dtype": torch.float32, "attn_implementation": "eager"}
  model = AutoModelForCausalLM.from_pretrained(folder, **kw).eval()
  prompt = torch.tensor(ids)[None]

  def write(tokens: int) -> np.ndarray:
    inputs, cache, found = prompt, None, []
    with torch.inference_mode():
      for _ in range(tokens):
        out = model(
          inputs, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        inputs, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
        found.append(int(inputs))
    return np.array(found)

  return write, torch.set_num_threads


def table(found: dict[str, list[tuple[float, float]]]) -> str:
  """Median tokens a second of all turns, and their range.

  >>> print(table({"attnjax": [(10.0, 2.0), (30.0, 4.0), (20.0, 3.0)]}))
  tokens a second                    reading               writing
  attnjax                    20 (10 to 30)      3.0 (2.0 to 4.0)
  """
  lines = [f"{'tokens a second':22} {'reading':>19} {'writing':>21}"]
  for name, turns in found.items():
    read, write = np.array(turns).T
    first = f"{np.median(read):.0f} ({read.min():.0f} to {read.max():.0f})"
    second = f"{np.median(write):.1f} ({write.min():.1f} to {write.max():.1f})"
    lines.append(f"{name:22} {first:>19} {second:>21}")
  return "\n".join(lines)
