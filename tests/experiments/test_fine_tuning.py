"""A published model fine-tuned by the language-model experiment."""

import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.config import replace_leaves
from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  PublishedTokenizer,
  load,
  save,
)
from experiments.language_model import start
from experiments.language_model.__main__ import main, trained
from experiments.language_model.config import PRESETS

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

ENGLISH = "The cat sat on the mat. A dog ran by the old red barn.\n"
SMALL = {
  "data.length": 16,
  "data.batch_size": 4,
  "lora.rank": 2,
  "train.steps": 6,
  "train.evaluate_every": 6,
  "train.log_every": 1,
  "train.checkpoint.every_steps": 2,
  "optimizer.peak_learning_rate": 0.03,
  "sample.tokens": 3,
  "yardsticks": False,
}
V = 3000  # more than the tokens: published vocabularies are padded


def bytes_tokenizer():
  """A byte a token, and one that ends a text."""
  alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
  words = {letter: token for token, letter in enumerate(alphabet)}
  engine = tokenizers.Tokenizer(tokenizers.models.BPE(words, []))
  engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  engine.decoder = tokenizers.decoders.ByteLevel()
  engine.add_special_tokens(["<|end|>"])
  return PublishedTokenizer(engine, (256,))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
  """A directory as the hub has them."""
  folder = tmp_path_factory.mktemp("published")
  config = DecoderConfig(
    width=16, depth=2, heads=2, hidden=32, activation="swiglu"
  )
  make = lambda: DecoderLM(config, V, rngs=nnx.Rngs(0))
  save(folder, jax.jit(make)(), bytes_tokenizer())
  return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  folder = tmp_path_factory.mktemp("texts")
  for i in range(8):
    words = "".join(f"{w}{i} " for w in ENGLISH.split())
    (folder / f"{i}.txt").write_text(ENGLISH * 3 + words * (i + 1))
  return folder


@pytest.fixture
def config(published, corpus):
  """Makes a config of the preset with some leaves."""

  def make(**leaves):
    paths = {"start_from": str(published), "data.path": str(corpus)}
    small = SMALL | paths | leaves
    return replace_leaves(PRESETS["lora"](), small)

  return make


def curve(workdir):
  """Every recorded scalar but those of time."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if k != "tokens_per_second"}
    for line in lines
  ]


@jax.jit
def logits(model, tokens):
  return model(tokens)


@pytest.mark.slow
def test_adapters_train_alone_and_are_merged_in_what_is_saved(
  config, published, tmp_path
):
  text, model, records = trained(config(), tmp_path)
  losses = [x["loss"] for x in curve(tmp_path) if x["split"] == "train"]
  assert losses[-1] < losses[0]
  assert records[-1]["step"] == 6

  again, tokenizer = load(tmp_path / "model")
  tokens = jnp.asarray(text.tokenizer.encode(b"The cat"))
  np.testing.assert_array_equal(logits(again, tokens), logits(model, tokens))
  np.testing.assert_array_equal(tokenizer.encode("The cat"), tokens)
  base, _ = load(published)
  for (path, old), new in zip(
    jax.tree.leaves_with_path(base), jax.tree.leaves(again), strict=True
  ):
    name = jax.tree_util.keystr(path)
    # Queries and values of every layer have changed, and nothing else has.
    adapted = ("query" in name or "value.kernel" in name) and "kernel" in name
    assert bool(np.any(old != new)) == adapted, name

  # A checkpoint holds the factors, and neither the model nor its moments.
  last = sorted((tmp_path / "checkpoints").iterdir())[-1]
  size = sum(x.stat().st_size for x in last.rglob("*") if x.is_file())
  assert size < 0.2 * sum(4 * x.size for x in jax.tree.leaves(base))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
def test_stopped_and_started_again_it_is_the_unbroken_run(
  config, tmp_path, rank, monkeypatch
):
  whole = config(**{"lora.rank": rank})
  main(whole, tmp_path / "unbroken")
  broken = tmp_path / "broken"
  given = start.fine_tune

  def stopped(*arguments, batches, **how):
    def at(step):
      if step == 3:
        signal.raise_signal(signal.SIGTERM)
      return batches(step)

    return given(*arguments, batches=at, **how)

  with monkeypatch.context() as patch:
    patch.setattr("experiments.language_model.__main__.fine_tune", stopped)
    with pytest.raises(SystemExit):
      main(whole, broken)
  assert not (broken / "model").exists()
  main(whole, broken)
  assert curve(broken) == curve(tmp_path / "unbroken")
  one, other = (
    (x / "model/model.safetensors").read_bytes()
    for x in (broken, tmp_path / "unbroken")
  )
  assert one == other


@pytest.mark.slow
@pytest.mark.parametrize(
  "mesh",
  [
    {"data": 2},
    {"fsdp": 2, "tensor": 2, "data": 0},
    {"data": 2, "sequence": 4, "layout": "zigzag"},
    {"fsdp": 8, "gather": False},
  ],
  ids=str,
)
def test_on_a_mesh_it_is_the_same(config, tmp_path, mesh):
  leaves = {f"train.mesh.{name}": x for name, x in mesh.items()}
  if mesh == {"data": 2}:
    leaves["train.mesh.fsdp"] = 4
  leaves |= {"data.batch_size": 8, "train.watch": True}
  trained(config(**leaves), tmp_path / "mesh")
  alone = config(**{"data.batch_size": 8, "train.watch": True})
  trained(alone, tmp_path / "alone")
  for one, other in zip(
    curve(tmp_path / "mesh"), curve(tmp_path / "alone"), strict=True
  ):
    assert one.pop("split") == other.pop("split")
    assert one == pytest.approx(other, rel=2e-4, abs=1e-5)
  one, other = (load(tmp_path / x / "model")[0] for x in ("mesh", "alone"))
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_all_parameters_train_at_rank_0(config, published, tmp_path):
  whole = config(
    **{
      "lora.rank": 0,
      "train.microbatches": 2,
      "train.compute_dtype": "bfloat16",
    }
  )
  main(whole, tmp_path)
  again, _ = load(tmp_path / "model")
  base, _ = load(published)
  for old, new in zip(
    jax.tree.leaves(base), jax.tree.leaves(again), strict=True
  ):
    assert np.any(old != new)
  assert (tmp_path / "sample.txt").exists()


@pytest.mark.slow
def test_microbatches_and_bfloat16_train_adapters(config, tmp_path):
  leaves = {"train.microbatches": 2, "train.compute_dtype": "bfloat16"}
  trained(config(**leaves), tmp_path)
  losses = [x["loss"] for x in curve(tmp_path) if x["split"] == "train"]
  assert losses[-1] < losses[0]


def test_the_text_of_a_published_tokenizer():
  text = start.PublishedText(bytes_tokenizer())
  assert text.boundary == 256
  assert text.vocabulary_size == 257
  # Text that spells the end of a text does not end it.
  tokens = text.encode("<|end|> à".encode())
  assert 256 not in tokens
  assert text.decode(tokens) == "<|end|> à".encode()
  assert text.token_bytes(256) == b""
  assert text.digest == start.PublishedText(bytes_tokenizer()).digest
  with pytest.raises(ValueError, match="reads UTF-8"):
    text.encode(b"\xff")
  endless = PublishedTokenizer(bytes_tokenizer().engine)
  with pytest.raises(ValueError, match="give bos_token"):
    start.PublishedText(endless)
  begins = PublishedTokenizer(
    bytes_tokenizer().engine, (3,), special={"bos_token": "<|end|>"}
  )
  assert start.PublishedText(begins).boundary == 256


@pytest.mark.parametrize(
  ("leaves", "words"),
  [
    ({"start_from": None}, "lora.rank must be 0 without start_from, got 2"),
    ({"model.width": 24}, r"model\.width must be left out"),
    ({"model.window": 7}, r"model\.window must be left out"),
    ({"data.tokenizer": "bpe"}, r"data\.tokenizer must be left out"),
    ({"data.vocabulary": 999}, r"data\.vocabulary must be left out"),
    ({"optimizer.kind": "muon"}, "optimizer.kind must be 'adamw'"),
    ({"lora.targets": ("quary",)}, r"'quary'. Did you mean query\?"),
    ({"lora.rank": 17}, "lora.rank must be at most 16"),
    ({"lora.rank": -1}, r"lora\.rank must be at least 0"),
    ({"start_from": "/nowhere/model"}, "/nowhere/model"),
  ],
)
def test_bad_flags_say_so(config, tmp_path, leaves, words):
  with pytest.raises((ValueError, OSError), match=words):
    trained(config(**leaves), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def changed(published, folder, name, change):
  """A copy of the published directory, with something else in a file."""
  shutil.copytree(published, folder)
  values = json.loads((folder / name).read_text())
  change(values)
  (folder / name).write_text(json.dumps(values))
  return str(folder)


def test_bad_files_say_so(config, published, tmp_path):
  bare = tmp_path / "bare"
  shutil.copytree(published, bare)
  (bare / "tokenizer.json").unlink()
  with pytest.raises(ValueError, match="must have a tokenizer"):
    trained(config(start_from=str(bare)), tmp_path / "run")

  def add(values):
    values["model"]["vocab"]["another"] = V

  larger = changed(published, tmp_path / "larger", "tokenizer.json", add)
  with pytest.raises(
    ValueError, match=f"has the token {V}, and the model only"
  ):
    trained(config(start_from=larger), tmp_path / "run")
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_models_that_cannot_be_tuned_say_so(config, tmp_path):
  learned = DecoderConfig(
    width=16,
    depth=1,
    heads=2,
    hidden=64,
    norm="layer",
    use_bias=True,
    positions="learned",
    max_length=8,
  )
  save(
    tmp_path / "short",
    DecoderLM(learned, V, rngs=nnx.Rngs(0)),
    bytes_tokenizer(),
    family="gpt2",
  )
  with pytest.raises(ValueError, match="outgrows the 8 learned positions"):
    trained(config(start_from=str(tmp_path / "short")), tmp_path / "run")


@pytest.mark.slow
def test_another_model_in_the_same_directory_is_refused(
  config, published, tmp_path
):
  trained(config(), tmp_path / "run")
  moved = tmp_path / "moved"
  shutil.copytree(published, moved)
  # The same files at another place are the same run.
  trained(config(start_from=str(moved)), tmp_path / "run")
  with pytest.raises(ValueError, match="model is "):
    trained(config(start_from=str(tmp_path / "run/model")), tmp_path / "run")
  with pytest.raises(ValueError, match=r"lora\.alpha"):
    trained(config(**{"lora.alpha": 3.0}), tmp_path / "run")
