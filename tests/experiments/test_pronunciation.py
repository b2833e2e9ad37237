"""Pronunciation: edit distance, scores, batches, g2p-en's network, a run."""

import collections
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnjax.config import replace_leaves
from attnjax.data import AssetError, Word, g2p_weights
from experiments.pronunciation import g2p, measure, report, task, words
from experiments.pronunciation.__main__ import main, view
from experiments.pronunciation.config import PRESETS
from experiments.pronunciation.measure import edit_distance

SAID = {"a": "AH0", "b": "B", "c": "K", "d": "D", "o": "AO1", "t": "T"}
SMALL = {
  "seeds": 1,
  "beams": 2,
  "published": False,
  "words": ("cab", "zoo"),
  "model.width": 5,
  "model.hidden": 6,
  "data.max_letters": 4,
  "data.batch_size": 3,
  "data.multiple": 4,
  "train.steps": 2,
  "train.evaluate_every": 0,
  "optimizer.warmup_steps": 1,
}


@pytest.fixture
def dictionary(tmp_path):
  """Every word of one to four of six letters, each said in one way."""
  spelled = [
    "".join(letters)
    for count in (1, 2, 3, 5)
    for letters in itertools.product(SAID, repeat=count)
  ][::4]
  path = tmp_path / "small.dict"
  line = lambda word: f"{word} {' '.join(SAID[letter] for letter in word)}\n"
  path.write_text("".join(map(line, spelled)))
  return path


def small(dictionary, preset="tiny", **leaves):
  path = {"data.dictionary": str(dictionary), "data.test_words": 40}
  return replace_leaves(PRESETS[preset](), SMALL | path | leaves)


short = st.lists(st.integers(0, 2), max_size=6)


@given(short, short, short)
@settings(deadline=None, max_examples=100)
def test_edit_distance_is_a_metric(a, b, c):
  there = edit_distance(a, b)
  assert there == edit_distance(b, a)
  assert (there == 0) == (a == b)
  assert abs(len(a) - len(b)) <= there <= max(len(a), len(b))
  assert edit_distance(a, c) <= there + edit_distance(b, c)
  assert edit_distance(a, [*a[:2], 7, *a[2:]]) == 1


@given(short, short)
@settings(deadline=None, max_examples=60)
def test_edit_distance_is_the_least_by_its_recursion(a, b):
  def least(i, j):
    if not i or not j:
      return i + j
    change = least(i - 1, j - 1) + (a[i - 1] != b[j - 1])
    return min(change, least(i - 1, j) + 1, least(i, j - 1) + 1)

  a, b = a[:4], b[:4]
  assert edit_distance(a, b) == least(len(a), len(b))


def test_the_closest_reference_counts():
  tomato = Word("tomato", (tuple("TAMEYTO"), tuple("TAMATO")))
  scores = measure.score(
    [tomato, tomato, Word("be", (("B", "IY"),))],
    [tuple("TAMATO"), tuple("TAMATOS"), ()],
  )
  assert scores.errors.tolist() == [0, 1, 2]
  assert scores.phonemes.tolist() == [6, 6, 2]
  assert scores.error_rate == pytest.approx(100 * 3 / 14)
  assert scores.exact == pytest.approx(100 / 3)
  assert scores.within(6, 6).error_rate == pytest.approx(100 / 12)
  assert np.isnan(scores.within(7, 9).error_rate)
  assert np.isnan(scores.within(7, 9).exact)


def test_bins_leave_no_length_out():
  ends = [last for _, last in measure.BINS[:-1]]
  assert [first for first, _ in measure.BINS] == [1, *(n + 1 for n in ends)]


def test_every_pronunciation_comes_as_often_and_little_is_padding(dictionary):
  config = small(dictionary, **{"data.batch_size": 1, "data.multiple": 2}).data
  data = task.load(config)
  steps = range(32 * len(data.train))  # until an epoch and a pool end at once
  deal = lambda seed: map(task.Batches(data.train, config, seed), steps)
  batches = list(deal(5))
  spelled = lambda row: tuple(row[row > 0].tolist())
  order = [spelled(batch["source"][0]) for batch in batches]
  counts = collections.Counter(order)
  assert counts == {spelled(row): 32 for row in data.train.arrays["source"]}
  for batch in batches:
    needed = max(batch["source_lengths"].max(), batch["target_lengths"].max())
    assert needed <= batch["source"].shape[1] <= needed + 1
    assert batch["targets"].shape == batch["source"].shape
  last = task.Batches(data.train, config, seed=5)(steps[-1])
  np.testing.assert_array_equal(last["source"], batches[-1]["source"])
  assert order != [spelled(batch["source"][0]) for batch in deal(6)]


def test_long_words_are_tested_on_and_not_trained_on(dictionary):
  data = task.load(small(dictionary).data)
  assert data.train.arrays["source_lengths"].max() == 3
  assert max(len(word.spelling) for word in data.test) == 5
  assert all(data.splits[word.spelling] == "test" for word in data.test)
  assert len(data.test) == 40


@pytest.mark.slow
def test_words_come_back_in_the_order_they_were_asked(dictionary):
  config = small(dictionary)
  speaker = measure.ours(task.make(config, "additive", 0))
  asked = ["dot", "a", "b", "coat", "at"]
  alone = [measure.say(speaker, [word], beams=2)[0] for word in asked]
  assert measure.say(speaker, asked, beams=2) == alone
  assert len(set(alone)) > 1


@pytest.mark.parametrize(
  ("spelled", "message"),
  [("", "is empty"), ("naïve", "'ï' in 'naïve' is none of the 27 symbols")],
)
def test_words_that_cannot_be_read_are_named(spelled, message):
  with pytest.raises(ValueError, match=message):
    measure.say(measure.ours(None), ["at", spelled], beams=1)


@pytest.mark.parametrize(
  ("leaves", "message"),
  [
    ({"words": ("at", "")}, "words: expected small letters .* got ''"),
    ({"words": ("Tea",)}, "words: expected small letters .* got 'Tea'"),
    ({"seeds": 0}, "seeds must be at least 1"),
    ({"variants": ()}, "variants: expected one or more"),
    ({"variants": ("dot", "dot")}, "variants: expected one or more, each once"),
    ({"variants": ("cosine",)}, "variants must be one of additive, dot"),
    ({"data.batch_size": 0}, "data.batch_size must be at least 1"),
  ],
)
def test_bad_settings_are_named(leaves, message):
  with pytest.raises(ValueError, match=message):
    replace_leaves(PRESETS["tiny"](), leaves)


def test_a_dictionary_of_long_words_alone_leaves_nothing(tmp_path):
  path = tmp_path / "long.dict"
  path.write_text("cabbage K AE1 B IH0 JH\n")
  with pytest.raises(ValueError, match="no word of 4 letters or fewer"):
    task.load(small(path).data)


@pytest.mark.parametrize(
  ("content", "error", "message"),
  [
    (None, FileNotFoundError, "other.dict"),
    ("cab K AE1 B\ncat\n", ValueError, "line 2: expected a word and its"),
    ("cab K AE1 XX\n", ValueError, "line 1: 'XX' is no phoneme"),
  ],
)
def test_a_dictionary_that_is_missing_or_broken_leaves_nothing(
  content, error, message, tmp_path
):
  path, workdir = tmp_path / "other.dict", tmp_path / "run"
  if content is not None:
    path.write_text(content)
  with pytest.raises(error, match=message):
    main(small(path), workdir)
  assert not workdir.exists()


def test_what_cannot_be_had_stops_before_any_work(
  dictionary, tmp_path, monkeypatch
):
  def missing():
    raise AssetError("asset 'g2p-en' cannot be had")

  monkeypatch.setattr(g2p, "g2p_weights", missing)
  workdir = tmp_path / "run"
  with pytest.raises(AssetError, match="g2p-en"):
    main(small(dictionary, published=True), workdir)
  assert not workdir.exists()


def test_alignments_are_of_each_phoneme_over_the_letters(dictionary):
  model = task.make(small(dictionary), "dot", 0)
  weights = words.alignment(model, "coat", ("K", "OW", "T"))
  assert weights.shape == (4, 4)
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("preset", "variants", "seeds"),
  [
    ("tiny", ("dot", "none"), 1),
    ("tiny", ("additive", "none"), 2),
    ("base", ("additive", "none"), 1),
  ],
)
def test_a_run_writes_its_numbers_and_figures(
  preset, variants, seeds, dictionary, tmp_path, typed
):
  config = small(dictionary, preset, variants=variants, seeds=seeds)
  leaves = {"data.dictionary": dictionary, "data.test_words": 40}
  leaves |= {"variants": variants, "seeds": seeds}
  ended = typed(
    "pronunciation", tmp_path / "run", f"--preset={preset}", SMALL | leaves
  )
  assert ended.code == 0, ended.err
  out = ended.out
  names = [report.NAMES[variant] for variant in config.variants]
  written = json.loads((tmp_path / "run/result.json").read_text())
  assert list(written) == names
  assert len(written["fixed vector"]["beam 2"]) == seeds
  assert list(written["fixed vector"]["greedy"][0]["by_letters"]) == [
    "1-4",
    "5-6",
  ]
  for file in ("errors.png", "alignment_cab.png", "alignment_zoo.png"):
    assert (tmp_path / "run" / file).stat().st_size > 1000
  assert "in no dictionary" in out
  saved = tmp_path / "run/none/seed0/checkpoints"
  assert [path.name for path in saved.iterdir() if path.is_dir()] == ["2"]
  # Other words do not ask for another training.
  main(replace_leaves(config, {"words": ("dot",)}), tmp_path / "run")
  again = json.loads((tmp_path / "run/result.json").read_text())
  assert again == written


def test_the_published_network_says_what_its_package_says(asset):
  weights = g2p_weights(asset("g2p-en") / "g2p_en" / "checkpoint20.npz")
  speaker = g2p.speaker()
  found = measure.say(speaker, ["activationist", "cat's"], beams=1)
  # Its README's example; see tests/data/test_pronunciations.py for the loop.
  assert " ".join(found[0]) == "AE K T IH V EY SH AH N IH S T"
  assert found[1][:2] == ("K", "AE")
  np.testing.assert_array_equal(
    speaker.model.encoder.inputs[:, 1], weights["enc_w_ih"][256:512].T
  )


@pytest.mark.slow
@pytest.mark.parametrize("word", ["cab", "c"])
def test_a_page_shows_a_word_in_each_model_that_attends(
  word, dictionary, tmp_path
):
  variants = ("none", "additive", "dot")
  config = small(dictionary, words=(word,), variants=variants)
  made = view(config, tmp_path / "out")
  data = json.loads(made.html.split('id="data">')[1].split("</script>")[0])
  assert data["sentences"][1] == list(word)
  assert data["sentences"][0][-1] == "end"
  assert [(m["name"], len(m["layers"])) for m in data["models"]] == [
    ("additive attention", 1),
    ("dot-product attention", 1),
  ]


def test_a_page_without_attention_is_refused_before_training(tmp_path):
  config = replace_leaves(PRESETS["tiny"](), {"variants": ("none",)})
  with pytest.raises(ValueError, match="one that attends"):
    view(config, tmp_path / "out")
  assert not (tmp_path / "out").exists()
