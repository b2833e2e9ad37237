"""Corpora: what is read, what is left out, and what is refused."""

import pathlib

import pytest

from attnjax.data import CORPORA, Document, load


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


def test_what_is_left_out_is_counted_in_the_log(tree, monkeypatch):
  lines = []
  monkeypatch.setattr(
    "absl.logging.info", lambda text, *args: lines.append(text % args)
  )
  load("english", str(tree))
  assert (
    "2 text files read; left out: 1 binary, 1 empty, 1 hidden, 1 not regular"
    in lines[-1]
  )


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
