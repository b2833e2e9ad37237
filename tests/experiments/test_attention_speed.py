"""The comparison of speeds as a user runs it: who runs, who says why not."""

import csv
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from attnjax import masks, positions
from experiments.attention_speed import cases, report
from experiments.attention_speed.attention import (
  Inputs,
  cases_of,
  check_devices,
  prepare_peer,
)
from experiments.attention_speed.cases import CASES, Case
from experiments.attention_speed.config import (
  CONTENDERS,
  MODEL_CONTENDERS,
  PRESETS,
  AttentionSpeedConfig,
  ModelSpeedConfig,
)
from experiments.attention_speed.model import peers_cannot
from experiments.language_model.config import PRESETS as LANGUAGE_MODEL
from experiments.timing import tables
from experiments.timing.records import record, write_csv
from experiments.timing.rounds import (
  Prepared,
  Refused,
  RoundsConfig,
  interleave,
  measure,
  median_of_pairs,
)
from experiments.timing.witness import difference
from tests.children import environment

HAS_TORCH = importlib.util.find_spec("torch") is not None
ONCE = RoundsConfig(seconds=0.0, least=1)
QUICK = (
  "--config.rounds.seconds=0",
  "--config.rounds.least=2",
)
SMALL = (
  *QUICK,
  "--config.matmul_size=64",
  "--config.heads=2",
  "--config.window=11",
)
COLUMNS = (
  "case",
  "mode",
  "length",
  "head_width",
  "useful_flops",
  "matmul_fraction",
  "contender",
  "status",
  "seconds",
  "ratio",
  "ratio_low",
  "ratio_high",
  "rounds",
  "memory_bytes",
  "memory_kind",
  "compile_seconds",
  "note",
)


def _run(workdir, *flags, **env):
  return subprocess.run(
    [
      *(sys.executable, "-m", "experiments.attention_speed"),
      *flags,
      f"--workdir={workdir}",
    ],
    capture_output=True,
    text=True,
    timeout=300,
    env=environment(**env),
  )


def _rows(path):
  with path.open() as file:
    return list(csv.DictReader(file))


def _without_torch(folder):
  """An environment in which `import torch` fails as if it were missing."""
  folder.mkdir()
  (folder / "torch.py").write_text("raise ImportError('No module torch')")
  path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
  return {"PYTHONPATH": os.pathsep.join(path)}


@pytest.mark.slow
def test_every_contender_of_every_case_is_a_row(tmp_path):
  contenders = [c for c in CONTENDERS if c != "torch_flex"]
  done = _run(
    tmp_path / "run",
    *SMALL,
    "--config.lengths=32",
    "--config.head_widths=6",
    "--config.cases=documents,softcap_alibi",
    f"--config.contenders={','.join(contenders)}",
  )
  assert done.returncode == 0, done.stderr
  assert "[4/4] softcap_alibi forward_backward T=32 D=6" in done.stderr
  rows = _rows(tmp_path / "run/results.csv")
  assert tuple(rows[0]) == COLUMNS
  found = [(r["case"], r["mode"], r["contender"]) for r in rows]
  assert len(found) == len(set(found)) == 2 * (5 + 4)
  for row in rows:
    _check_row(row)
  table = (tmp_path / "run/table.md").read_text()
  assert "cannot: no softcap" in table
  assert "dense mask" in table
  assert "forward with backward, D = 6: memory" in table
  assert (tmp_path / "run/times.png").read_bytes().startswith(b"\x89PNG")
  saved = json.loads((tmp_path / "run/config.json").read_text())
  assert saved["config"]["lengths"] == "32"


def _check_row(row):
  """A time that makes sense, or the reason that is expected."""
  softcap = row["case"] == "softcap_alibi"
  if row["contender"].startswith("torch") and not HAS_TORCH:
    assert "pip install 'attnjax[torch]'" in row["status"]
  elif softcap and not row["contender"].startswith("attnjax"):
    assert row["status"] == "cannot: no softcap"
  else:
    # Status ok also says that outputs and gradients agree with ours.
    assert row["status"] == "ok", row
    assert float(row["seconds"]) > 0
    low, middle, high = (
      float(row[name]) for name in ("ratio_low", "ratio", "ratio_high")
    )
    assert low <= middle <= high
    assert int(row["rounds"]) == 2
    return
  assert row["seconds"] == row["ratio"] == row["compile_seconds"] == ""


@pytest.mark.slow
def test_without_torch_its_rows_say_what_to_install(tmp_path):
  done = _run(
    tmp_path / "run",
    *SMALL,
    "--config.lengths=16",
    "--config.cases=causal",
    "--config.passes=forward",
    "--noconfig.jvp",
    **_without_torch(tmp_path / "fake"),
  )
  assert done.returncode == 0, done.stderr
  by_name = {r["contender"]: r for r in _rows(tmp_path / "run/results.csv")}
  assert list(by_name) == ["attnjax", "jax.nn", "flax", "torch_sdpa"]
  assert by_name["jax.nn"]["status"] == "ok"
  assert (
    "not run: pip install 'attnjax[torch]'" in by_name["torch_sdpa"]["status"]
  )
  assert "not run: pip install 'attnjax[torch]'" in done.stdout


@pytest.fixture
def corpus(tmp_path):
  """A directory of small texts."""
  folder = tmp_path / "texts"
  folder.mkdir()
  for i in range(6):
    words = f"The cat{i} sat on mat {i}. "
    (folder / f"{i}.txt").write_text(words * (i + 2))
  return folder


MODEL = (
  "--preset=model",
  *QUICK,
  "--config.model.width=16",
  "--config.model.depth=1",
  "--config.model.unroll=1",
  "--config.model.heads=4",
  "--config.model.hidden=24",
  "--config.data.length=32",
  "--config.data.batch_size=3",
)


@pytest.mark.parametrize(
  ("names", "extra"),
  [
    pytest.param(MODEL_CONTENDERS, ("depth=2",), marks=pytest.mark.slow),
    pytest.param(
      ("attnjax", "flax", "torch_eager"),
      ("kv_heads=2", "window=7"),
      marks=pytest.mark.slow,
    ),
  ],
)
def test_every_contender_is_the_same_model(corpus, tmp_path, names, extra):
  done = _run(
    tmp_path / "run",
    *MODEL,
    f"--config.data.path={corpus}",
    f"--config.contenders={','.join(names)}",
    *(f"--config.model.{leaf}" for leaf in extra),
  )
  assert done.returncode == 0, done.stderr
  rows = _rows(tmp_path / "run/model.csv")
  assert [row["contender"] for row in rows] == list(names)
  for row in rows:
    if row["contender"] == "torch_eager" and not HAS_TORCH:
      assert "pip install" in row["status"]
      continue
    # Loss and gradient norms agree with ours, or the status would say so.
    assert row["status"] == "ok", row
    assert float(row["tokens_per_second"]) > 0
  assert "the language model" in (tmp_path / "run/table.md").read_text()
  assert (tmp_path / "run/model.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_that_the_peers_are_not_written_for():
  assert peers_cannot(PRESETS["model"]().model) is None
  for leaf, value in (("activation", "gelu"), ("tied", False)):
    other = dataclasses.replace(PRESETS["model"]().model, **{leaf: value})
    refused = peers_cannot(other)
    assert refused.reason.startswith(
      f"cannot: the peers are written for {leaf}="
    )


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TORCH, reason="needs torch")
def test_every_peer_computes_what_we_compute(tmp_path):
  done = _run(
    tmp_path / "run",
    *SMALL,
    "--config.lengths=256",
    "--config.head_widths=16",
    f"--config.cases={','.join(CASES)}",
    f"--config.contenders={','.join(CONTENDERS)}",
  )
  assert done.returncode == 0, done.stderr
  for row in _rows(tmp_path / "run/results.csv"):
    if row["contender"] != "torch_flex":
      _check_row(row)
    elif row["mode"] == "forward_backward":
      assert row["status"] == "cannot: no backward pass on a CPU"
    elif row["case"] == "full":
      assert row["status"].startswith("not run: ")
    else:
      assert row["status"] == "ok", row
      assert float(row["compile_seconds"]) > 0


@pytest.mark.slow
def test_the_command_line_refuses_before_any_work(tmp_path):
  done = _run(tmp_path / "run", "--config.implementation=fast")
  assert done.returncode == 1
  assert "implementation 'fast' is unknown" in done.stderr
  assert "Traceback" not in done.stdout + done.stderr
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: AttentionSpeedConfig(cases="causl"), "cases: expected some of"),
    (lambda: AttentionSpeedConfig(lengths="64,x"), "expected integers with"),
    (lambda: AttentionSpeedConfig(lengths="64,64"), "each once"),
    (lambda: AttentionSpeedConfig(lengths=""), "name at least one"),
    (lambda: AttentionSpeedConfig(lengths="0"), "expected integers >= 1"),
    (lambda: AttentionSpeedConfig(heads=0), "heads must be at least 1"),
    (lambda: AttentionSpeedConfig(memory_limit_gb=0.0), "must be above 0"),
    (lambda: ModelSpeedConfig(contenders="keras"), "contenders: expected"),
    (lambda: RoundsConfig(least=0), "least must be at least 1"),
    (lambda: RoundsConfig(seconds=-1.0), "seconds must be at least 0"),
  ],
)
def test_a_config_that_makes_no_sense_is_refused(make, words):
  with pytest.raises(ValueError, match=words):
    make()


def test_the_ratio_is_formed_within_a_round():
  # The machine slows down fivefold, both at once: the ratio does not see it.
  ours, theirs = [1.0, 5.0, 1.0, 5.0, 1.0], [2.0, 10.0, 2.0, 10.0, 2.0]
  ratio = median_of_pairs(theirs, ours)
  assert (ratio.low, ratio.median, ratio.high) == (2.0, 2.0, 2.0)
  # One round that was disturbed is not seen either; quartiles are 1 and 3.
  ratio = median_of_pairs([1.0, 2.0, 3.0, 900.0, 1.0], [1.0] * 5)
  assert (ratio.low, ratio.median, ratio.high) == (1.0, 2.0, 3.0)
  assert median_of_pairs([3.0], [2.0]).median == 1.5
  with pytest.raises(ValueError, match="zip"):
    median_of_pairs([1.0, 2.0], [1.0])


def test_every_contender_has_one_turn_a_round_in_turning_order():
  asked = []

  def contender(name, seconds):
    def call(calls):
      asked.append((name, calls))
      return seconds

    return call

  calls = {"a": contender("a", 0.004), "b": contender("b", 0.02)}
  calls["c"] = contender("c", 1e-6)
  rounds = RoundsConfig(seconds=0.0, least=4, most=9)
  seconds = interleave(calls, rounds, settle=0.0)
  assert seconds == {"a": [0.004] * 4, "b": [0.02] * 4, "c": [1e-6] * 4}
  orders = ["".join(name for name, _ in asked[i : i + 3]) for i in (3, 6, 9)]
  assert orders == ["abc", "bca", "cab"]
  # As many calls as take ten milliseconds, one at least, a hundred at most.
  assert dict(asked[3:6]) == {"a": 3, "b": 1, "c": 100}


def test_rounds_go_on_while_there_is_time():
  ticks = iter(np.arange(0.0, 99.0, 1.0))
  rounds = RoundsConfig(seconds=7.0, least=2, most=50)
  clock = lambda: float(next(ticks))
  seconds = interleave({"a": lambda n: 1.0}, rounds, clock=clock, settle=0.0)
  assert 5 <= len(seconds["a"]) <= 9
  most = RoundsConfig(seconds=1e9, least=2, most=6)
  seconds = interleave({"a": lambda n: 1.0}, most, settle=0.0)
  assert len(seconds["a"]) == 6


def _prepared(values, call=lambda calls: 1.0):
  return Prepared(call, [values], note="as it is")


def test_what_does_not_run_is_a_row_that_says_why():
  def broken():
    raise RuntimeError("no such kernel\nmore")

  def unable():
    raise NotImplementedError("blockwise has no such thing")

  def dying(calls):
    raise ChildProcessError("failed: the process ended with -9")

  rows = measure(
    {
      "ours": lambda: _prepared([1.0, -2.0]),
      "close": lambda: _prepared([1.0, -2.001]),
      "far": lambda: _prepared([1.0, -2.1]),
      "nan": lambda: _prepared([1.0, float("nan")]),
      "large": lambda: Refused("not run: needs 9.9 GB"),
      "broken": broken,
      "unable": unable,
      "dying": lambda: _prepared([1.0, -2.0], dying),
    },
    ONCE,
    ours="ours",
  )
  assert {row.contender: row.status for row in rows} == {
    "ours": "ok",
    "close": "ok",
    "far": "wrong: differs from ours by 0.05 of the largest",
    "nan": "wrong: differs from ours by inf of the largest",
    "large": "not run: needs 9.9 GB",
    "broken": "failed: RuntimeError: no such kernel",
    "unable": "cannot: NotImplementedError: blockwise has no such thing",
    "dying": "failed: the process ended with -9",
  }
  assert [row.seconds for row in rows[:2]] == [1.0, 1.0]
  assert all(row.seconds is None for row in rows[2:])


def test_where_ours_does_not_run_the_others_still_do():
  rows = measure(
    {"ours": lambda: Refused("cannot"), "peer": lambda: _prepared([1.0])},
    ONCE,
    ours="ours",
  )
  assert (rows[1].status, rows[1].seconds, rows[1].ratio) == ("ok", 1.0, None)


def test_witnesses_differ_by_the_largest_value_of_each_array():
  assert difference([[100.0, 1.0]], [[100.0, 2.0]]) == 0.01
  assert difference([[1.0], [0.0]], [[1.0], [0.0]]) == 0
  with pytest.raises(ValueError, match="2 arrays"):
    difference([[1.0], [2.0]], [[1.0]])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("length", [1, 37])
def test_useful_operations_are_counted_one_by_one(name, length):
  case = Case(name, "forward", length, 6, heads=3, batch=2, window=11, seed=5)
  rule = {
    "full": masks.full(),
    "decode": masks.full(),
    "window": masks.sliding_window(10),
    "natten": masks.neighborhood((1, length), (0, min(7, (length - 1) // 2))),
  }.get(name, masks.causal())
  rows = case.queries
  seen = np.asarray(rule.dense(rows, length)).reshape(1, rows, length)
  seen = np.repeat(seen, case.batch, axis=0)
  if case.packed:
    ids = cases.document_ids(case)
    seen = seen & (ids[:, :, None] == ids[:, None, :])
  assert cases.visible(case) == seen.sum()
  # Two products of D multiplications and D additions for each pair.
  flops = 2 * 2 * 6 * 3 * seen.sum()
  assert cases.useful_flops(case) == flops
  both = dataclasses.replace(case, mode="forward_backward")
  assert cases.useful_flops(both) == 3.5 * flops


def test_heads_divided_among_devices_read_the_same():
  case = Case("softcap_alibi", "forward_backward", 8, 4, heads=4)
  whole, divided = (
    prepare_peer("attnjax", Inputs.of(case, devices), limit_gb=8.0)
    for devices in (1, 2)
  )
  np.testing.assert_allclose(divided.witness, whole.witness, atol=1e-5)


def test_devices_that_are_not_there_are_refused():
  with pytest.raises(ValueError, match="must divide heads, got 3 for 8"):
    AttentionSpeedConfig(devices=3)
  with pytest.raises(ValueError, match="got 64; XLA_FLAGS"):
    check_devices(64)


def test_documents_are_an_eighth_of_the_row_on_average():
  case = Case("documents", "forward", 4096, 6, batch=40)
  ids = cases.document_ids(case)
  assert ids.shape == (40, 4096)
  assert (np.diff(ids) >= 0).all()
  documents = np.mean([len(np.unique(row)) for row in ids])
  assert 7 < documents < 11  # the last one of a row is cut
  assert (ids == cases.document_ids(case)).all()
  other = dataclasses.replace(case, seed=1)
  assert (ids != cases.document_ids(other)).any()


def test_slopes_are_those_of_alibi():
  assert (cases.slopes(8) == np.asarray(positions.alibi_slopes(8))).all()


def test_peers_refuse_what_they_cannot_and_what_is_too_large():
  softcap = Inputs.of(Case("softcap_alibi", "forward", 8, 4, heads=2))
  for name in ("jax.nn", "flax"):
    assert prepare_peer(name, softcap, limit_gb=8.0) == Refused(
      "cannot: no softcap"
    )
  refused = prepare_peer("attnjax", softcap, limit_gb=1e-9)
  assert isinstance(refused, Refused)
  assert refused.reason.startswith("not run: needs ")


def _record(contender, status="ok", **fields):
  base = {
    "case": "causal",
    "mode": "forward",
    "length": 64,
    "head_width": 6,
    "contender": contender,
    "status": status,
    "seconds": 0.0123 if status == "ok" else None,
    "ratio": 3.0,
    "matmul_fraction": 0.5,
    "memory_bytes": 2**20,
    "compile_seconds": None,
    "note": "",
  }
  return base | fields


def test_the_table_says_why_a_cell_is_empty():
  records = [
    _record("attnjax"),
    _record("jax.nn", note="dense mask"),
    _record("flax", "cannot: no softcap"),
  ]
  time, memory, compile_time = report.attention_tables(records)
  assert time.rows == [
    ["causal", "64", "12.3 ms, 50%", "12.3 ms, 3.00x (a)", "- (b)"]
  ]
  assert time.notes == ["dense mask", "cannot: no softcap"]
  assert memory.rows[0][2:] == ["1.00 MiB", "1.00 MiB", "- (a)"]
  assert compile_time.rows[0][2:] == ["none", "none", "- (a)"]
  text = tables.markdown(time)
  assert "| causal | 64 | 12.3 ms, 50% |" in text
  assert "- (b) cannot: no softcap" in text


def test_tables_show_whole_cells_whatever_the_width(capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "30")
  names = [f"contender_{i}" for i in range(12)]
  table, *_ = report.attention_tables([_record(name) for name in names])
  tables.show(table)
  text = capsys.readouterr().out
  assert all(name in text for name in names)
  assert text.count("12.3 ms, 3.00x") == 12


def test_a_record_of_nothing_has_all_columns(tmp_path):
  (row,) = measure({"peer": lambda: Refused("no")}, ONCE, ours="ours")
  path = write_csv(tmp_path / "x.csv", [record(row, case="full")])
  (read,) = _rows(path)
  assert (read["case"], read["status"], read["seconds"]) == ("full", "no", "")
  assert set(read) <= set(COLUMNS)


def test_figures_are_drawn_where_nobody_ran(tmp_path):
  nobody = [_record("attnjax", "failed: it"), _record("flax", "cannot")]
  path = report.draw_times(tmp_path / "times.png", nobody)
  assert path.read_bytes().startswith(b"\x89PNG")
  model = [record | {"tokens_per_second": None} for record in nobody]
  path = report.draw_model(tmp_path / "model.png", model)
  assert path.read_bytes().startswith(b"\x89PNG")


def test_every_preset_is_a_whole_config():
  for make in PRESETS.values():
    assert make() == make()
    assert dataclasses.is_dataclass(make())
  assert isinstance(PRESETS["model"](), ModelSpeedConfig)
  full = PRESETS["full"]()
  lengths = {case.length for case in cases_of(full)}
  assert (min(lengths), max(lengths)) == (256, 16384)
  each = 2 * len(CASES) - 1  # in two modes, but for decoding in one
  assert len(cases_of(full)) == 7 * 2 * each
  assert len(cases_of(AttentionSpeedConfig())) == 2 * each


@pytest.mark.slow
def test_tiles_are_measured_and_their_cost_is_fitted(tmp_path):
  small = {"length": 64, "heads": 2, "head_widths": 8, "sizes": "16,32"}
  flags = [f"--config.{name}={value}" for name, value in small.items()]
  done = _run(tmp_path / "t", "--preset=tiles", *flags, "--config.calls=1")
  assert done.returncode == 0, done.stderr
  assert "TileCost(" in done.stdout
  with (tmp_path / "t" / "tiles.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 2 * 2 * 2
  assert all(float(row["seconds"]) > 0 for row in rows)


def test_the_model_is_that_of_the_language_model():
  """Experiments do not import one another: the numbers are written twice."""
  ours, theirs = PRESETS["model"](), LANGUAGE_MODEL["tiny"]()
  assert (ours.model, ours.data) == (theirs.model, theirs.data)
