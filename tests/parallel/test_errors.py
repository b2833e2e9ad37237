"""What cannot be divided is refused, with the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from laid_out import KINDS, devices, sharded

from attnjax import masks, parallel
from attnjax.models import DecoderConfig, DecoderLM

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
  with pytest.raises(TypeError, match="no argument 'is_causal', only query"):
    ring(x(), x(), x(), is_causal=True)


def test_a_decoder_that_was_given_no_positions_is_told_under_jit_too():
  model = small_decoder(sharded("ring", "zigzag", sequence=4))
  tokens = jnp.zeros((2, 16), jnp.int32)
  with pytest.raises(ValueError, match="disagree with the layout 'zigzag'"):
    jax.jit(lambda model, tokens: model(tokens))(model, tokens)


@pytest.mark.parametrize("layout", ["zigzag", "striped"])
def test_a_cache_is_in_no_other_order(layout):
  model = small_decoder(sharded("ring", layout, sequence=4))
  tokens = jnp.zeros((2, 8), jnp.int32)
  with pytest.raises(ValueError, match=r"got '\w+'; .* attnjax.attend"):
    model.decode(tokens, model.init_cache((2,), 16))
  contiguous = small_decoder(sharded("ring", "contiguous", sequence=4))
  with pytest.raises(ValueError, match=r"decoded with attend=attnjax.attend"):
    contiguous.decode(tokens[:, :1], contiguous.init_cache((2,), 16))


def test_parts_of_a_map_are_refused():
  ring = sharded("ring", "contiguous", sequence=4)
  inside = jax.shard_map(
    lambda y: ring(y, y, y),
    mesh=ring.mesh,
    in_specs=jax.P(None, "sequence"),
    out_specs=jax.P(None, "sequence"),
  )
  with pytest.raises(ValueError, match=r"outside of it, or attnjax.attend"):
    inside(x())


def test_what_is_no_mesh_no_axis_and_no_number_of_shards():
  with pytest.raises(ValueError, match=r"mesh must be a jax.sharding.Mesh"):
    parallel.RingAttention(None, "sequence")
  first = jax.devices()[0]
  with pytest.raises(ValueError, match="each device once"):
    parallel.make_mesh([first, first], sequence=2)
  for shards in (0, -2):
    with pytest.raises(ValueError, match="shards must be at least 1"):
      parallel.permute(np.arange(4), "zigzag", shards)


def small_decoder(attend):
  config = DecoderConfig(width=8, depth=1, heads=2, hidden=16)
  return DecoderLM(config, 11, attend=attend, rngs=nnx.Rngs(0))
