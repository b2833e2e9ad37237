"""`fit`: trains a model in a directory, on one device or on a mesh."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from attnjax import training
from attnjax.config import check_local, decisive
from attnjax.models import MATRICES, partition_rules
from attnjax.runs.attention import loss_on
from attnjax.runs.attention_watch import AttentionWatch
from attnjax.runs.config import TrainConfig, what_decides
from attnjax.runs.mesh import MeshConfig
from attnjax.training.evaluation import Evaluate, check_evaluation
from attnjax.training.losses import LossFn
from attnjax.training.partition import Rules, common_mesh
from attnjax.training.processes import is_primary, require_joined
from attnjax.training.state import init_on
from attnjax.training.step import Step
from attnjax.training.workdir import workdir_lock
from attnjax.typing import PyTree

__all__ = ["Fitted", "fit", "make_model"]


class Fitted(NamedTuple):
  """A trained model and its evaluations.

  Args:
    params: after the last step.
    records: of every evaluation, in order: step, split and metrics.

  >>> Fitted(params=3.0, records=[{"step": 1, "loss": 0.5}]).records[-1]["loss"]
  0.5
  """

  params: PyTree
  records: list[dict[str, Any]]


def fit(
  model: PyTree,
  loss: LossFn,
  batches: Callable[[int], Any],
  *,
  workdir: str | Path,
  experiment: str,
  identity: Mapping[str, Any],
  optimizer: training.OptimizerConfig,
  train: TrainConfig,
  evaluate: Callable[[Any], Mapping[str, float]] | None = None,
  mesh: Mesh | None = None,
  rules: Rules | None = None,
  observe: Callable[[Any], training.Observation] | None = None,
  frozen: PyTree = None,
  join: Callable[[Any, Any], Any] | None = None,
  carry: PyTree = None,
) -> Fitted:
  """Trains a model in a directory, or resumes the training there.

  Called again with the same directory it resumes from the newest undamaged
  checkpoint, bit for bit, and returns at once where the run is finished. It may
  resume on another mesh or number of processes: the batches are the same, and
  the losses are to float tolerance.

  On a mesh a model that has a method `with_attend`, see `TakesAttention`,
  attends in the loss as `train.mesh` says; the model that is returned attends
  as the one that was given.

  Args:
    model: parameters to start from, a pytree such as a Flax NNX module. It is
      consumed: use the one that is returned.
    loss: `(params, batch, key) -> (total, weight[, extra])` as for `make_step`.
    batches: updates done before -> batch, a pure function.
    workdir: of this run alone; made if need be.
    experiment: its name.
    identity: what decides how the run trains beside `optimizer` and `train`,
      such as the sizes of the model and a digest of the data: nested values
      that JSON can hold. A directory of another identity, optimizer, number of
      steps or seed is refused. What changes no number may change, see
      `what_decides`.
    optimizer: AdamW and its schedule.
    train: how long, how often, the seed of the keys, and the mesh.
    evaluate: parameters -> scalars with a `loss`; None evaluates nothing. It
      is tried before a new run, unless it has the `names` of its scalars.
    mesh: devices in an order of one's own, with the axes of `training.AXES`;
      None makes that of `train.mesh`.
    rules: which part of each array a device of the mesh has, see
      `training.shardings`; None: those of `models.partition_rules`.
    observe: parameters -> what is recorded of them beside each evaluation, such
      as an `AttentionWatch`. On a mesh they are brought whole onto one device
      for it. None: what `train.watch` asks for, else nothing.
    frozen: arrays that are read and not trained, such as the model whose
      adapters are trained. They are in no checkpoint: give the same ones to
      resume, and name them in `identity`.
    join: `(frozen, params) -> model`, such as `models.merge_lora`: loss,
      evaluation and observation get the model in place of the parameters.
    carry: what the loss of the first step is given as a fourth argument; each
      returns what the next one is given, see `carries` of `make_step`. It is
      saved with the parameters. None: the loss has three arguments. What
      `evaluate` and `observe` ask is not given it.

  Returns:
    The trained parameters and the records of every evaluation. On a mesh the
    parameters are whole on one device of every process, unless
    `train.mesh.gather` is false.

  Raises:
    ValueError: the directory belongs to another run, cannot do what a run
      needs, or another process trains in it; `train.mesh` asks for an
      attention or a layout, and the model takes none; the batch does not suit
      the loss, or the mesh does not suit the devices, the model or the batch;
      nothing is written then.
    NotImplementedError: a carry on a mesh, or with microbatches or
      `train.watch`.
    FloatingPointError: a loss is not finite.
    SystemExit: with code 75, after a request to stop.

  >>> import tempfile
  >>> from attnjax.runs.config import TrainConfig
  >>> from attnjax.training import OptimizerConfig
  >>> import jax.numpy as jnp
  >>> def loss(params, batch, key):
  ...   return ((params["kernel"] - batch) ** 2).sum(), jnp.float32(1)
  >>> fitted = fit(
  ...   {"kernel": jnp.float32(0)}, loss, lambda step: jnp.float32(3),
  ...   workdir=tempfile.mkdtemp(), experiment="mean", identity={},
  ...   optimizer=OptimizerConfig(0.3, warmup_steps=0, weight_decay=0.0),
  ...   train=TrainConfig(steps=60))
  >>> abs(float(fitted.params["kernel"]) - 3) < 0.1
  True
  """
  check_local(workdir, "workdir")
  # First: processes that have not joined would agree each with itself.
  require_joined(train.processes)
  decides = _identity(identity, optimizer, train)
  training.require_agreement(
    "fit",
    {"workdir": str(workdir), "experiment": experiment}
    | {"identity": decides, "mesh": dataclasses.asdict(train.mesh)},
  )

  # Everything that can be wrong is checked before anything is written.
  mesh = train.mesh.make() if mesh is None else mesh
  whole = model
  if carry is not None:
    _check_carry(mesh, train, observe)
  if (frozen is None) != (join is None):
    raise ValueError(
      "frozen and join must be given together: the one is half of a model, and"
      " the other makes it whole"
    )
  if join is not None:
    frozen = training.shard_tree(frozen, mesh, partition_rules(frozen))
    whole = jax.eval_shape(join, frozen, model)
  if train.watch and observe is None:
    observe = _watch(whole, loss, batches, evaluate)
  loss, evaluate = _shard_attention(mesh, train.mesh, whole, loss, evaluate)
  if join is not None:
    evaluate = evaluate and _OnJoined(evaluate, frozen, join)
    observe = observe and _OnJoined(observe, frozen, join)
  transform = training.make_optimizer(optimizer, train.steps, MATRICES)
  step = training.make_step(
    loss,
    transform,
    microbatches=train.microbatches,
    compute_dtype=train.compute_dtype,
    seed=train.seed,
    join=join,
    carries=carry is not None,
  )
  rules = partition_rules(model) if rules is None else rules
  ready = _prepare(model, transform, step, batches, mesh, rules, frozen, carry)
  # Traces the step: a batch that does not suit the loss raises here.
  jax.eval_shape(step, ready.state, ready.batches(0), frozen)
  # A run that is resumed was checked when it was new.
  new = lambda: not (Path(workdir) / "metrics.jsonl").exists()
  if evaluate is not None and training.from_primary(new):
    check_evaluation(evaluate, ready.state.params)
    if observe is not None:
      observe(training.gather_tree(ready.state.params))

  path = training.claim_workdir(workdir, experiment, decides)
  training.probe_workdir(path)
  with (
    workdir_lock(path),
    training.Checkpoints(path / "checkpoints", train.checkpoint) as checkpoints,
    training.Metrics(path) as metrics,
  ):
    state = training.train(
      ready.state,
      step=ready.step,
      batch_at=ready.batches,
      checkpoints=checkpoints,
      metrics=metrics,
      config=train,
      evaluate=evaluate,
      place=ready.place,
      observe=_on_whole(observe),
      trace=training.StepTrace(path / "profile", train.profile_steps),
    )
    params = state.params
    if train.mesh.gather:
      # Whoever uses the model next knows nothing of the mesh.
      params = training.gather_tree(params)
    return Fitted(params, metrics.evaluations())


def make_model(
  make: Callable[[], Any], train: TrainConfig, rules: Rules | None = None
) -> Any:
  """Initialises a model sharded over the mesh of a run.

  Args:
    make: makes the model; compiled.
    train: has the mesh.
    rules: as for `fit`.

  >>> import jax
  >>> from attnjax.runs.config import TrainConfig
  >>> from attnjax.runs.mesh import MeshConfig
  >>> make = lambda: {"kernel": jax.random.normal(jax.random.key(0), (8, 3))}
  >>> model = make_model(make, TrainConfig(mesh=MeshConfig(fsdp=8)))
  >>> model["kernel"].addressable_shards[0].data.shape
  (1, 3)
  """
  mesh = train.mesh.make()
  if mesh is not None and rules is None:
    # Rules from shapes alone: the model may be too large for one device.
    rules = partition_rules(jax.eval_shape(make))
  return training.initialise(make, mesh=mesh, rules=rules)


def _check_carry(mesh: Mesh | None, train: TrainConfig, observe: Any) -> None:
  """Refuses what a carry does not go with yet."""
  if mesh is not None:
    raise NotImplementedError(
      f"fit: a carry is of one device, got a mesh of {mesh.size}: nothing says"
      " which axis of its arrays are the rows; train on one device"
    )
  if train.watch and observe is None:
    raise NotImplementedError(
      "train.watch: calls a loss of three arguments, and this one is given a"
      " carry; give fit observe=, or leave it out"
    )


def _watch(
  model: PyTree, loss: LossFn, batches: Callable[[int], Any], evaluate: Any
) -> AttentionWatch | None:
  """Watches what heads attend to in the loss of the first batch.

  None where the model calls no attention, as some variant of an experiment.

  Raises:
    ValueError: nothing is evaluated, beside which it would be recorded.
  """
  if evaluate is None:
    raise ValueError(
      "train.watch records what heads attend to with each evaluation, and this"
      " training has none; give fit evaluate="
    )
  watch = AttentionWatch.of_loss(loss, batches(0))
  if watch.sees(model):
    return watch
  if is_primary():
    print("train.watch: this model calls no attention", file=sys.stderr)
  return None


@dataclasses.dataclass(frozen=True, eq=False)
class _OnJoined:
  """What is asked of a model, asked of what is trained of it.

  Args:
    ask: model -> anything.
    frozen: as for `fit`.
    join: as for `fit`.
  """

  ask: Callable[[Any], Any]
  frozen: PyTree
  join: Callable[[Any, Any], Any]

  @property
  def names(self) -> tuple[str, ...] | None:
    """Names of the metrics of an evaluation, if it has them."""
    return getattr(self.ask, "names", None)

  def __call__(self, params: PyTree) -> Any:
    """The answer for the model of some parameters."""
    # Those of an observation come on one device, and the rest has to follow.
    one = common_mesh(params) is None
    frozen = training.gather_tree(self.frozen) if one else self.frozen
    return self.ask(jax.jit(self.join)(frozen, params))


def _on_whole(observe: Callable | None) -> Callable | None:
  """The same of parameters that may be divided over a mesh."""
  if observe is None:
    return None
  # Attention is captured on one device: a map over devices hides its inside.
  return lambda params: observe(training.gather_tree(params))


def _shard_attention(
  mesh: Mesh | None,
  config: MeshConfig,
  model: Any,
  loss: LossFn,
  evaluate: Any,
) -> tuple[LossFn, Any]:
  """Loss and evaluation with the sharded attention of the flags."""
  on = lambda loss: loss_on(mesh, config, model, loss)
  inner = getattr(evaluate, "evaluate", None)

  # An evaluation of `training.make_evaluate` has a loss inside it.
  if isinstance(inner, Evaluate):
    inner = dataclasses.replace(inner, loss_fn=on(inner.loss_fn))
    evaluate = dataclasses.replace(evaluate, evaluate=inner)
  return on(loss), evaluate


def _identity(
  identity: Mapping[str, Any],
  optimizer: training.OptimizerConfig,
  train: TrainConfig,
) -> dict[str, Any]:
  """All settings that decide the numbers of a run, as nested values.

  Raises:
    ValueError: the identity has something else under the names of these two.
  """
  # The mesh and the intervals of records may change between runs.
  decides = what_decides(identity)
  for name, config in (("optimizer", optimizer), ("train", train)):
    given = decides.get(name, {})
    if not isinstance(given, Mapping):
      raise ValueError(
        f"identity[{name!r}] must be the leaves of the config of that name, got"
        f" {given!r}; give it another name"
      )
    # The arguments of `fit` override what the identity says of them.
    decides[name] = {**given, **decisive(config)}

  return decides


class _Ready(NamedTuple):
  """State, step and batches for the loop."""

  state: training.TrainState
  step: Callable[..., Any]
  batches: Callable[[int], Any]
  place: Callable[[Any], Any]


def _prepare(
  model: PyTree,
  transform: optax.GradientTransformation,
  step: Step,
  batches: Callable[[int], Any],
  mesh: Mesh | None,
  rules: Rules | None,
  frozen: PyTree,
  carry: PyTree,
) -> _Ready:
  """State, compiled step and batches, on one device or on a mesh."""
  if mesh is None:
    carry = () if carry is None else jax.tree.map(jnp.array, carry)
    state = training.init_state(model, transform, carry)
    jitted = _bound(training.jit_step(step), frozen)
    # The loop puts each batch on the one device.
    return _Ready(state, jitted, batches, jax.device_put)

  state, places = init_on(mesh, model, transform, rules)
  jitted = _bound(training.jit_step(step, places), frozen)
  # These batches are on their devices already: nothing is left to place.
  sharded = training.GlobalBatches(batches, mesh, step.microbatches)
  return _Ready(state, jitted, sharded, lambda batch: batch)


def _bound(jitted: Callable[..., Any], frozen: PyTree) -> Callable[..., Any]:
  """A compiled step with its frozen arrays, which it does not donate."""
  if frozen is None:
    return jitted
  # An argument and no constant, or the program would hold them once more.
  return lambda state, batch: jitted(state, batch, frozen)
