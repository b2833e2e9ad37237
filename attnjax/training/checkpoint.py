"""Atomic, verified checkpoints.

Orbax writes them: asynchronously, sharded, committed by one rename. Added here:
digests, so that a flipped bit is found before it is trained on; the fallback to
an older step; and errors that name the leaf that does not fit.
"""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from attnjax.config import Config, setting
from attnjax.training import flat_state, step_directories
from attnjax.training.disk_errors import (
  hide_logged_disk_errors,
  naming_disk_errors,
)
from attnjax.training.processes import from_primary, is_primary
from attnjax.typing import PyTree

__all__ = ["CheckpointConfig", "Checkpoints", "Keep", "Restored", "best"]


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Config):
  """How often a training loop saves, and which checkpoints are kept.

  Args:
    every_steps: for the loop; `Checkpoints.save` saves whenever it is called.
    keep_last: number of newest steps kept; the way back from a damaged one.
    keep_best: also keep the step of the lowest metric.

  Raises:
    ValueError: a number is below 1.

  >>> CheckpointConfig(keep_last=2).keep_best
  True
  """

  every_steps: int = setting(
    1000, "optimizer steps between two checkpoints", at_least=1, decides=False
  )
  keep_last: int = setting(
    3, "number of newest checkpoints that are kept", at_least=1, decides=False
  )
  keep_best: bool = setting(
    True,
    "also keep the checkpoint of the lowest evaluation loss",
    decides=False,
  )


@dataclasses.dataclass(frozen=True)
class Keep:
  """Orbax `PreservationPolicy`: the newest steps and the best one.

  Args:
    last: number of newest steps.
    best: also the one of the lowest metric.
    metrics: of each step, filled in while the run goes on; None where a step
      has none.
  """

  last: int
  best: bool
  metrics: Mapping[int, float | None]

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> list[bool]:
    """Whether to keep each checkpoint, the one being saved included."""
    del context
    steps = sorted(checkpoint.step for checkpoint in checkpoints)
    kept: set[int | None] = set(steps[-self.last :])
    if self.best:
      kept.add(best(steps, self.metrics))
    return [checkpoint.step in kept for checkpoint in checkpoints]


def best(
  steps: Sequence[int], metrics: Mapping[int, float | None]
) -> int | None:
  """The step of the lowest metric, the newest of equals; None without one.

  >>> best([1, 2, 3], {1: 0.5, 2: 0.5, 3: None})
  2
  """
  known = [(metrics.get(step), -step) for step in steps]
  found = [(metric, step) for metric, step in known if metric is not None]
  return -min(found)[1] if found else None


@dataclasses.dataclass(frozen=True)
class Restored:
  """A restored state, its step, and the damaged newer steps.

  Args:
    step: the step that was saved under.
    state: a tree with exactly the structure that was asked for.
    skipped: one sentence for each damaged step that was passed over.

  >>> Restored(step=200, state={}).skipped
  ()
  """

  step: int
  state: PyTree
  skipped: tuple[str, ...] = ()


class Checkpoints:
  """The checkpoints of one run; a context manager that waits for its saves.

  A step directory appears by one rename, after its files and their digests
  are on the disk: a kill at any moment leaves whole steps only. Of several
  processes all have to make the same calls, on a shared file system.

  Args:
    directory: where the steps lie, made if need be; relative to the working
      directory. What a killed save left there is removed.
    config: how many steps to keep.

  Raises:
    ValueError: the directory is a file, cannot be made, or is a URL.

  >>> from attnjax.training.checkpoint import CheckpointConfig
  >>> import tempfile
  >>> import numpy as np
  >>> state = {"kernel": np.ones((2, 3), np.float32)}
  >>> with Checkpoints(tempfile.mkdtemp(), CheckpointConfig()) as checkpoints:
  ...   checkpoints.save(7, state, metric=0.5)
  ...   restored = checkpoints.restore(state)
  >>> restored.step, bool((restored.state["kernel"] == state["kernel"]).all())
  (7, True)
  """

  def __init__(self, directory: str | Path, config: CheckpointConfig):
    self._root = step_directories.prepare(directory)
    self._config = config
    self._saving: dict[str, Any] = {}
    self._closed = False
    # Open until `close`, for Orbax logs from its own threads at any time.
    self._quiet = contextlib.ExitStack()
    self._quiet.enter_context(hide_logged_disk_errors())

    if is_primary():
      step_directories.remove_uncommitted(self._root)
      step_directories.put_back_replaced(self._root)

    self._open()

  def save(
    self, step: int, state: PyTree, *, metric: float | None = None
  ) -> None:
    """Saves a state, in the background.

    Waits for an earlier save, copies the state to the host and returns: the
    state may be donated right away. A step that is already there is replaced,
    and stays whole until its replacement is.

    Args:
      step: number of updates done, 0 or more.
      state: any pytree of arrays, numbers and typed keys.
      metric: lower is better. None, or one that is not finite, is never best.

    Raises:
      ValueError: a leaf cannot be stored; names it.
      OSError: the disk is full; names it, and where the run goes on.
      Exception: what else the save before this one failed of.
    """
    if step < 0:
      raise ValueError(f"step: expected 0 or more, got {step}")

    # Before the wait: a leaf that cannot be stored raises at once, even while
    # an earlier save is under way.
    arrays, specs = (
      flat_state.flatten_state(state),
      flat_state.leaf_specs(state),
    )
    if not arrays:
      raise ValueError("state: expected a leaf that holds a value, got none")

    if metric is not None:
      # What is not finite counts as no metric, for NaN compares with nothing.
      metric = float(metric) if math.isfinite(metric) else None

    self.wait()
    if step in self.steps():
      self._put_aside([step], step_directories.REPLACED)

    # Read by `_seal`, which Orbax calls from its own thread.
    self._saving = {"step": step, "metric": metric, "leaves": specs}
    self._metrics[step] = metric
    with self._naming_disk_errors():
      self._manager.save(
        step,
        args=ocp.args.Composite(state=ocp.args.PyTreeSave(arrays)),
        # Whatever Orbax's own save interval: the loop decides when to save.
        force=True,
      )

  def restore(self, like: PyTree) -> Restored | None:
    """Restores the newest undamaged step.

    Every file is checked against its digest first. Damaged steps are renamed
    to `<step>.damaged` once an older whole one is found, never deleted.

    Args:
      like: a pytree of arrays or `jax.ShapeDtypeStruct`. A leaf with a
        sharding is restored to it, one without where JAX would put it; a
        numpy leaf stays numpy.

    Returns:
      The state with its step, or None where no step was ever saved.

    Raises:
      ValueError: every step is damaged, or the newest whole one does not fit
        `like`. Nothing is changed on the disk then.
    """
    self.wait()
    step, damaged = from_primary(
      lambda: step_directories.newest_whole(self._root, self.steps())
    )
    skipped = [f"step {bad}: {what}" for bad, what in damaged]

    if step is None and not damaged:
      return None

    if step is None:
      raise ValueError(
        f"checkpoints in {self._root}: every step is damaged: "
        f"{'; '.join(skipped)}. Copy a whole step back, or start again in "
        "another --workdir (nothing was moved or deleted)"
      )

    # Before anything is renamed: where it raises, the disk is as it was.
    self._check_fit(step, like)
    if damaged:
      names = self._put_aside(
        [bad for bad, _ in damaged], step_directories.DAMAGED
      )
      skipped = [
        f"{sentence}; kept as {name}"
        for sentence, name in zip(skipped, names, strict=True)
      ]

    return Restored(step, self._read(step, like), tuple(skipped))

  def steps(self) -> list[int]:
    """The steps saved or being saved, oldest first."""
    return sorted(self._manager.all_steps())

  def best(self) -> int | None:
    """The step of the lowest metric, the newest of equals; None without one."""
    return best(self.steps(), self._metrics)

  def wait(self) -> None:
    """Waits for the save under way; raises the error of a failed one."""
    with self._naming_disk_errors():
      self._manager.wait_until_finished()
    if is_primary():
      step_directories.drop_replaced(self._root)

  def close(self) -> None:
    """Waits, then lets go of the directory; a second call does nothing."""
    if not self._closed:
      self._closed = True
      try:
        self.wait()
      finally:
        with self._quiet:
          self._manager.close()

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _naming_disk_errors(self) -> AbstractContextManager[None]:
    """Names in disk errors the lost step, and the one that a run resumes at."""
    whole = step_directories.committed(self._root)
    goes_on = f"goes on after step {max(whole)}" if whole else "starts again"
    return naming_disk_errors(
      self._root,
      f"save step {self._saving.get('step')}",
      f"; the same command {goes_on}",
    )

  def _open(self) -> None:
    """Makes a new Orbax manager, which lists the directory once, here."""
    # Shared with `Keep`, which reads it whenever Orbax deletes old steps.
    self._metrics: dict[int, float | None] = {}
    self._manager = ocp.CheckpointManager(
      self._root,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=Keep(
          self._config.keep_last, self._config.keep_best, self._metrics
        ),
        async_options=ocp.AsyncOptions(
          post_finalization_callback=self._seal,
          # Else a failed save leaves threads behind.
          create_directories_asynchronously=False,
        ),
      ),
    )

    # Metrics of earlier runs, for the best of them is kept as well.
    for step in self._manager.all_steps():
      self._metrics[step] = step_directories.metric(self._root / str(step))

  def _seal(self) -> None:
    """Called by Orbax once all files are written, before the commit."""
    step_directories.seal(self._root, self._saving)

  def _check_fit(self, step: int, like: PyTree) -> None:
    """Raises where a step's leaves differ from those of `like`."""
    path = self._root / str(step)
    stored = step_directories.about(path)["leaves"]
    difference = flat_state.spec_difference(stored, flat_state.leaf_specs(like))
    if difference is not None:
      raise ValueError(
        f"checkpoint {path} is whole but holds another state: {difference}. "
        "Use the config it was saved with, or another --workdir"
      )

  def _read(self, step: int, like: PyTree) -> PyTree:
    """Reads the state of an undamaged step whose leaves fit."""
    args = flat_state.restore_args(like)
    restore = ocp.args.PyTreeRestore(
      # Placeholders: Orbax takes the structure from the keys, and dtypes and
      # shardings from restore_args.
      item=dict.fromkeys(args, 0),
      restore_args=args,
    )
    stored = self._manager.restore(step, args=ocp.args.Composite(state=restore))
    return flat_state.unflatten_state(like, stored["state"])

  def _put_aside(self, steps: Sequence[int], suffix: str) -> list[str]:
    """Renames step directories, so that their steps can be saved again."""
    # Orbax caches its list of steps: the manager is made anew.
    self._manager.close()
    names = from_primary(
      lambda: step_directories.put_aside(self._root, steps, suffix)
    )
    self._open()
    return names
