"""Each command that a README shows is one that runs.

Every line of every block of shell is collected, so a line that is added is
tested without a word here. What is read by flags is parsed and resolved; what
plans or queues is shown and not queued; runs themselves, made as small as they
go, are `slow`.
"""

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib

import pytest
from absl import flags
from children import environment
from commands import ROOT, commands, split

from attnjax.config import define_flags
from attnjax.data.assets import cached
from tests.experiments import smallest

COMMANDS = list(commands())
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
  "optional-dependencies"
]
# Beside `python -m`: programs of others, and files that a launcher writes.
OTHERS = ("bash", "docker", "python3")
PROGRAMS = ("pytest", "ruff", "mypy", "pre-commit", "pip")
# Programs of an experiment beside its `__main__`.
BESIDE = ("experiments.sharding.exchanges",)


def kind(command):
  """Who reads the command: one word, which a test below has."""
  module, program = command.module, command.words[0].split("/")[-1]
  if module == "venv" or program in OTHERS:
    return "other"
  if module in BESIDE:
    return "beside"
  if module == "launch.watch":
    return "watch"
  if module is not None:
    return module.split(".")[0]
  return program if program in PROGRAMS else "unknown"


def of(*kinds):
  found = [command for command in COMMANDS if kind(command) in kinds]
  return [pytest.param(command, id=str(command)) for command in found]


def test_every_command_is_of_a_kind_that_is_tested():
  assert len(COMMANDS) > 60
  unknown = [str(c) for c in COMMANDS if kind(c) == "unknown"]
  assert not unknown


def test_a_line_is_split_as_a_shell_splits_it():
  line = "A=b .venv/bin/python -m x --y='a > b' && z  # no word"
  first, second = split("page", line)
  assert first.variables == {"A": "b"}
  assert (first.module, first.arguments) == ("x", ["--y=a > b"])
  assert second.words == ("z",)


def resolved(command):
  """The config that the flags of a command come to."""
  name = command.module.removeprefix("experiments.")
  presets = importlib.import_module(f"experiments.{name}.config").PRESETS
  values, argv = flags.FlagValues(), ["x", *command.arguments]
  flags.DEFINE_string("workdir", "", "", flag_values=values)
  flags.DEFINE_bool("helpfull", False, "", flag_values=values)
  flags.DEFINE_integer("profile", 0, "", flag_values=values)
  program = importlib.import_module(f"experiments.{name}.__main__")
  if "view=" in inspect.getsource(program):  # it has a page to write
    flags.DEFINE_bool("view", False, "", flag_values=values)
  handle = define_flags(presets, default="tiny", flag_values=values, argv=argv)
  assert values(argv)[1:] == []
  return handle.resolve()


@pytest.mark.parametrize("command", of("experiments"))
def test_an_experiment_takes_its_flags(command):
  assert resolved(command) is not None


def test_every_experiment_shows_how_it_is_run():
  shown = {(c.page, c.module) for c in COMMANDS}
  for path in (ROOT / "experiments").glob("*/__main__.py"):
    name = path.parent.name
    page = f"experiments/{name}/README.md"
    assert (page, f"experiments.{name}") in shown


@pytest.mark.parametrize("command", of("pip"))
def test_an_extra_that_is_installed_is_there(command):
  for word in command.words[2:]:
    if found := re.fullmatch(r"(?:attnjax|\.)\[(.*)\]", word):
      assert set(found[1].split(",")) <= set(EXTRAS), word


@pytest.mark.parametrize("command", of("attnjax"))
def test_a_program_of_the_library_takes_its_arguments(command):
  from attnjax.data.assets import ASSETS

  assert command.module == "attnjax.data.assets"
  assert set(command.arguments) - {"--all"} <= set(ASSETS)


@pytest.mark.parametrize("command", of("docs"))
def test_the_build_of_the_site_takes_its_arguments(command):
  from docs.site.__main__ import parser

  assert command.module == "docs.site"
  assert parser().parse_args(command.arguments).out


@pytest.mark.parametrize("command", of("pytest", "ruff", "mypy", "pre-commit"))
def test_files_that_a_tool_is_given_are_there(command):
  for word in command.words[1:]:
    if "/" in word and not word.startswith("-"):
      assert (ROOT / word).exists(), word


@pytest.mark.parametrize("command", of("launch"))
def test_a_launcher_describes_a_job_that_can_run(command):
  from launch.command_line import define, job_of
  from launch.process_layout import process_layout

  ours = ("--experiment", "--preset", "--topology", "--config", "--processes")
  words = [w for w in command.arguments if w.startswith(ours)]
  values = flags.FlagValues()
  define(values)
  job = job_of(values, ["x", *words])
  assert process_layout(job).processes >= 1


@pytest.mark.parametrize("command", of("watch"))
def test_the_watch_takes_its_flags_and_directories(command):
  from launch.watch import define

  values = flags.FlagValues()
  define(values)
  assert values(["x", *command.arguments])[1:]


PLACES = ("gke", "openmpi", "sky", "slurm", "tpu_pod")


@pytest.mark.parametrize(
  "command",
  [c for c in of("launch") if c.values[0].module.split(".")[1] in PLACES],
)
def test_a_launcher_shows_what_it_would_queue(command, capsys):
  from launch.command_line import run

  module = importlib.import_module(f"{command.module}.__main__")
  words = [word for word in command.arguments if word != "--submit"]
  with pytest.raises(SystemExit) as end:
    run(module.program, getattr(module, "define_own", None), ["x", *words])
  said = capsys.readouterr()
  assert end.value.code == 0, said.err
  assert "experiments.language_model" in said.out


def run_small(command, folder):
  """A command of an experiment as a process, in a directory of nobody's."""
  name = command.module.split(".")[1]
  env = environment(**{"devices": 8} | command.variables)
  env.pop("PYTHONPATH")  # as where the project is installed
  words = command.arguments
  if command.module not in BESIDE and "--helpfull" not in words:
    words += smallest.flags(name, folder, words)
  if "--config.start_from=DIRECTORY" in words:
    smallest.write_published(folder / "DIRECTORY")
  return subprocess.run(
    [sys.executable, "-m", command.module, *words],
    cwd=folder,
    env=env,
    capture_output=True,
    text=True,
    timeout=1800,
  )


def wants_tpu(command):
  """Whether it compiles for a TPU, which takes libtpu."""
  return any(
    word == "--preset=tpu" or "topology=v" in word for word in command.words
  )


def wants_triton(command):
  """Whether it is of kernels for GPUs, which Triton compiles or interprets."""
  return any(word.startswith("--preset=gpu") for word in command.words)


def wants_transformers(command):
  """Whether it measures beside the library of published models."""
  return "--config.beside" in command.words


def test_an_experiment_runs_from_another_directory(tmp_path):
  smallest.write_data(tmp_path)
  (command,) = split("", "python -m experiments.context_cost --workdir=out/a")
  ended = run_small(command, tmp_path)
  assert ended.returncode == 0, ended.stderr
  assert (tmp_path / "out/a/result.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
  "page", dict.fromkeys(c.values[0].page for c in of("experiments"))
)
def test_the_commands_of_a_page_run_one_after_the_other(page, tmp_path):
  smallest.write_data(tmp_path)
  ran = 0
  for command in (c for c in COMMANDS if c.page == page):
    if kind(command) not in ("experiments", "beside"):
      continue
    wanted = smallest.assets(command.module.split(".")[1], command.words)
    missing = [
      wants
      for wants, library in (
        (wants_tpu, "libtpu"),
        (wants_triton, "triton"),
        (wants_transformers, "transformers"),
      )
      if wants(command) and importlib.util.find_spec(library) is None
    ]
    if missing or any(cached(name) is None for name in wanted):
      continue
    ended = run_small(command, tmp_path)
    # absl ends `--helpfull` with 1.
    expected = 1 if "--helpfull" in command.words else 0
    assert ended.returncode == expected, f"{command}\n{ended.stderr}"
    ran += 1
  if not ran:
    pytest.skip("python -m attnjax.data.assets --all, and pip install libtpu")
