"""Config and presets of the experiment on sharded attention."""

import dataclasses

from attnjax.config import Config, setting

__all__ = ["PRESETS", "ShardingConfig"]


@dataclasses.dataclass(frozen=True)
class ShardingConfig(Config):
  """All that decides the experiment. It compiles, and runs nothing."""

  machines: tuple[str, ...] = setting(
    ("cpu:1", "cpu:2", "cpu:4", "cpu:8"),
    "where to divide it: devices of this process as cpu:8, or a slice of TPUs"
    " as v5e:4x4, compiled for with no TPU but with libtpu",
  )
  kinds: tuple[str, ...] = setting(
    ("ring", "gather", "ulysses"), "ways to attend: ring, gather, ulysses"
  )
  length: int = setting(
    16384, "T that is the same for all machines, tokens", at_least=1
  )
  share: int = setting(
    2048, "T / n where T grows with the machine, tokens", at_least=1
  )
  heads: int = setting(8, "query heads H", at_least=1)
  shared: int = setting(8, "key heads K", at_least=1)
  width: int = setting(64, "width D of a head, features", at_least=1)
  dtype: str = setting("float32", "of queries, keys and values")
  block: int = setting(128, "queries, and keys, of a tile", at_least=1)

  def __post_init__(self):
    super().__post_init__()
    unknown = set(self.kinds) - {"ring", "gather", "ulysses"}
    if unknown:
      raise ValueError(
        f"kinds must be of ring, gather and ulysses, got {sorted(unknown)}"
      )


def tiny() -> ShardingConfig:
  """Eight CPU devices: some minutes on two cores, all of it compilation."""
  return ShardingConfig()


def tpu() -> ShardingConfig:
  """Slices of TPU v5e, up to 256 chips and 1,048,576 tokens."""
  return ShardingConfig(
    machines=("v5e:4x4", "v5e:8x8", "v5e:16x16"),
    kinds=("ring",),
    length=2**18,
    share=4096,
    shared=2,
    width=128,
    dtype="bfloat16",
    block=512,
  )


PRESETS = {"tiny": tiny, "tpu": tpu}
