"""Low-rank adapters of a model's projections (LoRA), and their merge."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from attnjax.config import Config, setting
from attnjax.config.leaves import did_you_mean
from attnjax.models.leaf_paths import leaf_path, leaves_by_path
from attnjax.models.partition import MATRICES
from attnjax.typing import PyTree

__all__ = ["LoraAdapters", "LoraConfig", "init_lora", "merge_lora"]


@dataclasses.dataclass(frozen=True)
class LoraConfig(Config):
  """Rank, scale and places of low-rank adapters.

  Raises:
    ValueError: a value is outside its range, or there is no target.

  >>> LoraConfig(rank=8).targets
  ('query', 'value')
  """

  rank: int = setting(
    0, "rank of the update of a projection; 0: all parameters train", at_least=0
  )
  alpha: float = setting(
    16.0, "an update is scaled by alpha / rank; nothing at rank 0", above=0
  )
  targets: tuple[str, ...] = setting(
    ("query", "value"),
    "projections that have an update, such as query, key, value, output, gate,"
    " up, down",
  )

  def __post_init__(self):
    super().__post_init__()
    if not self.targets:
      raise ValueError("targets must name a projection, got none")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LoraAdapters:
  """The low-rank updates of some kernels: a pytree of factors alone.

  Args:
    factors: ``a_kernel`` and ``b_kernel``, by the path of the projection.
    scale: alpha / rank.

  >>> LoraAdapters({}, 2.0).scale
  2.0
  """

  factors: Mapping[str, Mapping[str, Any]]
  scale: float = dataclasses.field(metadata={"static": True})


def init_lora(
  model: PyTree, config: LoraConfig, *, seed: int = 0
) -> LoraAdapters:
  """New adapters of a model, whose merge is the model itself.

      A[i, r] ~ normal(0, 1 / I),   B[r, o] = 0

  with I the fan-in. Layers that are stacked, and experts, have factors of
  their own.

  Args:
    model: a decoder or an encoder, of arrays or of shapes.
    config: rank, alpha and targets.
    seed: of A.

  Returns:
    Factors ``a_kernel``, the kernel's leading and input axes and the rank, and
    ``b_kernel``, its leading axes, the rank and its output axes; in float32.

  Raises:
    ValueError: the rank is 0, or larger than a side of a kernel; or a target
      is no projection of the model: the nearest is named.

  The start is the model:

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax.models import DecoderConfig, DecoderLM
  >>> from flax import nnx
  >>> model = DecoderLM(
  ...   DecoderConfig(width=8, depth=3, heads=2, hidden=16), 11,
  ...   rngs=nnx.Rngs(0))
  >>> adapters = init_lora(model, LoraConfig(rank=2, targets=("query",)))
  >>> {name: x.shape for name, x in
  ...  adapters.factors["blocks.attention.query"].items()}
  {'a_kernel': (3, 8, 2), 'b_kernel': (3, 2, 2, 4)}
  >>> merged = merge_lora(model, adapters)
  >>> tokens = jnp.arange(5)
  >>> bool((merged(tokens) == model(tokens)).all())
  True

  Reference:
    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021,
    arXiv 2106.09685, section 4.1; its A and B are B and A here, where inputs
    come first.
  """
  if config.rank < 1:
    raise ValueError(f"lora.rank must be at least 1, got {config.rank}")
  found = list(_targeted(model, config.targets))
  factors = {}
  for key, (path, sides) in zip(
    jax.random.split(jax.random.key(seed), len(found)), found, strict=True
  ):
    inputs, outputs = math.prod(sides.inputs), math.prod(sides.outputs)
    if config.rank > min(inputs, outputs):
      raise ValueError(
        f"lora.rank must be at most {min(inputs, outputs)}, the smaller side"
        f" of {path} ({inputs} by {outputs}), got {config.rank}"
      )
    a = jax.random.normal(key, (*sides.leading, *sides.inputs, config.rank))
    b = jnp.zeros((*sides.leading, config.rank, *sides.outputs))
    factors[path] = {"a_kernel": a / math.sqrt(inputs), "b_kernel": b}
  return LoraAdapters(factors, config.alpha / config.rank)


def merge_lora(model: PyTree, adapters: LoraAdapters) -> Any:
  """The model with its updates added: a model of the same shapes.

      W' = W + (alpha / rank) A B

  Args:
    model: that the adapters were made for. It is not changed.
    adapters: from `init_lora`, trained or not.

  Raises:
    ValueError: the adapters are of another model.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax.models import DecoderConfig, DecoderLM
  >>> from flax import nnx
  >>> model = DecoderLM(
  ...   DecoderConfig(width=8, depth=1, heads=2, hidden=16), 11,
  ...   rngs=nnx.Rngs(0))
  >>> config = LoraConfig(rank=1, alpha=3.0, targets=("up",))
  >>> ones = jax.tree.map(jnp.ones_like, init_lora(model, config))
  >>> merged = merge_lora(model, ones).blocks.feed_forward.up.kernel
  >>> bool(jnp.allclose(merged, model.blocks.feed_forward.up.kernel + 3))
  True

  Reference:
    Hu et al., 2021, arXiv 2106.09685, equation 3.
  """
  leaves = leaves_by_path(model)
  for path, factor in adapters.factors.items():
    if f"{path}.kernel" not in leaves:
      raise ValueError(
        f"adapters: {path} must be a projection of the model, and is none; are"
        " they of another model?"
      )
    shape = leaves[f"{path}.kernel"].shape
    sides = _sides(path, shape)
    if (*sides.leading, *sides.inputs) != factor["a_kernel"].shape[:-1]:
      raise ValueError(
        f"adapters: {path} must have factors of a kernel of shape"
        f" {list(shape)}, got A of shape {list(factor['a_kernel'].shape)}; are"
        " they of another model?"
      )

  def merged(path: tuple[Any, ...], kernel: Any) -> Any:
    name = leaf_path(path).removesuffix(".kernel")
    factor = adapters.factors.get(name)
    if factor is None:
      return kernel
    sides = _sides(name, kernel.shape)
    a = factor["a_kernel"].reshape(
      *sides.leading, math.prod(sides.inputs), factor["a_kernel"].shape[-1]
    )
    b = factor["b_kernel"].reshape(
      *sides.leading, a.shape[-1], math.prod(sides.outputs)
    )
    update = (adapters.scale * (a @ b)).reshape(kernel.shape)
    return (kernel.astype(update.dtype) + update).astype(kernel.dtype)

  return jax.tree_util.tree_map_with_path(merged, model)


class _Sides(NamedTuple):
  """Sizes of the axes of a kernel: layers and experts, inputs, outputs."""

  leading: tuple[int, ...]
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]


def _sides(path: str, shape: tuple[int, ...]) -> _Sides:
  """The axes of a kernel by the table of matrices."""
  inputs, outputs = next(
    sides
    for pattern, *sides in MATRICES
    if re.search(pattern, f"{path}.kernel")
  )
  # In the table inputs come before outputs, and both are the last axes.
  return _Sides(
    shape[: inputs[0]],
    tuple(shape[axis] for axis in inputs),
    tuple(shape[axis] for axis in outputs),
  )


def _targeted(
  model: PyTree, targets: Sequence[str]
) -> Iterator[tuple[str, _Sides]]:
  """Paths of the kernels of some projections, in the order of the model."""
  known: dict[str, list[tuple[str, _Sides]]] = {}
  for path, leaf in leaves_by_path(model).items():
    if any(re.search(pattern, path) for pattern, *_ in MATRICES):
      path = path.removesuffix(".kernel")
      name = path.split(".")[-1]
      known.setdefault(name, []).append((path, _sides(path, leaf.shape)))

  for target in targets:
    if target not in known:
      raise ValueError(
        f"lora.targets must be projections of the model, got {target!r}."
        f"{did_you_mean(target, known)}"
      )
  for target in dict.fromkeys(targets):
    yield from known[target]
