"""Published tensors become leaves where they stay: no copy, several threads."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import DecoderConfig, DecoderLM, load, save
from attnjax.models.published import filling
from attnjax.models.published.places import Place, Tensor, join, split
from tests import drawn

pytest.importorskip("safetensors")


class Memory:
  """Published tensors that are arrays already."""

  def __init__(self, arrays):
    self.arrays = arrays

  def names(self):
    return set(self.arrays)

  def shape(self, name):
    return self.arrays[name].shape

  def dtype(self, name):
    return self.arrays[name].dtype

  def read(self, name, out):
    out[...] = self.arrays[name]

  def get(self, name):
    return self.arrays[name].copy()


def draw(*shape, dtype=np.float32):
  return np.random.default_rng(0).normal(size=shape).astype(dtype)


TURNED, AS_IT_IS = Place("w", ("blocks.w",)), Place("s", ("blocks.s",))


def two_leaves(dtype=np.float32):
  """Two blocks of a matrix that is turned, and of a scale that is not."""
  arrays = {f"w{i}": draw(5, 3, dtype=dtype) + i for i in range(2)}
  arrays |= {f"s{i}": draw(7, dtype=dtype) + i for i in range(2)}
  tensors = [
    Tensor(f"w{i}", ("blocks.w.kernel",), (i,), TURNED) for i in range(2)
  ] + [Tensor(f"s{i}", ("blocks.s.scale",), (i,), AS_IT_IS) for i in range(2)]
  shapes = {"blocks.w.kernel": (2, 3, 5), "blocks.s.scale": (2, 7)}
  return Memory(arrays), tensors, shapes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("asked", ["float32", "bfloat16", None])
def test_leaves_are_the_tensors_turned_and_cast(dtype, asked):
  source, tensors, shapes = two_leaves(jnp.dtype(dtype))
  leaves = filling.filled(source, tensors, shapes, asked, dict.fromkeys(shapes))
  ours = jnp.dtype(asked or dtype)
  for name, letter in (("blocks.w.kernel", "w"), ("blocks.s.scale", "s")):
    both = [source.arrays[f"{letter}{i}"].T.astype(ours) for i in range(2)]
    np.testing.assert_array_equal(leaves[name], np.stack(both))
    assert leaves[name].dtype == ours


def test_a_cpu_takes_leaves_over_without_a_copy(monkeypatch):
  made, aligned = [], filling._aligned
  monkeypatch.setattr(
    filling, "_aligned", lambda *a: made.append(aligned(*a)) or made[-1]
  )
  source, tensors, shapes = two_leaves()
  leaves = filling.filled(source, tensors, shapes, None, dict.fromkeys(shapes))
  ours = {array.ctypes.data for array in made}
  assert ours == {leaf.unsafe_buffer_pointer() for leaf in leaves.values()}

  # A step that may overwrite its arguments gives its own numbers all the same.
  step = jax.jit(lambda x: 2 * x, donate_argnums=0)
  before = np.array(leaves["blocks.s.scale"])
  np.testing.assert_array_equal(step(leaves["blocks.s.scale"]), 2 * before)


def test_what_a_thread_raises_is_raised():
  source, tensors, shapes = two_leaves()
  source.get = lambda name: (_ for _ in ()).throw(ValueError(f"{name} ended"))
  with pytest.raises(ValueError, match=r"w\d ended"):
    filling.filled(source, tensors, shapes, None, dict.fromkeys(shapes))


def test_a_published_tensor_is_split_as_it_was_joined():
  for by in ("", "head"):
    place = Place("qkv", ("a", "b"), by=by)
    tensor = Tensor("qkv", ("blocks.a.kernel", "blocks.b.kernel"), (1,), place)
    parts = [draw(7, 2, 3), 1 + draw(7, 2, 3)]
    whole = join(tensor, parts)
    assert whole.shape == (12, 7)
    again = split(tensor, whole, [(7, 2, 3)] * 2)
    for one, other in zip(parts, again, strict=True):
      np.testing.assert_array_equal(one, other)


GROWTH = """
import sys
from attnjax.models import load
import jax
def most():
  lines = open("/proc/self/status").read().splitlines()
  found = dict(line.split(":", 1) for line in lines)
  return int(found["VmHWM"].split()[0]) * 1024
load(sys.argv[2])
before = most()
model, _ = load(sys.argv[1])
size = sum(x.nbytes for x in jax.tree.leaves(model))
print((most() - before) / size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_takes_the_memory_of_the_parameters(tmp_path):
  # A small model first, so that imports and programs are there.
  for name, width in (("small", 16), ("large", 512)):
    config = DecoderConfig(
      width=width, depth=12, heads=8, hidden=3 * width, activation="swiglu"
    )
    make = lambda c=config: DecoderLM(c, 5003, rngs=nnx.Rngs(0))
    save(tmp_path / name, drawn.module(make))
  run = subprocess.run(
    [sys.executable, "-c", GROWTH, tmp_path / "large", tmp_path / "small"],
    capture_output=True,
    text=True,
    check=True,
    timeout=120,
  )
  assert float(run.stdout) < 1.3, run.stdout


def test_a_model_in_half_precision_is_read_as_float32(tmp_path):
  config = DecoderConfig(
    width=8, depth=2, heads=2, hidden=16, activation="swiglu"
  )
  model = drawn.module(lambda: DecoderLM(config, 11, rngs=nnx.Rngs(0)))
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), model)
  save(tmp_path, half)
  wide, same = load(tmp_path)[0], load(tmp_path, dtype=None)[0]
  for a, b, c in zip(*map(jax.tree.leaves, (half, wide, same)), strict=True):
    assert (b.dtype, c.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_array_equal(a.astype(jnp.float32), b)
    np.testing.assert_array_equal(a, c)
