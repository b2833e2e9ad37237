"""AdamW or Muon with clipping, linear warm-up and cosine decay."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import jax
import optax

from attnjax.config import Config, setting
from attnjax.training.muon import (
  MatrixAxes,
  scale_by_muon_or_adam,
  with_promotion,
)
from attnjax.typing import PyTree

__all__ = [
  "OptimizerConfig",
  "decay_mask",
  "leaf_name",
  "make",
  "schedule",
]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Config):
  """Hyper-parameters of the optimizer; the defaults suit a small decoder.

  Raises:
    ValueError: a value is outside its range.

  >>> OptimizerConfig(peak_learning_rate=1e-2).peak_learning_rate
  0.01
  """

  peak_learning_rate: float = setting(
    3e-4, "learning rate at the end of the warm-up, per step", above=0
  )
  warmup_steps: int | None = setting(
    None,
    "steps of linear warm-up, fewer than the run has; 0: none, none: the"
    " share `warmup` of the run",
    at_least=0,
  )
  floor: float = setting(
    0.1,
    "learning rate of the last step, as a fraction of the peak, 0 to 1",
    at_least=0,
    at_most=1,
  )
  # The betas, ε, weight decay, clip and floor of GPT-3: Brown et al., 2020,
  # appendix B.
  beta1: float = setting(
    0.9, "decay of the gradient's average, in [0, 1)", at_least=0, below=1
  )
  beta2: float = setting(
    0.95, "decay of the square's average, in [0, 1)", at_least=0, below=1
  )
  epsilon: float = setting(
    1e-8, "added to the root of the square's average", above=0
  )
  weight_decay: float = setting(
    0.1,
    "decay of matrices, times the learning rate, per step; 0: none",
    at_least=0,
  )
  decayed: str = setting(
    "kernel|embedding",
    "regular expression; leaves whose name ends in a match decay",
  )
  clip_norm: float | None = setting(
    1.0, "largest global norm of a gradient; None: not clipped", above=0
  )
  warmup: float = setting(
    0.01,
    "share of the run that warms up, where warmup_steps is none, in [0, 1)",
    at_least=0,
    below=1,
  )

  kind: str = setting(
    "adamw",
    "of the update of matrices; muon: orthogonal ones, all else by AdamW",
    choices=("adamw", "muon"),
  )
  momentum: float = setting(
    0.95, "decay of Muon's average of a matrix", at_least=0, below=1
  )

  def __post_init__(self):
    super().__post_init__()
    try:
      re.compile(self.decayed)
    except re.error as error:
      raise ValueError(
        f"decayed: {self.decayed!r} is no regular expression ({error})"
      ) from error

  def warmup_of(self, steps: int) -> int:
    """Number of warm-up steps of a run.

    Args:
      steps: length of the run, in updates, 1 or more.

    Raises:
      ValueError: `warmup_steps` is the whole run or longer.

    >>> OptimizerConfig(warmup=0.1).warmup_of(1000)
    100
    >>> OptimizerConfig(warmup_steps=50).warmup_of(20)
    Traceback (most recent call last):
    ValueError: optimizer.warmup_steps must be below the 20 steps of the run,
    got 50; train for longer, or leave it out to warm up for a share of the run
    """
    if self.warmup_steps is None:
      # At least one step follows, for Optax refuses a decay of no steps.
      return min(round(self.warmup * steps), steps - 1)
    if self.warmup_steps >= steps:
      raise ValueError(
        f"optimizer.warmup_steps must be below the {steps} steps of the run,"
        f" got {self.warmup_steps}; train for longer, or leave it out to warm"
        " up for a share of the run"
      )
    return self.warmup_steps


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
  """The learning rate as a function of the updates done before this one.

  With peak `p`, floor `f`, warm-up `W`, run length `N` and `n` from 1 to `N`,

      η[n] = p n / W                                               n <= W
      η[n] = p (f + (1 - f) (1 + cos(π (n - W) / (N - W))) / 2)    n > W

  and the function is ``η[count + 1]``: the first step moves already,
  and the last one has exactly the floor.

  Args:
    config: peak, warm-up and floor.
    steps: length of the run `N`, in updates.

  Returns:
    A function of the count, an int or an int32 scalar.

  Raises:
    ValueError: the run is not longer than its warm-up.

  Reference:
    Loshchilov, Hutter. SGDR: Stochastic Gradient Descent with Warm Restarts.
    2017. arXiv:1608.03983, equation 5. Without the restarts.

  >>> config = OptimizerConfig(peak_learning_rate=1.0, warmup_steps=4)
  >>> rate = schedule(config, 20)
  >>> [round(float(rate(count)), 4) for count in (0, 3, 11, 19)]
  [0.25, 1.0, 0.55, 0.1]
  """
  rate = optax.warmup_cosine_decay_schedule(
    init_value=0.0,
    peak_value=config.peak_learning_rate,
    warmup_steps=config.warmup_of(steps),
    decay_steps=steps,
    end_value=config.floor * config.peak_learning_rate,
  )

  def shifted(count: Any) -> Any:
    # Optax mixes float and int scalars, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
      # Optax counts the updates done before: the first would have a rate of 0.
      return rate(count + 1)

  return shifted


def decay_mask(params: PyTree, decayed: str = "kernel|embedding") -> PyTree:
  """Weight-decay mask: leaves whose own name ends in a match.

  The name decides and not the rank: biases and scales of stacked layers have
  a leading axis and look like matrices.

  Args:
    params: any pytree with named leaves.
    decayed: regular expression, searched at the end of a leaf's name.

  Returns:
    A tree of the same structure with a bool a leaf.

  Raises:
    ValueError: no leaf matches, so that nothing would decay.

  >>> from jax import numpy as jnp
  >>> decay_mask({"kernel": jnp.ones((2, 3, 5)), "bias": jnp.ones((2, 5))})
  {'bias': False, 'kernel': True}
  """
  # In a group, or `$` would belong to the last alternative only.
  ending = re.compile(f"(?:{decayed})$")
  mask = jax.tree_util.tree_map_with_path(
    lambda path, _: bool(ending.search(leaf_name(path))), params
  )

  if not any(jax.tree.leaves(mask)):
    named = jax.tree_util.tree_leaves_with_path(params)
    names = sorted({leaf_name(path) for path, _ in named})
    raise ValueError(
      f"decayed: {decayed!r} matches no parameter, of {', '.join(names)};"
      " name the matrices, or set weight_decay to 0"
    )

  return mask


def leaf_name(path: tuple[Any, ...]) -> str:
  """The last name of a leaf's path, such as `bias`.

  Args:
    path: keys as `jax.tree_util.tree_leaves_with_path` gives them; the
      `value` that ends each path of a `flax.nnx.Module` is passed over.

  >>> import jax
  >>> path, _ = jax.tree_util.tree_leaves_with_path({"mlp": {"bias": 0.0}})[0]
  >>> leaf_name(path)
  'bias'
  """
  names = [jax.tree_util.keystr((key,), simple=True) for key in path]
  # nnx.Variable adds one of these to the path of its array.
  if len(names) > 1 and names[-1] in ("value", "raw_value"):
    names.pop()
  return names[-1] if names else ""


def make(
  config: OptimizerConfig, steps: int, matrices: MatrixAxes | None = None
) -> optax.GradientTransformation:
  """AdamW or Muon after a clip of the gradient's global norm.

      g' = g min(1, c / |g|)
      Δ  = m / (sqrt(v) + ε)
      θ' = θ - η[n] (Δ + λ θ)

  m and v are the running means of g' and g'², corrected for their start at 0.
  With `kind="muon"` the `Δ` of a matrix is that of `scale_by_muon_or_adam`.
  Its state holds the learning rate, which `make_step` reports.

  Args:
    config: hyper-parameters.
    steps: length of the run, in updates; the schedule ends there.
    matrices: which axes of which leaves Muon takes for those of a matrix, see
      `attnjax.training.muon.matrix_axes`.

  Returns:
    An Optax transformation. Its `init` raises ValueError where weights should
    decay and no leaf has a matching name, see `decay_mask`.

  Raises:
    ValueError: the run is not longer than its warm-up.

  Reference:
    Loshchilov, Hutter. Decoupled Weight Decay Regularization. 2019.
    arXiv:1711.05101, algorithm 2.

  >>> import jax.numpy as jnp
  >>> params = {"kernel": jnp.ones((3, 5))}
  >>> optimizer = make(OptimizerConfig(warmup_steps=0), steps=10)
  >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
  >>> bool(jnp.all(updates["kernel"] < 0))
  True
  """
  # Injected: so the learning rate of a step is part of the state.
  inject, rate = optax.inject_hyperparams, schedule(config, steps)
  if config.kind == "muon":
    rule = inject(lambda learning_rate: _muon(config, learning_rate, matrices))
    chosen = rule(rate)
  else:
    fixed = {
      "b1": config.beta1,
      "b2": config.beta2,
      "eps": config.epsilon,
      "weight_decay": config.weight_decay,
      "mask": _decays(config) if config.weight_decay else None,
    }
    chosen = inject(optax.adamw, static_args=tuple(fixed))(rate, **fixed)

  clip = optax.identity()
  if config.clip_norm is not None:
    clip = optax.clip_by_global_norm(config.clip_norm)

  return with_promotion(optax.chain(clip, chosen))


def _decays(config: OptimizerConfig) -> Callable[[PyTree], PyTree]:
  """`decay_mask` as Optax asks it, of parameters alone."""
  return lambda params: decay_mask(params, config.decayed)


def _muon(
  config: OptimizerConfig, rate: Any, matrices: MatrixAxes | None
) -> optax.GradientTransformation:
  """Muon and Adam, with the decay and learning rate of `optax.adamw`."""
  decay = optax.identity()
  if config.weight_decay:
    decay = optax.add_decayed_weights(config.weight_decay, _decays(config))
  scale = scale_by_muon_or_adam(
    momentum=config.momentum,
    beta1=config.beta1,
    beta2=config.beta2,
    epsilon=config.epsilon,
    table=matrices,
  )

  return optax.chain(scale, decay, optax.scale_by_learning_rate(rate))
