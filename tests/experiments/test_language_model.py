"""The language model as a user runs it: trains, resumes, shows, refuses."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from attnjax.config import replace_leaves
from attnjax.data import load_text, load_tokenizer
from experiments.language_model import task
from experiments.language_model.__main__ import main
from experiments.language_model.config import PRESETS
from tests.children import environment

SMALL = {
  "model.width": 16,
  "model.depth": 2,
  "model.heads": 2,
  "model.hidden": 32,
  "data.length": 32,
  "data.batch_size": 4,
  "train.steps": 24,
  "optimizer.warmup_steps": 4,
  "train.evaluate_every": 12,
  "train.log_every": 1,
  "train.checkpoint.every_steps": 5,
  "sample.tokens": 20,
}
ENGLISH = "The cat sat on the mat. A dog ran by the old red barn.\n"


@pytest.fixture
def corpus(tmp_path):
  """A directory of small texts, so that a run takes seconds."""
  folder = tmp_path / "texts"
  folder.mkdir()
  for i in range(8):
    words = "".join(f"{w}{i} " for w in ENGLISH.split())
    (folder / f"{i}.txt").write_text(ENGLISH * 3 + words * (i + 1))
  return folder


def _config(corpus, **leaves):
  small = SMALL | {"data.path": str(corpus)} | leaves
  return replace_leaves(PRESETS["tiny"](), small)


def _start(corpus, workdir, *extra):
  command = [sys.executable, "-m", "experiments.language_model"]
  flags = [f"--config.{k}={v}" for k, v in SMALL.items()]
  return subprocess.Popen(
    [
      *command,
      *flags,
      f"--config.data.path={corpus}",
      f"--workdir={workdir}",
      "--noconfig.yardsticks",
      *extra,
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=environment(PYTHONWARNINGS="default"),
  )


def _finish(process):
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def _curve(workdir):
  """Every recorded scalar but those of time."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if k != "tokens_per_second"}
    for line in lines
  ]


@pytest.mark.slow
def test_a_run_shows_what_it_promises(corpus, tmp_path, typed):
  small = SMALL | {"data.path": corpus}
  ended = typed("language_model", tmp_path / "run", small)
  assert ended.code == 0, ended.err
  out = ended.out
  assert re.search(r"parameters = [\d,]+", out)
  for name in ("uniform", "unigram", "bigram", "5-gram", "xz", "this model"):
    assert name in out
  result = json.loads((tmp_path / "run/result.json").read_text())
  bits = result["bits_per_byte"]
  assert bits["this model"] < bits["uniform"] == 8
  for name in ("attention.png", "curves.png"):
    assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
  assert (tmp_path / "run/sample.txt").stat().st_size > 0
  saved = json.loads((tmp_path / "run/config.json").read_text())
  assert saved["experiment"] == "language_model"
  assert saved["config"]["model"]["width"] == 16
  records = _curve(tmp_path / "run")
  first, *_, last = [r for r in records if r["split"] != "attention"]
  assert last["loss"] < first["loss"]
  # Beside the evaluations, what each head looks at.
  assert "entropy/layer0/head0" in records[-1]


@pytest.mark.slow
def test_killed_and_started_again_it_is_the_unbroken_run(corpus, tmp_path):
  unbroken = _start(corpus, tmp_path / "unbroken")
  code, _, err = _finish(unbroken)
  assert code == 0, err
  broken = tmp_path / "broken"
  for enough in (7, 16):
    process = _start(corpus, broken)
    _wait_for_records(process, broken, enough)
    process.send_signal(signal.SIGKILL)
    assert _finish(process)[0] == -signal.SIGKILL
  code, out, err = _finish(_start(corpus, broken))
  assert code == 0, err
  assert "resuming after step" in out + err
  assert _curve(broken) == _curve(tmp_path / "unbroken")


def _wait_for_records(process, workdir, enough):
  """Until the metrics hold so many lines, or the run is over."""
  path = workdir / "metrics.jsonl"
  while process.poll() is None:
    if path.exists() and path.read_bytes().count(b"\n") >= enough:
      return
    time.sleep(0.01)
  raise AssertionError(process.stderr.read())


BPE = {"data.tokenizer": "bpe", "data.vocabulary": 300}


@pytest.mark.parametrize(
  "leaves",
  [
    pytest.param(
      BPE | {"model.positions": "learned", "model.max_length": 64},
      marks=pytest.mark.slow,
    ),
    pytest.param(
      {
        "model.positions": "alibi",
        "model.norm": "layer",
        "model.use_bias": True,
        "model.tied": False,
        "train.compute_dtype": "bfloat16",
        "train.microbatches": 2,
        "model.remat": True,
      },
      marks=pytest.mark.slow,
    ),
  ],
  ids=["bpe", "every other choice"],
)
def test_its_options_train(corpus, tmp_path, leaves):
  main(_config(corpus, **leaves), tmp_path / "run")
  found = [x["loss"] for x in _curve(tmp_path / "run") if "loss" in x]
  assert found[-1] < found[0]


def test_a_preset_too_large_is_refused_before_any_work(tmp_path):
  with pytest.raises(ValueError, match=r"take more than 2,5\d\d GiB.*smaller"):
    main(PRESETS["gpt3"](), tmp_path / "run")
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("leaves", "words"),
  [
    ({"model.heads": 3}, "heads=3 must divide width=16"),
    ({"model.kv_heads": 3}, "kv_heads=3 must divide heads=2"),
    ({"data.path": "/nowhere/x.txt"}, "/nowhere/x.txt"),
    ({"data.length": 10**6}, "fewer than one sequence"),
    ({"data.batch_size": 0}, "batch_size"),
    ({"data.path": ""}, "path is empty"),
    ({"sample.top_p": 2.0}, r"sample\.top_p must be in"),
    ({"sample.tokens": 0}, r"sample\.tokens must be at least 1"),
    ({"sample.top_k": 999}, "more than the vocabulary of 257"),
    ({"sample.prompt": "a\udcff"}, r"sample\.prompt is no valid text"),
    ({"model.width": -16}, "width must be at least 1, got -16"),
    ({"model.head_width": 7}, "must be even, got 7"),
    ({"model.window": -1}, "window must be at least 0"),
    ({"optimizer.decayed": "("}, "is no regular expression"),
    (
      {"model.positions": "learned", "model.max_length": 40},
      "more than model.max_length=40",
    ),
    ({"train.microbatches": 3}, "microbatches"),
    (
      {"model.positions": "learned", "model.max_length": 8},
      "max_length",
    ),
  ],
)
def test_bad_configs_say_so(corpus, tmp_path, leaves, words):
  with pytest.raises(ValueError, match=words):
    main(_config(corpus, **leaves), tmp_path / "run")
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_another_sample_of_a_finished_run(corpus, tmp_path, capsys):
  main(_config(corpus), tmp_path / "run")
  first = (tmp_path / "run/sample.txt").read_text(encoding="utf-8")
  changed = {"sample.prompt": "A dog ", "sample.temperature": 0.0}
  main(_config(corpus, **changed), tmp_path / "run")
  assert "nothing to do" in "".join(capsys.readouterr())
  second = (tmp_path / "run/sample.txt").read_text(encoding="utf-8")
  assert second != first
  assert second.startswith("A dog ")
  assert load_tokenizer(tmp_path / "run").vocabulary_size == 257


@pytest.mark.slow
def test_another_vocabulary_in_the_same_workdir(corpus, tmp_path):
  main(_config(corpus), tmp_path / "run")
  before = sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir())
  with pytest.raises(ValueError, match=r"data\.tokenizer is .*bytes.* there"):
    main(_config(corpus, **BPE), tmp_path / "run")
  changed = corpus / "0.txt"
  changed.write_text(changed.read_text() + "More of it.\n")
  with pytest.raises(ValueError, match=r"text is "):
    main(_config(corpus), tmp_path / "run")
  after = sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir())
  assert before == after


@pytest.mark.parametrize(
  ("extra", "words"),
  [
    (["--preset=tinny"], "Did you mean"),
    (["--config.model.dept=3"], "Did you mean"),
    (["--config.data.path=/nowhere"], "error: "),
    (["--config.data.corpus=latin"], "english"),
  ],
)
def test_the_command_line_refuses_in_a_line(
  corpus, tmp_path, typed, extra, words
):
  small = SMALL | {"data.path": corpus}
  ended = typed("language_model", tmp_path / "run", small, *extra)
  said = ended.out + ended.err
  assert ended.code == 1
  assert words.lower() in said.lower()
  assert "Traceback" not in said
  assert not (tmp_path / "run").exists()


def test_every_preset_is_a_whole_config():
  for make in PRESETS.values():
    config = make()
    assert dataclasses.is_dataclass(config)
    assert config == make()
    assert config.model.width % config.model.heads == 0
    if config.model.positions == "learned":
      assert config.data.length <= config.model.max_length


def test_the_same_text_at_another_path_is_the_same_run(corpus, tmp_path):
  shutil.copytree(corpus, tmp_path / "moved/elsewhere")
  here = _config(corpus)
  there = _config(tmp_path / "moved/elsewhere")
  seldom = _config(corpus, **{"train.log_every": 9, "train.evaluate_every": 6})
  said = task.identity(here, load_text(here.data))
  assert task.identity(there, load_text(there.data)) == said
  assert task.identity(seldom, load_text(seldom.data)) == said
  (corpus / "0.txt").write_text(ENGLISH * 4)
  assert task.identity(here, load_text(here.data)) != said


@pytest.mark.slow
def test_a_page_of_every_head_on_a_sentence(corpus, tmp_path, typed):
  leaves = SMALL | {"data.path": str(corpus), "sample.sentence": "<b>a mat"}
  ended = typed("language_model", tmp_path / "run", leaves, "--view")
  assert ended.code == 0, ended.err
  text = (tmp_path / "run" / "attention.html").read_text()
  assert r"\u003c" in text
  assert text.count('"packed"') == SMALL["model.depth"]
