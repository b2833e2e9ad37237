"""Cycles of TPU kernels, counted in what the compiler dumps.

By default a dump written by hand, whose cycles are counted by hand; with
``-m slow`` a kernel of known work, compiled where libtpu is installed.
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from attnjax.plan.hardware import CHIPS
from attnjax.plan.hlo import Array
from attnjax.plan.tpu_kernel_cost import kernel_costs
from attnjax.plan.tpu_tables import words

# A loop whose number of turns is fetched into SMEM. Bundle 8 is the delay of
# the branch, and is issued whether or not it is taken.
BUNDLES = """
     0   :  { %s1_s0 = smov.u32 [#allocation5] ;;  %s2_s1 = smov.u32 0 }
   0x1   :  { %s3_s2 = inlined_call_operand.hbm [shape: s32[1], index: 0] }
   0x2   :  { %4 = COPY }
   0x3   :  { %5 = dma.done.wait [#allocation1], 16 }
   0x4 LB: > { %s6_s3 = sphi %s2_s1, %s7_s3 }
   0x5   : > { %s7_s3 = sadd.s32 1, %s6_s3 ;; LOAD }
   0x6   : > { %p9_p0 = scmp.ge.s32.totalorder %s7_s3, %s8_s4 }
   0x7   : > { %10 = sbr.rel (!%p9_p0) target bundleno = 4 (0x4), region = 3 }
   0x8   : > { %11 = vmatmul.mubr.bf16.gmra.mxu0 %v1 }
   0x9   :  { %12 = vst [vmem:[#allocation2]] %v2 }
"""
TREE = """$region0: #{k}
  #allocation1 [shape = 's32[1]{0}', space=sflag, size = 0x4, offset = 0]
  #allocation5 [shape = 'u8[512]{0}', space=smem, size = 0x200, offset = 0]
  %s3_s2 = inlined_call_operand.hbm [shape: s32[1], index: 0, kind: input]
      // region range: [4, 9)
        %10 = sbr.rel (!%p9_p0) target bundleno = 4 (0x4), region = 3
"""
UNITS = "== CAPACITY:\nMATMUL, VSTORE:SPILL\n2 1\n== USE:\n" + "\n".join(
  ["0 0"] * 8 + ["1 0", "0 1"]
)
PROGRAM = """HloModule jit_f, is_scheduled=true

ENTRY %main (p: f32[8,128]) -> f32[8,128] {
  %n = s32[1]{0:T(128)} TURNS
  %p = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %k = f32[8,128]{1,0:T(8,128)} custom-call(%n, %p), CALL
}
"""
CALL = 'custom_call_target="tpu_custom_call", backend_config={"body":"abc"}'
LOAD = " %s8_s4 = sld [smem:[#allocation5]]"
COPY = (
  "dma.hbm_to_smem /*hbm=*/%s3_s2, /*size_in_granules=*/16, /*smem=*/%s1_s0,"
  " /*dst_syncflagno=*/[#allocation1]"
)
V5E, V5P = CHIPS["v5e"], CHIPS["v5p"]


def dump(folder, turns):
  """The files of a dump."""
  units = "pre-delay_hlo-static-per-bundle-utilization"
  texts = {
    "1-k-01-packed-bundles-post-ra.txt": BUNDLES.replace("COPY", COPY).replace(
      "LOAD", LOAD
    ),
    "1-k-02-post-bundle-packing-post-ra.txt": TREE,
    f"1-k-03-{units}.txt": UNITS,
    "1-TLP-hlo.txt": PROGRAM.replace("TURNS", turns).replace("CALL", CALL),
  }
  for name, text in texts.items():
    (folder / name).write_text(text)
  return list(folder.iterdir())


@pytest.mark.parametrize("turns", [1, 5])
def test_the_scalar_program_is_executed(tmp_path, turns):
  (one,) = kernel_costs(dump(tmp_path, f"constant({{{turns}}})"), V5E)
  # Bundles 0 to 3 and 9 once, 4 to 8 at each turn.
  assert (one.name, one.written, one.cycles) == ("k", True, 5 + 5 * turns)
  assert one.matrix == turns / 2 / one.cycles
  assert (one.hbm, one.spills, one.unknown) == (16 * 32, 1, 0)
  # The copy of 512 bytes starts at cycle 2, and the wait for it is at 3.
  rate = V5E.bandwidth / V5E.clock
  assert one.waited == np.ceil(2 + 512 / rate - 3)


def test_the_cores_of_a_chip_work_side_by_side(tmp_path):
  (one,) = kernel_costs(dump(tmp_path, "constant({3})"), V5P)
  assert (one.cycles, one.hbm) == (20, 2 * 512)
  assert one.matrix == 3 / 2 / 20


def test_a_table_that_the_program_computes_is_asked_for(tmp_path):
  files = dump(tmp_path, "parameter(1)")
  (guessed,) = kernel_costs(files, V5E)
  assert (guessed.unknown, guessed.cycles) == (1, 10)
  (told,) = kernel_costs(files, V5E, tables=[[np.array([3])]])
  assert (told.unknown, told.cycles) == (0, 20)


def test_a_kernel_without_a_schedule_is_told(tmp_path):
  files = dump(tmp_path, "constant({3})")
  (one,) = kernel_costs([x for x in files if "hlo.txt" in x.name], V5E)
  assert (one.written, one.read, one.cycles) == (True, False, 0)


def test_words_are_in_the_order_of_their_tiles():
  x = np.arange(8 * 256).reshape(8, 256)
  found = words(x, Array("s32", x.shape, 0, "1,0:T(8,128)"))
  assert found[:128].tolist() == x[0, :128].tolist()
  assert found[8 * 128] == x[0, 128]
  # Four rows of one byte share a word.
  y = np.arange(8)[:, None] * np.ones((1, 128), int)
  packed = words(y, Array("s8", y.shape, 0, "1,0:T(8,128)(4,1)"))
  assert packed[0] == 0x03020100
  assert packed[128] == 0x07060504


# In a process of its own: libtpu reads where to dump when it is loaded.
PRODUCT = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.experimental import pallas as pl
from attnjax.plan.topology import devices_of, topology

M, K, N, b = 512, 1024, 1024, 512
def kernel(x, y, o):
  found = jnp.dot(x[...], y[...], preferred_element_type=jnp.float32)
  o[...] = found.astype(o.dtype)
product = lambda x, y: pl.pallas_call(
  kernel, grid=(M // b, N // b),
  in_specs=[pl.BlockSpec((b, K), lambda i, j: (i, 0)),
            pl.BlockSpec((K, b), lambda i, j: (0, j))],
  out_specs=pl.BlockSpec((b, b), lambda i, j: (i, j)),
  out_shape=jax.ShapeDtypeStruct((M, N), jnp.bfloat16))(x, y)
mesh = jax.sharding.Mesh(np.array(devices_of(topology(sys.argv[1]))[:1]), "x")
place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
shape = lambda *x: jax.ShapeDtypeStruct(x, jnp.bfloat16, sharding=place)
with jax.set_mesh(mesh):
  jax.jit(product).trace(shape(M, K), shape(K, N)).lower().compile(
    {"xla_msa_enable": "false"})
"""


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="needs libtpu: pip install 'attnjax[tpu]'",
)
@pytest.mark.parametrize(
  "tpu", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1"]
)
def test_a_product_keeps_the_matrix_units_busy_as_long_as_it_must(
  tmp_path, tpu
):
  chip = CHIPS[tpu.partition(":")[0]]
  environment = {n: x for n, x in os.environ.items() if n != "XLA_FLAGS"}
  environment["LIBTPU_INIT_ARGS"] = (
    f"--xla_jf_dump_to={tmp_path} --xla_jf_dump_llo_text=true"
  )
  done = subprocess.run(
    [sys.executable, "-c", PRODUCT, tpu],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  (one,) = (
    x for x in kernel_costs(list(tmp_path.iterdir()), chip) if x.written
  )
  cores = 2 if chip.name == "v5p" else 1
  cycles = 2 * 512 * 1024 * 1024 / chip.flops * chip.clock
  busy = one.matrix * one.cycles
  assert busy == pytest.approx(cycles, rel=0.02)
  # x once, y in two parts, and the product; of two cores each may bring all.
  size = 2 * (512 * 1024 + 1024 * 1024 + 512 * 1024)
  assert size <= one.hbm <= cores * size
  assert one.unknown == 0
