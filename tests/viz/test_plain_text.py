"""Words of figures are drawn as they are: no markup, no missing characters."""

import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from attnjax.viz import (
  alignment_figure,
  attention_figure,
  learning_curve_figure,
  lines_figure,
  rollout_figure,
  save_attention,
  save_curves,
  save_lines,
)
from attnjax.viz.plain_text import drawable, families_for, write_plainly
from attnjax.viz.style import new_figure, save_figure

# Markup that matplotlib would refuse, or would draw as something else; control
# characters, an escape, half of a pair, and what few fonts have.
HARD = (
  *("$$", "$x$", "$\\frac{$", "a_b^c", "\\", "\\$", "%", "#&{}~", "$"),
  *("\x00", "\x1b[31m", "\x7f", "\u200b", "\ud800", "\U0001f9ec", "漢字"),
)
SUFFIXES = ("png", "svg", "pdf")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_token_is_drawn(tmp_path, suffix):
  weights = np.full((1, len(HARD), len(HARD)), 1 / len(HARD))
  path = tmp_path / f"a.{suffix}"
  save_attention(path, weights, HARD, titles=["$$ of \\layer_0 \U0001f9ec"])
  assert path.stat().st_size > 1000


@pytest.mark.parametrize("word", [*HARD[:4], " ".join(HARD[4:])])
def test_any_word_is_a_title_a_name_and_a_label(tmp_path, word):
  save_lines(
    tmp_path / "lines.svg",
    {word: ([1, 2], [3, 4])},
    x_label=word,
    y_label=word,
    title=word,
    levels={word + "!": 3.5},
  )
  records = [{"step": n, "split": word, word: 1.0 / n} for n in (1, 2)]
  save_curves(
    tmp_path / "curves.svg",
    records,
    metric=word,
    title=word,
    yardsticks={word: 0.5},
  )


def test_a_dollar_is_a_dollar_and_not_the_begin_of_a_formula():
  figure = attention_figure(np.eye(2)[None], ["$x$", "a_b"], titles=["$y$"])
  axes = figure.axes[0]
  assert axes.title.get_text() == "$y$"
  shown = [label.get_text() for label in axes.get_yticklabels()]
  assert shown == ["$x$", "a_b"]
  words = [axes.title, *axes.get_yticklabels(), *axes.get_xticklabels()]
  assert not any(word.get_parse_math() for word in words)


def test_powers_of_ten_beside_a_logarithmic_axis_are_still_set_as_such():
  options = {"x_label": "$x$", "y_label": "y", "log_y": True}
  figure = lines_figure({"a": ([1, 2, 3], [1, 10, 1000])}, **options)
  figure.canvas.draw()
  (axes,) = figure.axes
  numbers = [label for label in axes.get_yticklabels() if label.get_text()]
  assert all("$" in label.get_text() for label in numbers)
  assert all(label.get_parse_math() for label in numbers)
  assert not axes.xaxis.label.get_parse_math()


def test_what_no_font_has_is_written_as_its_number():
  assert drawable("a\U0010fffeb") == "a⟨10fffe⟩b"
  assert drawable("one\ntwo three") == "one\ntwo three"
  assert drawable("\t\r\x00\x1b") == "⇥⟨d⟩⟨0⟩⟨1b⟩"
  assert drawable("\U0010fffe" * 9, longest=14) == "⟨10fffe⟩⟨10ff…"


def test_the_label_that_is_drawn_is_no_longer_than_its_place():
  hard = ["\U0010fffe" * 14, "b"]
  for longest, expected in ((14, 14), (None, 14 * len("⟨10fffe⟩"))):
    figure = attention_figure(np.eye(2)[None], hard, longest=longest)
    label = figure.axes[0].get_yticklabels()[0].get_text()
    assert len(label) == expected


def test_legends_and_titles_of_whole_figures_are_words_too(tmp_path):
  figure = new_figure(3.0, 2.0)
  axes = figure.subplots()
  axes.plot([1, 2], label="$$")
  axes.legend(title="$$")
  axes.set_title("$$", loc="left")
  axes.bar(["$$", "b_"], [1, 2])
  axes.annotate("$$", (0, 1))
  figure.suptitle("$$")
  figure.legend(title="$$")
  save_figure(figure, tmp_path / "a.pdf")
  written = [t for t in figure.findobj(Text) if "$$" in t.get_text()]
  assert len(written) >= 7
  assert not any(text.get_parse_math() for text in written)


def test_a_figure_to_be_shown_is_plain_before_it_is_saved():
  records = [{"step": 1, "split": "$$", "loss": 2.0}]
  for figure in (
    attention_figure(np.eye(1)[None], ["$$"], titles=["$$"]),
    learning_curve_figure(records, metric="loss", title="$$"),
    lines_figure({"$$": ([1], [2])}, x_label="$$", y_label="$$"),
  ):
    figure.canvas.draw()


def test_settings_that_ask_for_tex_are_not_obeyed_by_words():
  with matplotlib.rc_context({"text.usetex": True}):
    figure = new_figure(2.0, 2.0)
    title = figure.subplots().set_title("a_b")
  write_plainly(figure)
  assert not title.get_usetex()


def test_a_missing_matplotlib_is_named_before_any_font_is_looked_for(
  monkeypatch,
):
  for name in list(sys.modules):
    if name.split(".")[0] == "matplotlib":
      monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ImportError, match=r"pip install 'attnjax\[viz\]'"):
    attention_figure(np.eye(1)[None], ["a"])


def test_another_font_that_is_installed_draws_what_the_first_lacks(tmp_path):
  if "Noto Sans CJK JP" not in families_for("猫", ["DejaVu Sans"]):
    pytest.skip("no Noto Sans CJK on this machine: fonts-noto-cjk")
  weights = np.eye(3)[None]
  figure = attention_figure(
    weights, ["猫", "שלום", "\U0010fffe"], titles=["猫"]
  )
  axes = figure.axes[0]
  shown = [label.get_text() for label in axes.get_yticklabels()]
  # Hebrew is in DejaVu Sans, which is "sans-serif"; a number is what none has.
  assert shown == ["猫", "שלום", "⟨10fffe⟩"]
  assert axes.title.get_text() == "猫"
  for suffix in SUFFIXES:  # warnings are errors: no glyph is missing
    save_figure(figure, tmp_path / f"a.{suffix}")


@pytest.mark.slow
def test_a_token_of_a_hundred_thousand_letters_fits(tmp_path):
  tokens = ["x" * 100_000, "\U0010fffe" * 100]
  figures = [
    attention_figure(np.eye(2)[None], tokens),
    alignment_figure(np.eye(2), tokens),
    rollout_figure(np.eye(2)[None], tokens),
  ]
  for figure in figures:
    save_figure(figure, tmp_path / "a.png")
    assert max(figure.get_size_inches()) < 9
