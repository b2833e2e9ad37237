"""Every option of a decoder, against its definition in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  ExpertsConfig,
  RotaryConfig,
  decoder_parameters,
  total,
)
from attnjax.models.decoder_layers import periods
from attnjax.ops import rotary_scaling
from tests.few import few
from tests.models.numpy_decoder import logits_of
from tests.models.small import SIZES, V, decoder, forward

T = 11
TOKENS = np.random.default_rng(0).integers(0, V, (1, T)).astype(np.int32)

GEMMA = {
  "norm": "rms_plus_one",
  "order": "sandwich",
  "activation": "geglu",
  "query_key_norm": "head",
  "scale": 0.3,
  "softcap": 2.0,
  "logits_softcap": 3.0,
  "embedding_scale": 3.5,
  "window": 2,
  "layers": ("window", "window", "full"),
  "depth": 5,
  "rotary": RotaryConfig(
    base=500.0, local_base=20.0, scaling="linear", factor=4.0
  ),
}
OPTIONS = {
  "gemma": GEMMA,
  "olmo": {"order": "output", "query_key_norm": "heads", "tied": False},
  "neox": {
    "order": "parallel",
    "norm": "layer",
    "use_bias": True,
    "activation": "gelu_erf",
    "rotary": RotaryConfig(features=2),
  },
  "gptj": {
    "order": "parallel_one",
    "norm": "layer",
    "use_bias": True,
    "attention_bias": False,
    "attention_output_bias": False,
    "rotary": RotaryConfig(features=4, interleaved=True),
  },
  "qwen": {"attention_bias": True, "attention_output_bias": False},
  "gpt_oss": {
    "sinks": True,
    "window": 3,
    "layers": ("window", "full"),
    "depth": 4,
    "activation": "clipped_swiglu",
    "use_bias": True,
    "experts": ExpertsConfig(count=4, active=3),
    "rotary": RotaryConfig(
      base=1500.0,
      scaling="yarn",
      factor=8.0,
      original_length=16,
      whole=False,
    ),
  },
  "qwen_moe": {
    "activation": "swiglu",
    "experts": ExpertsConfig(
      count=3, active=2, normalized=False, scale=1.5, shared=5, shared_gate=True
    ),
  },
  "deepseek_moe": {
    "use_bias": True,
    "experts": ExpertsConfig(count=3, active=1, shared=4),
  },
  "smollm3": {
    "layers": ("full", "full", "full_unrotated"),
    "rotary": RotaryConfig(
      scaling="llama3", factor=8.0, original_length=40, high=5.0
    ),
  },
  "phi3": {
    "rotary": RotaryConfig(
      scaling="longrope",
      short=(1.0, 1.5, 2.0),
      long=(1.5, 3.0, 4.0),
      original_length=8,
      gain=1.2,
    )
  },
  "dynamic": {
    "rotary": RotaryConfig(scaling="dynamic", factor=2.0, original_length=8)
  },
  "opt": {
    "positions": "learned",
    "position_offset": 2,
    "norm": "layer",
    "use_bias": True,
    "activation": "relu",
  },
  "post": {"order": "post", "activation": "quick_gelu", "epsilon": 0.1},
  "alibi": {"positions": "alibi", "softcap": 1.0, "activation": "silu"},
  "reglu": {"activation": "reglu", "kv_heads": 1},
}


def frequencies(config):
  """(frequency of each pair, gain) of a layer's kind, by the formulas."""
  rotary = config.rotary

  def of(kind, features):
    local = kind.startswith("window") and rotary.local_base is not None
    base = rotary.local_base if local else rotary.base
    plain = [base ** (-2 * i / features) for i in range(features // 2)]
    if local:
      return plain, 1.0
    length, factor = rotary.original_length, rotary.factor
    if rotary.scaling == "linear":
      return [f / factor for f in plain], 1.0
    if rotary.scaling == "dynamic":
      share = factor * max(T, length) / length - factor + 1
      base = base * share ** (features / (features - 2))
      return [base ** (-2 * i / features) for i in range(features // 2)], 1.0
    if rotary.scaling == "longrope":
      by = rotary.long if length < T else rotary.short
      return [f / b for f, b in zip(plain, by, strict=True)], rotary.gain
    if rotary.scaling == "llama3":
      turns = [length * f / (2 * np.pi) for f in plain]
      kept = [(n - rotary.low) / (rotary.high - rotary.low) for n in turns]
      kept = [min(1, max(0, k)) for k in kept]
      both = zip(plain, kept, strict=True)
      return [f * k + f / factor * (1 - k) for f, k in both], 1.0
    if rotary.scaling == "yarn":
      # The pair that turns n times within the length: length f = 2 pi n.
      pair = lambda n: (
        np.log(length / (2 * np.pi * n)) / np.log(base) * features / 2
      )
      first, last = max(pair(rotary.fast), 0), pair(rotary.slow)
      last = min(last, features - 1)
      ramp = [(i - first) / (last - first) for i in range(features // 2)]
      ramp = [min(1, max(0, r)) for r in ramp]
      both = zip(plain, ramp, strict=True)
      found = [f * (1 - r) + f / factor * r for f, r in both]
      return found, 0.1 * np.log(factor) + 1
    return plain, 1.0

  return of


def by_path(model):
  """Parameters by dotted path."""
  leaves = jax.tree_util.tree_leaves_with_path(model)
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
  return {name(p).removesuffix(".value"): np.asarray(x) for p, x in leaves}


@pytest.mark.parametrize("name", few(OPTIONS, "gemma", "neox", "gpt_oss"))
def test_logits_are_those_of_the_definition(name):
  model = decoder(**OPTIONS[name])
  config = model.config
  expected = logits_of(config, by_path(model), TOKENS[0], frequencies(config))
  got = forward(model, TOKENS)[0]
  np.testing.assert_allclose(got, expected, atol=2e-5 * np.ptp(expected))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_a_cache_has_the_logits_of_a_full_pass(name):
  model = decoder(**OPTIONS[name])
  cache, step = model.init_cache((1,), T), jax.jit(lambda m, *a: m.decode(*a))
  parts = []
  for chunk in (TOKENS[:, :5], TOKENS[:, 5:10], TOKENS[:, 10:]):
    logits, cache = step(model, chunk, cache)
    parts.append(np.asarray(logits))
  expected = forward(model, TOKENS)
  np.testing.assert_allclose(
    np.concatenate(parts, 1), expected, atol=1e-5 * np.ptp(expected)
  )


@pytest.mark.parametrize("name", few(["gemma", "neox", "alibi"], "alibi"))
def test_no_gradient_comes_from_a_later_embedding(name):
  # Each token occurs once, so a row of the table is the embedding of a place.
  model, t = decoder(T, **(OPTIONS[name] | {"tied": False})), 6
  loss = lambda model: jnp.sin(model(jnp.arange(T))[t]).sum()
  grads = jax.jit(jax.grad(loss))(model)
  reach = np.abs(grads.embed.embedding[...]).max(-1) > 0
  np.testing.assert_array_equal(reach, np.arange(T) <= t)


@pytest.mark.parametrize("name", OPTIONS)
def test_parameters_are_as_many_as_the_formula_says(name):
  config = DecoderConfig(**(SIZES | OPTIONS[name]))
  made = jax.eval_shape(lambda: DecoderLM(config, V, rngs=nnx.Rngs(0)))
  count = sum(leaf.size for leaf in jax.tree.leaves(made))
  assert total(decoder_parameters(config, V)) == count


def test_a_period_is_compiled_once_however_deep_the_decoder_is():
  def programs(depth):
    model = decoder(**(GEMMA | {"depth": depth}))
    text = str(jax.make_jaxpr(lambda m: m(jnp.asarray(TOKENS)))(model))
    return text.count("dot_general")

  assert programs(6) == programs(12)


@pytest.mark.parametrize(
  ("kinds", "expected"),
  [
    ("aaaaaa", [("a", 6)]),
    ("ababab", [("ab", 3)]),
    ("aabaabaa", [("aab", 2), ("a", 2)]),
    ("aaabbb", [("a", 3), ("b", 3)]),
    ("abcd", [("abcd", 1)]),
    ("", []),
  ],
)
def test_periods_are_the_shortest(kinds, expected):
  found = periods(tuple(kinds))
  assert [("".join(p), n) for p, n in found] == expected


def test_scalings_agree_where_they_do_nothing():
  plain = rotary_scaling.RotaryScaling().frequencies(8, 100.0, 9)
  for scaling in (
    rotary_scaling.Linear(1.0),
    rotary_scaling.DynamicNTK(3.0, 9),
    rotary_scaling.Yarn(1.0, 64),
    rotary_scaling.Llama3(1.0, 64),
    rotary_scaling.LongRope((1.0,) * 4, (2.0,) * 4, 9),
  ):
    found = scaling.frequencies(8, 100.0, 9)
    np.testing.assert_allclose(found, plain, rtol=1e-15)
    assert scaling.magnitude == 1


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"layers": ("window",)}, "window must be given"),
    ({"layers": ("local",)}, "layers must be one of full, window.*'local'"),
    ({"rotary": RotaryConfig(features=8)}, "up to it, got 8"),
    ({"order": "before"}, "order must be one of pre, post.*'before'"),
    ({"query_key_norm": "all"}, "query_key_norm must be one of none, head"),
  ],
)
def test_a_config_that_cannot_be(options, words):
  with pytest.raises(ValueError, match=words):
    decoder(**options)


def test_factors_of_another_number_of_pairs_are_refused():
  short = RotaryConfig(scaling="longrope", short=(1.0,), long=(1.0,))
  with pytest.raises(ValueError, match="one factor for each of the 3 pairs"):
    forward(decoder(rotary=short), TOKENS)


def test_a_rotary_config_refuses_what_cannot_turn():
  with pytest.raises(ValueError, match=r"features must be even.*got 3"):
    RotaryConfig(features=3)
  with pytest.raises(ValueError, match=r"low must be below rotary.high"):
    RotaryConfig(scaling="llama3", low=4.0, high=4.0)
