"""One optimizer step as a pure function, with gradients accumulated in scan."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from attnjax.training.losses import (
  LossFn,
  at_least_float32,
  carried_loss_sums,
  loss_sums,
)
from attnjax.training.optimizer import leaf_name
from attnjax.training.state import TrainState, check_trainable, step_key
from attnjax.typing import Array, DTypeLike, PyTree, Scalar

__all__ = [
  "Step",
  "jit_step",
  "learning_rate",
  "make_step",
  "pmap_step",
  "split_batch",
]


@dataclasses.dataclass(frozen=True)
class Step:
  """One training step: `(state, batch[, frozen]) -> (state, metrics)`, pure.

  A frozen dataclass and not a closure, so that two equal steps share one
  compiled program. See `make_step` for the fields.

  Raises:
    ValueError: `microbatches` is below 1.
    NotImplementedError: the loss carries, and there are microbatches.
  """

  loss_fn: LossFn
  optimizer: optax.GradientTransformation
  microbatches: int = 1
  compute_dtype: DTypeLike | None = None
  seed: int = 0
  join: Callable[[Any, Any], Any] | None = None
  carries: bool = False

  def __post_init__(self):
    if self.carries and self.microbatches > 1:
      raise NotImplementedError(
        f"microbatches: got {self.microbatches}, and a loss that carries is"
        " given its whole batch, for nothing says which part of the carry is"
        " that of a row; give it microbatches=1 and fewer rows"
      )
    if self.microbatches < 1:
      raise ValueError(
        f"microbatches: expected 1 or more, got {self.microbatches}"
      )

  def __call__(
    self, state: TrainState, batch: PyTree, frozen: PyTree = None
  ) -> tuple[TrainState, dict[str, Scalar]]:
    """The state after one update, and the metrics of that update."""
    # While tracing: a compiled step does not run it again.
    check_trainable(state.params)
    with jax.named_scope("gradient"):
      gradients, total, weight, extra, carry = self._sums(state, batch, frozen)
      # Where nothing counted every sum is 0, and so is 0 / 1.
      divisor = jnp.where(weight == 0, jnp.ones_like(weight), weight)
      gradients = jax.tree.map(
        lambda sum_: sum_ / divisor.astype(sum_.dtype), gradients
      )

    # Optax mixes float and int scalars, which strict promotion refuses.
    with jax.named_scope("update"), jax.numpy_dtype_promotion("standard"):
      updates, opt_state = self.optimizer.update(
        gradients, state.opt_state, state.params
      )
      params = optax.apply_updates(state.params, updates)
      metrics = {
        "loss": total / divisor,
        "gradient_norm": optax.tree.norm(gradients),
        "parameter_norm": optax.tree.norm(params),
        "weight": weight,
      }

    # Of the new state, in which Optax stores the rate of this update.
    metrics |= learning_rate(opt_state)
    metrics |= {name: sum_ / divisor for name, sum_ in extra.items()}
    carry = carry if self.carries else state.carry
    return TrainState(state.step + 1, params, opt_state, carry), metrics

  def _sums(
    self, state: TrainState, batch: PyTree, frozen: PyTree
  ) -> tuple[Any, ...]:
    """Gradients, loss, weight, extra metrics, all summed; and the carry."""
    key = self._key(state)
    if self.microbatches == 1:
      carry = state.carry if self.carries else ()
      return self._microbatch_sums(state.params, batch, key, frozen, carry)
    # One key a microbatch, or all of them would have the same dropout.
    keys = jax.random.split(key, self.microbatches)
    parts = split_batch(batch, self.microbatches)

    def add(sums: Any, part: Any) -> tuple[Any, None]:
      rows, key = part
      more = self._microbatch_sums(state.params, rows, key, frozen)
      return jax.tree.map(jnp.add, sums, more), None

    # The carry starts at zeros, so that no microbatch runs outside the scan.
    first = jax.tree.map(lambda x: x[0], (parts, keys))
    shapes = jax.eval_shape(self._microbatch_sums, state.params, *first, frozen)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    sums, _ = jax.lax.scan(add, zeros, (parts, keys))
    return sums

  def _key(self, state: TrainState) -> Any:
    """Random key of the next step."""
    return step_key(self.seed, state.step)

  def _microbatch_sums(
    self,
    params: PyTree,
    batch: PyTree,
    key: Any,
    frozen: PyTree,
    carry: PyTree = (),
  ) -> tuple[Any, ...]:
    """The sums of `_sums` over one microbatch, float32 or better."""

    def loss(params: PyTree) -> tuple[Any, Any]:
      if self.join is not None:
        params = self.join(frozen, params)
      asked = (self.loss_fn, params, batch, key)
      if self.carries:
        total, *rest = carried_loss_sums(*asked, carry, self.compute_dtype)
      else:
        total, *rest = (*loss_sums(*asked, self.compute_dtype), ())
      return total, rest

    # Differentiated outside the cast: gradients have the parameters' dtype.
    (total, rest), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    return jax.tree.map(at_least_float32, gradients), total, *rest


def make_step(
  loss_fn: LossFn,
  optimizer: optax.GradientTransformation,
  *,
  microbatches: int = 1,
  compute_dtype: DTypeLike | None = None,
  seed: int = 0,
  join: Callable[[Any, Any], Any] | None = None,
  carries: bool = False,
) -> Step:
  """A pure training step; `jit_step` compiles it with donation.

  With summed loss L[j] and weight w[j] of microbatch j, the gradient is

      g = Σ_j ∇L[j] / Σ_j w[j]

  which is the gradient of the whole batch, however the weights fall.

  Args:
    loss_fn: `(params, batch, key) -> (total, weight)`: summed loss in nats
      and summed weight; a third item may hold a dict of summed extra metrics,
      by names that are not taken.
    optimizer: an Optax transformation.
    microbatches: parts of the batch to run one after the other, to save
      memory; it must divide the leading axis of every array in the batch.
      Part `j` has the rows `j, j + microbatches, ...`.
    compute_dtype: dtype that float parameters are cast to for the loss;
      parameters, gradients, sums and optimizer keep theirs. None: no cast.
    seed: of the random keys given to `loss_fn`, one a step and microbatch.
    join: `(frozen, params) -> model`, where the step has a third argument,
      arrays that are read and not trained: the loss gets the model. None: the
      loss gets the parameters.
    carries: whether the loss is `(params, batch, key, carry) -> (total,
      weight[, extra], carry)`: what it returns last, such as the caches of a
      model whose rows go on in the next batch, is the `carry` of the new state
      and what the loss of the next step is given. No gradient passes from one
      step to the one before.

  Returns:
    `(state, batch[, frozen]) -> (state, metrics)`. The metrics are scalars:
    `loss` in nats per weight before the update, `gradient_norm` before
    clipping, `parameter_norm` after the update, `weight`, `learning_rate` where
    the optimizer's state has a leaf of that name, and the extra metrics per
    weight. A batch of weight 0 has loss 0 and gradient 0.

  Raises:
    ValueError: `microbatches` is below 1, or, at the call, does not divide
      the batch; or a loss that carries returns a carry of another shape.
    NotImplementedError: `carries` with more than one microbatch.

  >>> import jax.numpy as jnp
  >>> import optax
  >>> def loss_fn(params, batch, key):
  ...   errors = (params - batch) ** 2
  ...   return errors.sum(), jnp.float32(batch.size)
  >>> from attnjax.training.state import init
  >>> optimizer = optax.sgd(0.5)
  >>> step = jit_step(make_step(loss_fn, optimizer, microbatches=3))
  >>> state, metrics = step(init(jnp.zeros(()), optimizer), jnp.arange(6.0))
  >>> float(state.params), float(metrics["gradient_norm"])
  (2.5, 5.0)
  """
  return Step(
    loss_fn, optimizer, microbatches, compute_dtype, seed, join, carries
  )


def jit_step(
  step: Callable[..., Any], places: PyTree | None = None
) -> Callable[..., Any]:
  """Compiles a step and donates its state, so that only one state is alive.

  Args:
    step: `(state, batch) -> (state, metrics)`, from `make_step`.
    places: shardings of the new state and of the metrics, on a mesh; None
      leaves them to the compiler.

  >>> import jax.numpy as jnp
  >>> double = jit_step(lambda state, batch: (state * batch, {}))
  >>> state = jnp.arange(3.0)
  >>> double(state, 2.0)[0].tolist(), state.is_deleted()
  ([0.0, 2.0, 4.0], True)
  """
  if places is None:
    return jax.jit(step, donate_argnums=0)
  return jax.jit(step, donate_argnums=0, out_shardings=places)


def split_batch(batch: PyTree, parts: int) -> PyTree:
  """Splits every array into microbatches: `B ...` to `parts B/parts ...`.

  Microbatch `j` has the rows `j, j + parts, ...`. Where consecutive rows are
  sharded over devices, every device so keeps its own rows and nothing is sent.

  Args:
    batch: arrays that share their leading axis, the rows.
    parts: number of microbatches.

  Raises:
    ValueError: an array has no leading axis, or `parts` does not divide it.

  >>> import jax.numpy as jnp
  >>> split_batch(jnp.arange(6), 2).tolist()
  [[0, 2, 4], [1, 3, 5]]
  """

  def split(path: Any, x: Any) -> Array:
    if x.ndim == 0 or x.shape[0] % parts:
      raise ValueError(
        f"batch{jax.tree_util.keystr(path)}: expected a leading axis that"
        f" {parts} microbatches divide, got shape {x.shape}; change the batch"
        " size or microbatches"
      )
    dealt = x.reshape(x.shape[0] // parts, parts, *x.shape[1:])
    return jnp.swapaxes(dealt, 0, 1)

  return jax.tree_util.tree_map_with_path(split, batch)


def learning_rate(opt_state: PyTree) -> dict[str, Scalar]:
  """`{"learning_rate": ...}` read from an optimizer's state, or `{}`.

  Args:
    opt_state: with one leaf named `learning_rate`, as `make` and
      `optax.inject_hyperparams` give it.

  >>> import jax.numpy as jnp
  >>> import optax
  >>> learning_rate(optax.sgd(0.1).init(jnp.ones(2)))
  {}
  """
  leaves = jax.tree_util.tree_leaves_with_path(opt_state)
  found = [leaf for path, leaf in leaves if leaf_name(path) == "learning_rate"]
  # With several optimizers in one state no rate is the rate of the step.
  return {"learning_rate": found[0]} if len(found) == 1 else {}


_ROWS = "rows"  # pmap's name of the axis of devices


@dataclasses.dataclass(frozen=True)
class _OnRows(Step):
  """The step of one device under `pmap`: its rows' sums, then a `psum`."""

  def _sums(
    self, state: TrainState, batch: PyTree, frozen: PyTree
  ) -> tuple[Any, ...]:
    """Sums over the rows of all devices."""
    return jax.lax.psum(super()._sums(state, batch, frozen), _ROWS)

  def _key(self, state: TrainState) -> Any:
    """Random key of this device: dropout must differ between devices."""
    return jax.random.fold_in(super()._key(state), jax.lax.axis_index(_ROWS))


def pmap_step(
  step: Step, devices: Sequence[jax.Device] | None = None
) -> tuple[Callable[[PyTree], PyTree], Callable[..., Any]]:
  """The step of `make_step` with the rows of a batch divided among devices.

  Device i has gradients ``g[i]`` of its rows' summed loss and their weight
  ``w[i]``; all take the step of ``Σ_i g[i] / Σ_i w[i]``, which is that of the
  whole batch, however the weights fall. Every device has the whole
  state. A mesh with `data` does the same, and can shard the state too.

  Args:
    step: from `make_step`.
    devices: of this process; None is all of them.

  Returns:
    `replicate` and `stepped`. `replicate(state)` is the state on every device;
    `stepped(state, batch)` is the next one of it, and metrics as of `step`.

  Raises:
    ValueError: at the call, the devices do not divide the rows.
    NotImplementedError: the loss of the step carries.

  >>> import jax.numpy as jnp
  >>> import optax
  >>> from attnjax.training import init_state, make_step
  >>> def loss_fn(params, batch, key):
  ...   return ((params - batch) ** 2).sum(), jnp.float32(batch.size)
  >>> optimizer = optax.sgd(0.5)
  >>> replicate, stepped = pmap_step(make_step(loss_fn, optimizer))
  >>> state = replicate(init_state(jnp.zeros(()), optimizer))
  >>> state, metrics = stepped(state, jnp.arange(8.0))
  >>> float(state.params[0]), float(metrics["gradient_norm"])
  (3.5, 7.0)
  """
  if step.carries:
    raise NotImplementedError(
      "pmap_step: its devices sum what a step returns, and a carry is no sum;"
      " use jit_step"
    )
  count = len(jax.local_devices() if devices is None else devices)
  values = {x.name: getattr(step, x.name) for x in dataclasses.fields(step)}
  on_rows = jax.pmap(
    _OnRows(**values), axis_name=_ROWS, devices=devices, donate_argnums=0
  )

  def replicate(state: PyTree) -> PyTree:
    # pmap maps over the leading axis: one copy of the state a device.
    copies = lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x)))
    return jax.tree.map(copies, state)

  def stepped(state: PyTree, batch: PyTree) -> tuple[PyTree, dict[str, Any]]:
    # Equal on all devices after the `psum`: the first one is returned.
    state, metrics = on_rows(state, jax.tree.map(divided, batch))
    return state, {name: copies[0] for name, copies in metrics.items()}

  def divided(x: Any) -> Any:
    if not jnp.ndim(x) or x.shape[0] % count:
      raise ValueError(
        f"batch: expected rows that {count} devices divide, got shape"
        f" {jnp.shape(x)}; change the batch size, or give fewer devices"
      )
    return x.reshape(count, x.shape[0] // count, *x.shape[1:])

  return replicate, stepped
