"""Validation of names of buckets, zones, images, accounts and clusters.

A valid name has no character that is special in a shell, in YAML or in a URL,
so that it needs no quoting anywhere.

Reference:
  Google Cloud, "About Cloud Storage buckets" and "About objects"; AWS, "General
  purpose bucket naming rules"; Google Cloud, "Compute resource names" and
  clusters of the GKE API; Kubernetes, "Object Names and IDs"; distribution,
  "Reference grammar" of images; all 2026.
"""

import re
import unicodedata

__all__ = ["check_bucket", "check_folder", "check_name", "check_plain"]

_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"

# Of each flag: the rule, the longest, the rule in words, and an example.
_NAMES = {
  "zone": (
    rf"(?=[a-z]){_LABEL}",
    63,
    "small letters, digits and hyphens, a letter first",
    "us-west4-a",
  ),
  "xpk": (
    rf"(?=[a-z]){_LABEL}",
    40,
    "small letters, digits and hyphens, a letter first",
    "my-cluster",
  ),
  "account": (
    rf"{_LABEL}(?:\.{_LABEL})*",
    253,
    "small letters, digits, hyphens and dots",
    "trainer",
  ),
  "image": (
    rf"(?:{_HOST}(?:\.{_HOST})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    512,
    "registry/path:tag or registry/path@digest",
    "us-docker.pkg.dev/mine/attnjax:1",
  ),
}

_BUCKETS = {
  "gs": r"[a-z0-9][a-z0-9_.-]*[a-z0-9]",
  "s3": r"[a-z0-9](?:[a-z0-9-]|\.(?!\.))*[a-z0-9]",
}
# Neither cloud takes a bucket that is named like an IP address.
_ADDRESS = r"[0-9]+(\.[0-9]+){3}"


def check_name(flag: str, text: str) -> str:
  """Checks the name that a flag gives; returns it.

  Args:
    flag: `zone`, `xpk`, `account` or `image`.
    text: its value.

  Raises:
    ValueError: the name is invalid.

  >>> check_name("zone", "us-west4-a")
  'us-west4-a'
  """
  rule, longest, words, example = _NAMES[flag]
  if len(text) > longest or not re.fullmatch(rule, text):
    raise ValueError(
      f"{flag}: expected {words}, {longest} at most, got {text!r}; write it"
      f" as in --{flag}={example}"
    )
  return text


def check_bucket(scheme: str, name: str) -> None:
  """Checks the name of a bucket.

  Args:
    scheme: `gs` or `s3`.
    name: of the bucket.

  Raises:
    ValueError: with the rule.

  >>> check_bucket("gs", "my_bucket.example.com")
  """
  # Google Cloud allows 222 in all for names with dots, 63 between two dots.
  longest = 222 if scheme == "gs" and "." in name else 63
  legal = re.fullmatch(_BUCKETS[scheme], name)
  if (
    not legal
    or not 3 <= len(name) <= longest
    or max(map(len, name.split("."))) > 63
    or re.fullmatch(_ADDRESS, name)
  ):
    kinds = "hyphens, underscores and dots" if scheme == "gs" else "hyphens"
    raise ValueError(
      f"workdir: expected a bucket of 3 to 63 small letters, digits, {kinds},"
      f" a letter or digit at both ends, got {name!r}; name one that exists"
    )


def check_folder(place: str, folder: str) -> None:
  """Checks that a folder is valid as a mounted path and as a bucket address.

  Args:
    place: the whole address, for the error.
    folder: what follows the bucket, slashes at its ends taken off.

  Raises:
    ValueError: with the remedy.
  """
  parts = folder.split("/")
  if {".", ".."} & {*parts}:  # names to a bucket, ways to a mount
    raise ValueError(
      f"workdir: expected a folder without '.' and '..', got {place!r}; write"
      " where it leads"
    )
  if "" in parts:  # a mount has no empty name between two slashes
    raise ValueError(
      f"workdir: expected one slash between folders, got {place!r}; take the"
      " second away"
    )
  if found := sorted({*"*?[]#"} & {*folder}):  # patterns of gcloud
    raise ValueError(
      f"workdir: expected a folder without {' '.join(found)}, which programs of"
      f" the clouds read as patterns, got {place!r}; choose another"
    )

  check_plain("workdir", place)
  if len(folder.encode()) > 800 or max(len(p.encode()) for p in parts) > 200:
    raise ValueError(
      "workdir: expected a folder of 800 bytes at most, 200 between slashes,"
      f" for an object has 1024 with what a run adds, got {place!r}; choose a"
      " shorter one"
    )


def check_plain(name: str, text: str) -> None:
  r"""Checks that a text is one line, without control characters.

  Args:
    name: of the flag, for the error.
    text: to be written on one line.

  Raises:
    ValueError: names the character.

  >>> check_plain("sbatch", "--comment=a b")
  >>> check_plain("sbatch", "--comment=a\nb")
  Traceback (most recent call last):
  ValueError: sbatch: expected one line of text, got '\n' in
  '--comment=a\nb'; leave that character out
  """
  for character in text:
    # Cc control, Cs half a surrogate pair, Zl and Zp ends of lines.
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
      raise ValueError(
        f"{name}: expected one line of text, got {character!r} in {text!r};"
        " leave that character out"
      )
