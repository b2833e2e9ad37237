"""Runs are watched by the lines that they write, while they write them."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from launch import watch
from launch.watched_run import WatchedRun, find_runs, ordered


def record(step, loss, split="train"):
  found = {"step": step, "split": split, "loss": loss}
  if split == "train":
    found |= {"weight": 10.0, "tokens_per_second": 40.0, "gradient_norm": 0.5}
    found |= {"learning_rate": 1e-3}
  return json.dumps(found) + "\n"


def run_in(folder, losses, steps=100, evaluation=None):
  folder.mkdir(parents=True)
  config = {"experiment": "x", "config": {"train": {"steps": steps}}}
  (folder / "config.json").write_text(json.dumps(config))
  lines = [record(10 * (n + 1), loss) for n, loss in enumerate(losses)]
  if evaluation is not None:
    lines.append(record(10 * len(losses), evaluation, "eval"))
  (folder / "metrics.jsonl").write_text("".join(lines))
  return folder


def shown(*argv):
  stream = io.StringIO()
  code = watch.main(["watch", *map(str, argv)], stream)
  return code, stream.getvalue()


def test_a_table_says_where_each_run_is(tmp_path):
  run_in(tmp_path / "a", [3.0, 2.0], evaluation=2.5)
  run_in(tmp_path / "b", [3.0] * 10, evaluation=1.5)
  code, text = shown(tmp_path, "--once")
  assert code == 0
  heading, first, second = text.splitlines()
  assert heading.split()[:3] == ["run", "step", "loss"]
  # The better one is above; it has done all of its steps.
  assert first.split()[:3] == ["b", "100/100", "3"]
  assert " done " in first
  # 80 steps of 10 tokens at 40 a second.
  assert second.split()[:3] == ["a", "20/100", "2"]
  assert " 0:00:20 " in second
  assert "\x1b" not in text


def test_the_largest_is_first_where_that_is_best_and_the_unknown_last(tmp_path):
  for name, value in (("a", 0.1), ("b", 0.9), ("c", None)):
    run_in(tmp_path / name, [1.0], evaluation=value)
  runs = find_runs([tmp_path])
  for run in runs:
    run.refresh()
  names = lambda **way: [r.name for r in ordered(runs, "loss", **way)]
  assert names() == ["a", "b", "c"]
  assert names(descending=True) == ["b", "a", "c"]


def test_a_metric_that_only_the_result_has_sorts_a_sweep(tmp_path):
  for name, value in (("a", 3.0), ("b", 2.0)):
    folder = run_in(tmp_path / name, [1.0])
    result = {"bits": {"tiny": [value, value]}}
    (folder / "result.json").write_text(json.dumps(result))
  code, text = shown(tmp_path, "--once", "--metric=bits.tiny")
  assert code == 0
  assert [line.split()[0] for line in text.splitlines()[1:]] == ["b", "a"]


def test_lines_are_read_as_they_come_and_a_half_line_is_not(tmp_path):
  folder = run_in(tmp_path / "a", [3.0])
  run = WatchedRun("a", folder)
  run.refresh()
  whole = record(20, 1.0)
  with open(folder / "metrics.jsonl", "a") as file:
    file.write(whole[:9])
    file.flush()
    run.refresh()
    assert run.step == 10
    file.write(whole[9:])
    file.flush()
    run.refresh()
  assert (run.step, run.latest("loss"), len(run.losses)) == (20, 1.0, 2)


@pytest.mark.slow
def test_the_watch_of_a_long_run_is_bounded(tmp_path):
  """200,000 records of a run whose loss falls from 1 to 0, twice evaluated."""
  folder = run_in(tmp_path / "a", [])
  count = 200_000
  lines = [record(n, 1 - n / count) for n in range(1, count + 1)]
  lines.insert(count // 3 + 1, record(7, 0.25, "eval"))  # among those passed by
  text = "".join(lines)
  (folder / "metrics.jsonl").write_text(text)
  run = WatchedRun("a", folder)
  run.refresh()
  assert (run.step, run.metric("loss")) == (count, 0.25)
  assert run.latest("loss") == 0
  # The curve is that of all records, of which few are kept.
  assert len(run.losses) <= 4096
  at = np.linspace(0, 1, len(run.losses))
  np.testing.assert_allclose(run.losses, 1 - at, atol=2e-2)
  assert watch.curve(run.losses) == "██▇▇▆▆▅▅▄▄▃▃▂▂▁▁"


def test_a_file_that_grows_as_it_is_read_is_read_to_where_it_was(tmp_path):
  folder = run_in(tmp_path / "a", [3.0])
  path, reads = folder / "metrics.jsonl", []

  class Growing(io.BytesIO):
    def read(self, size):
      reads.append(size)
      assert len(reads) < 9, "it is read for as long as it grows"
      end = self.tell()
      self.seek(0, io.SEEK_END)
      self.write(record(99, 1.0).encode())
      self.seek(end)
      return super().read(size)

  run, size = WatchedRun("a", folder), path.stat().st_size
  run._read(Growing(path.read_bytes()), (1, size))
  assert (run.step, run._offset) == (10, size)


def test_a_line_without_an_end_is_no_record_and_is_read_once(tmp_path):
  folder = run_in(tmp_path / "a", [3.0])
  with open(folder / "metrics.jsonl", "a") as file:
    file.write("x" * (3 << 20))
  run = WatchedRun("a", folder)
  run.refresh()
  assert run._offset > 3 << 20
  with open(folder / "metrics.jsonl", "a") as file:
    file.write("x\n" + record(20, 1.0))
  run.refresh()
  assert (run.step, run.latest("loss")) == (20, 1.0)


def test_a_run_that_was_resumed_loses_the_steps_it_does_again(tmp_path):
  folder = run_in(tmp_path / "a", [3.0, 2.0, 1.0])
  run = WatchedRun("a", folder)
  run.refresh()
  assert run.step == 30
  # As `Metrics` drops records after the restored step: another file.
  (folder / "new").write_text(record(10, 3.0) + record(20, 2.5))
  os.replace(folder / "new", folder / "metrics.jsonl")
  run.refresh()
  assert (run.step, run.latest("loss"), len(run.losses)) == (20, 2.5, 2)


def test_runs_that_appear_later_are_seen_and_done_ends_it(
  tmp_path, monkeypatch
):
  run_in(tmp_path / "a", [1.0] * 10)
  first = run_in(tmp_path / "b", [1.0])
  looks = []

  def meanwhile(seconds):
    looks.append(seconds)
    run_in(tmp_path / "c", [1.0] * 10)
    with open(first / "metrics.jsonl", "a") as file:
      file.write(record(100, 0.5))

  monkeypatch.setattr(watch.time, "sleep", meanwhile)
  code, text = shown(tmp_path, "--every=0.5")
  assert code == 0
  assert looks == [0.5]
  tables = text.split("run ")[1:]
  assert [len(x.splitlines()) - 1 for x in tables] == [2, 3]


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    ([], "got none"),
    (["/no/such/place"], "no such directory: /no/such/place"),
    (["--evry=3"], "evry"),
    ([".", "--every=0"], "every"),
  ],
)
def test_what_is_wrong_is_one_line(argv, message, capsys):
  code, _ = shown(*argv)
  assert code == 1
  error = capsys.readouterr().err
  assert error.startswith("error: ")
  assert message in error


def test_no_run_at_all_is_said(tmp_path, capsys):
  code, _ = shown(tmp_path, "--once")
  assert code == 1
  assert "no metrics.jsonl below" in capsys.readouterr().err


def test_a_terminal_is_redrawn_in_place(tmp_path):
  run_in(tmp_path / "[red]a", [2.0, 1.0] * 5)

  class Terminal(io.StringIO):
    def isatty(self):
      return True

  stream = Terminal()
  watch.watch([tmp_path], stream=stream)
  assert "\x1b" in stream.getvalue()
  assert "[red]a" in stream.getvalue()


def test_a_narrow_terminal_keeps_what_matters_most(tmp_path):
  run_in(tmp_path / "a", [2.0, 1.0])
  runs = find_runs([tmp_path])
  heads = lambda width: [
    x.header for x in watch.run_table(runs, "loss", width=width).columns
  ]
  assert len(heads(150)) == 10
  assert heads(79) == ["run", "step", "loss", "eval loss", "left"]


def test_a_metric_that_no_run_has_is_refused(tmp_path, capsys):
  run_in(tmp_path / "a", [2.0], evaluation=1.0)
  code, _ = shown(tmp_path, "--once", "--metric=bits")
  assert code == 1
  assert "metric: there are loss, got 'bits'" in capsys.readouterr().err


DAMAGED = [
  b'{"step": 1, "split": "train", "loss": "x"}',
  b'{"step": 1, "split": "train", "loss": NaN, "weight": NaN}',
  b'{"step": 1, "split": "train", "weight": 1, "tokens_per_second": 1e-300}',
  b'{"step": 1e999, "split": "train", "loss": 1}',
  b'{"step": null, "split": "train", "loss": [1]}',
  b'{"step": "4", "split": "eval", "loss": true}',
  b'{"step": 1, "split": ["train"], "loss": 1}',
  b'{"step": 1' + b"0" * 400 + b', "split": "train", "loss": 1}',
  b"[" * 100_000,
  b"3",
  b"null",
  bytes(range(256)),
]


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_a_line_that_is_no_record_harms_nothing(line, tmp_path):
  folder = run_in(tmp_path / "a", [2.0])
  with open(folder / "metrics.jsonl", "ab") as file:
    file.write(line + b"\n")
  code, text = shown(tmp_path, "--once")
  assert code == 0
  assert text.splitlines()[1].split()[:2] == ["a", "10/100"]


@pytest.mark.parametrize(
  "text",
  ['{"config": {"train": {"steps": 1e999}}}', "[" * 100_000, "{", "null"],
  ids=range(4),
)
def test_other_files_of_a_run_may_be_damaged_too(text, tmp_path):
  folder = run_in(tmp_path / "a", [2.0])
  for name in ("config.json", "result.json"):
    (folder / name).write_text(text)
  code, said = shown(tmp_path, "--once")
  assert code == 0
  assert said.splitlines()[1].split()[:3] == ["a", "10", "2"]


def test_what_is_no_file_of_records_is_no_run(tmp_path):
  run_in(tmp_path / "a", [2.0])
  (tmp_path / "b" / "metrics.jsonl").mkdir(parents=True)
  (tmp_path / "c").mkdir()
  (tmp_path / "c" / "metrics.jsonl").symlink_to("nowhere")
  os.mkfifo(tmp_path / "a" / "fifo")
  (tmp_path / "d").mkdir()
  os.mkfifo(tmp_path / "d" / "metrics.jsonl")  # opening it would wait for ever
  run_in(tmp_path / "a" / "checkpoints" / "e", [2.0])
  code, text = shown(tmp_path, "--once")
  assert code == 0
  names = [line.split()[0] for line in text.splitlines()[1:]]
  assert [x for x in names if x in ("b", "e")] == []
  assert "a" in names


def test_a_name_steers_no_terminal(tmp_path):
  run_in(tmp_path / "a\x1b[31m\n", [2.0])
  _, text = shown(tmp_path, "--once")
  assert "\x1b" not in text
  assert "a⟨1b⟩[31m⏎" in text


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(tmp_path):
  run_in(tmp_path / "a", [2.0])
  command = f"{sys.executable} -m launch.watch {tmp_path} --every=0.1 | head -1"
  ended = subprocess.run(
    ["bash", "-c", f"set -o pipefail; {command}"],
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert ended.stdout.startswith("run ")
  assert ended.stderr == ""


def test_a_terminal_without_unicode_shows_what_it_can(tmp_path):
  run_in(tmp_path / "a", [2.0, 1.0])
  with open(tmp_path / "said", "w", encoding="ascii") as stream:
    assert watch.main(["watch", str(tmp_path), "--once"], stream) == 0
  assert (tmp_path / "said").read_text().splitlines()[1].startswith("a ")


def test_while_it_watches_a_metric_that_is_not_there_is_said(tmp_path):
  run_in(tmp_path / "a", [2.0] * 10, evaluation=1.0)
  code, text = shown(tmp_path, "--metric=bits")
  assert code == 0
  assert "no 'bits' yet; there are loss" in text


def test_a_curve_falls_as_the_loss_does():
  drawn = watch.curve([1 - n / 100 for n in range(100)])
  assert len(drawn) <= 16
  assert [*drawn] == sorted(drawn, reverse=True)
  assert watch.curve([]) == ""
  assert watch.curve([2.0, 2.0]) == "▁▁"
