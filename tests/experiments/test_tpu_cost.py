"""The static cost of attention on TPUs: what is compiled, and its tables."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.attention_speed import tpu_cost, tpu_report
from experiments.attention_speed.config import PRESETS, TpuCostConfig
from experiments.attention_speed.tpu_calls import (
  Blocks,
  TpuCase,
  call_of,
  why_not,
)
from experiments.attention_speed.tpu_compile import found_of

CAUSAL = TpuCase("causal", "forward", 16, 4, 2)


def record(contender, **figures):
  """A row of the CSV, as it is read again: all text."""
  label = {"chip": "v5e", **CAUSAL._asdict(), "contender": contender}
  known = {"status": "ok", "blocks": "", "matrix": "", "spills": 0, "note": ""}
  known |= {"kernels_us": 100.0, "whole_us": 120.0, "temporary": 2**20}
  return {n: str(x) for n, x in (label | known | figures).items()}


def test_the_table_has_the_best_peer_and_the_ratios():
  records = [
    record("fused", matrix=0.75),
    record("blockwise", kernels_us=300.0, whole_us=300.0, temporary=2**22),
    record("splash", kernels_us=125.0, blocks="1024x1024x512"),
    record("tokamax", status="needs tokamax", kernels_us=""),
  ]
  (table,) = tpu_report.tpu_tables(records)
  cells = dict(zip(table.header, table.rows[0], strict=True))
  assert cells["fused, us"] == "100"
  assert cells["matrix units"] == "75%"
  assert cells["splash, us"] == "125 (1024x1024x512)"
  assert cells["tokamax, us"] == "- (a)"
  assert cells["fused / best"] == "0.80"
  assert cells["blockwise / whole"] == "2.50"
  assert cells["temporary"] == "1.00 MiB"
  assert len(table.notes) == 1
  assert "needs tokamax" in table.notes[0]


def test_the_cases_are_those_of_the_setting():
  config = PRESETS["tpu"]()
  cases = tpu_cost.cases_of(config)
  assert len(set(cases)) == len(cases) == 14
  few = TpuCostConfig(cases="causal", passes="jvp", long=0)
  assert [x.kind for x in tpu_cost.cases_of(few)] == ["jvp"]
  with pytest.raises(ValueError, match="three sizes with an x between them"):
    TpuCostConfig(blocks="1024x512")


def test_a_peer_is_not_asked_for_what_it_has_not():
  second = CAUSAL._replace(kind="second_order")
  assert why_not(second, "splash") == "has no second order"
  assert why_not(second, "fused") is None
  scored = CAUSAL._replace(name="softcap_alibi")
  assert why_not(scored, "splash") == "has no score functions"


def test_blocks_are_read_as_they_are_written():
  for blocks in (Blocks(1024, 512, 256), Blocks(8, 8, 8, True)):
    assert Blocks.read(str(blocks)) == blocks


@pytest.mark.parametrize(
  ("name", "kind", "results"),
  [
    ("documents", "backward", 3),
    ("softcap_alibi", "second_order", 8),
    ("causal", "jvp", 2),
  ],
)
def test_the_program_of_a_case_has_its_derivatives(name, kind, results):
  case = CAUSAL._replace(name=name, kind=kind)
  function, arguments, values = call_of(case, "blockwise", None)
  found = jax.tree.leaves(jax.eval_shape(function, *arguments))
  assert len(found) == results
  # Of the slopes too, where there are slopes.
  assert ((2,) in {x.shape for x in found}) == (name == "softcap_alibi")
  # Tiles depend on the documents, and on no slope.
  assert list(values) == ([3] if name == "documents" else [])


def test_turns_of_a_loop_are_those_of_the_values():
  @jax.jit
  def function(x, n):
    return jax.lax.fori_loop(0, n.sum(), lambda _, y: y * 2, x)

  arguments = [
    jax.ShapeDtypeStruct((3,), jnp.float32),
    jax.ShapeDtypeStruct((2,), jnp.int32),
  ]
  program = jax.make_jaxpr(function)(*arguments)
  found = found_of(program, arguments, {1: np.array([3, 4], np.int32)})
  assert found == ([], 7.0, 0.5)


@pytest.mark.slow
def test_branches_that_documents_take_are_those_of_the_values():
  case = CAUSAL._replace(name="documents", kind="backward", length=1024)
  function, arguments, values = call_of(case, "blockwise", None)
  program = jax.jit(function).trace(*arguments).jaxpr
  taken = lambda ids: found_of(program, arguments, {3: ids}).taken
  # Of one document every tile that a causal mask leaves holds something.
  one = np.zeros(values[3].shape, np.int32)
  two = np.repeat([[0, 1]], one.shape[1] // 2, axis=1)
  assert taken(one) == 0.5 > taken(two) > 0


@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed"
)
def test_the_compiler_is_asked_for_by_its_extra():
  with pytest.raises(ImportError, match=r"attnjax\[tpu\]"):
    tpu_cost.check()


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="needs libtpu: pip install 'attnjax[tpu]'",
)
@pytest.mark.parametrize("name", ["causal", "documents"])
def test_a_call_is_compiled_and_counted(name):
  config = TpuCostConfig(seconds=300.0)
  case = TpuCase(name, "backward", 512, 128, 2)
  found = tpu_cost.compiled_cost(config, "v5e", case, "fused", None)
  assert found["status"] == "ok", found
  # The table of tiles is known, also where ids of documents make it.
  assert found["note"] == ""
  assert 0 < found["kernels_us"] < found["whole_us"] < 1000
  assert 0 < found["matrix"] < 1
