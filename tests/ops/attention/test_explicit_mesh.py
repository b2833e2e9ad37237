"""Attention of arrays that are divided on a mesh of explicit axes.

`jax.make_mesh` makes such a mesh: the types of arrays say how they are divided,
and what an operation would leave open it refuses. Divided equals undivided,
and results are divided as the queries are.
"""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import attnjax
from attnjax import cache, masks, nn
from attnjax.models import DecoderConfig, DecoderLM
from tests.few import few
from tests.ops.attention.divided_calls import (
  DIVISIONS,
  LAWS,
  B,
  D,
  E,
  H,
  S,
  T,
  divided,
  draw,
  gradient,
  inputs,
  lay,
  outputs,
  rich,
  same,
  some,
  spec,
)


@pytest.fixture(scope="module")
def mesh():
  return jax.make_mesh((2, 2), ("data", "model"), devices=jax.devices()[:4])


@pytest.mark.parametrize(
  "division", few(DIVISIONS, "batch and heads", "batch over both")
)
def test_a_call_equals_the_undivided_and_stays_divided(mesh, division):
  axes = DIVISIONS[division]
  x = inputs()
  run = jax.jit(lambda x: outputs(x, {"mask": masks.causal()}))
  out = run(divided(mesh, axes, x))
  same(out, run(x))
  assert spec(out) == PartitionSpec(*axes, *(None,) * (4 - len(axes)))


@pytest.mark.parametrize(
  ("law", "options", "shared"),
  [
    pytest.param("gradient", rich, 4, marks=pytest.mark.slow),
    ("gradient", some, 1),
    pytest.param("jvp", some, 8, marks=pytest.mark.slow),
    pytest.param("jvp", rich, 2, marks=pytest.mark.slow),
    pytest.param("second order", rich, 4, marks=pytest.mark.slow),
  ],
)
def test_derivatives_reach_everything(mesh, law, options, shared):
  x = inputs(shared)
  axes = DIVISIONS["batch and heads"]
  keys = axes if shared > 1 else ("data",)
  placed = (lay(mesh, x[0], *axes), *divided(mesh, keys, x[1:]))
  got = LAWS[law](placed, options(lambda y, *names: lay(mesh, y, *names)))
  same(got, LAWS[law](x, options(lambda y, *names: y)))


@pytest.mark.slow
def test_key_heads_that_devices_share(mesh):
  # 3 query heads a device, of 2 key heads: the gradient was wrong once, where
  # tiles of it were cut by the group of the whole call.
  x = draw(1, B, T, 6, D), draw(2, B, S, 3, D), draw(3, B, S, 3, E)
  axes = DIVISIONS["batch and heads"]
  placed = (lay(mesh, x[0], *axes), *divided(mesh, ("data",), x[1:]))
  same(gradient(placed, {}), gradient(x, {}))
  dense = lambda *x: attnjax.attend(*x, implementation="reference")
  same(jax.jit(dense)(*placed), dense(*x))


def test_nothing_is_gathered(mesh):
  x = divided(mesh, DIVISIONS["batch and heads"], inputs())
  f = lambda x: outputs(x, {"mask": masks.causal()}).sum()
  program = jax.jit(jax.grad(f)).lower(x).compile().as_text()
  assert not [
    line
    for line in program.splitlines()
    if any(word in line for word in ("all-gather", "all-to-all", "permute("))
  ]


@pytest.mark.slow
def test_a_gradient_of_each_row_of_a_divided_batch(mesh):
  x = draw(1, B, T, H, D)
  f = lambda y: jnp.sin(outputs((y, y, y), {"mask": masks.causal()})).sum()
  got = jax.jit(jax.vmap(jax.grad(f)))(lay(mesh, x, "data", None, "model"))
  same(got, jax.jit(jax.grad(f))(x))
  assert spec(got)[0] == "data"


@pytest.mark.slow
def test_several_batch_axes_keep_their_divisions(mesh):
  x = draw(1, 2, 2, T, H, D)
  run = jax.jit(lambda y: outputs((y, y, y), {}))
  for axes in (("data",), (None, "data"), ("model", "data")):
    got = run(lay(mesh, x, *axes))
    same(got, run(x))
    assert spec(got) == PartitionSpec(*axes, *(None,) * (5 - len(axes)))


@pytest.mark.slow
def test_a_mesh_that_is_set_and_arrays_that_are_whole_on_it(mesh):
  x = inputs()
  run = jax.jit(lambda x: outputs(x, {"mask": masks.causal()}))
  with jax.set_mesh(mesh):
    same(run(divided(mesh, ("data",), x)), run(x))
    same(run(tuple(lay(mesh, y) for y in x)), run(x))


@pytest.mark.parametrize("kinds", ["auto", "mixed", "manual outside"])
def test_other_kinds_of_axes(mesh, kinds):
  x = draw(1, B, T, H, D)
  axes = ("data", None, "model")
  run = lambda y: outputs((y, y, y), {"mask": masks.causal()})
  if kinds == "manual outside":
    one = PartitionSpec("data")
    f = jax.shard_map(
      run, mesh=mesh, in_specs=one, out_specs=one, axis_names={"data"}
    )
    got = jax.jit(f)(lay(mesh, x, *axes))
  else:
    first = AxisType.Auto if kinds == "auto" else AxisType.Explicit
    other = jax.make_mesh(
      (2, 2),
      ("data", "model"),
      (first, AxisType.Auto),
      devices=jax.devices()[:4],
    )
    got = jax.jit(run)(lay(other, x, *axes))
  same(got, run(x))


@pytest.mark.parametrize("name", [None, "blockwise", "reference"])
def test_divided_tokens_are_refused_and_the_way_out_named(mesh, name):
  x = divided(mesh, ("data", "model"), (draw(1, B, T, H, D),) * 3)
  raised = ExceptionGroup if name is None else NotImplementedError
  with pytest.raises(raised) as caught:
    attnjax.attend(*x, implementation=name)
  group = caught.value
  errors = group.exceptions if name is None else [group]
  # There is no TPU to run kernels on, whatever is divided.
  of_mesh = [x for x in errors if not str(x).startswith("fused: ")]
  assert of_mesh
  for error in of_mesh:
    assert "attnjax.parallel" in str(error)
    assert "axis T" in str(error)
  assert "attnjax.parallel" in str(attnjax.explain(*x))
  assert attnjax.explain(*x).chosen is None


def test_divided_widths_are_refused(mesh):
  x = divided(mesh, ("data", None, None, "model"), (draw(1, B, T, H, D),) * 3)
  with pytest.raises(NotImplementedError, match=r"width of query.*reshard"):
    attnjax.attend(*x, implementation="blockwise")


def test_explain_says_what_a_device_computes(mesh):
  x = divided(mesh, DIVISIONS["batch and heads"], inputs())
  said = str(attnjax.explain(*x))
  assert "batch over ['data'], heads over ['model']" in said


def test_weights_of_divided_arrays(mesh):
  query, key, _ = inputs()
  axes = DIVISIONS["batch and heads"]
  rows = jnp.array([0, -1])
  run = jax.jit(lambda q, k: attnjax.attention_weights(q, k, queries=rows))
  same(run(*divided(mesh, axes, (query, key))), run(query, key))


def layer(mesh):
  """A layer whose heads are divided, and the same undivided."""
  whole = nn.MultiHeadAttention(
    6, heads=4, kv_heads=2, head_width=3, rngs=nnx.Rngs(0)
  )

  def place(path, x):
    output = "output" in jax.tree_util.keystr(path)
    return lay(mesh, x, *(("model",) if output else (None, "model")))

  return whole, jax.tree_util.tree_map_with_path(place, whole)


def test_a_layer_of_divided_heads(mesh):
  whole, divided = layer(mesh)
  x = draw(1, B, T, 6)
  f = lambda m, y: jnp.sin(m(y, mask=masks.causal())).sum()
  run = jax.jit(jax.grad(f, (0, 1)))
  got = run(divided, lay(mesh, x, "data"))
  same(got, run(whole, x))
  assert spec(got[1])[0] == "data"


@pytest.mark.slow
def test_decoding_with_a_divided_cache(mesh):
  whole, divided = layer(mesh)
  x = draw(1, B, 5, 6)

  def decode(m, y):
    state = cache.init((B,), 6, 2, 3)
    _, state = m.decode(y[:, :4], state)
    return m.decode(y[:, 4:], state)

  got = jax.jit(decode)(divided, lay(mesh, x, "data"))
  same(got, decode(whole, x))
  assert spec(got[1].key) == PartitionSpec("data", None, "model", None)


@pytest.mark.slow
def test_a_decoder_of_a_divided_batch(mesh):
  config = DecoderConfig(width=8, depth=2, heads=2)
  config = dataclasses.replace(config, positions="learned")
  model = DecoderLM(config, 11, rngs=nnx.Rngs(0))
  tokens = jax.random.randint(jax.random.key(1), (B, 7), 0, 11)
  run = jax.jit(jax.value_and_grad(lambda m, t: jnp.sin(m(t)).sum()))
  placed = jax.device_put(model, NamedSharding(mesh, PartitionSpec()))
  same(run(placed, lay(mesh, tokens, "data")), run(model, tokens))
