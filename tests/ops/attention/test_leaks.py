"""What a transform keeps holds no value of the trace it was made in.

JAX keeps the parameters of a primitive, and the functions of a custom rule, in
programs and caches. A tracer in one of them would outlive its trace: it is what
`jax.checking_leaks` looks for, and fails on.
"""

import dataclasses
import functools

import jax
import jax.extend.core
import jax.numpy as jnp
import pytest

import attnjax
from attnjax import masks, normalizers, parallel, score_mods

LENGTHS = jnp.array([3, 7])
SLOPES = jnp.array([0.5, 0.25])
EVERYTHING = {
  "traced lengths, alibi, sink, dropout": lambda: {
    "mask": masks.lengths(key=LENGTHS) & masks.causal(),
    "score_mod": score_mods.alibi(SLOPES),
    "normalizer": normalizers.softmax(sink=SLOPES),
    "dropout_rate": 0.3,
    "dropout_key": jax.random.key(0),
    "aux": ("logsumexp", "entropy", "max_logit"),
  },
  "segment ids, a function, a bias": lambda: {
    "query_segment_ids": jnp.zeros((2, 8), int),
    "key_segment_ids": jnp.zeros((2, 8), int),
    "score_mod": score_mods.from_fn(lambda s, b, h, q, k, x: s + x[h], SLOPES),
    "bias": jnp.ones((2, 8, 8)),
  },
  "top_k": lambda: {
    "normalizer": normalizers.top_k(3),
    "mask": masks.dense(jnp.ones((8, 8), bool)),
  },
}


def loss(attend, options):
  """Of the queries, which are the keys and the values too."""

  def number(x):
    leaves = jax.tree.leaves(attend(x, x, x, **options))
    return sum(jnp.sin(y).sum() for y in leaves)

  return number


def hessian_product(f):
  return lambda x: jax.jvp(jax.grad(f), (x,), (x,))[1]


TRANSFORMS = {
  "gradient": lambda f: jax.jit(jax.grad(f)),
  "jvp": lambda f: lambda x: jax.jvp(f, (x,), (x,)),
  "second order": lambda f: jax.jit(hessian_product(f)),
}
BLOCKS = attnjax.Blockwise(4, 4)


def x():
  return jax.random.normal(jax.random.key(0), (2, 8, 2, 4))


@pytest.mark.slow
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_plain_call_leaks_no_tracer(transform):
  blocks = functools.partial(attnjax.attend, implementation=BLOCKS)
  run = TRANSFORMS[transform](loss(blocks, {"mask": masks.causal()}))
  with jax.checking_leaks():
    jax.block_until_ready(run(x()))


@pytest.mark.slow
@pytest.mark.parametrize("options", EVERYTHING)
@pytest.mark.parametrize("transform", ["gradient", "second order"])
def test_no_feature_leaks_a_tracer(transform, options):
  blocks = functools.partial(attnjax.attend, implementation=BLOCKS)
  run = TRANSFORMS[transform](loss(blocks, EVERYTHING[options]()))
  with jax.checking_leaks():
    jax.block_until_ready(run(x()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RingAttention", "AllGatherAttention"])
def test_no_courier_leaks_a_tracer(kind):
  mesh = parallel.make_mesh(jax.devices()[:2], sequence=2)
  ring = getattr(parallel, kind)(mesh, "sequence")
  run = hessian_product(loss(ring, {"mask": masks.lengths(key=LENGTHS)}))
  with jax.checking_leaks():
    jax.block_until_ready(run(x()))


@pytest.mark.parametrize("options", EVERYTHING)
def test_parameters_of_tile_sum_close_over_no_array(options):
  blocks = functools.partial(attnjax.attend, implementation=BLOCKS)
  run = hessian_product(loss(blocks, EVERYTHING[options]()))
  forms = list(forms_in(jax.make_jaxpr(run)(x()).jaxpr))
  assert forms
  for form in forms:
    assert not list(arrays_in(form, set()))


def test_an_array_that_is_closed_over_is_found():
  number = jnp.ones(3)
  inner = lambda y: y + number
  assert list(arrays_in(functools.partial(lambda f: f, inner), set()))


def forms_in(jaxpr):
  """The parameters of every `tile_sum` of a program."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == "tile_sum":
      yield equation.params["form"]
    for inner in jax.extend.core.jaxprs_in_params(equation.params):
      yield from forms_in(inner)


def arrays_in(thing, seen):
  """The arrays that a value holds, or a function closes over."""
  if id(thing) in seen:
    return
  seen.add(id(thing))
  if isinstance(thing, jax.Array):
    yield thing
  parts = []
  if isinstance(thing, dict):
    parts = list(thing.values())
  elif isinstance(thing, (list, tuple, set, frozenset)):
    parts = list(thing)
  elif isinstance(thing, functools.partial):
    parts = [thing.func, thing.args, thing.keywords]
  elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
    parts = [getattr(thing, f.name) for f in dataclasses.fields(thing)]
  elif hasattr(thing, "__closure__"):
    cells = thing.__closure__ or ()
    parts = [c.cell_contents for c in cells] + [thing.__defaults__ or ()]
  for part in parts:
    yield from arrays_in(part, seen)
