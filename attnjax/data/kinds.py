"""Files that are no text, told apart by their first bytes."""

from typing import NamedTuple

__all__ = ["Kind", "kind_of"]


class Kind(NamedTuple):
  """What a file is that cannot be read as text.

  Args:
    name: of the format.
    article: before the name.
    remedy: what makes text of it.

  >>> Kind("gzip", "a", "gunzip it").name
  'gzip'
  """

  name: str
  article: str
  remedy: str


_UTF16 = Kind("UTF-16", "a", "convert it, iconv -f utf-16 -t utf-8")
_BINARY = Kind("binary", "a", "convert it to UTF-8")
_MAGIC = {
  b"\x1f\x8b": Kind("gzip", "a", "unpack it, gunzip"),
  b"BZh": Kind("bzip2", "a", "unpack it, bunzip2"),
  b"\xfd7zXZ\0": Kind("xz", "an", "unpack it, unxz"),
  b"\x28\xb5\x2f\xfd": Kind("zstd", "a", "unpack it, unzstd"),
  b"PK\x03\x04": Kind("zip", "a", "unpack it, unzip"),
  b"%PDF-": Kind("PDF", "a", "convert it, pdftotext"),
  b"\xff\xfe\0\0": Kind("UTF-32", "a", "convert it, iconv -f utf-32 -t utf-8"),
  b"\0\0\xfe\xff": Kind("UTF-32", "a", "convert it, iconv -f utf-32 -t utf-8"),
  b"\xff\xfe": _UTF16,
  b"\xfe\xff": _UTF16,
}


def kind_of(data: bytes) -> Kind | None:
  r"""What a file is if it is no text, or None.

  Args:
    data: its bytes.

  >>> kind_of("plain".encode()) is None
  True
  >>> kind_of("plain".encode("utf-16")).name
  'UTF-16'
  >>> kind_of(b"\x00\x01\x02").name
  'binary'
  """
  for magic, kind in _MAGIC.items():
    if data.startswith(magic):
      return kind

  if b"\0" not in data:
    return None

  # UTF-16 without its mark: of plain Latin text every other byte is 0, and
  # those between are letters.
  for zeros, letters in ((data[0::2], data[1::2]), (data[1::2], data[0::2])):
    if letters and min(letters) >= 9 and zeros.count(0) > 0.8 * len(zeros):
      return _UTF16

  return _BINARY
