"""What attention says of bad input: the argument, what came, the remedy."""

import jax.numpy as jnp
import pytest

import attnjax
from attnjax import masks, normalizers, score_mods, scoring

pytestmark = pytest.mark.usefixtures("as_a_user")

Q = jnp.ones((2, 5, 6, 8))
KV = jnp.ones((2, 7, 3, 8))


@pytest.mark.parametrize(
  ("args", "words"),
  [
    ((Q[0, 0], KV, KV), r"query must have axes '\*B T H D' \(at least 3\)"),
    ((Q.astype(int), KV, KV), "query must be floating point, got int32; cast"),
    ((Q, KV[..., :5], KV), "width D must be equal, but query has 8, key has 5"),
    ((Q, KV, KV[:, :, :2]), "heads K must be equal, but key has 3, value"),
    ((Q, KV, KV[:, :4]), "length S must be equal, but key has 7, value has 4"),
    ((Q, KV[:1], KV[:1]), r"batch axes must be equal, but query has \(2,\)"),
    (
      (Q, KV[:, :, [0] * 4], KV[:, :, [0] * 4]),
      "query heads H=6 must be a multiple of key heads K=4",
    ),
  ],
)
def test_arrays_that_do_not_fit(args, words):
  with pytest.raises(ValueError, match=words):
    attnjax.attend(*args)


def test_the_other_layout_is_recognised():
  # 4 heads, 50 queries, 30 keys, laid out as B H T D.
  q, kv = jnp.ones((2, 4, 50, 8)), jnp.ones((2, 4, 30, 8))
  with pytest.raises(ValueError, match=r"look like '\*B H T D'.*swapaxes"):
    attnjax.attend(q, kv, kv)


@pytest.mark.parametrize(
  "options",
  [
    {"mask": jnp.ones((50, 50), bool)},
    {"bias": jnp.ones((2, 4, 50, 50))},
    {"query_positions": jnp.arange(50)},
    {
      "query_segment_ids": jnp.zeros(50, int),
      "key_segment_ids": jnp.zeros(50, int),
    },
    {"score_mod": score_mods.alibi(jnp.ones(4))},
    {"normalizer": normalizers.softmax(jnp.ones(4))},
    {"mask": masks.dense(jnp.ones((4, 50, 50), bool))},
  ],
  ids=lambda options: next(iter(options)),
)
def test_the_other_layout_is_recognised_by_what_comes_with_it(options):
  x = jnp.ones((2, 4, 50, 8))
  words = r"query, key, value look like '\*B H T D'.*swapaxes"
  with pytest.raises(ValueError, match=words):
    attnjax.attend(x, x, x, **options)


@pytest.mark.parametrize("swapped", ["key, value", "query", "value"])
def test_which_arrays_have_the_other_layout_is_said(swapped):
  named = {n: jnp.ones((2, 50, 4, 8)) for n in ("query", "key", "value")}
  for name in swapped.split(", "):
    named[name] = named[name].swapaxes(-3, -2)
  with pytest.raises(ValueError, match=rf"; {swapped} look like '\*B H T D'"):
    attnjax.attend(**named)


@pytest.mark.parametrize(
  ("kw", "words"),
  [
    ({"mask": jnp.ones((5, 7))}, "mask must be a Mask or a boolean array"),
    (
      {"mask": jnp.ones((4, 7), bool)},
      r"mask must broadcast to '\*B H T S' = \[2, 6, 5, 7\], got shape \[4, 7",
    ),
    ({"bias": jnp.ones((3, 2, 6, 5, 7))}, "bias must broadcast"),
    ({"score_mod": lambda s, b, h, q, k: s}, "score_mods.from_fn"),
    (
      {"score_mod": score_mods.alibi(jnp.ones(3))},
      r"slopes have shape \[3\], expected one a query head, \[6\]",
    ),
    ({"query_positions": jnp.arange(4)}, r"query_positions must have shape"),
    ({"key_positions": jnp.ones(7)}, "key_positions must be integers"),
    ({"query_segment_ids": jnp.zeros(5, int)}, "go together"),
    ({"logits_dtype": jnp.bfloat16}, "must be float32 or float64"),
    ({"logits_dtype": jnp.float64}, "jax_enable_x64"),
    ({"aux": ("weight",)}, r"aux asks for \['weight'\], which is not among"),
    ({"implementation": "flash"}, r"'flash' is unknown; there are \['block"),
    (
      {"mask": masks.lengths(key=jnp.array([1, 2, 3]))},
      r"lengths of key has leading axes \[3\], expected the batch axes \[2\]",
    ),
    (
      {"mask": masks.dense(jnp.ones((4, 5, 7), bool))},
      "dense table has 4 heads, expected 1 or 6",
    ),
    (
      {"mask": masks.from_fn(lambda b, h, q, k: q + k)},
      "must return booleans, got int32",
    ),
  ],
)
def test_options_that_do_not_fit(kw, words):
  with pytest.raises(ValueError, match=words):
    attnjax.attend(Q, KV, KV, **kw)


def test_a_scale_that_is_no_number():
  with pytest.raises(ValueError, match="finite Python number"):
    scoring.scaled_dot(jnp.ones(()))


def test_a_cap_that_is_not_positive():
  with pytest.raises(ValueError, match="cap must be positive"):
    score_mods.softcap(0)
