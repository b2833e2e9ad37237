"""Plans a step ahead of time for a machine: memory, FLOPs, time.

python -m launch.plan --experiment=language_model --preset=gpt2_small \
    --topology=v5e:1x1 --config.train.microbatches=16
"""

import importlib.util
import json
import math
import os
import sys
from pathlib import Path

# The device that is planned for is not the device that plans.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from absl import flags

from attnjax import config as configs
from attnjax.plan import make_plan, mesh_of, save_plan, to_dict, topology
from launch import plan_alternatives, plan_text
from launch.plan_experiments import experiment_of, presets_of
from launch.plan_jobs import decoding_job, training_job
from launch.plan_subjects import EXPERIMENTS
from launch.writable import check_writable

flags.DEFINE_string("experiment", None, "folder of experiments/ to plan for")
flags.DEFINE_string(
  "topology", None, "v5e:1x1, v5p:8x8x8, h100:8, cpu:8: chips, and how many"
)
flags.DEFINE_enum("step", "train", ["train", "decode"], "which step to plan")
# 300 billion tokens: what GPT-3 was trained on.
flags.DEFINE_float("token_budget", 300e9, "tokens to price, in device-hours")
flags.register_validator(
  "token_budget",
  lambda tokens: 0 < tokens < math.inf,
  "expected a number of tokens above 0",
)
flags.DEFINE_integer(
  "alternatives",
  None,
  "other ways to compile, and to rank; none: 4 where it does not fit, else 0",
  lower_bound=0,
)
flags.DEFINE_string(
  "output", None, "directory for plan.md, plan.json and plan.png; none: none"
)


def main(config, workdir: Path) -> None:
  """Checks the flags, compiles the step, prints its plan and alternatives."""
  options = flags.FLAGS
  machine = topology(options.topology or "")
  check_writable(workdir)
  folder = _output(options.output) if options.output else None
  make = EXPERIMENTS[options.experiment]
  job_of = training_job if options.step == "train" else decoding_job

  def planned_for(config):
    mesh = mesh_of(machine, config.train.mesh.axes(machine.devices))
    return make_plan(job_of(make(config), mesh), machine, mesh)

  planned = planned_for(config)
  text = plan_text.describe(planned, options.token_budget)
  print(f"\n{text}", flush=True)
  values = to_dict(planned, options.token_budget)
  count = options.alternatives
  if count is None:
    count = 0 if planned.memory.fits else 4
  if count:
    over = plan_alternatives.excess(planned.memory)
    others = plan_alternatives.compile_alternatives(
      config, machine.devices, count, planned_for, over, options.step
    )
    ranked = plan_text.ranking({"as it is": planned} | others)
    print(f"\n{ranked}")
    text += f"\n\n{ranked}"
    values["alternatives"] = {name: to_dict(p) for name, p in others.items()}
  if folder is not None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(values, indent=2) + "\n")
    (folder / "plan.md").write_text(text + "\n")
    print(f"\n{save_plan(folder / 'plan.png', planned)}")


def _output(text: str) -> Path:
  """The output directory, checked before the minutes of compilation."""
  if "://" in text:
    raise ValueError(
      f"output: expected a directory, got {text}; write the plan here and copy"
      " it there"
    )
  if importlib.util.find_spec("matplotlib") is None:
    raise ImportError(
      "output: a plan is drawn by matplotlib, which is not installed; pip"
      " install 'attnjax[viz]', or leave --output out"
    )

  folder = Path(text).expanduser()
  check_writable(folder)
  return folder


if __name__ == "__main__":
  experiment = experiment_of(sys.argv)
  configs.run(main, presets_of(experiment), experiment=experiment)
