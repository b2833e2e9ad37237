"""Which implementation, and why: before the call, and when it is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

import attnjax
from attnjax import masks, normalizers
from attnjax.ops.attention import implementations
from attnjax.ops.target import traced_for

X = jnp.ones((2, 64, 4, 8))


class Whole(normalizers.Normalizer):
  """Defined on whole rows only, as a user may."""

  def __call__(self, logits):
    return normalizers.softmax()(logits)


jax.tree_util.register_static(Whole)


def test_the_engine_is_chosen_and_says_how():
  told = attnjax.explain(X, X, X, mask=masks.causal())
  assert told.chosen == "blockwise"
  names = ["blockwise", "fused", "reference"]
  assert [v.name for v in told.verdicts] == names
  assert all(v.forward and v.backward for v in told.verdicts[::2])
  assert (
    "for a TPU or a GPU, and this program is for 'cpu'"
    in told.verdicts[1].reason
  )
  assert "1 of 1 hold something, 0 whole" in str(told)
  assert "128 KiB" in str(told)


def test_what_depends_on_arrays_is_decided_when_it_runs():
  told = attnjax.explain(X, X, X, mask=masks.lengths(key=jnp.array([3, 9])))
  assert "decided when it runs" in told.verdicts[0].reason


@pytest.mark.parametrize(
  ("options", "reason"),
  [
    ({"aux": ("weights",)}, "weights.*T x S"),
    ({"normalizer": Whole()}, "whole rows only"),
  ],
)
def test_a_refusal_is_the_same_in_words_and_in_the_error(options, reason):
  told = attnjax.explain(X, X, X, **options)
  assert told.chosen == "reference"
  assert not told.verdicts[0].forward
  with pytest.raises(NotImplementedError, match=reason) as raised:
    attnjax.attend(X, X, X, implementation="blockwise", **options)
  assert told.verdicts[0].reason in str(raised.value)
  assert "['reference'] can" in str(raised.value)
  out = attnjax.attend(X, X, X, **options)
  out = out[0] if isinstance(out, tuple) else out
  np.testing.assert_allclose(out, attnjax.attend(X, X, X), atol=1e-6)


def test_one_that_is_asked_for_computes_the_call_or_nobody_does():
  told = attnjax.explain(X, X, X, implementation="reference")
  assert told.chosen == told.verdicts[0].name == "reference"
  told = attnjax.explain(X, X, X, implementation=attnjax.Blockwise(16, 32))
  assert told.chosen == "Blockwise"
  assert "x 16 x 32" in told.verdicts[0].reason
  assert [v.name for v in told.verdicts[1:]] == [
    "blockwise",
    "fused",
    "reference",
  ]
  options = {"aux": ("weights",), "implementation": "blockwise"}
  told = attnjax.explain(X, X, X, **options)
  assert told.chosen is None
  assert [v.forward for v in told.verdicts] == [False, False, True]
  with pytest.raises(ValueError, match="'flash' is unknown"):
    attnjax.explain(X, X, X, implementation="flash")


@pytest.mark.usefixtures("as_a_user")  # a symbol is no int to an annotation
def test_sizes_that_an_export_leaves_open_are_for_the_reference():
  (batch,) = jax.export.symbolic_shape("batch")
  told = []

  def run(x):
    told.append(attnjax.explain(x, x, x, mask=masks.causal()))
    with pytest.raises(NotImplementedError, match=r"known.*'reference'\] can"):
      attnjax.attend(x, x, x, implementation="blockwise")
    return attnjax.attend(x, x, x, mask=masks.causal())

  shape = jax.ShapeDtypeStruct((batch, *X.shape[1:]), X.dtype)
  program = jax.export.export(jax.jit(run))(shape)
  assert told[0].chosen == "reference"
  assert "of sizes that are known, not of (batch, 4, 64, 64)" in str(told[0])
  assert "65536*batch bytes" in str(told[0])
  for rows in (1, 3):
    x = jax.random.normal(jax.random.key(rows), (rows, *X.shape[1:]))
    expected = attnjax.attend(x, x, x, mask=masks.causal())
    np.testing.assert_allclose(program.call(x), expected, atol=1e-6)


def test_if_nobody_can_each_says_why(monkeypatch):
  monkeypatch.delitem(implementations.IMPLEMENTATIONS, "reference")
  with pytest.raises(ExceptionGroup, match="no implementation") as raised:
    attnjax.attend(X, X, X, aux=("weights",))
  reasons = raised.value.exceptions
  assert all(isinstance(x, NotImplementedError) for x in reasons)
  assert "blockwise: aux 'weights'" in str(reasons[0])
  assert "fused: its kernels are for a TPU" in str(reasons[1])
  with pytest.raises(NotImplementedError, match="none can"):
    attnjax.attend(X, X, X, aux=("weights",), implementation="blockwise")


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("asked", ["flash", object(), 3])
def test_an_unknown_implementation_gets_the_list(asked):
  with pytest.raises(
    ValueError, match=r"there are \['blockwise', 'fused', 're"
  ):
    attnjax.attend(X, X, X, implementation=asked)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("size", [0, -1, 2.0])
def test_a_block_has_a_size(size):
  with pytest.raises(ValueError, match="query_block must be a Python int >= 1"):
    attnjax.Blockwise(query_block=size)


@pytest.mark.parametrize(
  ("platform", "says"),
  [("tpu:v5e", "for v5e"), ("tpu:tpu7x", "for tpu7x")],
)
def test_a_call_is_explained_for_a_machine_that_is_not_here(platform, says):
  x = jnp.ones((1, 512, 2, 64), jnp.bfloat16)
  told = attnjax.explain(
    x,
    x,
    x,
    mask=masks.causal() & masks.lengths(key=jnp.array([300])),
    platform=platform,
  )
  fused = next(v for v in told.verdicts if v.name == "fused")
  assert fused.forward, fused.reason
  assert says in fused.reason
  # What is asked here is answered for here.
  here = attnjax.explain(x, x, x)
  assert not next(v for v in here.verdicts if v.name == "fused").forward


def test_tiles_are_those_of_the_machine_asked_for():
  x = jnp.ones((1, 4096, 8, 128), jnp.bfloat16)
  of = lambda platform: attnjax.explain(x, x, x, platform=platform)
  assert of("cpu").verdicts[0].reason != of("tpu:v5e").verdicts[0].reason


def test_an_unknown_platform_is_refused():
  with pytest.raises(ValueError, match="expected one of cpu, tpu:v4"):
    attnjax.explain(X, X, X, platform="tpu:v9")


def test_kernels_are_chosen_where_a_program_is_of_one_tpu():
  x = jnp.ones((1, 256, 2, 64), jnp.bfloat16)
  told = attnjax.explain(x, x, x, platform="tpu:v5e")
  assert (told.chosen, told.verdicts[0].name) == ("fused", "fused")
  program = lambda *x: str(jax.make_jaxpr(attnjax.attend)(*x))
  with traced_for("tpu:v5e"):
    assert "attnjax_fold" in program(x, x, x)
    # What no kernel computes is blockwise as before.
    y = x.astype(jnp.float16)
    assert "attnjax_fold" not in program(y, y, y)
  assert "attnjax_fold" not in program(x, x, x)


@pytest.mark.parametrize(
  ("kinds", "chosen"),
  [
    ((AxisType.Auto, AxisType.Manual), "blockwise"),
    ((AxisType.Manual, AxisType.Manual), "fused"),
  ],
)
def test_arrays_that_the_compiler_divides_are_left_to_it(kinds, chosen):
  x = jnp.ones((1, 256, 2, 64), jnp.bfloat16)
  tpu = jax.sharding.AbstractDevice("TPU v5 lite", 1, "tpu")
  mesh = jax.sharding.AbstractMesh(
    (2, 2), ("a", "b"), axis_types=kinds, abstract_device=tpu
  )
  with jax.sharding.use_abstract_mesh(mesh):
    assert attnjax.explain(x, x, x).chosen == chosen
