import numpy as np
import pytest

from attnjax.viz import lines_figure, save_lines

LABELS = {"x_label": "length", "y_label": "error"}


def test_the_line_is_the_mean_and_the_band_the_extremes():
  figure = lines_figure({"a": ([1, 2, 3], [[1, 2, 3], [3, 2, 7]])}, **LABELS)
  (axes,) = figure.axes
  assert axes.lines[0].get_ydata().tolist() == [2, 2, 5]
  band = axes.collections[0].get_paths()[0].vertices
  assert {(1.0, 1.0), (1.0, 3.0), (3.0, 7.0)} <= set(map(tuple, band))


def test_labels_stand_at_the_end_of_their_line_on_a_logarithmic_axis():
  series = {"low": ([1, 2], [1, 1]), "high": ([1, 2], [1, 1000])}
  figure = lines_figure(series, **LABELS, log_y=True)
  (axes,) = figure.axes
  low, high = axes.get_ylim()
  place = lambda y: np.log(y / low) / np.log(high / low)
  heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
  assert heights["low"] == pytest.approx(place(1), abs=1e-6)
  assert heights["high"] == pytest.approx(place(1000), abs=1e-6)


def test_powers_of_two_get_a_binary_axis():
  axis = lambda x: (
    lines_figure({"a": (x, x)}, **LABELS, log_x=True).axes[0].xaxis
  )
  assert axis([4, 64]).get_transform().base == 2
  assert axis([3, 50]).get_transform().base == 10


def test_a_gap_is_left_where_nothing_is_known_and_levels_are_named(tmp_path):
  series = {"a": ([1, 2, 3], [1, np.nan, 2])}
  path = save_lines(
    tmp_path / "x" / "a.png", series, **LABELS, levels={"b": 3.0}
  )
  assert path.stat().st_size > 1000
  texts = lines_figure(series, **LABELS, levels={"b": 3.0}).axes[0].texts
  assert {text.get_text() for text in texts} == {"a", "b"}


@pytest.mark.parametrize(
  ("series", "words"),
  [
    ({}, "one line at least"),
    ({"a": ([1, 2], [1])}, "'a': expected x of N"),
    ({"a": ([], [])}, "'a': expected x of N"),
  ],
)
def test_what_does_not_fit_is_named(series, words):
  with pytest.raises(ValueError, match=words):
    lines_figure(series, **LABELS)


def test_lines_of_one_color_are_dashed_apart():
  series = {str(n): ([1, 2], [n, n]) for n in range(23)}
  figure = lines_figure(series, x_label="x", y_label="y")
  looks = [
    (line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines
  ]
  assert len(set(looks[:23])) == 23
  # Without any colour, as in print, ten are told by their marks alone.
  assert len({x.get_marker() for x in figure.axes[0].lines[:10]}) == 10
  assert len({color for color, _ in looks[:10]}) == 10
