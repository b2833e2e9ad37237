"""What heads attend to is recorded while a model trains."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import masks, runs, training, viz
from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  EncoderDecoder,
  EncoderDecoderConfig,
  Seq2Seq,
  Seq2SeqConfig,
)
from attnjax.runs import entry
from attnjax.viz.pixels import head_pixels
from attnjax.viz.style import SHADES

TOKENS = jnp.arange(7)[None] % 5


def model(seed=0):
  config = DecoderConfig(width=8, depth=2, heads=2, hidden=16)
  return DecoderLM(config, 5, rngs=nnx.Rngs(seed))


def batches(step):
  del step
  return {
    "tokens": np.arange(14).reshape(2, 7) % 5,
    "targets": np.arange(1, 15).reshape(2, 7) % 5,
    "weights": np.ones((2, 7), np.float32),
    "positions": np.tile(np.arange(7), (2, 1)),
    "segment_ids": np.zeros((2, 7), np.int32),
  }


@pytest.mark.slow
def test_entropies_and_pictures_of_a_training_are_in_both_files(tmp_path):
  loss = runs.next_token_loss
  fitted = runs.fit(
    model(),
    loss,
    batches,
    workdir=tmp_path,
    experiment="watched",
    identity={},
    optimizer=training.OptimizerConfig(0.01, warmup_steps=0),
    train=runs.TrainConfig(steps=4, evaluate_every=2),
    evaluate=training.make_evaluate(loss).on([batches(0)]),
    observe=runs.AttentionWatch(TOKENS),
  )
  records = training.read_metrics(tmp_path / "metrics.jsonl")
  seen = [r for r in records if r["split"] == "attention"]
  assert [r["step"] for r in seen] == [2, 4]
  assert {name for name in seen[0] if "/" in name} == {
    f"entropy/layer{n}/head{h}" for n in (0, 1) for h in (0, 1)
  }
  # As viz says of the trained model.
  numbers = viz.head_statistics(viz.capture(fitted.params, TOKENS))
  last = numbers.at(layer=1, head=1, statistic="entropy")
  assert seen[-1]["entropy/layer1/head1"] == pytest.approx(
    float(last), abs=1e-6
  )

  events = b"".join(
    x.read_bytes() for x in (tmp_path / "tensorboard").glob("*")
  )
  for tag in ("entropy/layer1/head1", "attention/layer0", "eval/loss"):
    assert tag.encode() in events, tag
  assert events.count(b"\x89PNG") == 4  # two layers, twice
  for tag in ("gradient_norm", "learning_rate", "tokens_per_second", "loss"):
    assert f"train/{tag}".encode() in events, tag


def squares(model, batch, key):
  del key
  x = model["scale"] * batch["x"]
  out = attnjax.attend(x, x, x) if "attends" in batch else x
  return (out**2).sum(), jnp.float32(1)


@pytest.mark.slow
@pytest.mark.parametrize("attends", [True, False])
def test_any_training_is_watched_where_it_is_asked_to_be(
  attends, tmp_path, capsys
):
  batch = {"x": np.ones((5, 3, 2, 4), np.float32)}
  if attends:
    batch["attends"] = np.ones(5)
  runs.fit(
    {"scale": jnp.float32(2)},
    squares,
    lambda step: batch,
    workdir=tmp_path,
    experiment="watched",
    identity={},
    optimizer=training.OptimizerConfig(0.01, warmup_steps=0, weight_decay=0.0),
    train=runs.TrainConfig(steps=2, watch=True),
    evaluate=training.make_evaluate(squares).on([batch]),
  )
  records = training.read_metrics(tmp_path / "metrics.jsonl")
  seen = [r for r in records if r["split"] == "attention"]
  if not attends:
    assert seen == []
    assert "this model calls no attention" in capsys.readouterr().err
    return
  # Queries that see three keys alike.
  assert seen == [
    {"step": 2, "split": "attention"}
    | {f"entropy/layer0/head{h}": pytest.approx(np.log(3)) for h in (0, 1)}
  ]


def told_lengths(model, batch, key):
  """A loss of two layers that is told how long each row is."""
  del key
  x = model["scale"] * batch["x"]
  real = jnp.arange(x.shape[1])[None] < batch["lengths"][:, None]
  for _ in range(2):
    x = x + attnjax.attend(x, x, x, mask=masks.lengths(key=batch["lengths"]))
  return jnp.where(real[..., None, None], x**2, 0).sum(), jnp.float32(1)


@pytest.mark.slow
def test_padding_is_no_part_of_the_entropies_of_a_loss():
  x = np.random.default_rng(0).normal(size=(2, 7, 2, 4)).astype(np.float32)
  x[:, 4:] *= 5  # such queries look elsewhere
  model, lengths = {"scale": jnp.float32(2)}, np.array([4, 6], np.int32)
  watch = lambda x: runs.AttentionWatch.of_loss(
    told_lengths, {"x": x, "lengths": lengths}
  )
  found, cut = watch(x)(model), watch(x[:, :4])(model)
  assert found.scalars == pytest.approx(cut.scalars, abs=1e-6)
  # All queries would have said something else.
  every = viz.head_statistics(
    viz.capture(told_lengths, model, {"x": x, "lengths": lengths}, None),
    batch=0,
  )
  name = "entropy/layer0/head1"
  other = every.at(layer=0, head=1, statistic="entropy")
  assert abs(found.scalars[name] - other) > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pronunciation", "translation"])
def test_padding_of_both_sentences_is_left_out(name):
  if name == "pronunciation":
    from experiments.pronunciation.task import loss

    config = Seq2SeqConfig(width=8, hidden=12, depth=1)
    model = Seq2Seq(config, 11, 13, rngs=nnx.Rngs(0))
  else:
    from experiments.translation.task import loss

    config = EncoderDecoderConfig(
      width=8, heads=2, hidden=16, encoder_depth=2, decoder_depth=2
    )
    model = EncoderDecoder(config, 11, 13, rngs=nnx.Rngs(0))
  draws = np.random.default_rng(0)
  source, inputs = draws.integers(3, 11, (2, 3, 9)).astype(np.int32)
  batch = {"source": source, "inputs": inputs, "targets": inputs[:, ::-1]}
  weights = (np.arange(9) < 4).astype(np.float32) * np.ones((3, 1), np.float32)
  batch |= {"weights": weights, "source_lengths": np.full(3, 6, np.int32)}
  short = {
    k: x[:, :6] if k == "source" else x[:, :4] if x.ndim > 1 else x
    for k, x in batch.items()
  }
  found, cut = (
    runs.AttentionWatch.of_loss(loss, x)(model).scalars for x in (batch, short)
  )
  assert found == pytest.approx(cut, abs=1e-5)


def test_what_is_watched_is_seen_beside_evaluations(tmp_path):
  with pytest.raises(ValueError, match=r"train\.watch .* give fit evaluate="):
    runs.fit(
      {"scale": jnp.float32(2)},
      squares,
      lambda step: {"x": np.ones((5, 3, 2, 4), np.float32)},
      workdir=tmp_path,
      experiment="watched",
      identity={},
      optimizer=training.OptimizerConfig(),
      train=runs.TrainConfig(steps=2, watch=True),
    )


@pytest.mark.slow
def test_one_program_serves_all_models_of_a_shape(monkeypatch):
  from attnjax.viz import captured

  traced, trace = [], captured.trace
  counting = lambda *args, **kw: traced.append(1) or trace(*args, **kw)
  monkeypatch.setattr(captured, "trace", counting)
  watch = runs.AttentionWatch(TOKENS)
  found = [watch(model(seed)).scalars for seed in (0, 1)]
  assert len(traced) == 1
  assert found[0] != found[1]


def test_a_pixel_is_the_largest_of_the_weights_under_it():
  weights = np.zeros((2, 300, 300))
  weights[0, 151, 7] = 0.5
  found = head_pixels(weights)
  assert found.shape == (96, 195, 3)
  dark = [int(SHADES[-1][i : i + 2], 16) for i in (1, 3, 5)]
  (place,) = np.argwhere((found == dark).all(-1))
  assert place.tolist() == [151 * 96 // 300, 7 * 96 // 300]
  assert (found[:, 99:] == 255).all()
  with pytest.raises(ValueError, match="H T S"):
    head_pixels(np.ones((2, 2)))


def test_the_flag_traces_every_training_of_an_experiment():
  from experiments.heads.config import PRESETS

  config = entry.profiled(PRESETS["tiny"](), 7)
  assert config.train.profile_steps == 7
  assert json.dumps(config.train.steps)
  with pytest.raises(ValueError, match="profile: this experiment has no"):
    entry.profiled(training.ProcessesConfig(), 7)
