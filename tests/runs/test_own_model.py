"""A model of somebody else trains on a ring by flags, with attnjax alone."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import nn, runs
from tests.children import environment

PROGRAM = Path(__file__).with_name("own_model.py")


def own(tmp_path, *flags, fails=False):
  """What the program prints, run in a directory of its own."""
  shutil.copy(PROGRAM, tmp_path / "own.py")
  done = subprocess.run(
    [sys.executable, "own.py", *flags],
    cwd=tmp_path,
    env=environment(devices=4),
    capture_output=True,
    text=True,
  )
  assert (done.returncode != 0) == fails, done.stderr
  return done.stderr if fails else done.stdout


def losses(said):
  (line,) = [x for x in said.splitlines() if x.startswith("losses")]
  return [float(x) for x in line.split()[1:]]


@pytest.mark.slow
def test_an_own_model_trains_on_a_ring_by_the_same_flags(tmp_path):
  alone = own(tmp_path, "--workdir=alone")
  assert "attends with attnjax.attend" in alone
  assert "attends with ring" not in alone

  ring = own(
    tmp_path,
    "--workdir=ring",
    "--config.train.mesh.data=0",
    "--config.train.mesh.sequence=2",
    "--config.train.mesh.attention=ring",
    "--config.train.mesh.layout=zigzag",
  )
  assert "attends with ring" in ring
  assert "attends with attnjax.attend" not in ring
  assert losses(ring) == pytest.approx(losses(alone), rel=1e-4)


def test_a_model_without_attention_gets_no_other():
  model = nnx.Linear(3, 5, rngs=nnx.Rngs(0))
  with pytest.raises(ValueError, match="must have a field `attend`"):
    nn.with_attend(model, nn.MultiHeadAttention)


@dataclasses.dataclass(frozen=True)
class Other:
  """Another attention."""

  def __call__(self, query, key, value, **options):
    del key, options
    return query + value.sum()


def test_another_attention_shares_the_parameters_under_jit():
  layer = nn.MultiHeadAttention(6, heads=3, rngs=nnx.Rngs(0))
  call = jax.jit(lambda layer, x: nn.with_attend(layer, Other())(x))
  x = jax.random.normal(jax.random.key(0), (2, 5, 6))
  found, usual = call(layer, x), layer(x)
  assert found.shape == usual.shape
  assert not jnp.allclose(found, usual)
  np.testing.assert_array_equal(layer(x), usual)  # the first one is as it was


def test_old_names_of_training_say_where_they_are():
  from attnjax import training

  for name in ("MeshConfig", "TrainConfig", "FitConfig", "fit", "Fitted"):
    with pytest.warns(DeprecationWarning, match=f"use attnjax.runs.{name}"):
      assert getattr(training, name) is getattr(runs, name)
  with pytest.warns(DeprecationWarning, match="use attnjax.runs.MeshConfig.m"):
    mesh = training.make_mesh(runs.MeshConfig(data=0, tensor=2))
  assert dict(mesh.shape) == {"data": 4, "fsdp": 1, "tensor": 2, "sequence": 1}
  with pytest.raises(AttributeError, match="no attribute 'fitt'"):
    training.fitt
