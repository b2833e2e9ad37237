"""Names of the chips of `attnjax.plan` on GKE, TPU VMs and SkyPilot.

Reference:
  Google Cloud, "Plan TPUs in GKE", "Cloud TPU software versions" and "GPU
  machine types", 2026; SkyPilot, "Google TPU" and "SkyPilot YAML", 0.14, 2026.
"""

import dataclasses
import math

from attnjax.plan import Topology

__all__ = ["ChipNames", "chip_names", "sky_accelerators"]


@dataclasses.dataclass(frozen=True)
class ChipNames:
  """Names of one chip, by provider.

  Args:
    gke: label of the nodes of GKE.
    sky: of SkyPilot, before the count; None where it does not offer the chip.
    machine: `gcloud compute tpus tpu-vm create --type`; None likewise.
    image: version of the software of a TPU VM.
    counted: units of a chip in the name of SkyPilot: v4 and v5p are counted in
      TensorCores, two a chip.

  >>> chip_names("v5p").gke
  'tpu-v5p-slice'
  """

  gke: str
  sky: str | None
  machine: str | None = None
  image: str | None = None
  counted: int = 1


# By the name that `attnjax.plan.CHIPS` has.
_CHIPS = {
  "v4": ChipNames("tpu-v4-podslice", "tpu-v4", "v4", "tpu-ubuntu2204-base", 2),
  "v5e": ChipNames(
    "tpu-v5-lite-podslice",
    "tpu-v5litepod",
    "v5litepod",
    "v2-alpha-tpuv5-lite",
  ),
  "v5p": ChipNames("tpu-v5p-slice", "tpu-v5p", "v5p", "v2-alpha-tpuv5", 2),
  "v6e": ChipNames("tpu-v6e-slice", "tpu-v6e", "v6e", "v2-alpha-tpuv6e"),
  "tpu7x": ChipNames("tpu7x", None),
  "a100": ChipNames("nvidia-a100-80gb", "A100-80GB"),
  "h100": ChipNames("nvidia-h100-80gb", "H100"),
  "h200": ChipNames("nvidia-h200-141gb", "H200"),
  "b200": ChipNames("nvidia-b200", "B200"),
}


def chip_names(chip: str) -> ChipNames:
  """The names of a chip of `attnjax.plan`.

  Raises:
    ValueError: no provider offers it, such as the CPU of this machine.
  """
  if chip not in _CHIPS:
    raise ValueError(
      f"topology: {chip!r} cannot be rented; there are {', '.join(_CHIPS)}"
    )
  return _CHIPS[chip]


def sky_accelerators(machine: Topology, hosts: int) -> str:
  """SkyPilot's `accelerators`: a whole slice, or the GPUs of one node.

  Args:
    machine: the topology.
    hosts: of it.

  Raises:
    ValueError: SkyPilot does not rent it.

  >>> from attnjax.plan import topology
  >>> sky_accelerators(topology("v5p:4x4x4"), hosts=16)
  'tpu-v5p-128'
  >>> sky_accelerators(topology("h100:16"), hosts=2)
  'H100:8'
  """
  names = chip_names(machine.chip.name)
  if names.sky is None:
    raise ValueError(
      f"topology: SkyPilot rents no {machine.chip.title}; python -m launch.gke"
      " runs on it"
    )
  if machine.chip.platform == "cuda":
    return f"{names.sky}:{machine.devices // hosts}"
  return f"{names.sky}-{math.prod(machine.shape) * names.counted}"
