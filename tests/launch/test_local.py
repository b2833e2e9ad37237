"""A job on this machine: what it refuses, and what comes of its processes."""

import pytest
from absl import flags

from launch.command_line import define
from launch.job import Job
from launch.local.__main__ import program


def asked(*argv):
  values = flags.FlagValues()
  define(values)
  values(["launch.local", *argv])
  return values


@pytest.mark.parametrize(
  ("place", "flag", "message"),
  [
    ("gs://mine/x", "--nosubmit", "expected a directory of this machine"),
    ("", "--submit", "here a job runs at once; leave it out"),
    ("/proc/run", "--nosubmit", "cannot be written"),
  ],
)
def test_what_means_nothing_here_is_refused(place, flag, message):
  with pytest.raises(ValueError, match=message):
    program(Job("heads", place=place), asked(flag))
