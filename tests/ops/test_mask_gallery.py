"""The masks of docs/mask_gallery.md: exact tiles, values and gradients."""

import ast
import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax.ops.attention.live_tiles import live_tiles
from attnjax.ops.attention.logits import Rules
from attnjax.ops.tiles import EMPTY, Blocks

PAGE = Path(__file__).parents[2] / "docs" / "mask_gallery.md"


@functools.cache
def page():
  """What the page defines, and how many lines each function has."""
  text = PAGE.read_text(encoding="utf-8")
  source = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))
  names = {}
  exec(compile(source, str(PAGE), "exec"), names)
  lines = {
    x.name: x.end_lineno - x.lineno
    for x in ast.parse(source).body
    if isinstance(x, ast.FunctionDef)
  }
  return names, lines


def ids_of(*lengths):
  return np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)


def documents(length):
  return ids_of(*(np.array([5, 1, 4, 2, 3, 1]) * length // 16))


def drafts(count):
  return [-1, *((n - 1) // 2 for n in range(1, count))]


def chosen(count, keep):
  """Blocks of keys that each block of queries chose, its own among them."""
  r = np.random.default_rng(0).random((count, count))
  r[np.arange(count), np.arange(count)] = -1
  return r.argsort(1).argsort(1) < keep


def pages_of(rows, count):
  """Pages that belong to the rows in turn: which of a row's each is, or -1."""
  at = np.arange(count)
  mine = at % rows == np.arange(rows)[:, None]
  return np.where(mine, at // rows, -1).astype(np.int32)


def modes(length):
  """Text, an image, text, an image, text."""
  n = length // 8
  return np.repeat(np.array([-1, 0, -1, 1, -1]), [2 * n, n, n, 2 * n, 2 * n])


def examples(n):
  """Name -> arguments, and T, S, B, H where they differ, for a scale n.

  n is 1 in small examples, where tiles are 8 x 8, and 16 in large ones.
  """
  t = 64 * n * (4 if n > 1 else 1)  # 64, or 4096
  side, b = int(t**0.5), 128 if n > 1 else 8
  ids = documents(t)
  starts = np.array([(ids < d).sum() for d in range(6)], np.int32)
  return {
    "causal": (),
    "window": (2 * b,),
    "prefix_lm": (t // 4,),
    "sink": (2 * b, 4),
    "longformer": (b, b // 2),
    "chunks": (t // 4,),
    "dilated_window": (4 * b, 4),
    "strided": (2 * b,),
    "fixed": (2 * b, b // 4),
    "alternating": (b,),
    "documents": (ids,),
    "causal_documents": (ids,),
    "prefix_lm_documents": (ids, starts, np.full(6, t // 16, np.int32)),
    "jagged": (np.array([t, t // 4, t // 2]),),
    "shared_prefix": (documents(t),),
    "tree": (drafts(t // 4), 3 * t // 4),
    "natten": ((side, side), max(side // 9, 1)),
    "natten in 3-D": ((4, side // 2, side // 2), (1, side // 16 + 1, 1)),
    "tiled_natten": (side, side // 8 * 2, max(side // 9, 1)),
    "morton_natten": (side, max(side // 9, 1)),
    "sliding_tile": ((t // b // 4, 4), b, (1, 1)) if n > 1 else ((4, 4), 4, 1),
    "windows": (side, side // 4, side // 8),
    "flamingo": (np.repeat(np.arange(8), t // 8), t // 16),
    "transfusion": (modes(t),),
    "block_diffusion": (t // 2, b),
    "top_k_blocks": (chosen(t // b, 3), b),
    "big_bird": (t // b, b, 2),
    "paged": (pages_of(2, t // b), np.array([t // 4, t // 2]), b),
  }


SIZES = {"alternating": (1, 2), "jagged": (3, 1), "paged": (2, 1)}


def built(name, n):
  """(mask, ``B H T S``, block) of an example."""
  mask = page()[0][name.split()[0]](*examples(n)[name])
  t = 4096 if n > 1 else 64
  keys = t // 2 if name == "flamingo" else t
  return mask, (*SIZES.get(name, (1, 1)), t, keys), 128 if n > 1 else 8


def computed(mask, shape, block):
  """How many tiles an engine visits."""
  blocks = Blocks(1, 1, block, block)
  sweep = jax.jit(lambda m: live_tiles(shape, blocks, Rules(m)).codes)(mask)
  return int((sweep != EMPTY).sum())


def exact(seen, block):
  """Tiles in which some pair is visible, of ``B H T S``."""
  b, h, t, s = seen.shape
  cut = np.asarray(seen).reshape(b, h, t // block, block, s // block, block)
  return int(cut.any((3, 5)).sum())


NAMES = sorted(examples(1))


@pytest.mark.parametrize("name", NAMES)
def test_the_tiles_are_those_of_every_pair(name):
  mask, shape, block = built(name, 1)
  b, h, t, s = shape
  seen = mask.dense(t, s, batch=(b,), heads=h)
  live = exact(seen, block)
  assert computed(mask, shape, block) == live
  assert 0 < live < b * h * (t // block) * (s // block)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_the_references(name):
  mask, (b, h, t, s), block = built(name, 1)
  seen = np.asarray(mask.dense(t, s, batch=(b,), heads=h))
  draw = np.random.default_rng(0).standard_normal
  x = [draw((b, n, h, 8)) for n in (t, s, s, t)]

  def value_and_gradients(dtype, **options):
    q, k, v, cotangent = (jnp.asarray(y, dtype) for y in x)
    call = lambda *qkv: attnjax.attend(*qkv, **options)
    out, pull = jax.vjp(call, q, k, v)
    return [out, *pull(cotangent)]

  engine = attnjax.Blockwise(block, block, head_block=1)
  got = value_and_gradients(np.float32, mask=mask, implementation=engine)
  with jax.enable_x64():
    oracle = value_and_gradients(
      np.float64, mask=jnp.asarray(seen), implementation="reference"
    )
  for ours, theirs in zip(got, oracle, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def rows():
  """The rows of the page's table, by what is computed."""
  for name in examples(16):
    mask, (b, h, t, s), block = built(name, 16)
    seen = mask.dense(t, s, batch=(b,), heads=h)
    every = b * h * (t // block) * (s // block)
    lines = page()[1][name.split()[0]]
    yield (
      f"| {name.replace('_', ' ')} | {lines} | {t} x {s} |"
      f" {computed(mask, (b, h, t, s), block)} | {exact(seen, block)} |"
      f" {every} |"
    )


@pytest.mark.slow
def test_the_table_of_the_page_is_what_is_computed():
  text = PAGE.read_text(encoding="utf-8")
  table = text.split("<!-- table -->")[1].split("<!-- end of table -->")[0]
  assert table.split("\n")[3:-1] == list(rows())


def test_the_neighborhoods_of_flex_attentions_examples():
  side, r = 8, 2

  def natten_mask_mod(b, h, q, k):
    # As in the blog of FlexAttention, whose kernel_size is 2 r + 1.
    q_x, q_y, k_x, k_y = q // side, q % side, k // side, k % side
    x, y = (jnp.clip(z, r, side - 1 - r) for z in (q_x, q_y))
    return (abs(x - k_x) <= r) & (abs(y - k_y) <= r)

  theirs = attnjax.masks.from_fn(natten_mask_mod).dense(64, 64)
  ours = attnjax.masks.neighborhood((side, side), r).dense(64, 64)
  np.testing.assert_array_equal(ours, theirs)
