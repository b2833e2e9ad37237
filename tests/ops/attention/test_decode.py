"""Few queries against many keys: read where they lie, by the same contract."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks, testing
from attnjax.ops.attention import decode
from tests.features import richest_of_groups, slow_but
from tests.few import few


class InPlace(attnjax.Blockwise):
  """The engine under a name of its own, so that nothing compiled is shared."""


@dataclasses.dataclass(frozen=True)
class Engine:
  """`attend` on small tiles of keys that are read where they lie."""

  def __call__(self, query, key, value, **options):
    options.setdefault("implementation", InPlace(8, 16))
    return attnjax.attend(query, key, value, **options)


@pytest.fixture
def every_call(monkeypatch):
  """Reads the keys of every call in place, however many queries there are."""
  monkeypatch.setattr(decode, "_FEW", 10**9)
  monkeypatch.setattr(decode, "_MANY", 0)


CASES = [case for case in testing.cases() if "weights" not in case.problem.aux]
# Laws of which it does not matter how keys are read.
ELSEWHERE = ("plain", "width", "transform", "vmap", "local", "devices")
ELSEWHERE += ("numbers", "dtype", "heads", "normalizer", "aux", "scoring")
RICHEST = [
  case
  for case in richest_of_groups(CASES)
  if not case.name.startswith(ELSEWHERE)
]


@pytest.mark.usefixtures("every_call")
@pytest.mark.parametrize("case", slow_but(CASES, RICHEST))
def test_conforms(case):
  case.check(Engine())


def arrays(length, keys, heads=4, shared=2, width=8):
  parts = jax.random.split(jax.random.key(0), 3)
  shapes = ((length, heads), (keys, shared), (keys, shared))
  return [
    jax.random.normal(part, (1, *shape, width))
    for part, shape in zip(parts, shapes, strict=True)
  ]


def test_few_queries_read_many_keys_in_place_and_no_others():
  few, many = decode._FEW // 4, decode._MANY

  def asked(length, keys, **options):
    call = attnjax.ops.attention.arguments.checked_call(
      *arrays(length, keys, **options), {}
    )
    return decode.reads_keys_in_place(call)

  assert asked(1, many)
  assert asked(few, many)
  assert not asked(few + 1, many)
  assert not asked(1, many - 1)
  assert not asked(1, many, shared=1)


@pytest.mark.parametrize(
  "keys", few([decode._MANY, decode._MANY + 3], decode._MANY + 3)
)
def test_a_query_of_a_cache_reads_what_the_definition_says(keys):
  x = arrays(1, keys)
  options = {
    "mask": masks.lengths(key=jnp.array([keys - 5])),
    "aux": ("logsumexp", "max_logit"),
  }

  def run(query, key, value, implementation):
    out, aux = attnjax.attend(
      query, key, value, **options, implementation=implementation
    )
    return out.sum() + aux.logsumexp.sum(), (out, aux)

  got, expected = (
    jax.jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True), static_argnums=3)(
      *x, name
    )
    for name in ("blockwise", "reference")
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), got, expected
  )
  # Keys past the length have no gradient at all.
  assert not got[1][1][:, keys - 5 :].any()


def test_the_cache_is_not_copied():
  keys = 8 * decode._MANY
  shapes = [
    jax.ShapeDtypeStruct((1, n, 8, 64), jnp.float32) for n in (1, keys, keys)
  ]
  program = jax.jit(attnjax.attend).lower(*shapes).compile()
  cache = keys * 8 * 64 * 4  # bytes of the keys alone
  assert program.memory_analysis().temp_size_in_bytes < cache / 4


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("keys", [2048, 3 * 2**11, 4099])
def test_a_tile_is_what_a_cache_holds_and_divides_what_can_be(batch, keys):
  query, key = jnp.zeros((batch, 1, 8, 64)), jnp.zeros((batch, keys, 8, 64))
  call = attnjax.ops.attention.arguments.checked_call(query, key, key, {})
  blocks = attnjax.Blockwise().blocks(call)
  assert (blocks.rows, blocks.heads, blocks.query) == (1, 8, 1)
  assert 256 < blocks.key <= 1024
  assert keys % blocks.key == 0 or keys == 4099  # a prime
  # Sizes that are given are cut to what there is.
  given = attnjax.Blockwise(512, 2**14).blocks(call)
  assert (given.query, given.key) == (1, keys)
