"""Experiments run on any mesh, in any number of processes, by flags alone."""

import pytest
from flax import nnx

from attnjax.config import replace_leaves
from attnjax.models import MemoryLM, MemoryLMConfig
from attnjax.runs import MeshConfig, TrainConfig, fit, loss_on, make_model
from attnjax.training import OptimizerConfig, read_metrics
from experiments.language_model.__main__ import main as language_model
from experiments.language_model.config import PRESETS
from experiments.recall_beyond_window.config import VARIANTS
from experiments.recall_task import Batches, TaskConfig, loss, vocabulary
from tests.side_by_side import SideBySide, free_address

ENGLISH = "The cat sat on the mat. A dog ran by the old red barn.\n"
SMALL = {
  "model.width": 16,
  "model.depth": 1,
  "model.heads": 2,
  "model.hidden": 32,
  "data.length": 32,
  "data.batch_size": 8,
  "train.steps": 6,
  "optimizer.warmup_steps": 2,
  "train.evaluate_every": 3,
  "train.log_every": 1,
  "train.checkpoint.every_steps": 3,
  "sample.tokens": 5,
  "yardsticks": False,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  """A directory of small texts."""
  folder = tmp_path_factory.mktemp("texts")
  for i in range(8):
    words = "".join(f"{w}{i} " for w in ENGLISH.split())
    (folder / f"{i}.txt").write_text(ENGLISH * 3 + words * (i + 1))
  return folder


def losses(workdir):
  """The loss of every step and of every evaluation."""
  records = read_metrics(workdir / "metrics.jsonl")
  return {(r["step"], r["split"]): r["loss"] for r in records if "loss" in r}


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
  """The losses of the language model on one device."""
  workdir = tmp_path_factory.mktemp("alone")
  config = replace_leaves(PRESETS["tiny"](), SMALL | {"data.path": str(corpus)})
  language_model(config, workdir)
  return losses(workdir)


@pytest.mark.slow
@pytest.mark.parametrize(
  "mesh",
  [
    {"fsdp": 4, "tensor": 2},
    {"data": 2, "sequence": 4, "layout": "zigzag"},
  ],
  ids=str,
)
def test_the_language_model_on_a_mesh(tmp_path, corpus, alone, mesh):
  leaves = {f"train.mesh.{name}": value for name, value in mesh.items()}
  config = replace_leaves(
    PRESETS["tiny"](), SMALL | {"data.path": str(corpus)} | leaves
  )
  language_model(config, tmp_path)
  assert losses(tmp_path) == pytest.approx(alone, rel=1e-4)
  assert (tmp_path / "sample.txt").exists()  # all of it, to the last figure
  assert (tmp_path / "curves.png").exists()


@pytest.mark.slow
def test_the_language_model_in_two_processes(tmp_path, corpus, alone):
  shared = SMALL | {"train.mesh.data": 0, "train.mesh.fsdp": 2}
  address = free_address()
  flags = [
    *("-m", "experiments.language_model", f"--workdir={tmp_path / 'run'}"),
    *(f"--config.{name}={value}" for name, value in shared.items()),
    f"--config.data.path={corpus}",
    f"--config.train.processes.coordinator={address}",
    "--config.train.processes.count=2",
  ]
  own = [f"--config.train.processes.index={index}" for index in range(2)]
  with SideBySide(address, [[*flags, one] for one in own]) as two:
    said = two.ends(0, 1)
  for code, _, err in said:
    assert code == 0, err
  assert "bits per byte" in said[0][1]
  assert "bits per byte" not in said[1][1]
  assert losses(tmp_path / "run") == pytest.approx(alone, rel=1e-4)


# What a mesh divides is a multiple of its axes.
TASK = TaskConfig(
  keys=11, values=13, length=32, fewest=2, most=5, questions=4, batch_size=8
)


def recall_model(variant, train):
  """A model of a memory, on the mesh of its training."""
  sizes = {"width": 16, "hidden": 32, "depth": 2, "heads": 2, "chunk": 4}
  reach = {"window": 4, "persistent": 2, "segment": 8}
  config = MemoryLMConfig(**sizes | reach | VARIANTS[variant])
  made = lambda: MemoryLM(config, vocabulary(TASK), rngs=nnx.Rngs(0))
  return make_model(made, train)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["window + persistent", "MAC"])
def test_recall_on_a_mesh(tmp_path, variant):
  for name, mesh in (
    ("alone", {}),
    ("shared", {"fsdp": 2, "sequence": 2, "tensor": 2}),
  ):
    train = TrainConfig(
      steps=3, evaluate_every=0, log_every=1, mesh=MeshConfig(**mesh)
    )
    fit(
      recall_model(variant, train),
      loss,
      Batches(TASK, 0),
      workdir=tmp_path / name,
      experiment="recall",
      identity={},
      optimizer=OptimizerConfig(1e-2, warmup_steps=1),
      train=train,
    )
  shared, alone = (losses(tmp_path / name) for name in ("shared", "alone"))
  assert len(alone) == 3
  assert shared == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize(
  ("choice", "message"),
  [
    ({"layout": "zigzag"}, "mesh.layout must be 'contiguous', got 'zigzag'"),
    (
      {"attention": "ulysses"},
      "mesh.attention must be 'ring', got 'uly",
    ),
  ],
)
def test_an_attention_that_a_model_does_not_take_is_refused(choice, message):
  config = MeshConfig(data=2, sequence=4, **choice)
  model = recall_model("window + persistent", TrainConfig())
  with pytest.raises(ValueError, match=message):
    loss_on(config.make(), config, model, loss)
