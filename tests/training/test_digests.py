"""A manifest finds every change to the files it covers."""

import json

import pytest

from attnjax.training import step_directories


@pytest.fixture
def folder(tmp_path):
  """A sealed directory with two files, one of them in a subdirectory."""
  (tmp_path / "deep").mkdir()
  (tmp_path / "weights").write_bytes(bytes(range(97)))
  (tmp_path / "deep" / "table").write_bytes(b"abc" * 31)
  (tmp_path / "journal").write_text("another program still writes here")
  step_directories.write_digests(tmp_path, ignore=("journal",))
  return tmp_path


def _problem(folder):
  return step_directories.find_damage(folder, ignore=("journal",))


def test_untouched_files_are_whole(folder):
  assert _problem(folder) is None
  assert _problem(folder) is None  # looking changes nothing


@pytest.mark.parametrize("bit", range(0, 97 * 8, 89))
def test_every_flipped_bit_is_found(folder, bit):
  data = bytearray((folder / "weights").read_bytes())
  data[bit // 8] ^= 1 << (bit % 8)
  (folder / "weights").write_bytes(bytes(data))
  assert _problem(folder).startswith("weights differs from its digest")


@pytest.mark.slow
def test_every_flipped_bit_of_the_manifest_is_found(folder):
  path = folder / step_directories.MANIFEST
  good = path.read_bytes()
  written = step_directories._read_manifest(folder)
  for bit in range(0, len(good) * 8, 3):
    data = bytearray(good)
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(bytes(data))
    # White space may change into other white space, which changes nothing.
    harmless = good[bit // 8 : bit // 8 + 1].isspace()
    problem = _problem(folder)
    if problem is None:
      assert harmless
      assert step_directories._read_manifest(folder) == written
    else:
      assert problem.startswith("digests.json is not the manifest"), bit


def test_a_truncated_file_is_found(folder):
  (folder / "deep" / "table").write_bytes(b"abc")
  assert _problem(folder) == "deep/table has 3 bytes where 93 were written"


def test_a_missing_file_is_found(folder):
  (folder / "deep" / "table").unlink()
  assert _problem(folder) == "deep/table is missing"


def test_an_unexpected_file_is_found(folder):
  (folder / "deep" / "extra").write_text("?")
  assert _problem(folder).startswith("deep/extra is unexpected")


def test_a_directory_in_place_of_a_file_is_found(folder):
  (folder / "weights").unlink()
  (folder / "weights").mkdir()
  assert _problem(folder) == "weights is missing"


def test_swapped_files_are_found(folder):
  (folder / "deep" / "table").write_bytes(bytes(reversed(b"abc" * 31)))
  assert _problem(folder).startswith("deep/table differs")


def test_a_missing_manifest_is_found(folder):
  (folder / step_directories.MANIFEST).unlink()
  assert _problem(folder) == "digests.json is missing"


@pytest.mark.parametrize(
  "text", ["", "{", "[]", "3", "{}", '{"algorithm": "sha256"}', "\xff"]
)
def test_a_manifest_that_says_nothing_is_found(folder, text):
  (folder / step_directories.MANIFEST).write_bytes(text.encode("latin-1"))
  assert "is not the manifest that was written" in _problem(folder)


def test_an_ignored_file_may_change(folder):
  (folder / "journal").write_text("and it did")
  assert _problem(folder) is None
  (folder / "journal").unlink()
  assert _problem(folder) is None


def test_an_unreadable_file_is_told_apart_from_no_permission(
  folder, monkeypatch
):
  def fail(*_):
    raise OSError(5, "Input/output error", str(folder / "weights"))

  monkeypatch.setattr(step_directories, "_digests", fail)
  assert _problem(folder) == "weights cannot be read (Input/output error)"

  def refuse(*_):
    raise PermissionError(13, "Permission denied", str(folder / "weights"))

  monkeypatch.setattr(step_directories, "_digests", refuse)
  with pytest.raises(PermissionError):
    _problem(folder)


def test_some_files_can_be_checked_alone(folder):
  (folder / "weights").write_bytes(b"")
  assert step_directories.find_damage(folder, only=("deep/table",)) is None
  assert step_directories.find_damage(folder, only=("weights",)) is not None
  assert (
    step_directories.find_damage(folder, only=("never-written",)) is not None
  )


def test_the_manifest_is_plain_json_with_sha256(folder):
  manifest = json.loads((folder / step_directories.MANIFEST).read_text())
  # printf 'abc%.0s' {1..31} | sha256sum
  golden = "6557115003ee3f6a9faa47aef3d5214dffc318f8bfb58eb39707d70d9a44d497"
  assert manifest["files"]["deep/table"] == {"size": 93, "digest": golden}
