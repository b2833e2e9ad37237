"""Detection of files that are not UTF-8 text, by their first bytes."""

from typing import NamedTuple

__all__ = ["FileFormat", "detect_format"]


class FileFormat(NamedTuple):
  """A format of files that cannot be read as text.

  Args:
    name: of the format.
    article: before the name.
    remedy: what makes text of it.

  >>> FileFormat("gzip", "a", "gunzip it").name
  'gzip'
  """

  name: str
  article: str
  remedy: str


_UTF16 = FileFormat("UTF-16", "a", "convert it, iconv -f utf-16 -t utf-8")
_UTF32 = FileFormat("UTF-32", "a", "convert it, iconv -f utf-32 -t utf-8")
_BINARY = FileFormat("binary", "a", "convert it to UTF-8")
# In this order: the mark of little-endian UTF-32 begins with that of UTF-16.
_MAGIC = {
  b"\x1f\x8b": FileFormat("gzip", "a", "unpack it, gunzip"),
  b"BZh": FileFormat("bzip2", "a", "unpack it, bunzip2"),
  b"\xfd7zXZ\0": FileFormat("xz", "an", "unpack it, unxz"),
  b"\x28\xb5\x2f\xfd": FileFormat("zstd", "a", "unpack it, unzstd"),
  b"PK\x03\x04": FileFormat("zip", "a", "unpack it, unzip"),
  b"%PDF-": FileFormat("PDF", "a", "convert it, pdftotext"),
  b"\xff\xfe\0\0": FileFormat(
    "UTF-32", "a", "convert it, iconv -f utf-32 -t utf-8"
  ),
  b"\0\0\xfe\xff": FileFormat(
    "UTF-32", "a", "convert it, iconv -f utf-32 -t utf-8"
  ),
  b"\xff\xfe": _UTF16,
  b"\xfe\xff": _UTF16,
}


def detect_format(data: bytes) -> FileFormat | None:
  r"""The format of a file that is no text; None where it is text.

  Args:
    data: its bytes.

  >>> detect_format("plain".encode()) is None
  True
  >>> detect_format("plain".encode("utf-16")).name
  'UTF-16'
  >>> detect_format(b"\x00\x01\x02").name
  'binary'
  """
  for magic, file_format in _MAGIC.items():
    if data.startswith(magic):
      return file_format

  if b"\0" not in data:
    return None

  # UTF-16 without a byte order mark: of Latin text every other byte is 0 (80 %
  # leave room for other scripts), and none of those between is a control code.
  for zeros, letters in ((data[0::2], data[1::2]), (data[1::2], data[0::2])):
    if letters and min(letters) >= 9 and zeros.count(0) > 0.8 * len(zeros):
      return _UTF16

  return _BINARY
