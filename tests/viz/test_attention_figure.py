"""A picture of attention shows the weights, all of them, and legibly."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from attnjax.viz import attention_figure, save_attention
from attnjax.viz.style import weight_colormap
from attnjax.viz.tokens import visible, visible_all

H, T, S = 3, 5, 7
RNG = np.random.default_rng(0)
WEIGHTS = RNG.dirichlet(np.ones(S), size=(H, T))
QUERIES, KEYS = list("query"), ["a", "b", " ", "\n", "e", "fg", "h"]


def images(figure):
  """The matrix of each panel, the colour bar left out."""
  panels = [axes for axes in figure.axes if axes.get_title()]
  return [axes.images[0].get_array() for axes in panels]


def texts(axis):
  return [label.get_text() for label in axis.get_ticklabels()]


class ContentTest(parameterized.TestCase):
  def test_rows_are_queries_and_sum_to_one(self):
    figure = attention_figure(WEIGHTS, QUERIES, KEYS)
    np.testing.assert_array_equal(images(figure), WEIGHTS)
    axes = figure.axes[0]
    assert texts(axes.yaxis) == QUERIES
    assert texts(axes.xaxis) == ["a", "b", "␣", "⏎", "e", "fg", "h"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("key", "query")

  def test_columns_is_the_transpose_with_queries_on_top(self):
    figure = attention_figure(WEIGHTS, QUERIES, KEYS, layout="columns")
    np.testing.assert_allclose(np.sum(images(figure), axis=1), 1.0, rtol=1e-6)
    axes = figure.axes[0]
    assert texts(axes.xaxis) == QUERIES
    assert axes.xaxis.get_label_position() == "top"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("query", "key")

  def test_every_head_has_a_panel_and_a_title(self):
    figure = attention_figure(WEIGHTS, QUERIES, KEYS)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["head 0", "head 1", "head 2"]
    figure = attention_figure(WEIGHTS, QUERIES, KEYS, titles=["x", "y", "z"])
    assert [axes.get_title() for axes in figure.axes[:3]] == ["x", "y", "z"]

  def test_layers_are_lines_of_panels(self):
    deep = RNG.dirichlet(np.ones(S), size=(2, H, T))
    figure = attention_figure(deep, QUERIES, KEYS)
    np.testing.assert_array_equal(images(figure), deep.reshape(-1, T, S))
    assert figure.axes[4].get_title() == "layer 1, head 1"
    assert figure.axes[4].get_subplotspec().get_geometry()[:2] == (2, 3)

  def test_one_scale_from_zero_to_one_serves_all_panels(self):
    figure = attention_figure(WEIGHTS, QUERIES, KEYS)
    limits = {axes.images[0].get_clim() for axes in figure.axes[:H]}
    assert limits == {(0.0, 1.0)}
    assert figure.axes[-1].get_ylabel() == "attention weight"

  def test_a_scale_of_its_own_is_stated(self):
    figure = attention_figure(0.125 * WEIGHTS, QUERIES, KEYS, largest=None)
    for head, (axes, image) in enumerate(
      zip(figure.axes, images(figure), strict=False)
    ):
      assert image.max() == 1.0
      largest = 0.125 * WEIGHTS[head].max()
      assert axes.get_title() == f"head {head}  (largest {largest:.2g})"
    assert figure.axes[-1].get_ylabel() == "weight / largest of its panel"

  @parameterized.parameters((1, (3, 1)), (2, (2, 2)), (3, (1, 3)), (9, (1, 3)))
  def test_columns_are_how_many_panels_stand_side_by_side(self, n, shape):
    figure = attention_figure(WEIGHTS, QUERIES, KEYS, columns=n)
    assert figure.axes[0].get_subplotspec().get_geometry()[:2] == shape
    assert len(images(figure)) == H

  def test_hidden_queries_and_jax_bfloat16_are_drawn(self):
    weights = jnp.asarray(WEIGHTS, jnp.bfloat16).at[:, 2].set(0)
    drawn = images(attention_figure(weights, QUERIES, KEYS))
    assert np.all(np.asarray(drawn)[:, 2] == 0)
    np.testing.assert_allclose(drawn[0][0], WEIGHTS[0, 0], rtol=1e-2)

  def test_rows_of_sigmoids_need_not_sum_to_1(self):
    weights = np.clip(3 * WEIGHTS, 0, 1)
    drawn = images(attention_figure(weights, QUERIES, KEYS))
    np.testing.assert_allclose(drawn, weights)


class RefusalTest(parameterized.TestCase):
  @parameterized.parameters(
    (WEIGHTS[0], QUERIES, KEYS, {}, 'expected axes "H T S"'),
    (WEIGHTS[:, :, :0], QUERIES, [], {}, "none of them empty"),
    (WEIGHTS, KEYS, KEYS, {}, "query_tokens: expected 5 tokens"),
    (WEIGHTS, QUERIES, None, {}, "key_tokens: expected 7 tokens"),
    (9 * WEIGHTS, QUERIES, KEYS, {}, "expected at most 1, got"),
    (np.array([[[1.0, 1.0], [0.0, 0.0]]]), "ab", None, {}, "axes swapped"),
    (np.log(WEIGHTS), QUERIES, KEYS, {}, "pass weights, not logits"),
    (np.nan * WEIGHTS, QUERIES, KEYS, {}, "expected finite"),
    (WEIGHTS, QUERIES, KEYS, {"titles": ["x"]}, "titles: expected 3"),
    (WEIGHTS, QUERIES, KEYS, {"columns": 0}, "columns=0: expected"),
    (WEIGHTS, QUERIES, KEYS, {"largest": 0.0}, "largest=0.0: expected"),
  )  # fmt: skip
  def test_what_is_wrong_is_named(self, weights, queries, keys, more, message):
    with pytest.raises(ValueError, match=message):
      attention_figure(weights, queries, keys, **more)


class LegibilityTest(parameterized.TestCase):
  @parameterized.parameters(
    (2, "x", "rows"),
    (11, "token", "columns"),
    (64, "x", "rows"),
  )
  def test_labels_never_overlap_nor_leave_the_page(self, n, token, layout):
    weights = np.full((1, n, n), 1 / n)
    figure = attention_figure(weights, [token] * n, layout=layout)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for axis, side in ((axes.xaxis, "x"), (axes.yaxis, "y")):
      boxes = [t.get_window_extent() for t in axis.get_ticklabels()]
      starts = sorted(getattr(box, side + "0") for box in boxes)
      extent = "width" if side == "x" else "height"
      largest = max(getattr(box, extent) for box in boxes)
      assert len(boxes) > 1
      # Text boxes have some air above and below the letters.
      assert np.diff(starts).min() > 0.8 * largest
      assert all(figure.bbox.contains(*box.min) for box in boxes)
      assert all(figure.bbox.contains(*box.max) for box in boxes)
    assert boxes[0].height > 0.05 * figure.dpi

  def test_the_colour_darkens_in_equal_steps_from_white(self):
    shades = weight_colormap()(np.linspace(0, 1, 52))[:, :3]
    np.testing.assert_array_equal(shades[0], 1.0)
    linear = np.where(
      shades <= 0.04045, shades / 12.92, ((shades + 0.055) / 1.055) ** 2.4
    )
    # Lightness of OKLab (B. Ottosson, 2020).
    to_lms = np.array(
      [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
      ]
    )
    lightness = np.cbrt(linear @ to_lms.T) @ [0.2104542553, 0.793617785, -4e-3]
    steps = np.diff(lightness)
    assert steps.max() < 0
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.15)


class TokenTest(parameterized.TestCase):
  @parameterized.parameters(
    (" ", "␣"),
    ("\n", "⏎"),
    ("\t", "⇥"),
    ("", "∅"),
    (b"a", "a"),
    (b"\xc3\xa9", "é"),
    (b"\xe2\x82", "⟨e282⟩"),
    ("\x00", "⟨0⟩"),
    (" the", "␣the"),
    (257, "257"),
    ("incomprehensibilities", "incomprehensi…"),
  )
  def test_no_token_is_invisible(self, token, shown):
    assert visible(token) == shown

  def test_bytes_are_a_sequence_of_bytes(self):
    assert visible_all("é\n".encode()) == ["⟨c3⟩", "⟨a9⟩", "⏎"]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_suffix_says_the_format(tmp_path, suffix):
  path = save_attention(
    tmp_path / "new" / f"w.{suffix}", WEIGHTS, QUERIES, KEYS, layout="columns"
  )
  start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
  assert path.read_bytes().startswith(start)


def test_an_unknown_format_is_refused(tmp_path):
  with pytest.raises(ValueError, match="expected a suffix among"):
    save_attention(tmp_path / "w.docx", WEIGHTS, QUERIES, KEYS)


def test_same_weights_same_bytes(tmp_path):
  paths = [
    save_attention(tmp_path / f"{i}.png", WEIGHTS, QUERIES, KEYS)
    for i in range(2)
  ]
  assert paths[0].read_bytes() == paths[1].read_bytes()


def test_matplotlib_is_loaded_late_and_pyplot_never():
  program = """
import sys
import attnjax.viz
assert "matplotlib" not in sys.modules, "loaded on import"
attnjax.viz.attention_figure([[[1.0]]], "a")
assert "matplotlib.pyplot" not in sys.modules, "pyplot was loaded"
"""
  subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_layout_is_refused():
  # In this process beartype would speak first.
  program = """
import attnjax.viz
attnjax.viz.attention_figure([[[1.0]]], "a", layout="row")
"""
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True
  )
  assert "ValueError: layout='row': expected \"rows\" or" in done.stderr


def test_a_missing_matplotlib_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
  with pytest.raises(ImportError, match=r"pip install 'attnjax\[viz\]'"):
    attention_figure(WEIGHTS, QUERIES, KEYS)
