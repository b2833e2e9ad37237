"""A function is as good as a rule: its tiles are those of every pair of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks
from attnjax.ops.attention.block_sizes import padded
from attnjax.ops.attention.live_tiles import live_tiles, tile_codes
from attnjax.ops.attention.logits import Rules
from attnjax.ops.masks import functions, tabulation
from attnjax.ops.masks.function_value import FunctionValue
from attnjax.ops.masks.padding import BlockPadding
from attnjax.ops.tiles import EMPTY, FULL, MIXED, Blocks
from tests.few import few

# A rule, and the same as a function.
PAIRS = {
  "causal": (masks.causal(), lambda b, h, q, k: k <= q),
  "window": (
    masks.sliding_window(5, 2),
    lambda b, h, q, k: (q - 5 <= k) & (k <= q + 2),
  ),
  "chunked": (masks.chunked(12), lambda b, h, q, k: q // 12 == k // 12),
  "prefix": (masks.prefix(9), lambda b, h, q, k: k < 9),
  "full": (masks.full(), lambda b, h, q, k: q == q),
  "nothing": (~masks.full(), lambda b, h, q, k: q != q),
}


def codes(mask, lengths, blocks, *places, rows=1, heads=1):
  """EMPTY, MIXED or FULL of each tile of a call, as an engine asks."""
  blocks = Blocks(rows, heads, *blocks)
  call = (rows, heads, *lengths)
  shape = padded(call, blocks)
  if shape != call:
    mask = mask & BlockPadding(*lengths)
  return tile_codes(shape, blocks, Rules(mask), *places)


def truth(seen, blocks):
  """The codes of blocks of ``T S``, one after the other."""
  t, s = blocks
  rows = [seen[i : i + t] for i in range(0, len(seen), t)]
  tiles = [[x[:, j : j + s] for j in range(0, seen.shape[1], s)] for x in rows]
  of = lambda x: EMPTY if not x.any() else FULL if x.all() else MIXED
  return np.array([[of(x) for x in row] for row in tiles])


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("lengths", [(48, 32), (37, 53), (1, 70), (130, 1)])
def test_a_function_has_the_tiles_of_its_rule(name, lengths):
  rule, fn = PAIRS[name]
  for blocks in ((8, 8), (16, 4), (5, 7), (64, 24)):
    got = codes(masks.from_fn(fn), lengths, blocks)
    assert isinstance(got, np.ndarray)  # known while tracing
    if lengths[0] > blocks[0] or lengths[1] > blocks[1]:
      np.testing.assert_array_equal(got, codes(rule, lengths, blocks), name)


def test_a_function_has_the_tiles_of_its_pairs():
  seen = np.random.default_rng(0).random((70, 90)) < 0.2
  seen[10:40, 20:60] = True
  seen[40:60] = False
  table = jnp.asarray(seen)
  mask = masks.from_fn(lambda b, h, q, k: table[q, k])
  for blocks in ((5, 5), (10, 6), (7, 30), (70, 15)):
    got = codes(mask, seen.shape, blocks)[0]
    expected = truth(seen, blocks)
    padding = np.where((expected == FULL) & (got != FULL))
    # A tile that reaches past the end hides its padding.
    at = [(i + 1) * n for i, n in zip(padding, blocks, strict=True)]
    assert ((at[0] > 70) | (at[1] > 90)).all()
    np.testing.assert_array_equal(got != EMPTY, expected != EMPTY)


def test_operators_of_functions_have_the_tiles_of_their_pairs():
  even = masks.from_fn(lambda b, h, q, k: k % 16 < 8)
  near = masks.from_fn(lambda b, h, q, k: abs(q - k) < 9)
  for mask in (even & near, ~(even | ~near), masks.causal() & even & near):
    for length in (64, 61):
      seen = np.asarray(mask.dense(length, length))[0]
      got = codes(mask, (length, length), (8, 8))[0]
      np.testing.assert_array_equal(got != EMPTY, truth(seen, (8, 8)) != EMPTY)


def test_tiles_of_heads_that_differ_are_their_own():
  mask = masks.from_fn(lambda b, h, q, k: jnp.where(h < 2, k <= q, k > q + 7))
  sweep = live_tiles((1, 3, 32, 32), Blocks(1, 1, 8, 8), Rules(mask))
  for head in range(3):
    seen = np.asarray(mask.dense(32, 32, heads=3))[head]
    expected = np.argwhere(truth(seen, (8, 8)) != EMPTY)
    own = sweep.tiles[sweep.tiles[:, 1] == head][:, 2:]
    np.testing.assert_array_equal(own, expected)
  # Of a tile of all heads, what one of them sees is seen.
  union = live_tiles((1, 3, 32, 32), Blocks(1, 3, 8, 8), Rules(mask))
  assert len(union.tiles) == 16


def test_tiles_of_batch_rows_that_differ_are_their_own():
  mask = masks.from_fn(lambda b, h, q, k: k < 8 * b)
  sweep = live_tiles((3, 2, 16, 16), Blocks(1, 2, 8, 8), Rules(mask))
  assert np.bincount(sweep.tiles[:, 0], minlength=3).tolist() == [0, 2, 4]


def traced(mask, lengths, blocks, *places, **sizes):
  """The codes where the arrays of the mask and the positions are traced."""
  run = jax.jit(lambda m, *p: codes(m, lengths, blocks, *p, **sizes))
  return np.asarray(run(mask, *places))


@pytest.mark.parametrize("chunk", [2**20, 64])
def test_a_function_of_traced_arrays_has_the_tiles_of_its_pairs(
  chunk, monkeypatch
):
  monkeypatch.setattr("attnjax.ops.masks.run_time_tiles._PAIRS", chunk)
  ids = np.sort(np.random.default_rng(0).integers(0, 4, (2, 40)))
  same = masks.from_fn(lambda b, h, q, k, x: x[b, q] == x[b, k], ids)
  got = traced(same, (40, 40), (8, 4), rows=2)
  seen = ids[:, :, None] == ids[:, None, :]
  np.testing.assert_array_equal(got[0], truth_of_rows(seen, (8, 4)))

  # Positions say which pairs a tile has, whatever lies between them.
  order = np.random.default_rng(1).permutation(40).astype(np.int32)
  causal = masks.from_fn(lambda b, h, q, k: k <= q)
  got = traced(causal, (40, 40), (8, 4), order[None], order[None])
  expected = truth(order[:, None] >= order, (8, 4))
  np.testing.assert_array_equal(got[0], expected)
  # Also where they are known, as the order of tokens in a zigzag layout is.
  known = codes(causal, (40, 40), (8, 4), order[None], order[None])
  assert isinstance(known, np.ndarray)
  np.testing.assert_array_equal(known[0], expected)


def truth_of_rows(seen, blocks):
  """The codes of tiles that hold all batch rows."""
  some, every = truth(seen.any(0), blocks), truth(seen.all(0), blocks)
  return np.where(some == EMPTY, EMPTY, np.where(every == FULL, FULL, MIXED))


def test_where_heads_differ_a_table_is_made_at_run_time_if_asked():
  fn = lambda b, h, q, k, n: k < n + h
  lazy = traced(masks.from_fn(fn, np.int32(4)), (16, 16), (8, 8), heads=2)
  assert (lazy == MIXED).all()
  exact = masks.from_fn(fn, np.int32(4), tiles="exact")
  got = traced(exact, (16, 16), (8, 8), heads=2)
  assert got[0].tolist() == [[MIXED, EMPTY]] * 2
  never = masks.from_fn(PAIRS["causal"][1], tiles="never")
  assert (codes(never, (16, 16), (8, 8)) == MIXED).all()


@pytest.fixture
def evaluations(monkeypatch):
  """The pairs of each part that is evaluated, tables forgotten before."""
  sizes, cells = [], tabulation._cells

  def counted(seen, *of):
    sizes.append(seen.size)
    return cells(seen, *of)

  monkeypatch.setattr(tabulation, "_cells", counted)
  monkeypatch.setattr(tabulation, "_tables", type(tabulation._tables)())
  return sizes


RADIUS = 3


def band(width, table=None):
  def fn(b, h, q, k):
    return (abs(q - k) < width) | (abs(q - k) == RADIUS)

  return masks.from_fn(fn)


def test_equal_functions_are_evaluated_once(evaluations, monkeypatch):
  for width in (5, 5, 6, 5):
    codes(band(width), (64, 64), (8, 8))
  assert len(evaluations) == 2
  monkeypatch.setitem(globals(), "RADIUS", 4)  # the function is another one
  codes(band(5), (64, 64), (8, 8))
  assert len(evaluations) == 3


def test_what_makes_functions_equal():
  def of(x, default=1):
    def fn(b, h, q, k, d=default):
      return x

    return FunctionValue(fn)

  a = np.arange(3, dtype=np.int32)
  c = a + 1
  assert of(a) == of(a.copy()) == of(jnp.asarray(a)) != of(c)
  assert of([1, (a,)]) == of([1, (a,)]) != of([1, (c,)])
  assert of(1) != of(True)
  assert of(1) != of(1, default=2)
  assert of(lambda: 1) != of(lambda: 2)
  assert of(functools.partial(max, 1)) == of(functools.partial(max, 1))
  thing = object()
  assert of(thing) == of(thing) != of(object())
  loop = []
  loop.append(loop)
  assert of(loop) == of(loop)
  assert len({of(a), of(a.copy()), of(c)}) == 2


def test_never_all_pairs_at_once(evaluations):
  length = 4096
  codes(band(7), (length, length), (128, 128))
  assert max(evaluations) <= 2**20
  assert sum(evaluations) == length**2


def test_blocks_of_every_size_are_chosen_from_one_evaluation(evaluations):
  x = jnp.zeros((2000, 1, 4))
  mask = band(9)
  told = str(attnjax.explain(x, x, x, mask=mask))
  assert "from_fn(fn) tabulated, 4,000,000 pairs" in told
  # Once in cells of 64, and once where 2000 is cut into equal parts of 8.
  assert sum(evaluations) <= 2 * 2048**2
  mixed = attnjax.explain(x, x, x, mask=masks.sliding_window(9, 9))
  assert mixed.verdicts[0].reason in told


def test_beyond_the_limit_nothing_is_evaluated(evaluations, monkeypatch):
  monkeypatch.setattr(functions, "LIMIT", 100)
  x = jnp.zeros((64, 1, 4))
  mine = attnjax.Blockwise(8, 8)
  told = str(attnjax.explain(x, x, x, mask=band(7), implementation=mine))
  assert "64 of 64 hold something" in told
  assert "4,096 pairs are beyond the limit of 100: give decide=" in told
  assert not evaluations

  fn = band(7).fn
  exact = masks.from_fn(fn, tiles="exact")
  assert (codes(exact, (64, 64), (8, 8)) == EMPTY).any()
  monkeypatch.setattr(functions, "_LARGEST", 1000)
  with pytest.raises(ValueError, match=r"at most 1000 pairs.*4096.*decide="):
    codes(exact, (64, 64), (8, 8))


@pytest.mark.parametrize(
  ("mask", "words"),
  [
    (masks.from_fn(lambda b, h, q, k, n: k < n, np.int32(2)), "when it runs"),
    (
      masks.from_fn(lambda b, h, q, k, n: k < n + h, np.int32(2)),
      "unknown, for it differs by head",
    ),
    (band(3), "7 of 9 hold something, 0 whole; from_fn(fn) tabulated"),
    (masks.from_fn(PAIRS["full"][1], tiles="never"), "as tiles='never' says"),
    (
      masks.from_fn(
        lambda b, h, q, k: k <= q,
        decide=lambda q, k: (k[0] <= q[1], k[1] <= q[0]),
      ),
      "6 of 9 hold something, 3 whole; from_fn(<lambda>) as its decide",
    ),
  ],
)
def test_explain_says_what_is_known_of_a_function(mask, words):
  x = jnp.zeros((24, 2, 4))
  mine = attnjax.Blockwise(8, 8)
  told = str(attnjax.explain(x, x, x, mask=mask, implementation=mine))
  assert words in told


def wrong_tiles(query, key):
  return key[0] < query[1] - 40, key[1] <= query[0]


def test_check_finds_a_decide_that_contradicts_its_function():
  low = lambda b, h, q, k: k <= q
  right = lambda query, key: (key[0] <= query[1], key[1] <= query[0])
  masks.check(masks.from_fn(low, decide=right), 100, 130, block=16)
  mask = masks.causal() & masks.from_fn(low, decide=wrong_tiles)
  with pytest.raises(ValueError, match=r"masks\.check") as caught:
    masks.check(mask, 100, 100, block=16)
  for word in (
    "decide of from_fn(<lambda>, decide=wrong_tiles) says that no pair",
    "queries 0 to 15 and keys 0 to 15",
    "shows key 0 to query 0",
    "return some=True",
  ):
    assert word in str(caught.value)

  full = masks.from_fn(low, decide=lambda q, k: (True, True))
  with pytest.raises(ValueError, match=r"hides key 1 to query 0 .*every=False"):
    masks.check(full, 8, 8)
  with pytest.raises(ValueError, match=r"must be known.*outside of jax\.jit"):
    jax.jit(lambda n: masks.check(masks.prefix(n), 8, 8))(2)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"tiles": "always"}, "tiles must be None, 'exact' or 'never'"),
    ({"tiles": "never", "decide": wrong_tiles}, "give one of the two"),
  ],
)
def test_options_that_do_not_fit_are_refused(options, words):
  with pytest.raises(ValueError, match=words):
    masks.from_fn(PAIRS["causal"][1], **options)


@pytest.mark.parametrize("told", [True, (1, 0), (np.True_,)])
def test_a_decide_that_returns_no_pair_of_booleans_is_refused(told):
  mask = masks.from_fn(PAIRS["causal"][1], decide=lambda q, k: told)
  with pytest.raises(ValueError, match="must return a pair of booleans"):
    mask.tile((0, 4), (0, 4))


def near(b, h, q, k):
  return abs(q - k) < 5


def within(b, h, q, k, n):
  return k < n


def in_shard_map(f):
  mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.P(None, "x")
  return jax.shard_map(f, mesh=mesh, in_specs=spec, out_specs=spec)


def on_an_explicit_mesh(f):
  kind = (jax.sharding.AxisType.Explicit,)
  mesh = jax.make_mesh((2,), ("x",), axis_types=kind)
  divided = jax.NamedSharding(mesh, jax.P(None, "x"))
  return lambda *x: f(*(jax.device_put(y, divided) for y in x))


CONTEXTS = {
  "vmap of grad": lambda f: (
    lambda *x: jax.vmap(jax.grad(lambda v, q, k: f(q, k, v).sum()))(
      x[2][None], x[0][None], x[1][None]
    )[0]
  ),
  "scan": lambda f: (
    lambda *x: jax.lax.scan(lambda c, _: (f(c, *x[1:]), None), x[0], length=1)[
      0
    ]
  ),
  "shard_map": in_shard_map,
  "explicit mesh": on_an_explicit_mesh,
}


@pytest.mark.parametrize("context", few(CONTEXTS, "scan", "explicit mesh"))
def test_a_function_is_evaluated_wherever_a_program_is_traced(context, key):
  tabulation._tables.clear()
  x = tuple(jax.random.normal(k, (24, 2, 4)) for k in jax.random.split(key, 3))
  both = masks.from_fn(near) & masks.from_fn(within, np.int32(9))

  def call(implementation):
    return lambda *x: attnjax.attend(
      *x, mask=both, implementation=implementation
    )

  got = CONTEXTS[context](call(attnjax.Blockwise(8, 8)))(*x)
  expected = CONTEXTS[context](call("reference"))(*x)
  np.testing.assert_allclose(got, expected, atol=1e-5)
