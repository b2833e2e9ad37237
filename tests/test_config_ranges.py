"""Every setting of every experiment has a range, and it is checked at once."""

import dataclasses
import importlib
import math
from pathlib import Path

import numpy as np
import pytest

from attnjax import config as configs
from attnjax.config import Config, Range, setting
from attnjax.data import TextConfig
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import OptimizerConfig
from launch.job import Job, config_of, experiments, presets_of

ROOT = Path(__file__).parents[1]


def every_config():
  """Every config of every preset, with those inside it, one of each class."""
  found = {}

  def add(config):
    found.setdefault(type(config), config)
    for field in dataclasses.fields(config):
      if dataclasses.is_dataclass(value := getattr(config, field.name)):
        add(value)

  for name in experiments():
    module = importlib.import_module(f"experiments.{name}.config")
    for make in module.PRESETS.values():
      add(make())
  return list(found.values())


def numbers(config):
  """The leaves of a class that are numbers, or tuples of them."""
  own = {field.name for field in dataclasses.fields(config)}
  for leaf in configs.leaves(config):
    if leaf.name in own and (leaf.item or leaf.kind) in (int, float):
      yield leaf


@pytest.mark.parametrize(
  "config", every_config(), ids=lambda x: type(x).__name__
)
def test_every_number_of_every_config_is_checked_where_it_is_made(config):
  assert isinstance(config, Config)
  for leaf in numbers(config):
    assert str(leaf.range) or leaf.choices, f"{leaf.name} may be anything"
    wrong = (
      [10**30] if (leaf.item or leaf.kind) is int else [math.nan, math.inf]
    )
    if not leaf.choices:
      low = leaf.range.at_least if leaf.range.above is None else 0
      wrong.append(low - 1 if (leaf.item or leaf.kind) is int else low - 1.0)
    for value in wrong:
      value = (value,) if leaf.item else value
      with pytest.raises(ValueError, match=f"^{leaf.name} must be"):
        dataclasses.replace(config, **{leaf.name: value})


@pytest.mark.parametrize(
  ("override", "words"),
  [
    ("data.length=0", "data.length must be at least 1, got 0"),
    ("data.batch_size=0", "data.batch_size must be at least 1, got 0"),
    ("data.heldout_fraction=2", r"must be in \(0, 1\), got 2.0"),
    ("data.heldout_fraction=1", r"must be in \(0, 1\), got 1.0"),
    ("data.seed=-1", r"data.seed must be in \[0, 2\*\*32\), got -1"),
    ("data.vocabulary=5", "data.vocabulary must be at least 257, got 5"),
    ("data.evaluation_stride=nan", "must be a finite number, got nan"),
    ("optimizer.peak_learning_rate=inf", "must be a finite number, got inf"),
    ("optimizer.weight_decay=nan", "must be a finite number, got nan"),
    ("optimizer.epsilon=-inf", "must be a finite number, got -inf"),
    ("optimizer.warmup_steps=600", "must be below the 600 steps of the run"),
    ("optimizer.warmup=1", r"optimizer.warmup must be in \[0, 1\), got 1.0"),
    ("train.seed=18446744073709551616", "must be an integer of 64 bits"),
    ("train.seed=4294967296", r"must be in \[0, 2\*\*32\)"),
    ("train.steps=0", "train.steps must be at least 1, got 0"),
    ("train.progress_seconds=nan", "must be a finite number, got nan"),
    ("train.microbatches=5", "must divide data.batch_size=16, got 5"),
    ("train.mesh.attention=ulysses", "must be 'ring' where mesh.sequence=1"),
    ("sample.seed=-1", r"sample.seed must be in \[0, 2\*\*32\)"),
    ("sample.seed=99999999999999999999", "must be an integer of 64 bits"),
    ("sample.temperature=nan", "must be a finite number, got nan"),
    ("sample.top_p=nan", "must be a finite number, got nan"),
    ("model.depth=99999999999999999999", "must be an integer of 64 bits"),
    ("seed=-5", r"seed must be in \[0, 2\*\*32\), got -5"),
  ],
)
def test_a_launcher_refuses_it_before_anything_is_queued(override, words):
  with pytest.raises(ValueError, match=words):
    config_of(Job("language_model", overrides=(override,)))


@pytest.mark.parametrize("name", experiments())
def test_a_run_of_twenty_steps_is_accepted_of_every_preset(name):
  for preset in presets_of(name):
    paths = {leaf.name for leaf in configs.leaves(presets_of(name)[preset]())}
    if "train.steps" in paths and name != "scaling":
      config = config_of(Job(name, preset, overrides=("train.steps=20",)))
      assert config.optimizer.warmup_of(20) < 20


def test_the_last_of_the_seeds_is_one_that_keys_can_have():
  with pytest.raises(ValueError, match="leave room for 3 seeds below"):
    config_of(Job("heads", overrides=("train.seed=4294967295",)))


@pytest.mark.parametrize(
  ("path", "words"),
  [
    ("no/such/file.txt", "data.path='no/such/file.txt' does not exist"),
    ("no/such/**/*.txt", "matches no file"),
    (" ", "data.path is empty"),
  ],
)
def test_a_path_that_is_not_here_is_found_by_the_check(path, words):
  config = config_of(Job("language_model", overrides=(f"data.path={path}",)))
  with pytest.raises(ValueError, match=words.replace("*", r"\*")):
    configs.check(config)


def test_a_path_that_is_here_passes_the_check(tmp_path):
  (tmp_path / "a.txt").write_text("text")
  for path in (tmp_path, tmp_path / "a.txt", tmp_path / "**/*.txt"):
    configs.check(TextConfig(path=str(path)))


def test_one_and_one_point_zero_are_one_config():
  @dataclasses.dataclass(frozen=True)
  class Decay(Config):
    rate: float = setting(0.1, "of weights", at_least=0)
    steps: int = setting(5, "updates", at_least=0)

  config = Decay(rate=np.int64(1), steps=np.int64(3))
  assert type(config.rate) is float
  assert type(config.steps) is int
  assert configs.to_json(config) == configs.to_json(Decay(1.0, 3))


def test_a_config_that_ties_settings_checks_each_first():
  @dataclasses.dataclass(frozen=True)
  class Tied(Config):
    a: int = setting(4, "divisor", at_least=1)
    b: int = setting(8, "multiple", at_least=1)

    def __post_init__(self):
      super().__post_init__()
      if self.b % self.a:
        raise ValueError("a must divide b")

  with pytest.raises(ValueError, match="a must be at least 1, got 0"):
    Tied(a=0)
  with pytest.raises(ValueError, match="a must divide b"):
    Tied(a=3)


@pytest.mark.parametrize("wrong", [{"at_least": 0, "above": 0}])
def test_a_range_has_one_limit_a_side(wrong):
  with pytest.raises(ValueError, match="one limit on a side"):
    Range(**wrong)


def test_a_warm_up_share_is_never_the_whole_run():
  config = OptimizerConfig(warmup=0.99)
  assert [config.warmup_of(steps) for steps in (1, 2, 100)] == [0, 1, 99]


def test_what_trains_says_that_its_warm_up_outgrows_it():
  @dataclasses.dataclass(frozen=True)
  class Experiment(FitConfig):
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig(steps=20)

  assert Experiment().optimizer.warmup_of(20) == 0
  with pytest.raises(ValueError, match="below the 20 steps of the run, got 20"):
    Experiment(OptimizerConfig(warmup_steps=20))
