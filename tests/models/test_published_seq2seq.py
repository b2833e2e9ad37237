"""Published encoder-decoders: tables, refusals, and the library's numbers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import (
  EncoderDecoder,
  EncoderDecoderConfig,
  load,
  save,
  translate,
)
from attnjax.models.published.read_config import config_of, keys_of
from attnjax.models.published.seq2seq_families import SEQ2SEQ
from tests import drawn

safetensors = pytest.importorskip("safetensors.numpy")
B, V, S, T = 2, 37, 23, 19
SIZES = {
  "vocab_size": V,
  "d_model": 24,
  "d_kv": 5,
  "d_ff": 20,
  "num_layers": 2,
  "num_decoder_layers": 3,
  "num_heads": 3,
  # Texts of the tests are longer.
  "relative_attention_num_buckets": 8,
  "relative_attention_max_distance": 10,
}
OURS = {
  "width": 24,
  "head_width": 5,
  "hidden": 20,
  "encoder_depth": 2,
  "decoder_depth": 3,
  "heads": 3,
  "buckets": 8,
  "max_distance": 10,
  "activation": "relu",
  "scale": 1.0,
  "positions": "relative",
  "shared": True,
  "readout_scale": 24**-0.5,
}
FLAN = {"activation": "geglu", "tied": False, "readout_scale": 1.0}
DRAWN = np.random.default_rng(1)
SOURCE = DRAWN.integers(3, V, (B, S)).astype(np.int32)
TARGET = DRAWN.integers(3, V, (B, T)).astype(np.int32)
LENGTHS = np.array([S, 11], np.int32)


def network(**options):
  config = EncoderDecoderConfig(**(OURS | options))
  return drawn.module(lambda: EncoderDecoder(config, V, rngs=nnx.Rngs(0)))


@jax.jit
def run(model, source, target, lengths=None):
  return model(source, target, source_lengths=lengths)


@jax.jit
def encode(model, source, lengths):
  return model.encode(source, lengths)


@jax.jit
def step(model, memory, cache, tokens):
  return model.decode(memory, cache, tokens)


def decoded(model, source, target, lengths):
  """Logits of the target, in three chunks over a cache."""
  memory, parts = encode(model, source, lengths), []
  cache = model.init_state(memory, target.shape[-1])
  for chunk in np.split(target, [7, 8], axis=-1):
    logits, cache = step(model, memory, cache, chunk)
    parts.append(np.asarray(logits))
  return np.concatenate(parts, axis=-2)


@pytest.mark.parametrize("options", [{}, FLAN, {"readout_scale": 1.0}])
def test_a_model_is_written_and_read_as_the_same(options, tmp_path):
  assert {*SEQ2SEQ} == {"t5"}
  model = network(**options)
  assert save(tmp_path, model) == "t5"
  again, tokenizer = load(tmp_path)
  assert tokenizer is None
  assert again.config == config_of(keys_of(model.config, V)[1])[1]
  for a, b in zip(*map(jax.tree.leaves, (model, again)), strict=True):
    np.testing.assert_array_equal(a, b)


T5 = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}
T5 |= SIZES
OLDER = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


@pytest.mark.parametrize(
  ("values", "tensors", "expected"),
  [
    # The first files, those of Flan-T5, and those that the library writes now.
    ({}, ("lm_head.weight",), (True, 24**-0.5, "relu")),
    (OLDER, ("lm_head.weight",), (False, 1.0, "geglu")),
    (
      OLDER | {"tie_word_embeddings": True, "scale_decoder_outputs": False},
      ("lm_head.weight",),
      (False, 1.0, "geglu"),
    ),
    (
      {"tie_word_embeddings": True, "scale_decoder_outputs": False},
      (),
      (True, 1.0, "relu"),
    ),
    (
      {"dense_act_fn": "gelu_new", "is_gated_act": True},
      (),
      (True, 24**-0.5, "geglu"),
    ),
    ({"feed_forward_proj": "gated-silu"}, (), (True, 24**-0.5, "swiglu")),
  ],
)
def test_what_is_tied_and_scaled(values, tensors, expected):
  _, config, _ = config_of(T5 | values, tensors=tensors)
  assert (config.tied, config.readout_scale, config.activation) == expected


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model_type": "umt5"}, "model_type='umt5' is no family.*nearest is 't5'"),
    ({"is_encoder_decoder": False}, "is_encoder_decoder=False is not honoured"),
    (
      {"feed_forward_proj": "gated-tanh"},
      "feed_forward_proj must be one",
    ),
    ({"feed_forward_proj": "linear-relu"}, "must be one of .*'linear-relu'"),
    ({"scalable_attention": True}, "scalable_attention=True is no option that"),
    ({"d_kv": None}, "d_kv must be given for t5"),
    ({"relative_attention_num_buckets": 7}, "must have an even number of rows"),
    (
      {"relative_attention_max_distance": 3},
      "max_distance must be a Python",
    ),
  ],
)
def test_what_is_not_honoured_is_refused_by_name(changes, words):
  with pytest.raises(ValueError, match=words):
    config_of(T5 | changes)


def test_a_config_that_no_table_says():
  with pytest.raises(ValueError, match=r"t5, cannot say readout_scale=0\.5"):
    keys_of(EncoderDecoderConfig(**(OURS | {"readout_scale": 0.5})), V)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp("t5")
  save(folder, network(**FLAN))
  return folder


CROSS = "decoder.block.1.layer.1.EncDecAttention.k.weight"
BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"


@pytest.mark.parametrize(
  ("name", "change", "words"),
  [
    (CROSS, None, f"weights must have {CROSS}"),
    ("lm_head.weight", None, "weights must have lm_head.weight"),
    (BIAS, np.zeros((6, 3)), r"bias.weight must have shape \[8, 3\] by"),
    (
      "encoder.embed_tokens.weight",
      np.zeros((V, 24)),
      "encoder.embed_tokens.weight must equal shared.weight",
    ),
    ("encoder.more", np.zeros(1), "weights have encoder.more, which no part"),
  ],
)
def test_tensors_that_do_not_fit_are_named(
  saved, name, change, words, tmp_path
):
  tensors = safetensors.load_file(saved / "model.safetensors")
  tensors.pop(name, None)
  tensors |= {} if change is None else {name: change.astype(np.float32)}
  safetensors.save_file(tensors, tmp_path / "model.safetensors")
  text = (saved / "config.json").read_text()
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(ValueError, match=words):
    load(tmp_path)


def options_of(seed):
  """Options drawn from what the configuration of the library has."""
  rng = np.random.default_rng(seed)
  one = lambda *choices: choices[rng.integers(len(choices))]
  buckets = one(4, 8, 10, 32)
  return {
    "d_model": one(16, 24),
    "d_kv": one(4, 5, 8),
    "d_ff": one(12, 20),
    "num_layers": one(1, 2, 3),
    "num_decoder_layers": one(None, 1, 2),
    "num_heads": one(1, 3, 4),
    "relative_attention_num_buckets": buckets,
    "relative_attention_max_distance": buckets // 2 + one(1, 5, 90),
    "layer_norm_epsilon": one(1e-6, 1e-3),
    "feed_forward_proj": one(
      "relu", "gated-gelu", "gated-silu", "gated-relu", "gelu_new", "silu"
    ),
    "tie_word_embeddings": one(True, False),
  }


def make(folder, options, seed=0):
  """A random model of the library, saved."""
  torch = pytest.importorskip("torch", reason="the oracle is PyTorch's")
  library = pytest.importorskip("transformers")
  config = library.T5Config(**(SIZES | options))
  model = library.T5ForConditionalGeneration(config).eval()
  if options.get("tie_word_embeddings") is False:
    # The library ties whatever its config says, unless a file has both tables.
    model.lm_head.weight = torch.nn.Parameter(
      torch.empty_like(model.lm_head.weight)
    )
    model.all_tied_weights_keys.pop("lm_head.weight")
  torch.manual_seed(seed)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      noise = torch.randn_like(parameter)
      # Logits of ordinary size: they have no scale here.
      small = 0.3 if parameter.ndim > 1 and "bias" not in name else 1.0
      near_one = "norm" in name
      parameter.copy_(parameter + 0.3 * noise if near_one else small * noise)
  model.save_pretrained(folder)
  return model


def theirs_of(model, source, target, real):
  import torch

  with torch.no_grad():
    found = model(
      input_ids=torch.tensor(source),
      attention_mask=torch.tensor(real * 1),
      decoder_input_ids=torch.tensor(target),
      use_cache=False,
    )
  return found.logits.numpy().astype(np.float64)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(8))
def test_a_model_has_the_numbers_of_its_library(seed, tmp_path):
  options = options_of(seed)
  theirs = make(tmp_path / "theirs", options)
  model, tokenizer = load(tmp_path / "theirs")
  assert tokenizer is None
  assert model.config.tied == options["tie_word_embeddings"]
  real = np.arange(S) < LENGTHS[:, None]
  source = np.where(real, SOURCE, 0)
  expected = theirs_of(theirs, source, TARGET, real)
  limit = 1e-5 * np.ptp(expected)
  got = np.asarray(run(model, source, TARGET, LENGTHS), np.float64)
  print(options, np.abs(got - expected).max() / np.ptp(expected))
  assert np.abs(got - expected).max() < limit

  # Cached decoding, and a text without padding.
  by_parts = decoded(model, source, TARGET, LENGTHS)
  assert np.abs(by_parts - expected).max() < limit
  alone = run(model, source[1:, :11], TARGET[1:])
  assert np.abs(alone[0] - expected[1]).max() < limit

  assert save(tmp_path / "ours", model) == "t5"
  again = type(theirs).from_pretrained(tmp_path / "ours").eval()
  for (name, a), b in zip(
    theirs.state_dict().items(), again.state_dict().values(), strict=True
  ):
    np.testing.assert_array_equal(a, b, err_msg=name)
  # Not the same bits: its products depend on where an array lies.
  error = np.abs(theirs_of(again, source, TARGET, real) - expected).max()
  assert error < 1e-6 * np.ptp(expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_translations_are_those_of_the_library(tmp_path):
  import torch

  # Its cache has as many layers as its encoder, and no more.
  options = OLDER | {"num_decoder_layers": 2}
  theirs = make(tmp_path, options, seed=4)
  model, _ = load(tmp_path)
  real = np.arange(S) < LENGTHS[:, None]
  source = np.where(real, SOURCE, 0)
  options = {"start": 0, "end": 1, "max_length": 12}
  found = translate(model, jnp.asarray(source), jnp.asarray(LENGTHS), **options)
  with torch.no_grad():
    expected = theirs.generate(
      torch.tensor(source),
      attention_mask=torch.tensor(real * 1),
      max_new_tokens=12,
      num_beams=1,
      do_sample=False,
      decoder_start_token_id=0,
      eos_token_id=1,
      pad_token_id=0,
    ).numpy()[:, 1:]
  assert len({*expected.ravel()}) > 3  # not one word again and again
  assert found.lengths[:, 0].tolist() == [12, 5]  # one ends by itself
  for row, length in enumerate((12, 5)):
    np.testing.assert_array_equal(
      found.tokens[row, 0, :length], expected[row, :length]
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_files_of_the_first_version_hold_the_table_three_times(tmp_path):
  make(tmp_path, {})
  file = tmp_path / "model.safetensors"
  tensors = safetensors.load_file(file)
  before, _ = load(tmp_path)
  copies = ("lm_head", "encoder.embed_tokens", "decoder.embed_tokens")
  more = {f"{name}.weight": tensors["shared.weight"].copy() for name in copies}
  unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias"
  more[f"{unused}.weight"] = np.zeros((8, 3), np.float32)
  safetensors.save_file(tensors | more, file)
  about = json.loads((tmp_path / "config.json").read_text())
  for name in ("scale_decoder_outputs", "tie_word_embeddings"):
    about.pop(name)
  (tmp_path / "config.json").write_text(json.dumps(about | {"n_positions": 9}))
  after, _ = load(tmp_path)
  assert after.config == before.config
  for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True):
    np.testing.assert_array_equal(a, b)
