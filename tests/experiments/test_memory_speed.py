"""The comparison of memories as a user runs it, and that it compares likes."""

import csv
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.config import replace_leaves
from experiments.memory_lm.config import PRESETS as MEMORY_LM
from experiments.memory_speed import peers
from experiments.memory_speed.__main__ import main
from experiments.memory_speed.config import (
  PRESETS,
  ChunkedConfig,
  LayerConfig,
  MemorySpeedConfig,
  ModelConfig,
)
from experiments.memory_speed.layer import LayerCase, arrays, layer

HAS_TITANS = importlib.util.find_spec("titans_pytorch") is not None
SMALL = {
  "layer.head_width": 3,
  "layer.sizes": ("2x6",),
  "layer.chunks": (3,),
  "model.architectures": ("gated delta net",),
  "model.lengths": (7,),
  "model.parameters": 4000,
  "model.vocabulary": 11,
  "model.sizes.width": 8,
  "model.sizes.depth": 1,
  "model.sizes.heads": 2,
  "chunked.rules": ("gated_delta_net",),
  "chunked.sizes": ("1x6",),
  "chunked.chunk": 3,
  "chunked.head_width": 3,
  "rounds.seconds": 0.0,
  "rounds.least": 2,
}


def _rows(path):
  with path.open(newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


@pytest.fixture
def few_cases(monkeypatch):
  """Of the layer, the one case that compiles the least."""
  every = peers.cases_of
  monkeypatch.setattr(
    peers,
    "cases_of",
    lambda config: [every(config)[-1]],
  )


@pytest.mark.slow
def test_every_contender_is_a_row(few_cases, tmp_path, monkeypatch, typed):
  # The other process finds a PyTorch that cannot be imported.
  fake = tmp_path / "fake"
  fake.mkdir()
  (fake / "torch.py").write_text("raise ImportError('No module torch')")
  monkeypatch.setenv("PYTHONPATH", str(fake))
  ended = typed("memory_speed", tmp_path, SMALL)
  assert ended.code == 0, ended.err
  ours, theirs = _rows(tmp_path / "layer.csv")
  assert (ours["contender"], ours["status"]) == ("attnjax", "ok")
  assert float(ours["tokens_per_second"]) > 0
  assert theirs["contender"] == "titans_pytorch"
  assert "not run: pip install 'attnjax[torch]'" in theirs["status"]
  (delta,) = _rows(tmp_path / "model.csv")
  assert delta["status"] == "ok", delta
  assert abs(int(delta["parameters"]) - 4000) <= 8
  assert float(delta["microseconds_per_token"]) > 0
  assert int(delta["state_bytes"]) > 0
  # Both implementations agree, or the status would say so.
  rows = _rows(tmp_path / "chunked.csv")
  assert [row["mode"] for row in rows] == [
    *2 * ["forward"],
    *2 * ["forward_backward"],
  ]
  assert all(row["status"] == "ok" for row in rows), rows
  assert "not run: pip install" in (tmp_path / "table.md").read_text()
  assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")


def test_a_chunk_that_steps_once_has_the_gates_of_its_mean():
  # Tokens that differ, and the same tokens in another order within chunks:
  # what a whole chunk left behind is the same, and the next one reads it.
  case = LayerCase(1, 6, 3, "chunk", heads=2, head_width=3)
  given = jax.tree.map(jnp.asarray, arrays(case, 5))
  x = given["x"]
  turned = jnp.concatenate([x[:, jnp.array([2, 0, 1])], x[:, 3:]], axis=1)
  call = jax.jit(lambda x: layer(case, given, x))
  np.testing.assert_allclose(
    call(x)[:, 3:], call(turned)[:, 3:], rtol=0, atol=1e-6
  )
  assert not np.allclose(call(x)[:, :3], call(turned)[:, :3])


def test_every_preset_is_a_whole_config():
  for make in PRESETS.values():
    config = make()
    cases = peers.cases_of(config)
    assert len(cases) == len(set(cases))
    # Their default: all gradients at the weights the sequence began with.
    assert any(case.chunk == case.length for case in cases)
    assert sum(case.residual for case in cases) == 2


def test_the_models_have_the_sizes_of_the_memory_language_models():
  """Experiments do not import one another: the numbers are written twice."""
  sizes = PRESETS["base"]().model.sizes
  assert sizes == MEMORY_LM["tiny"]().model


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: LayerConfig(sizes=("16",)), "expected rows x tokens"),
    (lambda: LayerConfig(chunks=(7,)), "each must divide the tokens"),
    (lambda: LayerConfig(heads=0), "heads must be at least 1"),
    (lambda: ModelConfig(lengths=(0,)), "lengths must be at least 1"),
    (lambda: ModelConfig(parameters=0), "parameters must be at least 1"),
    (lambda: ChunkedConfig(chunk=0), "chunk must be at least 1"),
    (lambda: MemorySpeedConfig(parts=()), "expected one or more"),
    (lambda: MemorySpeedConfig(memory_limit_gb=0.0), "must be above 0"),
  ],
)
def test_a_config_that_makes_no_sense_is_refused(make, words):
  with pytest.raises(ValueError, match=words):
    make()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TITANS, reason="needs attnjax[torch]")
def test_titans_pytorch_computes_what_we_compute(tmp_path):
  small = SMALL | {"parts": ("layer",), "layer.sizes": ("2x6", "1x12")}
  main(replace_leaves(PRESETS["tiny"](), small), tmp_path)
  rows = _rows(tmp_path / "layer.csv")
  module = [row for row in rows if row["contender"] == "attnjax.nn"]
  assert [row["status"] for row in module] == ["ok", "ok"]
  theirs = [row for row in rows if row["contender"] == "titans_pytorch"]
  assert len(theirs) == 7
  for row in theirs:
    # Status ok also says that output and gradients agree with ours.
    assert row["status"] == "ok", row
    assert int(row["rounds"]) == 2
