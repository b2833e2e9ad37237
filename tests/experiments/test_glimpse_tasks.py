"""The glimpse experiment, a few steps of it: it shows what it promises."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.config import replace_leaves
from experiments.glimpse import digits, mosaic, places
from experiments.glimpse.__main__ import main
from experiments.glimpse.config import PRESETS

SMALL = {
  "seeds": 1,
  "places.rows": 64,
  "places.heldout": 32,
  "places.batch_size": 8,
  "places.train.steps": 4,
  "places.train.evaluate_every": 4,
  "mosaic.rows": 64,
  "mosaic.heldout": 32,
  "mosaic.hidden": 5,
  "mosaic.batch_size": 8,
  "mosaic.train.steps": 4,
  "mosaic.optimizer.warmup_steps": 1,
}


def config(preset="tiny", **leaves):
  return replace_leaves(PRESETS[preset](), SMALL | leaves)


@pytest.fixture(scope="module")
def real():
  """Real digits; scikit-learn is of the extra `vision`."""
  pytest.importorskip("sklearn", reason="pip install 'attnjax[vision]'")
  return digits.load_digits()


@pytest.mark.slow
def test_tiny_reaches_what_it_claims(tmp_path):
  found = {
    name: places.run(PRESETS["tiny"]().places, name, 0, tmp_path)
    for name in places.SOFT
  }
  blind = found.pop("no context")
  assert blind.error == pytest.approx(places.BLIND, rel=0.05)
  for name, result in found.items():
    assert result.error < 1e-4, name
    assert result.gap < 0.05
    assert result.right == 5


@pytest.mark.slow
def test_the_notes_task_writes_what_it_promises(tmp_path, typed):
  ended = typed("glimpse", tmp_path / "run", "--preset=published", SMALL)
  assert ended.code == 0, ended.err
  out = ended.out
  for name in places.SOFT:
    assert f"| {name}" in out
  assert "score function" not in out
  assert "1/15 = 0.0667" in out
  saved = json.loads((tmp_path / "run/result.json").read_text())
  assert list(saved) == ["places"]
  assert len(saved["places"]["softmax"]) == 1
  assert saved["places"]["softmax"][0]["error"] > 0
  for name in ("effective.png", "curves.png"):
    assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
  # Done already: the same numbers again, and no step.
  again = typed("glimpse", tmp_path / "run", "--preset=published", SMALL)
  assert saved == json.loads((tmp_path / "run/result.json").read_text())
  assert "nothing to do" in again.out + again.err


@pytest.mark.slow
def test_the_mosaics_write_what_they_promise(real, tmp_path, capsys):
  main(config(tasks="mosaic"), tmp_path / "run")
  out = capsys.readouterr().out
  assert "which digit stands at this place?" in out
  assert "where does this digit stand?" in out
  saved = json.loads((tmp_path / "run/result.json").read_text())
  assert list(saved) == ["place", "digit"]
  for question in saved:
    assert list(saved[question]) == list(mosaic.VARIANTS)
    sizes = {k: runs[0]["parameters"] for k, runs in saved[question].items()}
    assert sizes["glimpse"] <= sizes["concatenated"] < 1.3 * sizes["glimpse"]
    picture = (tmp_path / "run" / f"{question}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize("variant", places.HARD)
def test_every_hard_variant_moves_the_logits(variant):
  small = config().places
  net = places.network(small, variant, 0)
  batch = jax.tree.map(jnp.asarray, places.examples(16, (0, 0))[:16])
  loss = places.Loss(variant)
  total = lambda net: loss(net, batch, jax.random.key(0))[0]
  grad = jax.jit(jax.grad(total))(net)
  assert np.abs(grad.context.embedding[...]).max() > 0
  # Examined it takes the likeliest place, and no key.
  assert float(loss(net, batch, None)[0]) > 0


def test_the_least_error_without_the_context():
  examples = places.examples(200_000, (7, 0))[np.arange(200_000)]
  design = np.concatenate(
    [examples["x"], np.ones((200_000, 1), np.float32)], axis=1
  )
  _, residual, *_ = np.linalg.lstsq(design, examples["target"])
  assert residual[0] / 200_000 == pytest.approx(places.BLIND, rel=0.01)


def test_mosaics_are_what_their_labels_say(real):
  rng = np.random.default_rng(0)
  made = digits.arrange(real, 50, rng, distinct=True)
  tiles = digits.patches(made.images, digits.SIDE)
  assert tiles.shape == (50, 4, 64)
  known = {x.tobytes(): y for x, y in zip(*real, strict=True)}
  for row, labels in zip(tiles, made.labels, strict=True):
    assert len(set(labels)) == 4
    assert [known[tile.tobytes()] for tile in row] == labels.tolist()
  # Quadrants and patches are numbered as one reads.
  page = np.arange(256, dtype=np.float32).reshape(1, 16, 16)
  cut = digits.patches(page, 4)
  np.testing.assert_array_equal(cut[0, 1].reshape(4, 4), page[0, :4, 4:8])
  np.testing.assert_array_equal(cut[0, 4].reshape(4, 4), page[0, 4:8, :4])


@pytest.mark.parametrize("question", mosaic.QUESTIONS)
def test_questions_and_answers_fit(real, question):
  small = config().mosaic
  sides = mosaic.load(small)
  train, held = ({image.tobytes() for image in side.images} for side in sides)
  assert not train & held
  rng = np.random.default_rng(0)
  made = digits.arrange(sides.heldout, 40, rng, distinct=question == "digit")
  rows = mosaic.ask(made, question, small, rng)[np.arange(40)]
  at, label = rows["context"], rows["answer"]
  if question == "digit":
    at, label = label, at
  np.testing.assert_array_equal(made.labels[np.arange(40), at], label)


@pytest.mark.parametrize(
  ("leaves", "words"),
  [
    ({"seeds": 0}, "seeds must be at least 1"),
    ({"mosaic.hidden": 0}, "hidden must be at least 1"),
    ({"mosaic.patch": 3}, "1, 2, 4, 8"),
    ({"tasks": "numbers"}, "both, places, mosaic"),
    ({"mosaic.heldout_digits": 1797}, "leaves 0 in the split 'train'"),
    ({"mosaic.heldout_digits": 3}, "leaves 3 in the split 'heldout'"),
  ],
)
def test_bad_configs_say_so(real, tmp_path, leaves, words):
  with pytest.raises(ValueError, match=words):
    main(config(**({"tasks": "mosaic"} | leaves)), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_the_seed_of_a_run_is_counted_from_train_seed(monkeypatch, tmp_path):
  seen = []

  def caught(*args, train, **keywords):
    seen.append(train.seed)
    raise KeyboardInterrupt

  monkeypatch.setattr(places.runs, "fit", caught)
  for start in (0, 7):
    asked = config(**{"places.train.seed": start}).places
    with pytest.raises(KeyboardInterrupt):
      places.run(asked, places.SOFT[0], 2, tmp_path)
  assert seen == [2, 9]
