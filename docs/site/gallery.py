"""The experiments, by their figures, claims and first numbers."""

import dataclasses
import pathlib
import re

__all__ = ["Shown", "gallery_page", "read_experiment"]

GROUPS = {
  "What attention does": (
    "glimpse",
    "fluffy_creature",
    "heads",
    "why_scale",
    "external_memory",
    "context_cost",
  ),
  "Real tasks": (
    "language_model",
    "pronunciation",
    "translation",
    "vision",
    "reaction_mapping",
  ),
  "Published models": ("published_model", "induction"),
  "Memory beyond a window": (
    "recall_beyond_window",
    "titans_ablation",
    "why_recall_is_not_learned",
    "state_tracking",
    "needle",
    "memory_lm",
  ),
  "Speed and size": ("attention_speed", "memory_speed", "sharding", "scaling"),
}
_LOCAL = re.compile(r"\]\((?![a-z]+:|#)")  # of a link within the repository
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
_TABLE = re.compile(r"(?:^ *\|.*\n)+", re.M)
_ROWS = 5  # of the first table, below its header


@dataclasses.dataclass(frozen=True)
class Shown:
  """What the gallery shows of an experiment.

  Args:
    name: of its folder.
    title: the first heading of its README.
    claim: the first paragraph, without the word "Claim."
    figure: its first picture, in Markdown; "" where it has none.
    numbers: the beginning of its first table.
  """

  name: str
  title: str
  claim: str
  figure: str
  numbers: str


def read_experiment(readme: pathlib.Path) -> Shown:
  """Reads what is shown from the README of an experiment.

  Raises:
    ValueError: there is no title, or no claim.
  """
  # In the gallery a link is seen from one folder above.
  text = readme.read_text(encoding="utf-8")
  text = _LOCAL.sub(f"]({readme.parent.name}/", text)
  title = re.match(r"# (.+)", text)
  # Nearly all begin with their claim; one that has none yet, with its question.
  claim = re.match(r"# .+\n\n(?:\*\*Claim\.\*\* )?(.+?)\n\n", text, re.S)
  if title is None or claim is None:
    raise ValueError(
      f"{readme} must begin with '# title' and then '**Claim.** ...'"
    )
  image = _IMAGE.search(text)
  table = _TABLE.search(text)
  rows = [line.strip() for line in table[0].splitlines()] if table else []
  return Shown(
    readme.parent.name,
    title[1],
    " ".join(claim[1].split()),
    image[0] if image else "",
    "\n".join(rows[: 2 + _ROWS]),
  )


def gallery_page(found: list[Shown]) -> str:
  """The page of all, in Markdown, with links as `experiments/README.md` has."""
  by_name = {one.name: one for one in found}
  groups = {
    title: [by_name.pop(name) for name in names if name in by_name]
    for title, names in GROUPS.items()
  }
  groups["Others"] = list(by_name.values())
  lines = [
    "# Experiments",
    "",
    "Each is a short program that makes one claim and shows it with numbers."
    " Run one with `python -m experiments.NAME --preset=tiny`: minutes on two"
    " cores, no download unless its page says so. Below: the claim, the first"
    " figure and the first numbers of each. The page behind the title has the"
    " command, the cost, what was expected, and what the experiment does not"
    " show.",
    "",
  ]
  for title, members in groups.items():
    if members:
      lines += [f"## {title}", ""]
    for one in members:
      lines += _card(one)

  names = [one.name for members in groups.values() for one in members]
  lines += ["```{toctree}", ":hidden:", "", *names, "```", ""]
  return "\n".join(lines)


def _card(one: Shown) -> list[str]:
  """The lines of one experiment."""
  lines = [f"### [{one.title}]({one.name}/README.md)", ""]
  lines += [":::::{container} experiment", ""]
  if one.figure:
    lines += ["::::{container} figure", one.figure, "::::", ""]
  lines += ["::::{container} told", one.claim, "::::", "", ":::::", ""]
  if one.numbers:
    lines += ["::::{container} numbers", "", one.numbers, "::::", ""]
  return lines
