"""Markup to words, modules to verses, and pairs that belong together."""

import struct
import zlib

import pytest

from attnjax.data import VersePair, load_verses, split_verses
from attnjax.data.osis import plain_text
from attnjax.data.sword import read_module
from attnjax.data.verses import MISNUMBERED, SUBSCRIBED


@pytest.mark.parametrize(
  ("marked", "plain"),
  [
    (
      "<w>In</w> <w>it</w>, <w>God</w><note>1:1 x</note><w>made</w>",
      "In it, God made",
    ),
    (
      "born</q><note>a <w>b</w></note><q who='J'><w>Son</w>, <w>t</w></q>",
      "born Son, t",
    ),
    ("king<note>x</note>, he", "king, he"),
    ("king <note>x</note> he", "king he"),
    ("“<note>x</note>Go.<note>y</note>”", "“Go.”"),
    ("a <note>b <note>c</note> d</note> e", "a e"),
    (
      'day,<l eID="1" level="1"/><l level="2" sID="2"/>the night',
      "day, the night",
    ),
    (
      '<title canonical="true" type="psalm">Of David.</title>Yah',
      "Of David. Yah",
    ),
    ('<title type="main">Glossary</title>Yah', "Yah"),
    ("<speaker>Beloved</speaker> <lg/>Let", "Let"),
    (
      'Amen.<div type="glossary" sID="g"/>Abba <div eID="x"/>a <div eID="g"/>',
      "Amen.",
    ),
    ("TR &amp; NU", "TR & NU"),
    ("of <transChange>the</transChange><lb/>sea", "of the sea"),
    ("<note>Some add: two.</note>", ""),
    ("", ""),
  ],
)
def test_markup_becomes_words(marked, plain):
  assert plain_text(marked) == plain


@pytest.mark.parametrize(
  ("marked", "message"),
  [
    ("a <figure/> b", "<figure> is no element that is known"),
    ("a <note>b", "<note> has no end"),
    ('a <div type="glossary" sID="g"/>b', "<div g> has no end"),
  ],
)
def test_markup_that_is_not_understood_is_refused(marked, message):
  with pytest.raises(ValueError, match=message):
    plain_text(marked)


def write_module(folder, versification, verses):
  """A module with the given verses, {(book, chapter, verse): text}."""
  books = pytest.importorskip("pysword.books")
  structure = books.BibleStructure(versification)
  folder.mkdir()
  for testament, listed in structure.get_books().items():
    texts, records = b"", {}
    for (book, chapter, verse), text in verses.items():
      if book in {found.osis_name for found in listed}:
        [index] = structure.ref_to_indicies(
          books=[book.lower()], chapters=[chapter], verses=[verse]
        )[testament]
        records[index] = (0, len(texts), len(text.encode()))
        texts += text.encode()
    packed = zlib.compress(texts)
    last = max(
      structure.ref_to_indicies(books=[listed[-1].osis_name.lower()])[testament]
    )
    (folder / f"{testament}.bzz").write_bytes(packed)
    (folder / f"{testament}.bzs").write_bytes(
      struct.pack("<III", 0, len(packed), len(texts))
    )
    (folder / f"{testament}.bzv").write_bytes(
      b"".join(
        struct.pack("<IIH", *records.get(index, (0, 0, 0)))
        for index in range(last + 1)
      )
    )
  return folder


ENGLISH = {
  ("Gen", 1, 1): "<w>In</w> the beginning, God<note>x</note><w>created</w> it.",
  ("Gen", 1, 2): "The earth was formless and empty.",
  ("Gen", 1, 3): "<note>only a note</note>",
  ("Tob", 1, 1): "The book of the words of Tobit.",
  ("Num", 13, 2): "Send men, that they may spy out the land.",
  ("John", 3, 16): "For God so loved the world.",
  ("Phlm", 1, 25): "The grace be with your spirit.",
  ("Rev", 22, 21): "Amen.",
}
SPANISH = {
  ("Gen", 1, 1): "EN el principio crió Dios todo ello.",
  ("Gen", 1, 2): "Y la tierra.",
  ("Gen", 1, 3): "Y dijo Dios: Sea la luz.",
  ("Num", 13, 2): "Y Jehová habló á Moisés, diciendo: Envía.",
  ("John", 3, 16): "Porque de tal manera amó Dios al mundo.",
  ("Phlm", 1, 25): "La gracia sea con vosotros. Escrita á Filemón.",
  ("Rev", 22, 21): "Amén. ¡OH!",
}


@pytest.fixture
def modules(tmp_path):
  return (
    write_module(tmp_path / "en", "nrsva", ENGLISH),
    write_module(tmp_path / "es", "kjv", SPANISH),
  )


def test_a_module_gives_each_verse_under_its_number(modules):
  assert read_module(modules[0], "nrsva") == ENGLISH
  assert read_module(modules[1], "kjv") == SPANISH


def test_pairs_are_what_both_have_and_what_fits(modules):
  """Genesis 1:2 is too short in Spanish, 1:3 has no English, Numbers 13 is
  numbered otherwise, Philemon ends with a subscription, Tobit is alone."""
  pairs = load_verses(*modules)
  assert [(p.book, p.chapter, p.verse) for p in pairs] == [
    ("Gen", 1, 1),
    ("John", 3, 16),
    ("Rev", 22, 21),
  ]
  assert pairs[0].english == "In the beginning, God created it."
  assert pairs[0].spanish == "En el principio crió Dios todo ello."
  assert pairs[2].spanish == "Amén. ¡Oh!"
  assert len(load_verses(*modules, ratios=(0.0, 9.0))) == 4


def damage(path, change):
  path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
  ("file", "change", "message"),
  [
    ("nt.bzz", lambda content: content[:-5], "broken SWORD module"),
    ("ot.bzz", lambda content: b"?" + content[1:], "broken SWORD module"),
    ("nt.bzs", lambda content: content[:-1], "broken SWORD module"),
    ("nt.bzs", lambda content: content[:8] + bytes(4), "instead of 0"),
    ("nt.bzv", lambda content: content[:-10], "does not lie in the module"),
  ],
)
def test_a_broken_module_is_refused(modules, file, change, message):
  damage(modules[1] / file, change)
  with pytest.raises(ValueError, match=message):
    load_verses(*modules)


def test_another_versification_or_an_unknown_one_is_refused(modules):
  with pytest.raises(ValueError, match="expected its own versification"):
    read_module(modules[1], "nrsva")
  with pytest.raises(ValueError, match="'vulgat' is unknown; expected one of"):
    read_module(modules[1], "vulgat")


def verse(book, number, english, spanish=None):
  return VersePair(book, 1, number, english, spanish or f"{book} {number}")


PAIRS = [
  verse("Matt", 1, "in those days there came a man from far away"),
  verse("Matt", 2, "he said nothing at all"),
  verse("Mark", 1, "In those days, there came a man: alone."),
  verse("Mark", 2, "Amen."),
  verse("Mark", 3, "another thing altogether", spanish="Luke 2"),
  verse("Mark", 4, "a wholly new sentence is written here"),
  verse("Luke", 1, "In those days there came a man!"),
  verse("Luke", 2, "Amen."),
]


def test_no_verse_to_train_on_echoes_a_held_out_one():
  sides = split_verses(PAIRS, validation=["Matt"], test=["Luke"])
  assert [(p.book, p.verse) for p in sides["test"]] == [
    ("Luke", 1),
    ("Luke", 2),
  ]
  # Matthew 1 shares four of its seven runs of words with Luke 1.
  assert [(p.book, p.verse) for p in sides["validation"]] == [("Matt", 2)]
  assert [(p.book, p.verse) for p in sides["train"]] == [("Mark", 4)]


@pytest.mark.parametrize(
  ("validation", "test"), [(["Jude"], ["Luke"]), (["Luke"], ["Luke"])]
)
def test_books_to_hold_out_are_checked(validation, test):
  with pytest.raises(ValueError, match=r"is on both, or none of the books"):
    split_verses(PAIRS, validation=validation, test=test)


def real(asset):
  texts = "usr/share/sword/modules/texts/ztext"
  return (
    asset("sword-text-web") / texts / "engWEB2015eb",
    asset("sword-text-sparv") / texts / "spaRV1909eb",
  )


@pytest.mark.slow  # the whole corpus
def test_the_real_verses(asset):
  pytest.importorskip("pysword")
  pairs = load_verses(*real(asset))
  assert len(pairs) == 30_857
  assert len({pair.book for pair in pairs}) == 66
  found = {(p.book, p.chapter, p.verse): p for p in pairs}
  first = found["Gen", 1, 1]
  assert first.english == (
    "In the beginning, God created the heavens and the earth."
  )
  assert first.spanish == "En el principio crió Dios los cielos y la tierra."
  assert found["Ps", 23, 1].english == (
    "A Psalm by David. Yahweh is my shepherd; I shall lack nothing."
  )
  assert found["Rev", 22, 21].spanish.startswith("La gracia de nuestro Señor")
  for book, chapter, start, stop in (*MISNUMBERED, *SUBSCRIBED):
    assert not any((book, chapter, n) in found for n in range(start, stop + 1))
  assert not any("<" in p.english + p.spanish for p in pairs)
  sides = split_verses(pairs)
  assert [len(side) for side in sides.values()] == [29_637, 330, 879]
  assert {p.book for p in sides["test"]} == {"John"}
  assert {p.book for p in sides["validation"]} == {"Eccl", "Jas"}
  train = {text for p in sides["train"] for text in (p.english, p.spanish)}
  for pair in (*sides["validation"], *sides["test"]):
    assert not train & {pair.english, pair.spanish}
