"""The progress line: on a terminal, in a log, and what it says."""

import io
import sys

import pytest

from attnjax.training.progress import Progress, Throughput


class Terminal(io.StringIO):
  """A stream that says it is a terminal."""

  def isatty(self):
    return True


class Clock:
  """Seconds that pass when told to."""

  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


def run(stream, steps=10, seconds=30.0, evaluate=(), **settings):
  """Two seconds and 700 tokens a step."""
  clock = Clock()
  throughput = Throughput(clock)
  with Progress(
    steps, seconds=seconds, stream=stream, clock=clock, **settings
  ) as progress:
    for step in range(1, steps + 1):
      clock.now += 2.0
      throughput.add(700.0)
      progress.update(step, 5 / step, throughput)
      if step in evaluate:
        progress.evaluated(step, 0.25)
  return stream.getvalue()


def test_a_log_has_a_plain_line_every_so_many_seconds_and_the_last():
  text = run(io.StringIO(), steps=10, seconds=7.0)
  assert "\x1b" not in text
  assert "\r" not in text
  first, *rest = text.splitlines()
  assert first == "step 1/10  loss 5.0000  350 tokens/s  0:00:18 left"
  assert [line.split()[1] for line in rest] == ["5/10", "9/10", "10/10"]
  assert rest[-1].endswith("0:00:00 left")


def test_the_last_evaluation_stays_in_the_line():
  lines = run(io.StringIO(), seconds=0.0, evaluate=(3,)).splitlines()
  assert lines[3] == "step 3/10  eval 0.2500 at 3"
  assert "eval" not in lines[2]
  assert all(line.endswith("left  eval 0.2500 at 3") for line in lines[4:])


def test_a_terminal_has_one_line_that_is_redrawn(monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "120")
  text = run(Terminal(), evaluate=(3,))
  assert "\x1b[" in text
  last = text.rsplit("\r", 1)[-1]
  assert "step 10/10  loss 0.5000  350 tokens/s  0:00:00 left  eval" in last
  # A line a step would be ten.
  assert text.count("\n") < 5


def test_messages_are_not_read_as_markup(monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  for stream in (io.StringIO(), Terminal()):
    with Progress(10, stream=stream) as progress:
      progress.say("pip install 'attnjax[metrics]'")
    assert "attnjax[metrics]" in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet(stream):
  assert run(stream, quiet=True, evaluate=(3,)) == ""


def test_throughput_looks_at_the_last_hundred_steps():
  clock = Clock()
  throughput = Throughput(clock)
  assert throughput.tokens_per_second == throughput.steps_per_second == 0.0
  for seconds in [1000.0] * 5 + [0.5] * 100:
    clock.now += seconds
    throughput.add(11.0)
  assert throughput.tokens_per_second == pytest.approx(22.0)
  assert throughput.steps_per_second == pytest.approx(2.0)


def test_throughput_forgets_a_pause():
  clock = Clock()
  throughput = Throughput(clock)
  clock.now += 1000.0
  throughput.restart()
  clock.now += 1.0
  throughput.add(13.0)
  assert throughput.tokens_per_second == pytest.approx(13.0)


def test_a_missing_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "rich", None)
  with pytest.raises(ImportError, match=r"attnjax\[metrics\]"):
    Progress(10, stream=Terminal())
  Progress(10, stream=io.StringIO())
