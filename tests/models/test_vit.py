"""Laws of the vision transformer, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax.models import ViT, ViTConfig
from attnjax.models.vit import patches
from attnjax.patterns import attention_rollout
from tests import drawn
from tests.few import few

SIZES = {"height": 6, "breadth": 4, "channels": 3, "patch": 2, "width": 12}
SIZES |= {"depth": 3, "heads": 2, "hidden": 7}
B, PLACES, V = 5, 6, 11
(IMAGES,) = drawn.arrays((B, 6, 4, 3))
MEAN = {"pool": "mean", "positions": "sinusoidal", "norm": "rms"}


def vit(**options):
  config = ViTConfig(**(SIZES | options))
  classes = 0 if config.pool == "none" else V
  return drawn.module(lambda: ViT(config, classes, rngs=nnx.Rngs(0)))


@jax.jit
def forward(model, images):
  return model(images)


@pytest.fixture(
  scope="module", params=few([{}, MEAN], {}), ids=["token", "mean"]
)
def model(request):
  return vit(**request.param)


def moved(images):
  """The same patches in another order."""
  return jnp.roll(images, 2, axis=1)


def test_patches_are_a_convolution_without_overlap():
  config = ViTConfig(**SIZES)
  (kernel,) = drawn.arrays((2, 2, 3, 13))
  expected = jax.lax.conv_general_dilated(
    IMAGES, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  got = patches(IMAGES, config) @ kernel.reshape((12, 13))[None]
  np.testing.assert_allclose(got, expected.reshape((B, 6, 13)), atol=1e-5)


def test_an_image_is_the_same_in_any_company(model):
  together = forward(model, IMAGES)
  assert together.shape == (B, V)
  np.testing.assert_allclose(together[3], forward(model, IMAGES[3]), atol=1e-5)


def test_without_positions_it_sees_a_bag_of_patches():
  for pool in ("token", "mean"):
    for kind, same in (("none", True), ("learned", False)):
      model = vit(pool=pool, positions=kind)
      before, after = forward(model, IMAGES), forward(model, moved(IMAGES))
      assert np.allclose(before, after, atol=1e-4) == same, (pool, kind)


def test_sinusoids_tell_every_patch_apart():
  model = vit(**MEAN)
  codes = np.asarray(model._positions(model.config.grid))
  assert codes.shape == (PLACES, 12)
  distance = np.abs(codes[:, None] - codes[None]).max(-1)
  assert (distance + np.eye(PLACES) > 0.1).all()
  # Patches of one row share the half of the row, those of a column the other.
  grid = codes.reshape(3, 2, 12)
  assert (grid[:, :1, :6] == grid[:, 1:, :6]).all()
  assert (grid[:1, :, 6:] == grid[1:, :, 6:]).all()


def test_every_pixel_has_a_say(model):
  gradient = jax.grad(lambda x: (model(x) ** 2).sum())
  assert (np.abs(jax.jit(gradient)(IMAGES)) > 0).all()


def test_weights_are_of_every_layer(model):
  run = jax.jit(lambda m: m(IMAGES, aux=("weights", "entropy")))
  logits, aux = run(model)
  np.testing.assert_allclose(logits, forward(model, IMAGES), atol=1e-5)
  tokens = model.config.tokens
  assert aux.weights.shape == (3, B, 2, tokens, tokens)
  assert aux.entropy.shape == (3, B, 2, tokens)
  share = attention_rollout(aux.weights)
  np.testing.assert_allclose(share.sum(-1), 1, atol=1e-5)


def test_dropout_is_a_function_of_its_key_and_of_training_alone():
  model = vit(dropout=0.5)
  run = jax.jit(lambda m, key: m(IMAGES, dropout_key=key))
  one, two = (run(model, jax.random.key(seed)) for seed in (1, 2))
  np.testing.assert_array_equal(one, run(model, jax.random.key(1)))
  assert np.abs(one - two).max() > 0.05
  np.testing.assert_array_equal(forward(model, IMAGES), forward(vit(), IMAGES))


def test_factors_of_zero_leave_the_embeddings():
  model = vit(pool="none", layer_scale=1.0)
  for factor in (model.blocks.attention_scale, model.blocks.feed_forward_scale):
    assert factor.shape == (model.config.depth, model.config.width)
    factor[...] = 0.0 * factor[...]
  expected = model.norm(model._embed(IMAGES))
  np.testing.assert_allclose(forward(model, IMAGES), expected, atol=1e-6)


def test_the_class_token_may_have_a_position():
  plain, placed = vit(), vit(token_position=True)
  rows = placed.positions[...]
  assert rows.shape[0] == plain.positions.shape[0] + 1
  token = placed.token[...] + rows[0]
  plain.positions[...], plain.token[...] = rows[1:], token
  for name in ("embed", "blocks", "norm", "readout"):
    setattr(plain, name, getattr(placed, name))
  np.testing.assert_allclose(
    forward(plain, IMAGES), forward(placed, IMAGES), atol=1e-5
  )


def test_an_image_of_another_size_has_resampled_positions():
  model = vit(resample=True, pool="none")
  positions = model.positions
  # One position everywhere is the same at every size.
  positions[...] = jnp.broadcast_to(positions[...][:1], positions.shape)
  wide = jnp.concatenate([IMAGES, IMAGES], axis=-2)
  got, once = model._embed(wide), model._embed(IMAGES)
  assert got.shape[-2] == 2 * (once.shape[-2] - 1) + 1
  np.testing.assert_allclose(got[:, :2], once[:, :2], atol=1e-6)
  with pytest.raises(ValueError, match="or other multiples of 2 pixels"):
    model(wide[..., :-1, :])


@pytest.mark.usefixtures("as_a_user")
def test_pixels_of_a_file_are_no_floats():
  with pytest.raises(ValueError, match=r"floats, got uint8; .*ImageProcessor"):
    vit()(np.zeros((1, 6, 4, 3), np.uint8))


@pytest.mark.slow
def test_learns_a_few_images():
  config = ViTConfig(**SIZES)
  make = jax.jit(lambda key: ViT(config, V, rngs=nnx.Rngs(key)))
  labels = jnp.arange(B)
  model, optimizer = make(jax.random.key(0)), optax.adam(1e-2)
  assert not np.asarray(forward(model, IMAGES)).any()  # the loss is ln V

  def loss(model):
    each = optax.softmax_cross_entropy_with_integer_labels(
      model(IMAGES), labels
    )
    return each.mean()

  def step(carry, _):
    value, grads = jax.value_and_grad(loss)(carry[0])
    # Optax raises a float to the power of a count.
    with jax.numpy_dtype_promotion("standard"):
      updates, state = optimizer.update(grads, carry[1])
    return (optax.apply_updates(carry[0], updates), state), value

  run = jax.jit(lambda carry: jax.lax.scan(step, carry, None, length=50))
  (model, _), losses = run((model, optimizer.init(model)))
  assert losses[-1] < 0.05
  np.testing.assert_array_equal(forward(model, IMAGES).argmax(-1), labels)


@pytest.mark.parametrize("shape", [(B, 4, 6, 3), (B, 6, 4, 1), (6, 4)])
def test_images_of_another_size(shape, as_a_user):
  words = r"images must have height, breadth and channels \[6, 4, 3\], got"
  with pytest.raises(ValueError, match=words):
    vit()(jnp.ones(shape))


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"patch": 4}, "patch=4 must divide the image of 6 x 4 pixels"),
    ({"heads": 5}, "heads=5 must divide width=12"),
    ({"positions": "rotary"}, "positions must be one of .*none.*'rotary'"),
    ({"pool": "max"}, "pool must be one of .*mean.*'max'"),
    ({"width": 6, "positions": "sinusoidal"}, "a multiple of 4, got 6"),
    ({"channels": 0}, "channels must be at least 1, got 0"),
    ({"token_position": True, "pool": "mean"}, "needs learned positions and a"),
  ],
)
def test_a_config_that_cannot_be(options, words):
  with pytest.raises(ValueError, match=words):
    ViTConfig(**(SIZES | options))
