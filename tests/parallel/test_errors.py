"""What cannot be divided is refused, with the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laid_out import KINDS, devices, sharded

from attnjax import masks, parallel

pytestmark = pytest.mark.usefixtures("as_a_user")


def x(length=16, heads=4, batch=2):
  return jnp.zeros((batch, length, heads, 3))


def places(attention, length=16):
  at = attention.permute(np.arange(length, dtype=np.int32))
  return {"query_positions": at, "key_positions": at}


def test_a_mesh_multiplies_to_the_devices():
  with pytest.raises(ValueError, match=r"data 3 x sequence 2 makes 6 .* 8"):
    parallel.make_mesh(data=3, sequence=2)
  with pytest.raises(ValueError, match="sizes >= 1"):
    parallel.make_mesh(data=0, sequence=8)


def test_axes_are_of_the_mesh_and_divide_one_thing():
  mesh = devices(data=2, sequence=4)
  with pytest.raises(ValueError, match="no axis 'ring'"):
    parallel.RingAttention(mesh, "ring")
  with pytest.raises(ValueError, match="overlap"):
    parallel.RingAttention(mesh, "sequence", heads="sequence")
  with pytest.raises(ValueError, match="layout must be one of"):
    parallel.RingAttention(mesh, "sequence", "diagonal")
  explicit = jax.make_mesh((8,), ("sequence",))
  with pytest.raises(ValueError, match="make_mesh makes such a mesh"):
    parallel.RingAttention(explicit, "sequence")


def test_lengths_divide():
  ring = sharded("ring", "contiguous", sequence=8)
  with pytest.raises(ValueError, match=r"T=15 must be .* of 8 .* pad to 16"):
    ring(x(15), x(), x())
  with pytest.raises(ValueError, match="S=12 must be"):
    ring(x(), x(12), x(12))
  zigzag = sharded("ring", "zigzag", sequence=8)
  with pytest.raises(ValueError, match=r"multiple of 16 .* pad to 32"):
    zigzag(x(24), x(24), x(24), **places(ring, 24))


def test_heads_and_rows_divide():
  ulysses = sharded("ulysses", "contiguous", sequence=4)
  few = x(heads=2)
  with pytest.raises(ValueError, match=r"key heads K=2 .* jnp.repeat"):
    ulysses(x(), few, few)
  ring = sharded("ring", "contiguous", heads=4, batch=2, sequence=1)
  with pytest.raises(ValueError, match="query heads H=2"):
    ring(few, few, few)
  with pytest.raises(ValueError, match="batch B=3"):
    ring(x(batch=3), x(batch=3), x(batch=3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["zigzag", "striped"])
def test_a_layout_that_was_forgotten_is_told_by_the_positions(kind, layout):
  attention = sharded(kind, layout, sequence=4)
  with pytest.raises(ValueError, match=r"attention.permute\(np.arange"):
    attention(x(), x(), x())
  index = np.arange(16, dtype=np.int32)
  packed = np.concatenate([index[:5], index[:11]])
  for wrong in (index, packed, jnp.asarray(index)):
    with pytest.raises(ValueError, match="disagree with the layout"):
      attention(x(), x(), x(), query_positions=wrong, key_positions=wrong)


def test_packed_positions_that_are_permuted_are_no_mistake():
  ring = sharded("ring", "zigzag", sequence=4)
  packed = ring.permute(np.r_[:5, :11].astype(np.int32))
  same = {"query_positions": packed, "key_positions": packed}
  jax.eval_shape(lambda y: ring(y, y, y, mask=masks.causal(), **same), x())


def test_what_cannot_be_had_is_refused():
  ring = sharded("ring", "contiguous", sequence=4)
  with pytest.raises(NotImplementedError, match="attention_weights"):
    ring(x(), x(), x(), aux=("weights",))
  with pytest.raises(NotImplementedError, match="only implementation"):
    ring(x(), x(), x(), implementation="reference")
  ids = jnp.zeros(16, int)
  with pytest.raises(ValueError, match="which tiles are computed depends"):
    ring.work(x(), x(), x(), query_segment_ids=ids, key_segment_ids=ids)
