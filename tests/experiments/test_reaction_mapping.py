"""Reactions as text, maps from attention, and a run on either weights."""

import json

import numpy as np
import pytest

from attnjax.data import ReactionVocabulary, cached, reactions
from attnjax.data.reactions import SPECIAL_TOKENS
from experiments.reaction_mapping import (
  __main__ as program,
)
from experiments.reaction_mapping import (
  filling,
  mapping,
  measure,
  network,
  published,
  report,
)
from experiments.reaction_mapping.config import MappingConfig
from experiments.reaction_mapping.smiles import (
  join_groups,
  read_mapped,
  read_reaction,
  without_numbers,
)

ESTER = (
  "[CH3:1][C:2](=[O:3])O.[OH:4][CH2:5][CH3:6]"
  ">>[CH3:1][C:2](=[O:3])[O:4][CH2:5][CH3:6]"
)


def bonds(side):
  return {(int(a), int(b)) for a, b in np.argwhere(np.triu(side.bonds))}


def test_atoms_and_bonds_are_read():
  text = "Cc1c(Br)cc[nH]1.[Na+]~[O-]C>>C%12CC%12(=O)[13CH3]"
  reaction = read_reaction(text)
  before, after = reaction.reactants, reaction.products
  assert before.elements == (*"CCC", "Br", *"CCN", "Na", *"OC")
  ring = {(0, 1), (1, 2), (2, 3), (2, 4), (4, 5), (5, 6), (1, 6)}
  assert bonds(before) == ring | {(7, 8), (8, 9)}
  assert after.elements == tuple("CCCOC")
  assert bonds(after) == {(0, 1), (1, 2), (0, 2), (2, 3), (2, 4)}
  # Places are those of the tokens, [CLS] being 0.
  assert before.places.tolist() == [1, 2, 4, 6, 8, 9, 10, 13, 15, 16]


def test_numbers_come_off_and_say_what_comes_from_where():
  reaction, origin = read_mapped(ESTER)
  assert reaction.text == "CC(=O)O.OCC>>CC(=O)OCC"
  assert origin.tolist() == [0, 1, 2, 4, 5, 6]
  assert without_numbers("[O-:1][nH:2][C@@H:3]C") == "[O-][nH][C@@H]C"
  assert without_numbers("[n:1][1*:2][*:3][Br:4]") == "n[1*]*Br"


def test_a_salt_is_joined():
  assert join_groups("C.[Na+].[H-]>>C.C |f:1.2|") == "C.[Na+]~[H-]>>C.C"
  assert join_groups("C.O>>CO") == "C.O>>CO"
  for wrong in ("C.O.N>>C |f:0.2|", "C.O>>C |f:2.3|"):
    with pytest.raises(ValueError, match="do not stand side by side"):
      join_groups(wrong)


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("CCO", "expected reactants>>products.*got 0 arrows"),
    ("C>>C>>C", "got 2 arrows"),
    ("CC>>", "expected reactants>>products"),
    ("C>O>C", "put reagents with the reactants"),
    ("C1C>>C", "ring 1 is left open"),
    ("C(C>>C", "a branch is left open"),
    ("C)C>>C", "a branch ends unbegun"),
    ("C[C>>C", "expected SMILES"),
  ],
)
def test_what_is_no_reaction_is_refused(text, words):
  with pytest.raises(ValueError, match=words):
    read_reaction(text)


def test_attention_between_atoms_has_products_on_its_rows():
  reaction = read_reaction("C.O>>OC")  # [CLS] C . O >> O C [SEP]
  weights = np.arange(64.0).reshape(8, 8)
  forth = mapping.between_atoms(weights, reaction, "forth")
  back = mapping.between_atoms(weights, reaction, "back")
  np.testing.assert_array_equal(forth, [[41, 43], [49, 51]])
  np.testing.assert_array_equal(back, [[13, 29], [14, 30]])
  both = mapping.between_atoms(weights, reaction)
  np.testing.assert_array_equal(both, forth + back)
  # Most attention is not enough: it must be the same element.
  assert mapping.largest(both, reaction).tolist() == [1, 0]
  nothing = read_reaction("C>>CN")
  assert mapping.largest(np.ones((2, 1)), nothing).tolist() == [0, -1]


def test_the_published_procedure_step_by_step():
  # Products C0-C1, reactants C0-C1 and C2 alone.
  reaction = read_reaction("CC.C>>CC")
  attention = np.array([[8.0, 1.0, 1.0], [3.0, 3.0, 4.0]])
  # First atom 0 goes to 0 with 8 of 10. Then nothing is left at 0, and the
  # neighbours count ten times: 3 * 10 of 3 * 10 + 4.
  found = mapping.guided(attention, reaction, multiplier=10.0)
  assert found.origin.tolist() == [0, 1]
  np.testing.assert_allclose(found.confidence, [0.8, 30 / 34])
  alone = mapping.guided(attention, reaction, multiplier=1.0)
  assert alone.origin.tolist() == [0, 2]
  np.testing.assert_allclose(alone.confidence, [0.8, 4 / 7])


def test_no_atom_is_used_twice_and_some_come_from_nowhere():
  reaction = read_reaction("CO>>CCON")
  found = mapping.guided(np.ones((4, 2)), reaction)
  assert sorted(found.origin.tolist()) == [-1, -1, 0, 1]
  assert found.confidence[found.origin < 0].tolist() == [1.0, 1.0]


def test_maps_are_one_but_for_symmetry():
  ether = read_reaction("CCO.BrCC>>CCOCC")
  one = np.array([0, 1, 2, 4, 5])
  # The halves of the product exchanged: no one can tell them apart.
  swapped = np.array([5, 4, 2, 1, 0])
  assert mapping.same_map((ether, one), (ether, swapped))
  # In one half its two carbons exchanged: an end is no middle.
  for turned in ([1, 0, 2, 4, 5], [0, 1, 2, 5, 4], [4, 5, 2, 1, 0]):
    assert not mapping.same_map((ether, one), (ether, np.array(turned)))
  # The same reaction, its atoms written in another order.
  other = read_reaction("C(C)Br.C(C)O>>O(CC)CC")
  assert mapping.same_map((ether, one), (other, np.array([5, 3, 4, 0, 1])))
  assert not mapping.same_map((ether, one), (other, np.array([5, 4, 3, 0, 1])))


def case(mapped, confidence=0.5, known=True):
  reaction, origin = read_mapped(mapped)
  return published.Case(mapped, reaction, origin, known, reaction, confidence)


def test_shuffled_reactants_keep_their_map():
  [moved] = [
    one
    for seed in range(5)
    for one in measure.shuffled([case(ESTER)], seed)
    if one.reaction.text.startswith("OCC")
  ][:1]
  assert moved.reaction.text == "OCC.CC(=O)O>>CC(=O)OCC"
  assert moved.origin.tolist() == [3, 4, 5, 0, 1, 2]


def test_rules_without_a_network():
  found = measure.same_order([case(ESTER)])
  # Carbons are in order; the second oxygen of the reactants leaves.
  assert found["same element, same order"] == pytest.approx(5 / 6)
  chance = (4 * 1 / 4 + 2 * 1 / 3) / 6
  assert found["same element, at random"] == pytest.approx(chance)
  assert found["whole reactions, same order"] == 0


def test_a_whole_map_may_exchange_what_is_alike():
  one = case("[CH3:1][O:2]C.[CH3:3]Br>>[CH3:1][O:2][CH3:3]")
  assert one.origin.tolist() == [0, 1, 3]
  turned = np.array([3, 1, 0])
  assert measure.share([one], [turned]) == pytest.approx(1 / 3)
  assert measure.whole_reactions([one], [turned]) == 1
  # The methyl group that the oxygen keeps and the one that leaves differ.
  assert measure.whole_reactions([one], [np.array([2, 1, 0])]) == 0


def test_where_an_atom_comes_from_is_named():
  reaction, _ = read_mapped(ESTER)
  found = mapping.AtomMap(np.array([0, 1, 2, 4, -1, 6]), np.full(6, 0.5))
  rows = report.map_table(reaction, found).splitlines()[2:]
  cells = [[x.strip() for x in row.strip("|").split("|")] for row in rows]
  assert cells[2] == ["O:3", "O 3", "`CC(=O)O`", "0.500"]
  assert cells[3] == ["O:4", "O 1", "`OCC`", "0.500"]
  assert cells[4][:3] == ["C:5", "nowhere", ""]


def synthetic():
  """A network that has learned nothing, and two reactions."""
  vocabulary = ReactionVocabulary((*SPECIAL_TOKENS, *"CO()=.", ">>"))
  cases = [case(ESTER), case("[CH3:1][OH:2]>>[OH:2][CH3:1]", None, False)]
  return published.Published(network.untrained(9), vocabulary, cases)


@pytest.fixture
def nothing_published(monkeypatch):
  monkeypatch.setattr(program, "load", synthetic)
  monkeypatch.setattr(published, "load", synthetic)


def test_every_token_is_hidden_once():
  rows = [np.array([2, 5, 6, 3], np.int32), np.array([2, 6, 3], np.int32)]
  gaps = network.gaps(rows, mask=4)
  assert [row.tolist() for row in gaps.rows] == [
    [2, 4, 6, 3],
    [2, 5, 4, 3],
    [2, 4, 3],
  ]
  assert gaps.places.tolist() == [1, 2, 1]
  assert gaps.answers.tolist() == [5, 6, 6]


def test_products_are_guessed_with_their_reactants_and_without():
  vocabulary = synthetic().vocabulary
  reaction = read_reaction("CO.C>>OC")
  read = []

  def guesses(_, gaps):
    read.append([vocabulary.tokens[n] for n in gaps.rows[-1]])
    return gaps.answers

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(network, "guesses", guesses)
    found = filling.products(None, vocabulary, [reaction])
  assert found == {"seen": [2], "hidden": [2], "tokens": [2]}
  head, tail = ["[CLS]"], [">>", "O", "[MASK]", "[SEP]"]
  hidden = ["[MASK]"] * 4
  assert read == [[*head, *"CO.C", *tail], [*head, *hidden, *tail]]


@pytest.mark.slow
def test_runs(nothing_published, tmp_path, capsys):
  program.main(MappingConfig(seeds=2), tmp_path)
  written = json.loads((tmp_path / "result.json").read_text())
  assert np.shape(written["heads"]) == (12, 8)
  assert written["filled"][0]["tokens"] == [21]
  assert set(written["atoms"]) == {
    "published weights",
    "reactants shuffled",
    "untrained",
  }
  for name in ("heads.png", "attention.png"):
    assert (tmp_path / name).stat().st_size > 1000
  printed = capsys.readouterr().out
  assert "the published procedure" in printed
  assert "not published" in printed


def test_a_reaction_of_ones_own(nothing_published, tmp_path, typed):
  ended = typed("reaction_mapping", tmp_path, {"reaction": ESTER})
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert written["reaction"] == "CC(=O)O.OCC>>CC(=O)OCC"
  assert len(written["origin"]) == 6
  assert "confidence in all of it" in ended.out


@pytest.mark.slow
def test_a_reaction_of_unknown_tokens_is_mapped_if_asked(
  nothing_published, tmp_path
):
  program.main(MappingConfig(reaction="CN>>NC", unknown_ok=True), tmp_path)
  written = json.loads((tmp_path / "result.json").read_text())
  assert sorted(written["origin"]) == [0, 1]


@pytest.mark.parametrize("bad", ["CCO", "CC>>CN"])
def test_a_bad_reaction_leaves_nothing(nothing_published, tmp_path, bad):
  workdir = tmp_path / "run"
  with pytest.raises(ValueError, match=r"reaction='CCO'|'N' is none of the 12"):
    program.main(MappingConfig(reaction=bad), workdir)
  assert not workdir.exists()


def test_bad_settings_are_named():
  with pytest.raises(ValueError, match=r"layer must be in \[0, 12\), got 12"):
    MappingConfig(layer=12)
  with pytest.raises(ValueError, match=r"head must be in \[0, 8\), got -1"):
    MappingConfig(head=-1)
  with pytest.raises(ValueError, match="seeds must be at least 1"):
    MappingConfig(seeds=0)
  with pytest.raises(ValueError, match="multiplier must be above 0"):
    MappingConfig(multiplier=0.0)


@pytest.mark.parametrize(
  ("tokens", "message"),
  [
    (590, "expected the 591 tokens that the model learned, got 590"),
    (591, "Expected a whole file of weights"),
  ],
)
def test_a_corrupted_asset_is_refused(monkeypatch, tmp_path, tokens, message):
  folder = tmp_path / reactions._MODEL
  folder.mkdir(parents=True)
  names = [*SPECIAL_TOKENS, *map(str, range(tokens - len(SPECIAL_TOKENS)))]
  (folder / "vocab.txt").write_text("\n".join(names))
  (folder / "pytorch_model.bin").write_bytes(b"cut short")
  monkeypatch.setattr(reactions, "fetch", lambda _: tmp_path)
  with pytest.raises(ValueError, match=message):
    published.load()


@pytest.fixture(scope="module")
def real():
  """The published network, or a skip."""
  if cached("rxnmapper") is None:
    pytest.skip(
      "asset 'rxnmapper' is not here: python -m attnjax.data.assets rxnmapper"
    )
  return published.load()


@pytest.mark.slow
def test_the_published_network_fills_in_tokens(real):
  first = real.cases[0].read
  found = filling.filled(real.model, real.vocabulary, [first])
  assert (found["right"], found["tokens"]) == ([53], [54])


def test_the_published_head_maps_atoms(real):
  known = [one for one in real.cases if one.known]
  assert (len(known), len(real.cases)) == (12, 14)
  assert sum((one.origin >= 0).sum() for one in known) == 110
  weights = measure.look(real.model, real.vocabulary, known)
  heads = measure.head_shares(known, weights)
  assert round(110 * heads[10, 5]) == 98
  first = measure.head_shares(known[:1], weights[:1], "forth")
  assert first[10, 5] == 1  # 11 of 11
  # What it is, and not where it stands: heads of chance are far below.
  assert np.median(heads) < 0.3


def test_the_published_maps_and_confidences(real):
  rows = filling.encoded(real.vocabulary, [one.read for one in real.cases])
  weights = network.attention(real.model, rows)
  confident = 0
  for one, weight in zip(real.cases, weights, strict=True):
    attention = mapping.between_atoms(weight[10, 5], one.read)
    found = mapping.guided(attention, one.read)
    assert mapping.same_map(
      (one.reaction, one.origin), (one.read, found.origin)
    ), one.read.text
    if one.confidence is not None:
      sure = np.prod(found.confidence)
      np.testing.assert_allclose(sure, one.confidence, rtol=2e-6)
      confident += 1
  assert confident == 9
