"""Published vision transformers: tables, refusals, the library's numbers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import ViT, ViTConfig, load, save
from attnjax.models.published.read_config import config_of, keys_of
from attnjax.models.published.vision_families import VISION
from tests import drawn

safetensors = pytest.importorskip("safetensors.numpy")
B, V, SIDE, P = 2, 5, 12, 4
SIZES = {
  "hidden_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 3,
  "image_size": SIDE,
  "patch_size": P,
  "num_channels": 3,
}
OURS = {
  "height": SIDE,
  "breadth": SIDE,
  "channels": 3,
  "patch": P,
  "width": 24,
  "depth": 2,
  "heads": 3,
  "hidden": 48,
  "activation": "gelu_erf",
  "token_position": True,
}
CONFIGS = {
  "vit": {"epsilon": 1e-3, "attention_bias": False, "breadth": 8},
  "dinov2": {
    "layer_scale": 0.5,
    "resample": True,
    "pool": "token_and_mean",
  },
}
GATED = {
  "layer_scale": 0.5,
  "resample": True,
  "activation": "swiglu",
  "hidden": 64,
  "pool": "none",
}


def images(seed, height=SIDE, breadth=SIDE, channels=3):
  shape = (B, height, breadth, channels)
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@jax.jit
def run(model, x):
  return model(x)


@pytest.mark.parametrize(
  ("family", "options", "classes"),
  [
    ("vit", CONFIGS["vit"], V),
    ("vit", {"pool": "none"}, 0),
    ("dinov2", CONFIGS["dinov2"], V),
    ("dinov2", GATED, 0),
  ],
)
def test_a_model_is_written_and_read_as_the_same(
  family, options, classes, tmp_path
):
  assert {*CONFIGS} == {*VISION}
  config = ViTConfig(**(OURS | options))
  model = drawn.module(lambda: ViT(config, classes, rngs=nnx.Rngs(0)))
  assert save(tmp_path, model) == family
  again, settings = load(tmp_path)
  assert settings is None
  assert again.classes == classes
  assert again.config == config_of(keys_of(config, classes)[1])[1]
  for a, b in zip(*map(jax.tree.leaves, (model, again)), strict=True):
    np.testing.assert_array_equal(a, b)
  x = images(0, config.height, config.breadth)
  np.testing.assert_array_equal(run(model, x), run(again, x))


VIT = {
  "model_type": "vit",
  "architectures": ["ViTForImageClassification"],
  "intermediate_size": 20,
  "id2label": {str(i): f"LABEL_{i}" for i in range(V)},
} | SIZES
DINOV2 = {"model_type": "dinov2", "architectures": ["Dinov2Model"]} | SIZES


@pytest.mark.parametrize(
  ("values", "words"),
  [
    (VIT | {"model_type": "deit"}, "model_type='deit' is no family"),
    (VIT | {"patch_size": [4, 2]}, r"patch_size=\[4, 2\] is not honoured for"),
    (VIT | {"image_size": [3, 4, 5]}, "image_size must be one number or two"),
    (VIT | {"image_size": 13}, "patch=4 must divide the image of 13 x 13"),
    (VIT | {"hidden_act": "tanh"}, "hidden_act must be one of .*got 'tanh'"),
    (VIT | {"num_registers": 2}, "num_registers=2 is no option that is hon"),
    (
      VIT | {"id2label": {}, "num_labels": 0},
      "num_labels must be at least 1 for a model that reads",
    ),
    (DINOV2 | {"image_size": [8, 12]}, r"image_size=\[8, 12\] is not honoured"),
    (DINOV2 | {"hidden_act": "x"}, "hidden_act must be one of .*got 'x'"),
  ],
)
def test_what_is_not_honoured_is_refused_by_name(values, words):
  with pytest.raises(ValueError, match=words):
    config_of(values)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp("vit")
  config = ViTConfig(**(OURS | CONFIGS["vit"]))
  save(folder, drawn.module(lambda: ViT(config, V, rngs=nnx.Rngs(0))))
  return folder


@pytest.mark.parametrize(
  ("name", "change", "words"),
  [
    ("classifier.bias", None, "weights must have classifier.bias"),
    ("vit.more", np.zeros(1), "weights have vit.more, which no part"),
    (
      "vit.embeddings.patch_embeddings.projection.weight",
      np.zeros((24, 1, 4, 4)),
      r"projection.weight must have shape \[24, 3, 4, 4\] by",
    ),
    (
      "vit.embeddings.position_embeddings",
      np.zeros((7, 24)),
      r"position_embeddings must have shape \[1, 7, 24\]",
    ),
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


def test_a_config_that_no_table_says():
  with pytest.raises(ValueError, match=r"vit, cannot say positions='sinusoi"):
    keys_of(
      ViTConfig(
        **(OURS | {"token_position": False, "positions": "sinusoidal"})
      ),
      V,
    )


def options_of(seed):
  """Options drawn from what the two configurations of the library have."""
  rng = np.random.default_rng(seed)
  one = lambda *choices: choices[rng.integers(len(choices))]
  heads, patch = one(1, 2, 3, 6), one(1, 2, 3, 4)
  kind = ("vit", "dinov2")[seed % 2]
  side = lambda: patch * int(rng.integers(1, 5))
  found = {
    "hidden_size": 8 * heads,
    "num_attention_heads": heads,
    "num_hidden_layers": one(1, 2, 3),
    "patch_size": patch,
    "num_channels": one(1, 3, 4),
    "qkv_bias": one(True, False),
    "layer_norm_eps": one(1e-12, 1e-6, 1e-2),
    "hidden_act": one("gelu", "gelu_new", "relu", "silu", "quick_gelu"),
  }
  classes = one(0, 1, 2, 7)
  if kind == "vit":
    found |= {"image_size": [side(), side()], "intermediate_size": one(8, 20)}
    return kind, found, classes
  found |= {
    "image_size": side(),
    "mlp_ratio": one(1, 2, 4),
    "use_swiglu_ffn": one(True, False),
    "use_mask_token": one(True, False),
  }
  return kind, found, classes


def make(folder, kind, options, classes):
  """A random model of the library, saved."""
  torch = pytest.importorskip("torch", reason="the oracle is PyTorch's")
  library = pytest.importorskip("transformers")
  extra = {"num_labels": classes} if classes else {}
  config = library.AutoConfig.for_model(kind, **(SIZES | options | extra))
  name = "AutoModelForImageClassification" if classes else "AutoModel"
  model = getattr(library, name).from_config(config).eval()
  torch.manual_seed(0)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      noise = 0.3 * torch.randn_like(parameter)
      near_one = "norm" in name or "scale" in name
      parameter.copy_(parameter + noise if near_one else noise)
  model.save_pretrained(folder)
  return model


def theirs_of(model, x):
  import torch

  with torch.no_grad():
    out = model(torch.tensor(np.moveaxis(x, -1, 1).copy()))
  found = out.logits if "logits" in out else out.last_hidden_state
  return found.numpy().astype(np.float64)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(10))
def test_a_model_has_the_numbers_of_its_library(seed, tmp_path):
  kind, options, classes = options_of(seed)
  theirs = make(tmp_path / "theirs", kind, options, classes)
  model, settings = load(tmp_path / "theirs")
  assert settings is None
  height, breadth = model.config.height, model.config.breadth
  sizes = [(height, breadth)]
  if kind == "dinov2":
    sizes += [(2 * height, breadth), (3 * model.config.patch, 5 * height)]
  for size in sizes:
    x = images(seed, *size, model.config.channels)
    expected = theirs_of(theirs, x)
    got = np.asarray(run(model, jnp.asarray(x)), np.float64)
    error = np.abs(got - expected).max() / np.ptp(expected)
    assert got.shape == expected.shape
    print(kind, size, options, classes, error)
    assert error < 1e-5

  assert save(tmp_path / "ours", model) == kind
  again = type(theirs).from_pretrained(tmp_path / "ours").eval()
  before = theirs.state_dict()
  for name, tensor in again.state_dict().items():
    # Of the library's own, and never in what we read.
    if "pooler" not in name:
      np.testing.assert_array_equal(tensor, before[name], err_msg=name)
  # Not the same bits: its products depend on where an array lies.
  error = np.abs(theirs_of(again, x) - expected).max()
  assert error < 1e-6 * np.ptp(expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_model_alone_leaves_its_pooler(tmp_path):
  theirs = make(tmp_path, "vit", {"intermediate_size": 20}, 0)
  assert any("pooler" in name for name, _ in theirs.named_parameters())
  model, _ = load(tmp_path)
  about = json.loads((tmp_path / "config.json").read_text())
  assert about["architectures"] == ["ViTModel"]
  assert model.readout is None
