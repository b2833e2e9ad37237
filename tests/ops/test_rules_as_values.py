"""Rules that are made alike are equal, hash alike and are shown as typed."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import masks, nn, normalizers, score_mods, scoring
from attnjax.models import DecoderConfig, DecoderLM


def late(b, h, q, k):
  return q > 2


def shifted(logit, b, h, q, k, by=0):
  return logit + by


# Each as one types it, and as it is shown.
WITHOUT_ARRAYS = {
  "full()": masks.full,
  "causal()": masks.causal,
  "sliding_window(left=2)": lambda: masks.sliding_window(2),
  "sliding_window(left=2, right=1)": lambda: masks.sliding_window(2, 1),
  "dilated(3)": lambda: masks.dilated(3),
  "chunked(4)": lambda: masks.chunked(4),
  "prefix(5)": lambda: masks.prefix(5),
  "lengths(query=2, key=3)": lambda: masks.lengths(query=2, key=3),
  "lengths(key=3)": lambda: masks.lengths(key=3),
  "from_fn(late)": lambda: masks.from_fn(late),
  "causal() & sliding_window(left=2)": lambda: (
    masks.causal() & masks.sliding_window(left=2)
  ),
  "(causal() | full()) & ~dilated(2)": lambda: (
    (masks.causal() | masks.full()) & ~masks.dilated(2)
  ),
  "full() | (causal() & ~(full() | prefix(1)))": lambda: (
    masks.full() | (masks.causal() & ~(masks.full() | masks.prefix(1)))
  ),
  "full() & causal() & prefix(2)": lambda: (
    masks.full() & masks.causal() & masks.prefix(2)
  ),
  "full() & (causal() & prefix(2))": lambda: (
    masks.full() & (masks.causal() & masks.prefix(2))
  ),
  "softmax()": normalizers.softmax,
  "softmax(sink=0.5)": lambda: normalizers.softmax(sink=0.5),
  "softmax_plus_one()": normalizers.softmax_plus_one,
  "sigmoid()": normalizers.sigmoid,
  "sigmoid(bias=-2.0)": lambda: normalizers.sigmoid(-2.0),
  "top_k(3)": lambda: normalizers.top_k(3),
  "dot()": scoring.dot,
  "scaled_dot()": scoring.scaled_dot,
  "scaled_dot(scale=0.5)": lambda: scoring.scaled_dot(0.5),
  "cosine(0.1)": lambda: scoring.cosine(0.1),
  "gaussian(2.0)": lambda: scoring.gaussian(2.0),
  "softcap(30.0)": lambda: score_mods.softcap(30.0),
  "compose(softcap(30.0), from_fn(shifted, 2))": lambda: score_mods.compose(
    score_mods.softcap(30.0), score_mods.from_fn(shifted, 2)
  ),
}
TABLE = np.ones((3, 5), bool)
WITH_ARRAYS = {
  "lengths(key=[2, 3])": lambda: masks.lengths(key=[2, 3]),
  "segments([0, 0, 1])": lambda: masks.segments([0, 0, 1]),
  "segments([0], [1])": lambda: masks.segments([0], [1]),
  "dense(bool[3,5])": lambda: masks.dense(TABLE),
  "causal() & bool[3,5]": lambda: masks.causal() & TABLE,
  "(bool[3,5] | prefix(1)) & full()": lambda: (
    ((masks.full() & TABLE).right | masks.prefix(1)) & masks.full()
  ),
  "alibi([0.5, 0.25])": lambda: score_mods.alibi(jnp.array([0.5, 0.25])),
  "relative_bias(float32[32,4])": lambda: score_mods.relative_bias(
    jnp.ones((32, 4))
  ),
  "softmax(sink=float32[9])": lambda: normalizers.softmax(sink=jnp.ones(9)),
  "general(float32[3,3])": lambda: scoring.general(jnp.eye(3)),
}


@pytest.mark.parametrize("text", WITHOUT_ARRAYS)
def test_made_alike_is_equal_and_hashes_alike(text):
  one, other = WITHOUT_ARRAYS[text](), WITHOUT_ARRAYS[text]()
  assert one == other
  assert hash(one) == hash(other)
  assert copy.deepcopy(one) == one
  others = [make() for name, make in WITHOUT_ARRAYS.items() if name != text]
  assert one not in others
  assert one != None  # noqa: E711


@pytest.mark.parametrize("text", [*WITHOUT_ARRAYS, *WITH_ARRAYS])
def test_is_shown_as_typed(text):
  made = (WITHOUT_ARRAYS | WITH_ARRAYS)[text]()
  assert repr(made) == text
  leaves, tree = jax.tree.flatten(made)
  assert repr(jax.tree.unflatten(tree, leaves)) == text


@pytest.mark.parametrize("text", WITH_ARRAYS)
def test_what_captures_arrays_says_why_it_does_not_compare(text):
  one, other = WITH_ARRAYS[text](), WITH_ARRAYS[text]()
  assert one == one
  assert one != masks.chunked(9)
  for compare in (hash, lambda x: x == other):
    with pytest.raises(TypeError, match="captures arrays: it has no hash"):
      compare(one)


@pytest.mark.usefixtures("as_a_user")
def test_numbers_that_differ_in_kind_are_no_equals():
  assert scoring.gaussian(1) != scoring.gaussian(1.0)
  assert masks.prefix(1) != masks.prefix(2)
  assert masks.from_fn(late) != masks.from_fn(shifted)


def test_a_static_argument_is_traced_once():
  traced = []

  def run(x, mask, normalizer, mod):
    traced.append(1)
    options = {"mask": mask, "normalizer": normalizer, "score_mod": mod}
    return attnjax.attend(x, x, x, **options, implementation="reference")

  fast, x = jax.jit(run, static_argnums=(1, 2, 3)), jnp.ones((3, 1, 2))
  for _ in range(2):
    mask = masks.causal() & masks.sliding_window(1)
    fast(x, mask, normalizers.top_k(2), score_mods.softcap(2.0))
  assert len(traced) == 1


class Attends(nnx.Module):
  """A module that holds rules as attributes."""

  def __init__(self):
    self.mask = masks.causal() & masks.sliding_window(2)
    self.scoring, self.normalizer = scoring.scaled_dot(), normalizers.softmax()
    self.weight = nnx.Param(jnp.ones(()))


def test_an_equal_module_is_traced_once_and_maps_with_its_copy():
  traced = []

  @nnx.jit
  def run(module):
    traced.append(1)
    return module.weight[...] * 2

  one, other = Attends(), Attends()
  run(one), run(other)
  assert len(traced) == 1
  sizes = DecoderConfig(width=4, depth=1, heads=2, hidden=3)
  for model in (one, DecoderLM(sizes, 5, rngs=nnx.Rngs(0))):
    twice = jax.tree.map(jnp.add, model, copy.deepcopy(model))
    assert jax.tree.structure(twice) == jax.tree.structure(model)


def test_a_layer_maps_with_an_equal_one():
  layers = [nn.MultiHeadAttention(4, heads=2, rngs=nnx.Rngs(0)) for _ in "ab"]
  jax.tree.map(jnp.add, *layers)


def test_a_notebook_draws_a_mask():
  drawn = masks.causal()._repr_html_()
  assert drawn.count("h1v1h-1z") == 16 * 17 // 2
  assert "causal()" in drawn
  assert masks.dense(TABLE)._repr_html_().count("h1v1h-1z") == 15
  assert (masks.full() & TABLE)._repr_html_().count("h1v1h-1z") == 15
  nameless = masks.from_fn(lambda b, h, q, k: q > k)
  assert "from_fn(&lt;lambda&gt;)" in nameless._repr_html_()
  wide = masks.segments(np.zeros(4096, int))._repr_html_()
  assert "too large to draw" in wide


@jax.jit
def drawn_in_a_trace(length):
  assert "no picture" in masks.prefix(length)._repr_html_()
  assert repr(masks.prefix(length)) == "prefix(int32[])"
  return length


def test_what_is_traced_has_a_name_and_no_picture():
  drawn_in_a_trace(3)
