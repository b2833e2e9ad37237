"""Learning curves show every value, and labels that can be told apart."""

import itertools
import math

import numpy as np
import pytest
from absl.testing import parameterized

from attnjax.viz import learning_curve_figure, save_curves
from attnjax.viz.labels import separate_heights

RECORDS = [
  {"step": 10, "split": "eval", "loss": 2.0, "bits_per_byte": 4.0},
  {"step": 1, "split": "train", "loss": 5.0, "bits_per_byte": 8.0},
  {"step": 20, "split": "eval", "loss": 1.0, "bits_per_byte": 3.0},
  {"step": 11, "split": "train", "loss": None, "bits_per_byte": None},
  {"step": 20, "split": "train", "loss": 0.5, "bits_per_byte": 2.0},
  {"step": 20, "split": "train", "speed": 7.0},
]


def lines(figure):
  """Label colour aside: each solid data line as (steps, values)."""
  found = figure.axes[0].get_lines()
  return [line.get_data() for line in found if line.get_clip_on()]


def test_each_split_is_a_curve_in_the_order_of_the_steps():
  train, evaluation = lines(learning_curve_figure(RECORDS))
  np.testing.assert_array_equal(train[0], [1, 11, 20])
  np.testing.assert_array_equal(train[1], [8.0, math.nan, 2.0])
  np.testing.assert_array_equal(evaluation, [[10, 20], [4.0, 3.0]])


def test_the_scale_turns_nats_into_bits():
  figure = learning_curve_figure(
    RECORDS, metric="loss", scale=1 / math.log(2), label="bits per token"
  )
  np.testing.assert_allclose(lines(figure)[1][1], [2 / math.log(2), 1.442695])
  assert figure.axes[0].get_ylabel() == "bits per token"


def test_curves_and_yardsticks_say_their_last_value():
  figure = learning_curve_figure(
    RECORDS, yardsticks={"uniform": 8.0, "bigram": 3.5}, title="a run"
  )
  axes = figure.axes[0]
  assert [text.get_text() for text in axes.texts] == [
    "train 2.000",
    "eval 3.000",
    "uniform 8.000",
    "bigram 3.500",
  ]
  heights = [values[0] for _, values in lines(figure)[2:]]
  assert heights == [8.0, 3.5]
  assert axes.get_ylabel() == "bits per byte"
  assert axes.get_title(loc="left") == "a run"


def test_labels_stay_apart_and_on_the_page():
  yardsticks = {f"n{i}": 3.0 + 0.001 * i for i in range(6)}
  figure = learning_curve_figure(RECORDS, yardsticks=yardsticks)
  figure.draw_without_rendering()
  boxes = [text.get_window_extent() for text in figure.axes[0].texts]
  boxes.sort(key=lambda box: box.y0)
  for below, above in itertools.pairwise(boxes):
    assert above.y0 >= below.y0 + 0.9 * below.height
  assert all(figure.bbox.contains(*box.max) for box in boxes)


class SpreadTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 5, 13)
  def test_gaps_order_and_mean_are_kept(self, n):
    heights = np.random.default_rng(n).uniform(size=n).tolist()
    placed = separate_heights(heights, gap=0.11)
    assert np.argsort(placed).tolist() == np.argsort(heights).tolist()
    assert np.diff(np.sort(placed)).min(initial=1.0) >= 0.11 - 1e-12
    np.testing.assert_allclose(np.mean(placed), np.mean(heights))

  def test_what_is_far_apart_stays(self):
    assert separate_heights([0.9, 0.1, 0.5], gap=0.2) == pytest.approx(
      [0.9, 0.1, 0.5]
    )


def test_a_metric_that_nobody_wrote_is_refused():
  message = "metric='lss': no record has it; there is bits_per_byte, loss, sp"
  with pytest.raises(ValueError, match=message):
    learning_curve_figure(RECORDS, metric="lss")
  with pytest.raises(ValueError, match="no record at all"):
    learning_curve_figure([])


def test_a_yardstick_that_is_not_finite_is_refused():
  with pytest.raises(ValueError, match="finite values, got gzip=nan"):
    learning_curve_figure(RECORDS, yardsticks={"gzip": math.nan})


def test_a_run_whose_loss_was_never_finite_is_drawn_empty(tmp_path):
  records = [{"step": 1, "split": "train", "loss": math.inf}]
  path = save_curves(tmp_path / "c.png", records, metric="loss")
  assert path.stat().st_size > 0
