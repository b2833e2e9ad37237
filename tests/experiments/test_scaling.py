"""Scaling: a known law is found again, a broken one is refuted, and a run."""

import itertools
import json
import math

import numpy as np
import pytest

from attnjax.config import replace_leaves
from attnjax.data import load_text
from attnjax.models import decoder_parameters
from experiments.scaling import pod, refutation, report, sweep
from experiments.scaling.__main__ import main
from experiments.scaling.config import PRESETS, LawConfig
from experiments.scaling.law import Fit, Law, fit, fit_law, line_through

TRUE = Law(floor=0.9, a=12.0, alpha=0.28, b=90.0, beta=0.36)
SIZES = (6224, 24736, 55536, 98624, 332416)
LENGTHS = (409_600, 1_126_400, 3_072_000)
FEW = LawConfig(resamples=20)
FEWEST = LawConfig(resamples=3)
SMALL = {
  "widths": (16, 32),
  "steps": (3,),
  "seeds": 1,
  "heldout_batches": 2,
  "data.length": 12,
  "data.batch_size": 3,
  "data.heldout_fraction": 0.3,
  "law.resamples": 5,
}
ENGLISH = "The cat sat on the mat. A dog ran by the old red barn.\n"


def invented(law, noise=0.0):
  """Runs of a law, their logarithms off by noise."""
  random = np.random.default_rng(0)
  return [
    {
      "width": 16 * (1 + number),
      "steps": d // 1024,
      "seed": 0,
      "parameters": n,
      "all_parameters": 2 * n,
      "tokens": d,
      "flops": 6.5 * n * d,
      "bits_per_byte": law(n, d) * math.exp(noise * random.normal()),
      "seconds": 1.0,
    }
    for (number, n), d in itertools.product(enumerate(SIZES), LENGTHS)
  ]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  """Small texts, each of words of its own."""
  folder = tmp_path_factory.mktemp("texts")
  for i in range(8):
    words = "".join(f"{w}{i} " for w in ENGLISH.split())
    (folder / f"{i}.txt").write_text(words * (i + 3))
  return folder


def small(corpus, **changes):
  leaves = SMALL | {"data.path": str(corpus)} | changes
  return replace_leaves(PRESETS["tiny"](), leaves)


def test_a_known_law_is_found_again():
  n, d = (x.ravel() for x in np.meshgrid(SIZES, LENGTHS))
  found = fit_law(n, d, TRUE(n.astype(float), d.astype(float)), starts=4)
  for name, value in vars(TRUE).items():
    assert getattr(found, name) == pytest.approx(value, rel=1e-3), name


def test_under_noise_the_intervals_hold_the_known_law():
  found = fit(FEW, invented(TRUE, noise=0.003))
  for name in ("floor", "alpha", "beta"):
    low, high = found.interval(lambda law, name=name: getattr(law, name))
    # Twenty draws are few: half as much again on either side.
    wide = (high - low) / 2
    assert low - wide < getattr(TRUE, name) < high + wide, name
    assert found.verdict(name) == "determined", name


def test_one_run_that_is_far_off_hardly_moves_the_law():
  runs = invented(TRUE)
  runs[7] |= {"bits_per_byte": 1.3 * runs[7]["bits_per_byte"]}
  found = fit_law(*report_columns(runs), starts=4)
  assert found.alpha == pytest.approx(TRUE.alpha, rel=0.02)


def report_columns(runs):
  names = "parameters", "tokens", "bits_per_byte"
  return [np.array([run[name] for run in runs], float) for name in names]


def test_what_is_not_determined_is_called_so():
  laws = lambda *values: [
    Law(e, 1.0, alpha, 1.0, beta) for e, alpha, beta in values
  ]
  again = laws((0.0, 0.1, 0.3), (1.5, 0.3, 2.0))
  found = Fit(again[0], again, coverage=0.99, least=2.0)
  assert "74 % of the least loss wide" in found.verdict("floor")
  assert "the ends differ 3.0 times" in found.verdict("alpha")
  assert "leaves what was looked for" in found.verdict("beta")


def test_the_best_size_is_the_best_of_its_compute():
  budget = 1e15
  best = TRUE.best_parameters(budget)
  loss = lambda n: TRUE(n, budget / 6 / n)
  assert loss(best) < min(loss(0.98 * best), loss(1.02 * best))


@pytest.mark.slow
def test_the_law_foretells_what_was_held_out_and_is_refuted_where_it_fails():
  config = small("", **{"law.resamples": 5})
  runs = invented(TRUE)
  for each in refutation.forecasts(config.law, runs):
    assert abs(each.error) < 1e-3 < 0.01 < each.baseline
  assert "the law is nearer" in report.tested(config, runs)
  for run in runs:  # a line without a floor, which a ruler foretells exactly
    run["bits_per_byte"] = run["parameters"] ** -0.1 * run["tokens"] ** -0.2
  for each in refutation.forecasts(config.law, runs):
    assert abs(each.ruled) < 1e-9
  assert "REFUTED" in report.tested(config, runs)

  runs = invented(TRUE)
  for run, near in zip(runs[-3:], runs[-6:-3], strict=True):
    run["bits_per_byte"] = near["bits_per_byte"]  # size gains nothing any more
  assert "REFUTED" in report.tested(config, runs)


@pytest.mark.slow
def test_resamples_draw_cells_so_that_seeds_alike_narrow_nothing():
  runs = invented(TRUE, noise=0.01)
  one, five = (fit(FEWEST, runs * n) for n in (1, 5))
  ends = lambda found: found.interval(lambda law: law(1e6, 1e8))
  assert ends(five) == pytest.approx(ends(one), rel=1e-4)


def test_a_line_has_the_error_of_its_exponent():
  x = np.geomspace(1, 1e3, 50)
  noise = 0.01 * np.random.default_rng(0).normal(size=50)
  found = line_through(x, 5 * x**-0.25 * np.exp(noise))
  assert abs(found.exponent - 0.25) < 3 * found.error
  expected = 0.01 / np.std(np.log(x)) / 50**0.5
  assert found.error == pytest.approx(expected, rel=0.25)


def test_compute_is_weights_readout_and_attention():
  config = PRESETS["tiny"]()
  for width in (16, 96):
    model = config.model(width)
    parts = decoder_parameters(model, 257)
    weights = parts["attention"] + parts["feed_forward"] + 257 * width
    attention = 12 * model.depth * width * config.data.length
    found = sweep.flops_per_token(config, width)
    assert found == 6 * weights + attention
    assert sweep.parameters(model)["law"] == (
      parts["attention"] + parts["feed_forward"] + parts["norms"]
    )


def test_every_run_ends_its_own_schedule():
  config = PRESETS["tiny"]()
  cells = sweep.planned(config)
  assert cells[0] == sweep.Size(16, 400)
  assert cells[-1] == sweep.Size(128, 3000)
  for size in cells:
    run = sweep.run_config(config, size)
    assert run.train.steps == size.steps
    assert run.optimizer.warmup_steps == size.steps // 10
  assert run.optimizer.peak_learning_rate == 3.5e-3
  assert sweep.run_config(config, cells[0]).optimizer.peak_learning_rate > 9e-3


def test_a_run_is_the_same_in_a_wider_sweep(corpus):
  config = small(corpus)
  text, size = load_text(config.data), sweep.Size(16, 3)
  key = lambda config, seed=0: sweep.key_of(
    sweep.run_config(config, size), text, seed
  )
  wider = replace_leaves(config, {"widths": (16, 32, 48), "law.resamples": 7})
  assert key(config) == key(wider)
  assert key(config) != key(config, seed=1)
  assert key(config) != key(small(corpus, warmup=0.5))


def test_a_text_that_would_be_read_twice_is_refused(corpus):
  config = small(corpus, steps=(3, 5000))
  with pytest.raises(ValueError, match="give a larger text with"):
    sweep.check_fresh(config, load_text(config.data))


def test_a_budget_is_spent_on_the_size_that_the_law_wants():
  config = PRESETS["tiny"]()
  spent = pod.spending(config, TRUE)
  wanted = TRUE.best_parameters(config.pod.flops)
  assert 0.7 < spent.parameters / wanted < 1.4
  assert 0.99 < spent.flops / config.pod.flops <= 1
  assert spent.tokens == spent.steps * 1024 * 128
  given = replace_leaves(config, {"pod.width": 128})
  assert pod.spending(given, TRUE).model.width == 128


def test_a_pod_that_cannot_be_compiled_for_is_refused(monkeypatch):
  on = lambda **pod: replace_leaves(
    PRESETS["tiny"](), {f"pod.{name}": value for name, value in pod.items()}
  )
  assert pod.mesh_for(on()) is None
  assert dict(pod.mesh_for(on(topology="cpu:2")).shape)["data"] == 2
  with pytest.raises(ValueError, match="expected a multiple of 4"):
    pod.mesh_for(on(topology="cpu:2", microbatches=2, batch_size=6))
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(ImportError, match=r"pip install 'attnjax\[tpu\]'"):
    pod.mesh_for(on(topology="v5e:4x4"))


def test_invented_runs_have_tables_and_figures(tmp_path):
  config = small("", widths=(16, 32, 48, 64, 80))
  runs = invented(TRUE, noise=0.003)
  fitted = fit(FEWEST, runs)
  said = report.tables(config, runs, fitted)
  assert "| alpha, of parameters" in said
  assert "| L(C), frontier" in said
  for path in report.draw(tmp_path, runs, fitted):
    assert path.stat().st_size > 10_000


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_is_found_again(
  corpus, tmp_path, capsys, typed
):
  ended = typed("scaling", tmp_path, SMALL | {"data.path": corpus})
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())["runs"]
  assert sorted(run["width"] for run in written.values()) == [16, 32]
  for run in written.values():
    assert 4 < run["bits_per_byte"] < 12
    assert run["tokens"] == 108
  said = ended.out
  assert "no law: it wants 3 sizes and 3 lengths at least" in said
  assert "no forecast for a pod" in said
  main(small(corpus, train_more=False), tmp_path)
  assert "seed 0:" not in capsys.readouterr().out  # nothing was trained
  with pytest.raises(ValueError, match="expected results of these settings"):
    main(small(corpus, train_more=False, warmup=0.5), tmp_path)


@pytest.mark.slow
def test_a_whole_sweep_ends_with_a_forecast(corpus, tmp_path, capsys):
  changes = {
    "widths": (16, 24, 32, 48),
    "steps": (2, 4, 8),
    "pod.topology": "cpu:2",
    "pod.flops": 1e9,
    "pod.head_width": 16,
    "pod.batch_size": 8,
  }
  main(small(corpus, **changes), tmp_path)
  said = capsys.readouterr().out
  assert "held out: the widest model" in said
  assert "bits per byte, by the law" in said
  assert "nobody publishes the rates" in said


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"widths": (16, 16)}, "widths: expected one or more, each once"),
    ({"steps": (1,)}, "steps must be at least 2"),
    ({"warmup": 1.0}, r"warmup must be in \[0, 1\)"),
    ({"data.tokenizer": "bpe"}, r"data\.tokenizer must be bytes"),
    ({"law.coverage": 1.0}, r"law\.coverage must be in \(0, 1\)"),
    ({"law.resamples": 1}, r"law\.resamples must be at least 2"),
    ({"pod.flops": 0.0}, r"pod\.flops must be at least 1"),
    ({"pod.width": 100}, r"pod\.width: expected a multiple of pod\.head_w"),
    ({"seeds": 0}, "seeds must be at least 1, got 0"),
    ({"train.microbatches": 5}, "must divide data.batch_size=.*, got 5"),
    ({"optimizer.warmup": 0.5}, "optimizer.warmup: has no say here"),
  ],
)
def test_bad_settings_are_named(options, words):
  with pytest.raises(ValueError, match=words):
    replace_leaves(PRESETS["tiny"](), options)


def test_too_few_runs_for_a_law_are_named():
  with pytest.raises(ValueError, match="expected 3 sizes and 3 lengths"):
    fit_law([1.0, 2.0], [1.0, 2.0], [1.0, 0.5], starts=1)
