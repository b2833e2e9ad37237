"""Configs: leaves, flags, and an entry point that speaks plainly."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from absl import flags
from absl.testing import parameterized

from attnjax import config

ROOT = pathlib.Path(__file__).parents[1]

SETTINGS = """
import dataclasses
from attnjax.config import setting

@dataclasses.dataclass(frozen=True)
class Model:
  depth: int = setting(4, "blocks of the decoder")
  width: int = setting(256, "model width M, features")
  tied: bool = setting(True, "share the embedding with the output")
  window: int | None = setting(None, "keys seen to the left, positions")
  norm: str = setting("rms", "normalisation", choices=("rms", "layer"))

  def __post_init__(self):
    if self.width % self.depth:
      raise ValueError(f"width={self.width} is not depth={self.depth} times n")

@dataclasses.dataclass(frozen=True)
class Config:
  model: Model = Model()
  rate: float = setting(1e-3, "peak learning rate")
  note: str | None = setting("hello", "free text")
"""

PROGRAM = (
  SETTINGS
  + """
import os, sys, time
from attnjax.config import run, to_json

def tiny():
  return Config()

def base():
  return Config(model=Model(depth=12, width=768))

def main(config, workdir):
  if config.note == "sleep":
    print("asleep", flush=True)
    time.sleep(60)
  if config.note == "exit":
    raise SystemExit(7)
  if config.note and config.note.startswith("errno"):
    number = int(config.note.split()[1])
    raise OSError(number, os.strerror(number))
  if config.note == "modules":
    print([name for name in ("jax", "numpy", "flax") if name in sys.modules])
  if config.note == "group":
    raise ExceptionGroup(
      "nobody can",
      [NotImplementedError("cudnn: no bias"), ValueError("splash: too\\nodd")],
    )
  if config.note == "mixed":
    raise ExceptionGroup("a bug", [ValueError("mine"), RuntimeError("ours")])
  if config.note and config.note.endswith("Error"):
    error = __builtins__.__dict__[config.note]("line one\\nline two")
    error.add_note("a remedy")
    raise error
  print("JSON", to_json(config).replace("\\n", ""))
  print("WORKDIR", workdir)

if __name__ == "__main__":
  run(main, {"tiny": tiny, "base": base}, experiment="demo")
"""
)

_namespace: dict = {"__name__": "settings"}
exec(SETTINGS, _namespace)
Model, Config = _namespace["Model"], _namespace["Config"]


@pytest.fixture
def program(tmp_path):
  """Runs a real script in a real process: (code, stdout, stderr)."""
  script = tmp_path / "demo.py"
  script.write_text(PROGRAM)
  # The room alone: it needs nothing of attnjax, and starts without JAX.
  (tmp_path / "attnjax").mkdir()
  (tmp_path / "attnjax" / "__init__.py").touch()
  (tmp_path / "attnjax" / "config").symlink_to(ROOT / "attnjax" / "config")
  env = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"}

  def call(*arguments):
    done = subprocess.run(
      [sys.executable, str(script), *arguments],
      capture_output=True,
      text=True,
      cwd=tmp_path,
      env=env,
      timeout=60,
    )
    return done.returncode, done.stdout, done.stderr

  call.script, call.env = script, env
  return call


def parse(*arguments, **kwargs):
  """The config a command line gives, with no process."""
  presets = {"tiny": Config, "base": lambda: Config(Model(depth=12, width=768))}
  argv, values = ["demo", *arguments], flags.FlagValues()
  kwargs = {"default": "tiny", "flag_values": values, "argv": argv} | kwargs
  handle = config.define_flags(presets, **kwargs)
  values(argv)
  return handle.resolve()


class LeafTest(parameterized.TestCase):
  def test_names_and_order_are_those_of_the_declaration(self):
    names = [leaf.name for leaf in config.leaves(Config())]
    assert names == [
      "model.depth",
      "model.width",
      "model.tied",
      "model.window",
      "model.norm",
      "rate",
      "note",
    ]

  @parameterized.parameters(
    ({"model.depth": 2.0}, "model.depth must be an integer, got 2.0"),
    ({"model.depth": True}, "model.depth must be an integer, got True"),
    ({"model.depth": None}, "model.depth must be an integer, got None"),
    ({"model.window": "3"}, "model.window must be an integer or None, got '3'"),
    ({"model.norm": "bach"}, "must be one of rms, layer, got 'bach'"),
    ({"model.dept": 2}, "'model.dept'. Did you mean model.depth"),
    ({"model": 2}, "no setting is named 'model'"),
  )
  def test_a_wrong_value_is_refused(self, values, message):
    with pytest.raises(ValueError, match="(?s)" + message.replace(".", r"\.")):
      config.replace_leaves(Config(), values)

  def test_an_int_serves_as_a_float_and_becomes_one(self):
    rate = config.replace_leaves(Config(), {"rate": 1}).rate
    assert rate == 1.0
    assert type(rate) is float

  def test_leaves_that_are_tied_change_together(self):
    # Either change alone breaks width % depth == 0.
    values = {"model.depth": 7, "model.width": 49}
    assert config.replace_leaves(Config(), values).model == Model(7, 49)
    with pytest.raises(ValueError, match="width=256 is not depth=7 times"):
      config.replace_leaves(Config(), {"model.depth": 7})

  def test_a_leaf_without_help_is_refused(self):
    bare = dataclasses.make_dataclass("Bare", [("depth", int, 3)], frozen=True)
    with pytest.raises(TypeError, match="depth says nothing of what it means"):
      config.leaves(bare())

  @parameterized.parameters(list[int], int | str, dict)
  def test_a_leaf_of_another_type_is_refused(self, kind):
    field = config.setting(None, "odd")
    odd = dataclasses.make_dataclass("Odd", [("x", kind, field)], frozen=True)
    with pytest.raises(TypeError, match="x: a leaf is an int, float, bool"):
      config.leaves(odd())


def test_dict_and_json_come_back_as_the_same_config():
  changed = config.replace_leaves(
    Config(), {"model.window": 5, "rate": 3e-4, "note": None}
  )
  assert config.from_dict(Config(), config.to_dict(changed)) == changed
  read = json.loads(config.to_json(changed))
  assert config.from_dict(Config(), read) == changed


def test_a_dict_that_lacks_a_leaf_or_has_one_more_is_refused():
  values = config.to_dict(Config())
  del values["model"]["depth"]
  with pytest.raises(ValueError, match=r"lack the settings model\.depth"):
    config.from_dict(Config(), values)
  with pytest.raises(ValueError, match="no setting is named 'speed'"):
    config.from_dict(Config(), config.to_dict(Config()) | {"speed": 3})


def test_the_listing_is_aligned_and_marks_what_was_overridden():
  changed = config.replace_leaves(Config(), {"model.depth": 2})
  lines = config.describe(changed, baseline=Config()).splitlines()
  assert lines[0] == "* model.depth  = 2   (was 4)"
  assert lines[1] == "  model.width  = 256"
  assert len(lines) == 7
  assert len({line.index("=") for line in lines}) == 1
  assert "*" not in config.describe(changed)


class FlagTest(parameterized.TestCase):
  @parameterized.parameters(
    ("--config.model.depth=8", "model.depth", 8),
    ("--config.model.window=3", "model.window", 3),
    ("--noconfig.model.tied", "model.tied", False),
    ("--config.model.tied=false", "model.tied", False),
    ("--config.rate=1", "rate", 1.0),
    ("--config.rate=3e-4", "rate", 3e-4),
    ("--config.note=none", "note", None),
    ("--config.model.norm=layer", "model.norm", "layer"),
  )
  def test_one_flag_changes_one_leaf(self, flag, name, value):
    expected = config.replace_leaves(Config(), {name: value})
    assert parse(flag) == expected

  @parameterized.parameters(
    ("--config.model.depth=x", "expected an integer"),
    ("--config.model.depth=none", "expected an integer"),
    ("--config.model.depth=2.5", "expected an integer"),
    ("--config.model.window=x", "expected an integer or none"),
    ("--config.rate=fast", "expected a number"),
    ("--config.model.tied=maybe", "maybe"),
    ("--config.model.norm=bach", "must be one of rms, layer"),
    ("--preset=bsae", "the presets are tiny, base. Did you mean base"),
    ("--config.model.dept=2", "Did you mean: config.model.depth"),
  )
  def test_a_wrong_flag_is_refused(self, flag, message):
    with pytest.raises(flags.Error, match=message.replace(".", r"\.")):
      parse(flag)

  def test_only_the_flags_given_override_the_preset(self):
    got = parse("--config.model.depth=6", "--preset=base")
    assert got == Config(Model(depth=6, width=768))

  def test_a_flag_equal_to_another_presets_default_still_overrides(self):
    assert parse("--preset=base", "--config.model.depth=4").model.depth == 4

  def test_none_overrides_a_value(self):
    values = {"default": "windowed"}
    presets = {"windowed": lambda: Config(Model(window=5))}
    argv, store = ["demo", "--config.model.window=none"], flags.FlagValues()
    handle = config.define_flags(
      presets, **values, flag_values=store, argv=argv
    )
    store(argv)
    assert handle.preset().model.window == 5
    assert handle.resolve().model.window is None

  def test_the_prefix_can_be_chosen(self):
    assert parse("--hyper.rate=2", prefix="hyper").rate == 2.0

  def test_a_default_that_is_no_preset_is_refused(self):
    with pytest.raises(ValueError, match="'huge' is not a preset; there are"):
      parse(default="huge")


def test_a_run_prints_its_config_and_gets_an_absolute_workdir(
  program, tmp_path
):
  code, out, err = program("--config.model.depth=2", "--noconfig.model.tied")
  assert (code, err) == (0, "")
  assert "preset = tiny" in out
  assert "* model.depth  = 2   (was 4)" in out
  assert f"WORKDIR {tmp_path}/runs/demo/tiny\n" in out
  values = json.loads(out.split("JSON ")[1].splitlines()[0])
  assert values["model"]["depth"] == 2
  assert values["model"]["tied"] is False
  code, out, _ = program("--preset=base", "--workdir=here")
  assert f"WORKDIR {tmp_path}/here\n" in out


def test_a_flagfile_names_the_preset_and_the_overrides(program, tmp_path):
  lines = "# a sweep\n--preset=base\n--config.rate=0.5\n"
  (tmp_path / "lines.txt").write_text(lines)
  code, out, _ = program("--flagfile=lines.txt", "--config.note=two")
  assert code == 0
  assert "preset = base" in out
  assert "* rate         = 0.5   (was 0.001)" in out
  assert "* note         = two   (was hello)" in out
  assert "  model.depth  = 12\n" in out


def test_help_lists_every_leaf_with_the_presets_own_defaults(program):
  _, tiny, _ = program("--help")
  for name, help, default, kind in (
    ("config.model.depth", "blocks of the decoder", "4", "an integer"),
    ("[no]config.model.tied", "share the", "true", "a boolean"),
    ("config.model.window", "keys seen", "none", "an integer or none"),
    ("config.model.norm", "normalisation", "rms", "<rms|layer>"),
    ("preset", "the config to start from", "tiny", "<tiny|base>"),
  ):
    entry = tiny[tiny.index(f"--{name}: {help}") :].split("\n  -")[0]
    assert f"(default: '{default}')" in entry
    assert f"({kind})" in entry
  _, base, _ = program("--preset=base", "--helpfull")
  assert "blocks of the decoder\n    (default: '12')" in base
  assert "(default: 'runs/demo/<preset>')" in base


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--config.model.dept=2", "Did you mean: config.model.depth"),
    ("--preset=bsae", "the presets are tiny, base. Did you mean base?"),
    ("--config.model.depth=x", "expected an integer"),
    ("preset=base", "error: unexpected argument 'preset=base'"),
    ("--config.model.depth=7", "error: width=256 is not depth=7 times n"),
    (
      "--workdir=gs://bucket/run",
      "error: --workdir must be a directory of",
    ),
  ],
)
def test_a_wrong_command_line_ends_with_code_1_and_no_traceback(
  program, argument, message
):
  code, _, err = program(argument)
  assert code == 1
  assert message in err
  assert "Traceback" not in err
  assert len(err.splitlines()) == 2


@pytest.mark.parametrize(
  "error",
  [
    "ValueError",
    "FileNotFoundError",
    "ModuleNotFoundError",
    "FloatingPointError",
    "NotImplementedError",
  ],
)
def test_an_error_of_the_users_is_told_without_a_traceback(program, error):
  code, _, err = program(f"--config.note={error}")
  assert code == 1
  assert err == "error: line one\nline two\na remedy\n(--debug shows where)\n"


def test_a_group_of_refusals_is_told_as_a_list(program):
  code, _, err = program("--config.note=group")
  assert code == 1
  assert err == (
    "error: nobody can\n  - cudnn: no bias\n  - splash: too\n    odd\n"
    "(--debug shows where)\n"
  )


@pytest.mark.parametrize(
  "arguments",
  [
    ("--config.note=RuntimeError",),
    ("--config.note=mixed",),
    ("--config.note=ValueError", "--debug"),
  ],
)
def test_a_bug_and_debug_show_the_traceback(program, arguments):
  code, _, err = program(*arguments)
  assert code == 1
  assert "Traceback" in err
  assert "demo.py" in err


def test_an_exit_code_of_the_experiment_passes(program):
  assert program("--config.note=exit")[0] == 7


def test_the_room_needs_only_absl(program):
  assert "\n[]\n" in program("--config.note=modules")[1]


def test_ctrl_c_ends_with_code_130(program, tmp_path):
  # A shell starts background jobs deaf to it, and they start others so; a
  # wrapper hears again, where `preexec_fn` would fork a threaded process.
  hear = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
  )
  script = str(program.script)
  child = subprocess.Popen(
    [sys.executable, "-c", hear, script, "--config.note=sleep"],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=tmp_path,
    env=program.env,
  )
  while "asleep" not in child.stdout.readline():
    assert child.poll() is None
  time.sleep(0.1)
  child.send_signal(signal.SIGINT)
  _, err = child.communicate(timeout=30)
  assert child.returncode == 130
  assert err == "interrupted\n"


@dataclasses.dataclass(frozen=True)
class Lists:
  sizes: tuple[int, ...] = config.setting((4, 16), "sizes")
  rates: tuple[float, ...] = config.setting((), "rates")
  names: tuple[str, ...] = config.setting(("a",), "names", choices=("a", "b"))


def _resolved(*argv):
  values = flags.FlagValues()
  argv = ["prog", *argv]
  handle = config.define_flags(
    {"tiny": Lists}, default="tiny", flag_values=values, argv=argv
  )
  values(argv)
  return handle.resolve(), values


def test_a_tuple_is_read_written_and_shown_with_commas():
  got, values = _resolved("--config.sizes=3,5", "--config.rates=1,2.5")
  assert got == Lists(sizes=(3, 5), rates=(1.0, 2.5))
  assert values["config.sizes"].default_as_str == "'4,16'"
  assert _resolved("--config.sizes=")[0].sizes == ()
  again = config.from_dict(Lists(), json.loads(config.to_json(got)))
  assert again == got
  assert type(again.rates[0]) is float


@pytest.mark.parametrize(
  ("argument", "words"),
  [
    ("--config.sizes=3,x", "commas between: an integer"),
    ("--config.names=a,c", "must be one of a, b, got 'c'"),
  ],
)
def test_a_wrong_item_of_a_tuple_is_refused(argument, words):
  with pytest.raises(flags.IllegalFlagValueError, match=words):
    _resolved(argument)


def test_no_tuple_where_one_is_meant_is_refused():
  with pytest.raises(ValueError, match="sizes must be a tuple, got 3"):
    config.replace_leaves(Lists(), {"sizes": 3})
  with pytest.raises(ValueError, match="sizes must be an integer in a tuple"):
    config.replace_leaves(Lists(), {"sizes": [3.5]})


def test_an_error_may_say_its_own_exit_code(capsys):
  from attnjax.config.entry import _readable_errors

  class Unavailable(OSError):
    exit_code = 69

  for error, code in ((Unavailable("no network"), 69), (OSError("full"), 1)):
    with pytest.raises(SystemExit) as ended, _readable_errors(debug=False):
      raise error
    assert ended.value.code == code
    assert str(error) in capsys.readouterr().err


def test_a_setting_says_that_its_text_names_a_path():
  @dataclasses.dataclass(frozen=True)
  class Data:
    files: tuple[str, ...] = config.setting((), "text files", path=True)
    path: str | None = config.setting(None, "a file", path=True)
    corpus: str = config.setting("english", "name of a text")

  marked = {leaf.name: leaf.path for leaf in config.leaves(Data())}
  assert marked == {"files": True, "path": True, "corpus": False}

  @dataclasses.dataclass(frozen=True)
  class Wrong:
    depth: int = config.setting(4, "blocks", path=True)

  with pytest.raises(TypeError, match=r"depth: a path is a str, got .*int"):
    config.leaves(Wrong())


@pytest.mark.parametrize("number", [28, 122])
def test_a_full_disk_is_said_with_what_to_do(program, number):
  """A write of a file that says no name, as most of Python's."""
  code, _, err = program(f"--config.note=errno {number}")
  assert code == 1
  assert "; free some space where --workdir is, or name one on another" in err
  assert "Traceback" not in err
