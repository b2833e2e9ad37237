"""`page`: one HTML file that shows what a model attends to, offline."""

import dataclasses
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnjax.viz.captured import Captured, chosen
from attnjax.viz.named_array import NamedArray
from attnjax.viz.page_data import Sentence, model_data, source_of
from attnjax.viz.page_picture import picture_data
from attnjax.viz.recurrence import joined
from attnjax.viz.tokens import Token

__all__ = ["Page", "page"]

# What `page_build` makes of the sources of the page.
_TEMPLATE = Path(__file__).with_name("page_template.html")

# Where a page of 255 levels would be larger than 2 MB, weights have fewer.
_LARGE, _FEWER, _OFF = 1_800_000, 127, 80
_COARSE = (
  f"Weights have {_FEWER} levels here, not 255, for a smaller file: each is"
  f" within sqrt(w) / {_OFF} of what it was."
)


@dataclasses.dataclass(frozen=True)
class Page:
  """A page that needs nothing but itself; a notebook shows it in place.

  Args:
    html: the whole file, as text.

  >>> Page("<!DOCTYPE html>").html
  '<!DOCTYPE html>'
  """

  html: str

  def save(self, path: str | Path) -> Path:
    """Writes the file; its directory is made if missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(self.html, encoding="utf-8")
    return path

  def _repr_html_(self) -> str:
    """The page in a frame of its own, for Jupyter."""
    text = html.escape(self.html, quote=True)
    return (
      f'<iframe title="attention" srcdoc="{text}" width="100%" height="640"'
      ' style="border:0"></iframe>'
    )


def page(
  source: Any,
  tokens: Sequence[Token],
  key_tokens: Sequence[Token] | None = None,
  *,
  title: str = "attention",
  layers: Sequence[int] | None = None,
  batch: int = 0,
  shown: Sequence[int] | None = None,
  key_shown: Sequence[int] | None = None,
  most: int = 512,
  image: Any = None,
  patches: tuple[int, int] | None = None,
  ablation: Any = None,
) -> Page:
  """A page of attention: sentence, edges, matrix, dots and numbers of heads.

  Of a captured model it also shows the mask of each layer, and of
  self-attention the rollout of the chosen token.

  It opens from a file, asks the network for nothing, works by keyboard, and its
  address restores what is shown. Weights are packed in 8 bits, with an error of
  at most sqrt(w) / 255; where the file would be larger than about 2 MB, sqrt(w)
  / 80, which the page says.

  Args:
    source: what `capture` returns; or weights, ``L H T S`` or ``H T S``; or
      what `memory_trace` returns; or a mapping of names to these, models or
      steps of a training, which are shown side by side. A recurrence that
      attends from one query a step is shown `joined`.
    tokens: of the queries: text, bytes or ints. They are shown as text, never
      run; bytes that are no text are shown in hexadecimal.
    key_tokens: of the keys where these are others, as in cross-attention. Each
      layer takes those that are as many as its queries and as its keys; of two
      sentences of one length, those that its queries and keys came from.
    title: of the page.
    layers: those to show; None is all.
    batch: the batch row to show.
    shown: indices of the tokens to show; None is the last `most`. What is left
      out is said on the page.
    key_shown: the same for `key_tokens`.
    most: tokens that are shown where none are chosen.
    image: ``Y X``, ``Y X 1`` or ``Y X 3``, whose patches are the last tokens:
      a view shows where in it each looks. See `patch_tokens`.
    patches: (rows, columns) of patches; needed with an image.
    ablation: change of a loss when a head is silenced, ``L H`` of the layers
      shown, as `head_ablation` returns: a column of the table of heads. Of
      several models a mapping by their names.

  Raises:
    ValueError: tokens are not as many as queries or keys; weights are negative,
      not finite, more than 1, or transposed; or an image has no patches, or
      tokens of it are left out.

  >>> import numpy as np
  >>> made = page(np.eye(3)[None], ["a", "<script>", "c"])
  >>> "<script>" in made.html.split('id="data"')[1].split("</script>")[0]
  False

  Reference:
    the views of a sentence and of edges: Vig, "A Multiscale Visualization of
    Attention in the Transformer Model", 2019, arXiv 1906.05714; the dots: G.
    Sanderson, "Attention in transformers, step-by-step" (3Blue1Brown), 2024.
  """
  sources = source if isinstance(source, Mapping) else {"model": source}
  if not sources:
    raise ValueError("source must hold one model or more, got none")
  sentences = [Sentence.of(tokens, shown, most, "tokens")]
  if key_tokens is not None:
    sentences.append(Sentence.of(key_tokens, key_shown, most, "key_tokens"))

  picture = None
  if image is not None:
    count = len(sentences[0].tokens)
    if patches is None or key_tokens is not None or sentences[0].note:
      raise ValueError(
        "image needs patches=(rows, columns), all of its tokens, and no"
        f" key_tokens=, got patches={patches} of {count} tokens; choose most="
      )
    picture = picture_data(image, patches, count)

  changes = _ablation(ablation, sources, layers, sentences)

  def data(levels: int) -> str:
    models, notes = [], [x.note for x in sentences if x.note is not None]
    if levels == _FEWER:
      notes.append(_COARSE)
    for name, one in sources.items():
      made, more = model_data(
        str(name),
        _over_tokens(source_of(str(name), one), sentences),
        sentences,
        batch=batch,
        layers=layers,
        levels=levels,
        ablation=changes.get(name),
      )
      models.append(made)
      notes += more
    return _json(
      {
        "title": title,
        "notes": notes,
        "sentences": [x.tokens for x in sentences],
        "models": models,
        "picture": picture,
      }
    )

  packed = data(255)
  if len(packed) > _LARGE:
    packed = data(_FEWER)
  template = _TEMPLATE.read_text(encoding="utf-8")
  return Page(template.replace("/*DATA*/", packed))


def _ablation(
  given: Any,
  sources: Mapping[Any, Any],
  layers: Sequence[int] | None,
  sentences: Sequence[Sentence],
) -> dict[Any, np.ndarray]:
  """Change of the loss without each head, of each model where it is known."""
  if given is None:
    return {}
  if not isinstance(given, Mapping):
    if len(sources) > 1:
      raise ValueError(
        "ablation must be a mapping by the names of the models, of which there"
        f" are {len(sources)}"
      )
    given = {next(iter(sources)): given}

  found = {}
  for name, one in given.items():
    values = np.asarray(one.values if isinstance(one, NamedArray) else one)
    if name not in sources or values.ndim != 2:
      raise ValueError(
        f"ablation must be L H of one of {[*sources]}, got shape"
        f" {list(values.shape)} of {name!r}"
      )
    source = _over_tokens(source_of(str(name), sources[name]), sentences)
    heads = [source[k].heads for k in chosen("layers", layers, len(source))]
    if values.shape != (len(heads), max(heads)):
      raise ValueError(
        f"ablation of {name!r} must have a row for each of {len(heads)} layers"
        f" shown and {max(heads)} heads, got shape {list(values.shape)}"
      )
    found[name] = values.astype(np.float64)
  return found


def _over_tokens(source: Any, sentences: Sequence[Sentence]) -> Any:
  """Captured attention, a recurrence of one query a step as one layer."""
  sizes = [len(x.tokens) for x in sentences]
  if not isinstance(source, Captured) or 1 in sizes:
    return source
  return joined(source, sizes[0])


def _json(data: Mapping[str, Any]) -> str:
  """JSON that no parser of HTML can take for a tag."""
  text = json.dumps(data, separators=(",", ":"), allow_nan=False)
  # Within a string, where alone these stand, \\u003c means the same.
  for sign in "<>&":
    text = text.replace(sign, f"\\u{ord(sign):04x}")
  return text
