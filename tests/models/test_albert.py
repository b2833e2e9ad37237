"""ALBERT against its formulas in numpy, and its weights by their names."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import data
from attnjax.models import Albert, AlbertConfig, load_albert
from tests import drawn

B, T, V = 3, 7, 23
CONFIG = AlbertConfig(
  vocabulary=V,
  embedding=5,
  width=6,
  depth=4,
  heads=2,
  hidden=11,
  max_length=13,
  kinds=3,
  epsilon=1e-3,  # large enough to be seen
)
LAYER = "albert.encoder.albert_layer_groups.0.albert_layers.0."
SHAPES = {
  "albert.embeddings.word_embeddings.weight": (V, 5),
  "albert.embeddings.position_embeddings.weight": (13, 5),
  "albert.embeddings.token_type_embeddings.weight": (3, 5),
  "albert.embeddings.LayerNorm.weight": (5,),
  "albert.embeddings.LayerNorm.bias": (5,),
  "albert.encoder.embedding_hidden_mapping_in.weight": (6, 5),
  "albert.encoder.embedding_hidden_mapping_in.bias": (6,),
  "predictions.dense.weight": (5, 6),
  "predictions.dense.bias": (5,),
  "predictions.LayerNorm.weight": (5,),
  "predictions.LayerNorm.bias": (5,),
  "predictions.bias": (V,),
  "albert.pooler.weight": (6, 6),
  "albert.pooler.bias": (6,),
}
SHAPES |= {
  f"{LAYER}{name}.{kind}": shape[: 2 if kind == "weight" else 1]
  for name, shape in {
    "attention.query": (6, 6),
    "attention.key": (6, 6),
    "attention.value": (6, 6),
    "attention.dense": (6, 6),
    "attention.LayerNorm": (6,),
    "ffn": (11, 6),
    "ffn_output": (6, 11),
    "full_layer_layer_norm": (6,),
  }.items()
  for kind in ("weight", "bias")
}
MODEL_BIN = (
  "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k/"
  "pytorch_model.bin"
)


def weights():
  """Tensors by their published names; two come twice."""
  arrays = drawn.arrays(*SHAPES.values(), scale=0.6)
  found = {n: np.asarray(a) for n, a in zip(SHAPES, arrays, strict=True)}
  table = found["albert.embeddings.word_embeddings.weight"]
  return found | {
    "predictions.decoder.weight": table,
    "predictions.decoder.bias": found["predictions.bias"],
  }


@pytest.fixture(scope="module")
def model():
  return load_albert(weights(), CONFIG)


@jax.jit
def forward(model, tokens, **options):
  return model(tokens, **options)


def some_tokens():
  return jnp.asarray(np.random.default_rng(1).integers(V, size=(B, T)), int)


def numpy_albert(w, tokens, kinds, *, depth, heads, epsilon):
  """The published network in float64 numpy, without a line of ours."""
  w = {name: array.astype(np.float64) for name, array in w.items()}
  linear = lambda x, n: x @ w[f"{n}.weight"].T + w[f"{n}.bias"]
  gelu = lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

  def norm(x, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]

  def split(x):
    return np.stack(np.split(x, heads, axis=-1))  # H T D

  e = "albert.embeddings."
  x = w[e + "word_embeddings.weight"][tokens]
  x = x + w[e + "position_embeddings.weight"][: len(tokens)]
  x = norm(x + w[e + "token_type_embeddings.weight"][kinds], e + "LayerNorm")
  x = linear(x, "albert.encoder.embedding_hidden_mapping_in")
  seen = []
  for _ in range(depth):
    q, k, v = (
      split(linear(x, f"{LAYER}attention.{n}"))
      for n in ("query", "key", "value")
    )
    scores = np.exp(q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1]))
    seen.append(scores / scores.sum(-1, keepdims=True))
    read = np.concatenate(list(seen[-1] @ v), axis=-1)
    read = linear(read, f"{LAYER}attention.dense")
    x = norm(x + read, f"{LAYER}attention.LayerNorm")
    hidden = gelu(linear(x, f"{LAYER}ffn"))
    x = x + linear(hidden, f"{LAYER}ffn_output")
    x = norm(x, f"{LAYER}full_layer_layer_norm")
  x = norm(gelu(linear(x, "predictions.dense")), "predictions.LayerNorm")
  return linear(x, "predictions.decoder"), np.stack(seen)


def test_it_is_the_published_network(model):
  tokens, kinds = some_tokens(), jnp.asarray([[0, 0, 1, 1, 2, 0, 1]] * B)
  logits, aux = jax.jit(lambda m: m(tokens, kinds=kinds, aux=("weights",)))(
    model
  )
  assert aux.weights.shape == (4, B, 2, T, T)
  for row in range(B):
    expected, seen = numpy_albert(
      weights(),
      np.asarray(tokens[row]),
      np.asarray(kinds[row]),
      depth=4,
      heads=2,
      epsilon=1e-3,
    )
    np.testing.assert_allclose(logits[row], expected, atol=2e-5)
    np.testing.assert_allclose(aux.weights[:, row], seen, atol=1e-5)


def test_without_kinds_all_is_one_text(model):
  tokens = some_tokens()
  zeros = jnp.zeros_like(tokens)
  np.testing.assert_allclose(
    forward(model, tokens), forward(model, tokens, kinds=zeros), atol=1e-6
  )


def test_what_lies_behind_the_length_is_not_seen(model):
  tokens, lengths = some_tokens(), jnp.array([7, 2, 5])
  both = [
    forward(model, tokens.at[1, 2:].set(fill), lengths=lengths)
    for fill in (3, 19)
  ]
  np.testing.assert_array_equal(both[0][1, :2], both[1][1, :2])
  for row, length in enumerate(lengths):
    alone = forward(model, tokens[row, : int(length)])
    np.testing.assert_allclose(both[0][row, : len(alone)], alone, atol=1e-5)


def test_every_parameter_has_a_say(model):
  tokens = jnp.arange(13)
  loss = lambda m: (m(tokens, kinds=tokens % 3) ** 2).sum()
  for path, leaf in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(model)):
    # A bias of the keys moves all logits of a query alike.
    if "'key'" not in str(path) or "bias" not in str(path):
      assert np.abs(leaf).max() > 1e-6, path


def test_a_new_one_has_the_published_sizes():
  new = jax.eval_shape(lambda: Albert(AlbertConfig(), rngs=nnx.Rngs(0)))
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(new))
  # Less the pooler, and the two tensors that are published twice.
  assert count == 877_598 - 65_792 - 591 * 128 - 591


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_missing_tensor_is_named(name):
  given = weights()
  del given[name]
  if "pooler" in name:  # of no use here
    load_albert(given, CONFIG)
    return
  with pytest.raises(ValueError, match=re.escape(f"weights lack {name};")):
    load_albert(given, CONFIG)


def test_a_tensor_that_is_none_of_ours_is_named():
  other = "albert.encoder.albert_layer_groups.1.albert_layers.0.ffn.weight"
  with pytest.raises(ValueError, match=re.escape(f"weights hold {other},")):
    load_albert(weights() | {other: np.ones((11, 6))}, CONFIG)


@pytest.mark.parametrize("name", [n for n in SHAPES if "pooler" not in n])
def test_a_tensor_of_another_shape_is_named(name):
  given = weights()
  tensor = given[name]
  # Turned round, or longer: as many numbers or not, it is refused.
  changed = tensor.T if tensor.ndim == 2 else np.append(tensor, 0)
  if changed.shape == tensor.shape:
    changed = tensor[:-1]
  given[name] = changed
  if name.endswith("word_embeddings.weight"):
    given["predictions.decoder.weight"] = changed
  if name == "predictions.bias":
    given["predictions.decoder.bias"] = changed
  with pytest.raises(ValueError, match=f"{name} must have shape"):
    load_albert(given, CONFIG)


def test_a_readout_of_its_own_is_refused():
  given = weights()
  given["predictions.decoder.weight"] = 1 + given["predictions.decoder.weight"]
  with pytest.raises(ValueError, match="trained with readouts of their own"):
    load_albert(given, CONFIG)


def test_too_many_tokens(model, as_a_user):
  words = "tokens has 14 positions on its last axis, at most 13"
  with pytest.raises(ValueError, match=words):
    model(jnp.zeros((2, 14), int))


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"heads": 4}, "heads=4 must divide width=6"),
    ({"kinds": 0}, "kinds must be at least 1, got 0"),
    ({"epsilon": 0.0}, "epsilon must be above 0"),
  ],
)
def test_a_config_that_cannot_be(options, words):
  with pytest.raises(ValueError, match=words):
    AlbertConfig(**({"width": 6, "heads": 2} | options))


def test_the_published_weights_run_as_in_numpy(asset):
  path = asset("rxnmapper") / MODEL_BIN
  published = data.reaction_weights(path)
  model = load_albert(published, AlbertConfig())
  tokens = np.random.default_rng(0).integers(20, 591, 31)
  logits, aux = jax.jit(lambda m, x: m(x, aux=("weights",)))(
    model, jnp.asarray(tokens)
  )
  expected, seen = numpy_albert(
    published, tokens, np.zeros(31, int), depth=12, heads=8, epsilon=1e-12
  )
  np.testing.assert_allclose(aux.weights, seen, atol=2e-5)
  np.testing.assert_allclose(logits, expected, atol=5e-4)
