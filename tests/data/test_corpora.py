"""Corpora: what is read, what is left out, and what is refused."""

import bz2
import glob
import gzip
import lzma
import os
import pathlib

import absl.logging
import pytest

from attnjax.data import CORPORA, Document, load
from attnjax.data.folders import matching


def gzipped(data):
  """The same bytes at any time: they name tests, on every worker alike."""
  return gzip.compress(data, mtime=0)


def _refusal(match, corpus="english", path=None) -> str:
  """The message of a load that must fail, which is one line."""
  with pytest.raises(ValueError, match=match) as caught:
    load(corpus, path if path is None else str(path))
  message = str(caught.value)
  assert "\n" not in message
  return message


@pytest.fixture
def tree(tmp_path):
  files = {
    "b.txt": b"second",
    "a/deep/c.md": b"first",
    "image.png": b"\x89PNG\0\0",
    "empty.txt": b"",
    ".git/HEAD": b"ref: hidden folder",
    ".hidden": b"hidden file",
  }
  for name, text in files.items():
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text)
  (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
  return tmp_path


@pytest.mark.parametrize("corpus", sorted(CORPORA))
def test_every_machine_has_the_corpora(corpus):
  documents = load(corpus)
  names = [document.name for document in documents]
  assert names == sorted(set(names))
  assert all(document.text for document in documents)
  assert sum(len(d.text) for d in documents) > 300_000
  for document in documents:
    document.text.decode()


def test_python_is_the_library_without_its_tests():
  names = {document.name for document in load("python")}
  assert {"ast.py", "json/decoder.py"} <= names
  folders = {part for name in names for part in name.split("/")[:-1]}
  assert not folders & {"site-packages", "test", "tests", "__pycache__"}


def test_a_file_is_a_document(tree):
  assert load("english", str(tree / "b.txt")) == [Document("b.txt", b"second")]


def test_a_directory_is_read_to_the_bottom_without_what_is_no_text(tree):
  assert load("english", str(tree)) == [
    Document("a/deep/c.md", b"first"),
    Document("b.txt", b"second"),
  ]


@pytest.mark.parametrize(
  ("pattern", "texts"),
  [("*.txt", [b"second"]), ("**/*", [b"first", b"second"])],
)
def test_a_glob_takes_what_it_matches(tree, pattern, texts):
  documents = load("english", str(tree / pattern))
  assert [document.text for document in documents] == texts


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tmp_path):
  (tmp_path / "a[1].txt").write_bytes(b"brackets")
  documents = load("english", str(tmp_path / "a[1].txt"))
  assert documents == [Document("a[1].txt", b"brackets")]


@pytest.fixture
def warned(monkeypatch):
  """What `load` warns of, in order."""
  lines = []

  def log(level, text, *args):
    if level == absl.logging.WARNING:
      lines.append(text % args)

  monkeypatch.setattr("absl.logging.log", log)
  return lines


def test_what_is_left_out_is_counted_in_a_warning(tree, warned):
  load("english", str(tree))
  assert warned == [
    "2 text files read; left out: 1 hidden ({0}/.hidden'), 1 empty"
    " ({0}/empty.txt'), 1 binary ({0}/image.png': convert it to UTF-8), 1 not"
    " regular ({0}/nowhere': copy its text to a file)".format(f"'{tree}")
  ]


@pytest.mark.parametrize(
  ("data", "kind"),
  [
    ("été\n".encode("utf-16"), "UTF-16"),
    ("plain\n".encode("utf-16-le"), "UTF-16"),
    ("\u6f22\u5b57".encode("utf-16"), "UTF-16"),  # no byte of it is 0
    ("plain".encode("utf-32"), "UTF-32"),
    (gzipped(b"text"), "gzip"),
    (bz2.compress(b"text"), "bzip2"),
    (lzma.compress(b"text"), "xz"),
  ],
)
@pytest.mark.parametrize("pattern", ["", "*", "**/*"])
def test_what_is_no_plain_text_is_left_out_with_a_warning_that_names_it(
  tmp_path, warned, data, kind, pattern
):
  (tmp_path / "text.txt").write_bytes(b"some text")
  (tmp_path / "other").write_bytes(data)
  documents = load("english", str(tmp_path / pattern))
  assert [document.text for document in documents] == [b"some text"]
  assert f"left out: 1 {kind} ('{tmp_path}/other': " in warned[0]
  with pytest.raises(ValueError, match=rf"is an? {kind} file: expected text; "):
    load("english", str(tmp_path / "other"))


def test_a_directory_of_text_alone_warns_of_nothing(tmp_path, warned):
  (tmp_path / "text.txt").write_bytes(b"some text")
  (tmp_path / "empty.txt").touch()
  load("english", str(tmp_path))
  assert warned == []


@pytest.mark.parametrize("pattern", ["", "**/*.txt", "**", "deep/**/**/*.txt"])
def test_links_to_the_parent_come_to_an_end_and_are_told(
  tmp_path, warned, pattern
):
  folder = tmp_path / "texts/deep"
  folder.mkdir(parents=True)
  (folder / "a.txt").write_bytes(b"a text")
  for name in ("one", "two", "three"):
    (folder / name).symlink_to("..")
    (folder.parent / name).symlink_to("..")
  documents = load("english", str(tmp_path / "texts" / pattern))
  assert {document.text for document in documents} == {b"a text"}
  assert "link to a directory read already" in warned[0]


@pytest.mark.parametrize("pattern", ["", "**/*.txt"])
def test_a_link_to_a_directory_elsewhere_is_followed_once(
  tmp_path, warned, pattern
):
  (tmp_path / "far").mkdir()
  (tmp_path / "far/b.txt").write_bytes(b"far away")
  (tmp_path / "here").mkdir()
  (tmp_path / "here/a.txt").write_bytes(b"near")
  (tmp_path / "here/first").symlink_to(tmp_path / "far")
  (tmp_path / "here/second").symlink_to(tmp_path / "far")
  documents = load("english", str(tmp_path / "here" / pattern))
  assert [document.text for document in documents] == [b"near", b"far away"]
  assert "left out: 1 link to a directory read already" in warned[0]
  assert "here/second" in warned[0]


@pytest.mark.parametrize(
  "pattern", ["*.txt", "**/*", "**/b.txt", "a/**/*.md", "**", "a/**"]
)
def test_a_glob_matches_what_python_matches(tree, pattern):
  pattern = str(tree / pattern)
  expected = {
    pathlib.Path(match)
    for match in glob.glob(pattern, recursive=True)
    if os.path.isfile(match)
  }
  found, _ = matching(pattern)
  assert {match for match in found if os.path.isfile(match)} == expected


def test_an_unknown_corpus_gets_the_list_and_a_guess():
  message = _refusal("Did you mean 'python'", corpus="pyhton")
  assert "['english', 'python']" in message


@pytest.mark.parametrize("name", ["gone.txt", "*.rst"])
def test_a_path_that_is_not_there_is_named(tmp_path, name):
  assert name in _refusal("does not exist", path=tmp_path / name)


def test_a_binary_file_named_directly_is_refused(tree):
  assert "image.png" in _refusal("binary", path=tree / "image.png")


def test_a_path_without_text_is_refused(tree):
  _refusal("is an empty file", path=tree / "empty.txt")
  _refusal("holds no text", path=tree / "*.png")


def test_a_device_is_refused():
  _refusal("neither a file nor a directory", path="/dev/null")


def test_a_file_that_cannot_be_read_is_named(tree, monkeypatch):
  def refuse(self):
    raise PermissionError(13, "Permission denied", str(self))

  monkeypatch.setattr(pathlib.Path, "read_bytes", refuse)
  assert "b.txt" in _refusal("Permission denied", path=tree / "b.txt")
