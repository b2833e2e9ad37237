"""Translation: pieces, buckets, scores, and a run on a toy language."""

import collections
import itertools
import json
import re
import sys

import jax
import numpy as np
import pytest

from attnjax import training
from attnjax.config import replace_leaves
from attnjax.data import AssetError, Examples, VersePair
from experiments.translation import corpus as corpora
from experiments.translation import measure, report, task
from experiments.translation.__main__ import main, view
from experiments.translation.config import NAMES, PRESETS, TranslationConfig

SMALL = {
  "vocabulary": 300,
  "buckets": (8, 12, 24),
  "batch_size": 4,
  "beams": 2,
  "seeds": 1,
  "transformer.width": 8,
  "transformer.heads": 2,
  "transformer.hidden": 8,
  "rnn.width": 8,
  "rnn.hidden": 8,
  "train.steps": 3,
  "train.evaluate_every": 1,
  "optimizer.warmup_steps": 1,
}
WORDS = (
  ("dog", "perro"),
  ("house", "casa"),
  ("bread", "pan"),
  ("night", "noche"),
  ("king", "rey"),
)


def verses(train=40, held=5):
  """Distinct rows of one to four words, said word by word."""
  books = ["Gen"] * train + ["Eccl", "Jas"] + ["John"] * held
  draws = np.random.default_rng(0)
  found, seen = [], set()
  while len(found) < len(books):
    words = [WORDS[n] for n in draws.integers(5, size=draws.integers(1, 5))]
    english, spanish = (" ".join(column) for column in zip(*words, strict=True))
    if english not in seen:
      seen.add(english)
      number = len(found)
      found.append(VersePair(books[number], 1, number, english, spanish))
  return found


def small(**changes):
  return replace_leaves(PRESETS["tiny"](), SMALL | changes)


@pytest.fixture(scope="module")
def corpus():
  return corpora.load(small(), verses())


@pytest.mark.parametrize(
  "text", ["pan", "¡El rey, ñandú! ☃ 漢字", "  two  words "]
)
def test_any_text_goes_through_the_pieces_and_back(corpus, text):
  pieces = corpus.source
  ids = pieces.vocabulary.encode(pieces.split(text))
  assert pieces.join(ids) == text.strip()
  assert pieces.join([*ids, 2, 5, 0]) == text.strip()  # up to the end


def test_a_first_word_is_the_same_piece_as_any_other(corpus):
  once, twice = map(corpus.source.split, ("king", "king king"))
  assert twice == once * 2


@pytest.mark.parametrize("text", ["", " \n"])
def test_nothing_is_not_translated(corpus, text):
  with pytest.raises(ValueError, match="nothing to translate"):
    corpus.source.split(text)
  with pytest.raises(ValueError, match="nothing to translate"):
    TranslationConfig(text=text)


def test_pieces_are_learned_on_the_training_side_alone():
  held = [VersePair("John", 1, n, "zzzz", "xxxx") for n in range(900, 950)]
  first = corpora.load(small(vocabulary=280), verses())
  second = corpora.load(small(vocabulary=280), [*verses(), *held])
  assert first.source == second.source
  assert first.target == second.target
  assert first.digest != second.digest


def test_a_verse_is_in_the_first_bucket_that_holds_it(corpus):
  for side in corpus.splits.values():
    assert sum(map(len, side.buckets)) == len(side.texts) == len(side.lengths)
    row = 0
    for bucket in side.buckets:
      width = bucket.arrays["source"].shape[1]
      below = max((b for b in SMALL["buckets"] if b < width), default=0)
      for n in range(len(bucket)):
        source, target = side.texts[row]
        ids = bucket[n]["source"][: side.lengths[row]]
        assert corpus.source.join(ids) == source
        assert corpus.target.join(bucket[n]["targets"]) == target
        needed = max(side.lengths[row], bucket[n]["target_lengths"])
        assert below < needed <= width
        row += 1


def test_longer_verses_are_left_out_and_counted():
  every = verses()
  short = corpora.load(small(buckets=(4,)), every)
  sides = {"train": 40, "validation": 2, "test": 5}
  assert {k: s.total for k, s in short.splits.items()} == sides
  assert 0 < len(short.splits["train"].texts) < 40
  with pytest.raises(ValueError, match="none of the 40 verses of train"):
    corpora.load(small(vocabulary=257, buckets=(3,)), every)


def test_the_source_can_be_the_spanish():
  turned = corpora.load(small(source="spanish"), verses())
  straight = corpora.load(small(), verses())
  assert turned.source == straight.target
  assert sorted(turned.splits["test"].texts) == sorted(
    pair[::-1] for pair in straight.splits["test"].texts
  )
  with pytest.raises(ValueError, match="must be one of english, spanish"):
    small(source="latin")


def rows(first, count):
  return Examples({"row": np.arange(first, first + count)})


def test_in_a_round_every_row_of_every_bucket_comes_once():
  batches = task.Bucketed([rows(0, 6), rows(6, 15), rows(21, 3)], 3, seed=5)
  for turn in range(2):
    said = [batches(turn * 8 + n)["row"] for n in range(8)]
    assert sorted(np.concatenate(said)) == list(range(24))
    counts = collections.Counter(
      int(np.searchsorted([6, 21], r[0], "right")) for r in said
    )
    assert counts == {0: 2, 1: 5, 2: 1}
  again = task.Bucketed([rows(0, 6), rows(6, 15), rows(21, 3)], 3, seed=5)
  np.testing.assert_array_equal(again(13)["row"], batches(13)["row"])


def test_the_loss_is_the_mean_over_real_pieces_and_ignores_padding(corpus):
  model = task.make(small(), corpus, "attentive", 0)
  buckets = corpus.splits["train"].buckets
  found = task.evaluate_on(buckets, 3)(model)
  assert found["weight"] == sum(b.arrays["weights"].sum() for b in buckets)
  vocabulary = len(corpus.target.vocabulary)
  assert abs(found["loss"] - np.log(vocabulary)) < 1
  wild = {k: np.array(x) for k, x in buckets[0].arrays.items()}
  for name, real in (
    ("targets", "target_lengths"),
    ("source", "source_lengths"),
  ):
    padding = np.arange(wild[name].shape[1]) >= wild[real][:, None]
    assert padding.any()
    wild[name][padding] = 5
  again = task.evaluate_on([Examples(wild), *buckets[1:]], 3)(model)
  assert again["loss"] == pytest.approx(found["loss"], rel=1e-6)


@pytest.mark.slow
def test_nothing_is_dropped_without_a_key(corpus):
  config = small(**{"rnn.dropout": 0.5, "transformer.dropout": 0.5})
  batch = jax.device_put(corpus.splits["train"].buckets[0][:4])
  for variant in NAMES:
    model = task.make(config, corpus, variant, 0)
    calm = [float(task.loss(model, batch, None)[0]) for _ in range(2)]
    wild = float(task.loss(model, batch, jax.random.key(1))[0])
    assert calm[0] == calm[1] != wild


@pytest.mark.slow
def test_the_fixed_vector_has_no_attention_and_the_other_has(corpus):
  made = [task.make(small(), corpus, v, 0) for v in ("attentive", "fixed")]
  assert [model.attention is None for model in made] == [False, True]


def test_scores_are_those_of_sacrebleu():
  said = ["el rey come pan", "la noche"]
  assert measure.scores(said, said) == pytest.approx((100, 100))
  assert max(measure.scores(["zzz"], ["la noche"])) < 1e-6
  bleu, _ = measure.scores(["el rey come pan hoy"], ["el rey come pan"])
  # 4/5, 3/4, 2/3 and 1/2 of the runs of 1 to 4 words; not too short.
  assert bleu == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_a_missing_library_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "sacrebleu", None)
  with pytest.raises(ImportError, match=r"attnjax\[translation\]"):
    measure.scores(["a"], ["a"])


def test_groups_rise_in_length_and_hold_every_verse(corpus):
  side = corpus.splits["train"]
  groups = measure.length_groups(side)
  sizes = [[side.lengths[n] for n in group] for group in groups]
  assert sorted(np.concatenate(groups)) == list(range(40))
  assert all(max(a) <= min(b) for a, b in itertools.pairwise(sizes))
  side = corpus.splits["test"]
  perfect = [target for _, target in side.texts]
  assert measure.by_length(side, perfect) == pytest.approx([100] * 3)


@pytest.mark.parametrize("change", [(), (24, 12), (8, 8), (1,)])
def test_buckets_have_to_rise(change):
  with pytest.raises(ValueError, match="buckets"):
    TranslationConfig(buckets=change)


def test_bad_settings_are_named():
  with pytest.raises(ValueError, match="beams"):
    TranslationConfig(beams=0)
  with pytest.raises(ValueError, match="one of transformer, attentive, fixed"):
    small(variants=("transformer", "recurrent"))
  with pytest.raises(ValueError, match="one or more, each once"):
    small(variants=("fixed", "fixed"))
  with pytest.raises(ValueError, match="fixed vector twice"):
    small(**{"rnn.attention": "none"})


def test_a_page_without_the_transformer_is_refused_before_training(
  tmp_path,
):
  fixed = small(variants=("fixed", "attentive"))
  with pytest.raises(ValueError, match="have the transformer, whose"):
    view(fixed, tmp_path, verses())
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_page_shows_both_sentences_and_all_attention(tmp_path):
  cut = {"variants": ("fixed", "transformer"), "seeds": 1}
  made = view(small(**cut), tmp_path, verses())
  block = re.search(r'id="data">(.*?)</script>', made.html, re.DOTALL)
  data = json.loads(block[1])
  target, source = data["sentences"]
  assert target[0] == "<s>"
  sides = [
    (x["querySentence"], x["keySentence"]) for x in data["models"][0]["layers"]
  ]
  # The encoder over the source, then by turns the decoder over itself and it.
  assert set(sides) == {(1, 1), (0, 0), (0, 1)}
  assert sides[0] == (1, 1)
  assert len(target) != len(source)


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_figures(tmp_path, capsys):
  config = small(text="the king's 漢字", buckets=(24,))
  main(config, tmp_path, verses())
  written = json.loads((tmp_path / "result.json").read_text())
  assert list(written) == list(NAMES.values())
  for runs in written.values():
    assert len(runs[0]["texts"]) == 5
    assert runs[0]["loss"] > 0
  for name in ("alignment.png", "curves.png"):
    assert (tmp_path / name).stat().st_size > 1000
  said = capsys.readouterr().out
  assert "the king's 漢字\ntransformer: " in said
  assert said.count("reference: ") == report.SHOWN


@pytest.mark.slow
def test_a_run_may_have_no_model_that_looks(monkeypatch, tmp_path, typed):
  monkeypatch.setattr(corpora, "load_verses", verses)
  leaves = SMALL | {"variants": "fixed", "buckets": 24}
  ended = typed("translation", tmp_path, leaves)
  assert ended.code == 0, ended.err
  assert list(json.loads((tmp_path / "result.json").read_text())) == [
    NAMES["fixed"]
  ]
  assert not (tmp_path / "alignment.png").exists()
  assert "alignment" not in ended.out


def test_the_recurrent_preset_has_the_sizes_that_its_book_has():
  found = PRESETS["d2l"]()
  rnn, optimizer = found.rnn, found.optimizer
  assert (rnn.width, rnn.hidden, rnn.depth, rnn.dropout) == (256, 256, 2, 0.2)
  assert not rnn.bidirectional
  assert found.batch_size == 128
  rate = training.schedule(optimizer, found.train.steps)
  assert {float(rate(n)) for n in (0, 1, 1259)} == {np.float32(5e-3).item()}
  assert (optimizer.clip_norm, optimizer.weight_decay) == (1.0, 0.0)


@pytest.mark.slow
def test_the_recurrent_preset_runs_both_of_its_variants(tmp_path):
  steps = {"train.steps": 2, "train.evaluate_every": 0, "batch_size": 4}
  cut = {"vocabulary": 300, "beams": 2}
  main(replace_leaves(PRESETS["d2l"](), steps | cut), tmp_path, verses())
  written = json.loads((tmp_path / "result.json").read_text())
  assert list(written) == [NAMES["attentive"], NAMES["fixed"]]
  # Both have two layers of 256, and attention its two maps and a vector more.
  attentive, fixed = (runs[0]["parameters"] for runs in written.values())
  assert attentive - fixed == 2 * 256 * 256 + 256


@pytest.mark.slow
def test_another_sentence_does_not_train_again(tmp_path, corpus):
  config = small()
  first = task.fit(config, corpus, "transformer", 0, tmp_path)
  asked = small(text="king", beams=3, seeds=2)
  again = task.fit(asked, corpus, "transformer", 0, tmp_path)
  assert again.records == first.records
  said = measure.say(asked, corpus, again.params, asked.text)
  assert said == measure.say(asked, corpus, first.params, asked.text)
  with pytest.raises(ValueError, match="vocabulary"):
    task.fit(small(vocabulary=290), corpus, "transformer", 0, tmp_path)


@pytest.mark.parametrize(
  "error", [AssetError("no Bible"), ValueError("no Bible: ot.bzv is short")]
)
def test_verses_that_cannot_be_read_leave_nothing(error, monkeypatch, tmp_path):
  def absent():
    raise error

  monkeypatch.setattr(corpora, "load_verses", absent)
  with pytest.raises(type(error), match="no Bible"):
    main(small(), tmp_path)
  assert not list(tmp_path.iterdir())


@pytest.mark.slow  # the whole corpus
def test_the_real_verses_are_cut_where_they_are(asset):
  asset("sword-text-web")
  asset("sword-text-sparv")
  found = corpora.load(PRESETS["tiny"]())
  side = found.splits["test"]
  assert side.total == 879
  assert 200 < len(side.texts) < 400
  assert ("Jesus wept.", "Y lloró Jesús.") in side.texts
