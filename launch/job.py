"""A job: an experiment, its settings, a topology and a work directory."""

import dataclasses
import difflib
import hashlib
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from attnjax.config import define_flags

__all__ = ["ROOT", "Job", "config_of", "experiments", "presets_of"]

ROOT = Path(__file__).resolve().parents[1]
_NAME = r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"


@dataclasses.dataclass(frozen=True)
class Job:
  """An experiment to run, on a topology, with a directory for its files.

  Args:
    experiment: a folder of `experiments/`.
    preset: one of its presets.
    overrides: `model.depth=12`, one a leaf of its config.
    topology: `v5p:4x4x4`, `h100:16`, `cpu:8`, as for `attnjax.plan.topology`;
      None is whatever a machine has.
    processes: of JAX; None is as many as the topology takes.
    place: directory of checkpoints and results, or of a bucket
      (`gs://bucket/folder`), which is mounted where the job runs. Empty is
      `runs/<experiment>/<preset>`.
    called: name in the queue. Empty is experiment, preset and a digest of the
      place: jobs that write to different places have different names.

  Raises:
    ValueError: a name that machines do not take.

  >>> job = Job("heads", overrides=("seeds=2",), place="runs/heads")
  >>> print(*job.line())
  python -m experiments.heads --preset=tiny --config.seeds=2
  --workdir=runs/heads
  """

  experiment: str
  preset: str = "tiny"
  overrides: tuple[str, ...] = ()
  topology: str | None = None
  processes: int | None = None
  place: str = ""
  called: str = ""

  def __post_init__(self):
    if self.called and not re.fullmatch(_NAME, self.called):
      raise ValueError(
        "name: expected small letters, digits and hyphens, a letter first and"
        f" no hyphen last, 40 at most, got {self.called!r}"
      )

  @property
  def name(self) -> str:
    """Name in the queue: at most 40 lower-case letters, digits and hyphens."""
    if self.called:
      return self.called
    text = f"{self.experiment}-{self.preset}".lower()
    text = re.sub(r"[^a-z0-9]+", "-", text).strip("-")
    # 33 and a hyphen and 6: together the 40 characters that are allowed.
    mark = hashlib.sha256(self.place.encode()).hexdigest()[:6]
    return f"{text[:33].rstrip('-')}-{mark}" if self.place else text[:40]

  @property
  def directory(self) -> str:
    """The work directory; its default is that of an experiment itself."""
    return self.place or f"runs/{self.experiment}/{self.preset}"

  def asked(self) -> tuple[str, ...]:
    """Module and flags that decide what is computed."""
    given = (f"--config.{override}" for override in self.overrides)
    return (f"experiments.{self.experiment}", f"--preset={self.preset}", *given)

  def line(
    self, python: str = "python", workdir: str | None = None
  ) -> tuple[str, ...]:
    """The command of one process, the same under every launcher.

    Args:
      python: the interpreter there.
      workdir: the directory as it is called there; None is `directory`.
    """
    where = self.directory if workdir is None else workdir
    return (python, "-m", *self.asked(), f"--workdir={where}")


def experiments() -> list[str]:
  """Names of the experiments, sorted.

  >>> "language_model" in experiments()
  True
  """
  found = (ROOT / "experiments").glob("*/__main__.py")
  return sorted(path.parent.name for path in found)


def presets_of(experiment: str) -> Mapping[str, Any]:
  """Presets of an experiment: name -> function that makes the config.

  Raises:
    ValueError: there is no such experiment; names the nearest.

  >>> presets_of("language_modle")
  Traceback (most recent call last):
  ValueError: experiment: expected a folder of experiments/, got
  'language_modle'; did you mean language_model?
  """
  known = experiments()
  if experiment not in known:
    raise ValueError(
      f"experiment: expected a folder of experiments/, got {experiment!r};"
      f" {_nearest(experiment, known)}"
    )
  return importlib.import_module(f"experiments.{experiment}.config").PRESETS


def config_of(job: Job) -> Any:
  """Resolves the flags of a job into the config of its experiment.

  Raises:
    ValueError: no such experiment, preset or setting, or a value that does
      not fit; with the remedy.

  >>> config_of(Job("heads", overrides=("seeds=2",))).seeds
  2
  >>> config_of(Job("heads", preset="huge"))
  Traceback (most recent call last):
  ValueError: preset: heads has no 'huge'; there are tiny
  """
  presets = presets_of(job.experiment)
  if job.preset not in presets:
    raise ValueError(
      f"preset: {job.experiment} has no {job.preset!r};"
      f" {_nearest(job.preset, list(presets))}"
    )

  # The flags of the experiment itself, so that both refuse the same.
  argv, values = ["launch", *job.asked()[1:]], flags.FlagValues()
  handle = define_flags(
    presets, default=job.preset, flag_values=values, argv=argv
  )

  try:
    values(argv)
  except flags.Error as error:
    raise ValueError(f"{job.experiment}: {error}") from None

  return handle.resolve()


def _nearest(name: str, known: list[str]) -> str:
  """Hint for an error: the closest known name, or all of them."""
  close = difflib.get_close_matches(name, known, n=1)
  return (
    f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
  )
