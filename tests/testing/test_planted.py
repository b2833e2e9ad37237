"""The suite can fail: each planted defect is caught, by the case for it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks, testing


def attend(*arrays, **options):
  return attnjax.attend(*arrays, **options, implementation="reference")


def of_out(change, result):
  """Changes the output, whatever comes beside it."""
  if isinstance(result, tuple):
    return change(result[0]), *result[1:]
  return change(result)


def leaks_one_future_key(*arrays, mask=None, **options):
  if isinstance(mask, masks.Mask):
    mask = mask | masks.from_fn(_next_key)
  return attend(*arrays, mask=mask, **options)


def _next_key(b, h, q, k):
  return k == q + 1


def leaks_a_little(query, key, value, **options):
  out = attend(query, key, value, **options)
  mean = value.mean(axis=(-3, -2, -1), keepdims=True)
  return of_out(lambda x: x + 1e-9 * mean, out)


def hides_with_a_large_number(
  query, key, value, *, mask=None, bias=None, **more
):
  """As most do: a row that sees nothing becomes the mean of all values."""
  shape = (query.shape[:-3], query.shape[-2], query.shape[-3], key.shape[-3])
  batch, heads, length, keys = shape
  hidden = jnp.zeros((), bool)
  if isinstance(mask, masks.Mask):
    hidden = ~mask.dense(length, keys, batch=batch, heads=heads)
  full = (*batch, heads, length, keys)
  bias = jnp.zeros(full) if bias is None else jnp.broadcast_to(bias, full)
  hidden = jnp.broadcast_to(hidden, full) | jnp.isneginf(bias)
  return attend(query, key, value, bias=jnp.where(hidden, -1e30, bias), **more)


def poisons_empty_rows(*arrays, **options):
  """0/0 where a row sees nothing, put right in the output, not in gradients."""
  out, aux = attend(*arrays, **(options | {"aux": ("logsumexp",)}))
  empty = jnp.swapaxes(jnp.isneginf(aux.logsumexp), -1, -2)[..., None]
  total = jnp.where(empty, 0, 1) * arrays[0].sum(-1, keepdims=True)
  out = out * jnp.where(empty, 1, total / total)
  return (out, aux) if options.get("aux") else out


def sums_in_bfloat16(query, key, value, **options):
  if value.dtype != jnp.bfloat16:
    return attend(query, key, value, **options)
  _, aux = attend(query, key, value, **(options | {"aux": ("weights",)}))
  group = query.shape[-2] // key.shape[-2]
  w = jnp.moveaxis(aux.weights.astype(jnp.bfloat16), -1, 0)  # S *B H T
  v = jnp.moveaxis(jnp.repeat(value, group, -2), -3, 0)  # S *B H E
  parts = w[..., None] * v[..., None, :]
  zero = jnp.zeros_like(parts[0])
  total = jax.lax.scan(lambda c, x: (c + x, None), zero, parts)[0]
  _, plain = attend(query, key, value, **options)
  return jnp.swapaxes(total, -2, -3), plain


def drops_the_bias_gradient(*arrays, bias=None, **options):
  bias = None if bias is None else jax.lax.stop_gradient(bias)
  return attend(*arrays, bias=bias, **options)


def drops_the_score_mod_gradient(*arrays, score_mod=None, **options):
  score_mod = jax.lax.stop_gradient(score_mod)
  return attend(*arrays, score_mod=score_mod, **options)


def stops_the_logsumexp(*arrays, **options):
  result = attend(*arrays, **options)
  if not isinstance(result, tuple):
    return result
  stop = jax.lax.stop_gradient(result[1].logsumexp)
  return result[0], dataclasses.replace(result[1], logsumexp=stop)


def ignores_segment_ids(*arrays, **options):
  ids = ("query_segment_ids", "key_segment_ids")
  return attend(*arrays, **{n: x for n, x in options.items() if n not in ids})


def ignores_positions(*arrays, **options):
  places = ("query_positions", "key_positions")
  kept = {n: x for n, x in options.items() if n not in places}
  return attend(*arrays, **kept)


def drops_by_block(query, *arrays, dropout_key=None, **options):
  if dropout_key is not None:
    dropout_key = jax.random.fold_in(dropout_key, query.shape[-3] // 128)
  return attend(query, *arrays, dropout_key=dropout_key, **options)


@jax.custom_vjp
def undropped_backward(dropped, plain):
  return dropped


undropped_backward.defvjp(
  lambda dropped, plain: (dropped, None), lambda _, g: (jnp.zeros_like(g), g)
)


def forgets_dropout_backward(
  *arrays, dropout_rate=0.0, dropout_key=None, **more
):
  if not dropout_rate:
    return attend(*arrays, **more)
  plain = attend(*arrays, **more)
  dropped = attend(
    *arrays, dropout_rate=dropout_rate, dropout_key=dropout_key, **more
  )
  return jax.tree.map(undropped_backward, dropped, plain)


def forgets_to_rescale(*arrays, dropout_rate=0.0, **options):
  out = attend(*arrays, dropout_rate=dropout_rate, **options)
  return of_out(lambda x: x * (1 - dropout_rate), out)


def window_one_too_narrow(*arrays, mask=None, **options):
  """Also where the window is a part of a mask."""
  reaches_back = lambda x: isinstance(getattr(x, "left", None), int)
  narrower = lambda x: (
    dataclasses.replace(x, left=x.left - 1) if reaches_back(x) and x.left else x
  )
  mask = jax.tree.map(narrower, mask, is_leaf=reaches_back)
  return attend(*arrays, mask=mask, **options)


def pairs_heads_wrongly(query, key, value, **options):
  """h % K for h // G."""
  heads, shared = query.shape[-2], key.shape[-2]
  each = lambda x: jnp.concatenate([x] * (heads // shared), axis=-2)
  return attend(query, each(key), each(value), **options)


def reads_a_power_of_two(query, key, value, **options):
  """Keys past the last whole block of 64 are forgotten."""
  whole = max(key.shape[-3] // 64 * 64, min(key.shape[-3], 64))
  options["key_segment_ids"] = (jnp.arange(key.shape[-3]) >= whole).astype(
    jnp.int32
  )
  options["query_segment_ids"] = jnp.zeros(query.shape[-3], jnp.int32)
  return attend(query, key, value, **options)


def rounds_the_aux(*arrays, **options):
  """Log-sum-exp in the dtype of the inputs, as jax.nn has it."""
  result = attend(*arrays, **options)
  if not isinstance(result, tuple):
    return result
  return result[0], jax.tree.map(lambda x: x.astype(arrays[0].dtype), result[1])


@jax.custom_vjp
def no_forward_mode(x):
  return x


no_forward_mode.defvjp(lambda x: (x, None), lambda _, g: (g,))


def has_no_jvp(*arrays, **options):
  return jax.tree.map(no_forward_mode, attend(*arrays, **options))


def overflows(query, key, value, *, mask=None, **options):
  """Softmax without taking the largest logit off."""
  out, aux = attend(query, key, value, mask=mask, **options)
  safe = jnp.log(jnp.exp(aux.logsumexp))
  return out, dataclasses.replace(aux, logsumexp=safe)


def forgets_the_batch_row(*arrays, mask=None, **options):
  """A mask asked about the first row only."""
  if isinstance(mask, masks.Mask):
    mask = masks.from_fn(_first_row, mask)
  return attend(*arrays, mask=mask, **options)


def _first_row(b, h, q, k, mask):
  return mask(jnp.zeros_like(b), h, q, k)


calls = 0


def is_never_the_same(*arrays, **options):
  def noise(x):
    global calls
    calls += 1
    return np.float32(calls % 7 * 1e-7)

  shape = jax.ShapeDtypeStruct((), jnp.float32)
  wobble = lambda x: (
    x
    + jax.pure_callback(
      noise, shape, jax.lax.stop_gradient(x.ravel()[0])
    ).astype(x.dtype)
  )
  return of_out(wobble, attend(*arrays, **options))


PLANTED = [
  (leaks_one_future_key, "mask/causal", "out is off"),
  (leaks_one_future_key, "local/causal, reverse", "exactly 0"),
  (leaks_one_future_key, "local/causal, forward", "exactly 0"),
  (leaks_a_little, "local/window, reverse", "exactly 0"),
  (hides_with_a_large_number, "empty rows/by a mask", "out is off"),
  (hides_with_a_large_number, "empty rows/by a bias", "out is off"),
  (poisons_empty_rows, "empty rows/by a mask", "gradient of .* got nan"),
  (poisons_empty_rows, "second/empty rows", "got nan"),
  (sums_in_bfloat16, "dtype/bfloat16 sums of 257 keys", "out is off"),
  (drops_the_bias_gradient, "bias/H T S", "gradient of bias is off"),
  (drops_the_score_mod_gradient, "score_mod/alibi", "of score_mod slopes is"),
  (stops_the_logsumexp, "plain/plain", "gradient of (query|key) is off"),
  (ignores_segment_ids, "segments/packed", "out is off"),
  (ignores_positions, "positions/decode", "out is off"),
  (drops_by_block, "dropout/by place", "drops other weights"),
  (forgets_dropout_backward, "dropout/same backward", "gradient of"),
  (forgets_to_rescale, "dropout/drops and scales", "neither 0 nor divided"),
  (forgets_to_rescale, "dropout/right on average", "the mean of 64 draws sums"),
  (window_one_too_narrow, "mask/window", "out is off"),
  (window_one_too_narrow, "local/window, reverse", "where value is seen"),
  (pairs_heads_wrongly, "plain/plain", "out is off"),
  (reads_a_power_of_two, "length/T=127 S=129", "out is off"),
  (rounds_the_aux, "dtype/bfloat16", "logsumexp is bfloat16"),
  (overflows, "numbers/logits of 1e4", "got (inf|nan)"),
  (forgets_the_batch_row, "mask/lengths", "out is off"),
  (forgets_the_batch_row, "mask/lengths, traced", "out is off"),
  (is_never_the_same, "transform/determinism", "other bits"),
]


def one_of_each_defect():
  """Every defect and a case that catches it; its other cases are slow."""
  known = set()
  for defect, name, words in PLANTED:
    marks = [pytest.mark.slow] * (defect in known)
    known.add(defect)
    identity = f"{defect.__name__}: {name}"
    yield pytest.param(defect, name, words, id=identity, marks=marks)


@pytest.mark.parametrize(
  ("defect", "name", "words"), list(one_of_each_defect())
)
def test_a_planted_defect_is_caught(defect, name, words):
  (case,) = testing.cases(only=name)
  with pytest.raises(AssertionError, match=rf"^{name}: (?s:.*){words}"):
    case.check(defect)


def test_attention_without_forward_mode_is_caught():
  (case,) = testing.cases(only="jvp/causal with bias and score mod")
  with pytest.raises(TypeError, match="custom_vjp") as caught:
    case.check(has_no_jvp)
  notes = " ".join(caught.value.__notes__)
  assert "in case 'jvp/causal with bias and score mod'" in notes


def test_attention_in_square_memory_is_caught():
  cases = testing.linear_memory_cases(only="forward, plain")
  with pytest.raises(AssertionError, match="times the memory for 4 times"):
    cases[0].check(attend)


@pytest.mark.slow
@pytest.mark.parametrize(
  "defect",
  [ignores_segment_ids, leaks_one_future_key, window_one_too_narrow],
)
def test_random_calls_catch_it(defect):
  with pytest.raises(AssertionError, match=r"Problem\(.*off by"):
    testing.check_random(defect, max_examples=60, shrink=False)


@pytest.mark.slow
def test_random_calls_say_the_smallest():
  def refuses_long_keys(query, key, value, **options):
    if key.shape[-3] > 9:
      raise AssertionError("too long")
    return attend(query, key, value, **options)

  with pytest.raises(AssertionError, match="keys=10,"):
    testing.check_random(refuses_long_keys, max_examples=12)
