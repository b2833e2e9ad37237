"""No setting is parsed and dropped: somebody reads each of them."""

import ast
import dataclasses
import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import config as configs
from attnjax import runs, training
from attnjax.data import TextConfig, load_text, train_batches
from attnjax.models import DecoderConfig, DecoderLM
from attnjax.runs import MeshConfig, TrainConfig
from attnjax.training import OptimizerConfig
from tests.test_config_ranges import every_config

ROOT = Path(__file__).parents[1]
# Files of the config room name settings to check and to show them.
OURS = ("config", "dataclasses.py", "test_config_read.py")


@functools.cache
def names_read():
  """Every attribute that a source file reads, but in a config's own check."""
  found = set()
  for room in ("attnjax", "experiments"):
    for path in (ROOT / room).rglob("*.py"):
      tree = ast.parse(path.read_text(encoding="utf-8"))
      checks = {
        inside
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "__post_init__"
        for inside in ast.walk(node)
      }
      found |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node not in checks
      }
  return found


@pytest.mark.parametrize(
  "config", every_config(), ids=lambda config: type(config).__name__
)
def test_some_line_reads_every_setting(config):
  own = {field.name for field in dataclasses.fields(config)}
  unread = own - names_read()
  # `vision` takes the rate of a variant by its name.
  unread -= {"convolution_learning_rate", "linear_learning_rate"}
  assert not unread


@pytest.fixture
def reads(monkeypatch):
  """Which fields of which classes are read from now on, but by us."""
  found = set()

  def watch(kind):
    fields = {field.name for field in dataclasses.fields(kind)}

    def spy(self, name):
      if name in fields:
        caller = Path(sys._getframe(1).f_code.co_filename)
        if caller.name not in OURS and caller.parent.name not in OURS:
          found.add((kind.__name__, name))
      return object.__getattribute__(self, name)

    monkeypatch.setattr(kind, "__getattribute__", spy)

  def unread(*kinds):
    return {
      (kind.__name__, field.name)
      for kind in kinds
      for field in dataclasses.fields(kind)
    } - found

  return watch, unread


def test_fit_reads_every_leaf_of_what_it_is_given(tmp_path, reads):
  watch, unread = reads
  kinds = (
    *(TrainConfig, OptimizerConfig, MeshConfig),
    *(training.CheckpointConfig, training.ProcessesConfig),
  )

  def loss(params, batch, key):
    return ((params["kernel"] - batch) ** 2).sum(), jnp.float32(8)

  for kind in kinds:
    watch(kind)
  runs.fit(
    {"kernel": jnp.zeros(8)},
    loss,
    lambda step: np.ones(8, np.float32),
    workdir=tmp_path,
    experiment="fit",
    identity={},
    optimizer=OptimizerConfig(),
    train=TrainConfig(steps=2, mesh=MeshConfig(data=0)),
    evaluate=lambda params: {"loss": 0.0},
  )
  muon = training.make_optimizer(OptimizerConfig(kind="muon"), 2)
  muon.init({"kernel": jnp.zeros((2, 2))})
  # How processes join is read by `joined`, before there is a run.
  assert unread(*kinds) <= {
    ("ProcessesConfig", name)
    for name in ("coordinator", "index", "join_seconds", "lost_seconds")
  } | {("ProcessesConfig", "launcher")}


def test_loading_a_text_reads_every_leaf_of_it(tmp_path, reads):
  watch, unread = reads
  config = TextConfig(length=64, tokenizer="bpe", vocabulary=257)
  watch(TextConfig)
  config.check()
  text = load_text(config)
  # An experiment hands these two to `train_batches`.
  assert unread(TextConfig) == {
    ("TextConfig", "batch_size"),
    ("TextConfig", "seed"),
  }
  assert train_batches(text.packed_train, 3, 0)(0)["tokens"].shape == (3, 64)


def test_a_decoder_reads_every_leaf_of_its_config(reads):
  watch, unread = reads
  watch(DecoderConfig)
  for positions in ("learned", "rotary"):
    config = DecoderConfig(
      width=8, heads=2, hidden=8, depth=1, max_length=8, positions=positions
    )
    model = nnx.eval_shape(lambda c=config: DecoderLM(c, 11, rngs=nnx.Rngs(0)))
    jax.eval_shape(lambda m: m(jnp.zeros((2, 5), jnp.int32)), model)
  assert not unread(DecoderConfig)


def test_a_leaf_that_nobody_reads_would_be_found(reads):
  @dataclasses.dataclass(frozen=True)
  class Unread(configs.Config):
    dropped_setting: int = configs.setting(1, "nothing", at_least=1)

  watch, unread = reads
  watch(Unread)
  configs.to_dict(Unread())  # to show it is not to read it
  assert unread(Unread) == {("Unread", "dropped_setting")}
  with pytest.raises(AssertionError):
    test_some_line_reads_every_setting(Unread())
