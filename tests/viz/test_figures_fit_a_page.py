"""Figures that stand in a paper: on a page, whole words, the same bytes."""

import itertools

import numpy as np
import pytest

from attnjax import masks, viz
from attnjax.viz.mask_figure import tile_counts
from attnjax.viz.panels import PAGE
from attnjax.viz.style import INK, ink_on, weight_colormap

RNG = np.random.default_rng(0)


def draws(*shape):
  return RNG.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def overlapping(boxes):
  return [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]


def words(axes):
  """Boxes of what is written of one panel, each a little smaller."""
  texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.title]
  texts += [axes.xaxis.label, axes.yaxis.label]
  found = [t.get_window_extent() for t in texts if t.get_text()]
  return [box.shrunk(0.9, 0.75) for box in found]


@pytest.mark.parametrize(
  ("shape", "token", "options"),
  [
    pytest.param((3, 2, 11, 38), "x", {"columns": 2}, marks=pytest.mark.slow),
    ((2, 23, 23), "incomprehensibilities", {"layout": "columns"}),
    ((4, 5, 7), "place 3, colour 1", {"columns": 4}),
    ((2, 13, 13), "ﬁnal", {}),
  ],
)
def test_a_grid_of_heads_fits_a_page_and_no_word_is_cut_or_crossed(
  shape, token, options
):
  queries, keys = [token] * shape[-2], [token] * shape[-1]
  figure = viz.attention_figure(draws(*shape), queries, keys, **options)
  width, height = figure.get_size_inches()
  assert width <= PAGE[0] + 1e-6
  assert height <= PAGE[1] + 1e-6

  figure.draw_without_rendering()
  boxes = [box for axes in figure.axes for box in words(axes)]
  assert overlapping(boxes) == []
  for box in boxes:
    assert figure.bbox.contains(*box.min)
    assert figure.bbox.contains(*box.max)
  labels = figure.axes[0].get_yticklabels()
  assert {label.get_text() for label in labels} == {token}
  assert min(label.get_fontsize() for label in labels) >= 6


def test_rows_and_columns_that_are_asked_for_are_those_drawn():
  weights = draws(2, 5, 7)
  figure = viz.attention_figure(
    weights, "abcde", "ABCDEFG", queries=[-1, 0], keys=[6, 2, 3]
  )
  image = figure.axes[1].images[0].get_array()
  np.testing.assert_array_equal(image, weights[1][[4, 0]][:, [6, 2, 3]])
  axes = figure.axes[0]
  assert [x.get_text() for x in axes.get_yticklabels()] == ["e", "a"]
  assert [x.get_text() for x in axes.get_xticklabels()] == ["G", "C", "D"]
  with pytest.raises(ValueError, match="queries must be some of the 5"):
    viz.attention_figure(weights, "abcde", "ABCDEFG", queries=[5])


def test_of_a_sentence_without_room_every_nth_token_is_written_and_said():
  figure = viz.attention_figure(draws(9, 41, 41), "x" * 41, columns=9)
  said = figure.get_supxlabel()
  assert "key (every " in said
  assert "across" in said
  assert not figure.axes[0].get_xlabel()


def test_the_overview_has_every_head_at_its_place():
  weights = draws(2, 3, 5, 7)
  figure = viz.head_overview_figure(weights)
  assert len(figure.axes) == 6
  np.testing.assert_array_equal(
    figure.axes[4].images[0].get_array(), weights[1, 1]
  )
  assert [axes.get_title() for axes in figure.axes[:3]] == ["0", "1", "2"]
  assert figure.axes[3].get_ylabel() == "1"
  large = viz.head_overview_figure(draws(2, 12, 3, 3)).get_size_inches()
  assert (large <= np.array(PAGE) + 0.5).all()


def test_numbers_of_heads_are_written_and_readable_on_their_colour():
  values = np.array([[-2.0, 0.5], [np.nan, 1.0]])
  figure = viz.head_values_figure(values, label="change of loss, nats")
  axes = figure.axes[0]
  assert [x.get_text() for x in axes.texts] == ["-2.00", "0.50", "1.00"]
  assert axes.images[0].get_clim() == (-2.0, 2.0)
  for text in axes.texts:
    column, layer = text.get_position()
    cell = axes.images[0].to_rgba(values[int(layer), int(column)])
    assert text.get_color() == ink_on(cell)
  assert (ink_on((1.0, 1.0, 1.0)), ink_on((0.0, 0.0, 0.0))) == (INK, "white")


@pytest.mark.parametrize("block", [(3, 5), (4, 4), (20, 20)])
def test_tiles_of_a_mask_are_counted_as_they_look(block):
  mask = masks.causal() & masks.sliding_window(6)
  seen = np.asarray(mask.dense(17, 19))[0]
  found = {"empty": 0, "mixed": 0, "full": 0}
  for t, s in itertools.product(range(0, 17, block[0]), range(0, 19, block[1])):
    tile = seen[t : t + block[0], s : s + block[1]]
    kind = "full" if tile.all() else "mixed" if tile.any() else "empty"
    found[kind] += 1
  assert tile_counts(seen, block) == found

  figure = viz.mask_figure(mask, 17, 19, block=block)
  code = np.asarray(figure.axes[0].images[0].get_array())
  np.testing.assert_array_equal(code >= 2, seen)
  assert figure.axes[0].get_title(loc="left") == repr(mask)


def test_an_alignment_has_a_line_a_pair_as_wide_as_its_weight():
  weights = np.array([[0.9, 0.1, 0.0], [0.0, 0.02, 0.98]])
  figure = viz.alignment_figure(weights, ["le", "chat"], ["the", "cat", "."])
  axes = figure.axes[0]
  ends = [tuple(-y for y in line.get_ydata()) for line in axes.lines]
  assert ends == [(0, 1), (0, 0), (1, 2)]  # the strongest on top
  widths = [line.get_linewidth() for line in axes.lines]
  assert widths == sorted(widths)
  assert {"le", "chat", "the", "cat", "."} <= {x.get_text() for x in axes.texts}


def test_a_rollout_follows_one_token_through_the_layers():
  shares = viz.rollout(draws(3, 2, 5, 5))
  figure = viz.rollout_figure(shares, "abcde", query=1)
  np.testing.assert_allclose(
    figure.axes[0].images[0].get_array(), shares.at(query=1)
  )
  assert "“b”" in figure.axes[0].get_title()


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: viz.head_overview_figure(np.ones((2, 2, 2))), "L H T S"),
    (lambda: viz.head_overview_figure(-np.ones((1, 1, 2, 2))), "not logits"),
    (lambda: viz.head_values_figure([1.0], label="x"), "must be L H"),
    (lambda: viz.head_values_figure([[np.nan]], label="x"), "finite"),
    (lambda: viz.mask_figure(masks.causal(), 0), "at least 1"),
    (lambda: viz.mask_figure(masks.causal(), 3, block=0), "block must be"),
    (lambda: viz.alignment_figure(np.eye(2), "abc"), "3 and 3 tokens"),
    (lambda: viz.alignment_figure(np.eye(2), "ab", least=2.0), "least"),
    (lambda: viz.rollout_figure(np.ones((1, 2, 2)), "ab"), "sum to 1"),
    (lambda: viz.rollout_figure(np.ones((1, 2, 2)), "abc"), "3 tokens"),
  ],
)
def test_what_does_not_fit_is_named(make, message):
  with pytest.raises(ValueError, match=message):
    make()


@pytest.mark.parametrize("suffix", ["pdf", "svg"])
def test_a_figure_of_a_paper_is_the_same_bytes_with_its_fonts(tmp_path, suffix):
  made = []
  for name in ("a", "b"):
    figure = viz.mask_figure(masks.causal(), 5)
    path = viz.save_figure(figure, tmp_path / f"{name}.{suffix}")
    made.append(path.read_bytes())
  assert made[0] == made[1]
  assert b"/Type3" not in made[0]
  if suffix == "pdf":
    assert b"/FontFile2" in made[0]


def test_the_shades_of_weights_start_white():
  assert ink_on(weight_colormap()(0.0)) == INK
