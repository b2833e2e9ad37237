"""Runs are watched by the lines that they write, while they write them."""

import io
import json
import os

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
  assert (run.step, run.latest("loss"), len(run.train)) == (20, 1.0, 2)


def test_a_run_that_was_resumed_loses_the_steps_it_does_again(tmp_path):
  folder = run_in(tmp_path / "a", [3.0, 2.0, 1.0])
  run = WatchedRun("a", folder)
  run.refresh()
  assert run.step == 30
  # As `Metrics` drops records after the restored step: another file.
  (folder / "new").write_text(record(10, 3.0) + record(20, 2.5))
  os.replace(folder / "new", folder / "metrics.jsonl")
  run.refresh()
  assert (run.step, run.latest("loss"), len(run.train)) == (20, 2.5, 2)


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


def test_a_curve_falls_as_the_loss_does():
  drawn = watch.curve([1 - n / 100 for n in range(100)])
  assert len(drawn) <= 16
  assert [*drawn] == sorted(drawn, reverse=True)
  assert watch.curve([]) == ""
  assert watch.curve([2.0, 2.0]) == "▁▁"
