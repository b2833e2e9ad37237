"""Figures of attention weights, learning curves and other lines.

They need matplotlib, which is loaded when a figure is made:
`pip install 'attnjax[viz]'`.
"""

from attnjax.viz.attention import attention_figure, save_attention
from attnjax.viz.curves import learning_curve_figure, save_curves
from attnjax.viz.lines import lines_figure, save_lines
from attnjax.viz.tokens import visible

__all__ = [
  "attention_figure",
  "learning_curve_figure",
  "lines_figure",
  "save_attention",
  "save_curves",
  "save_lines",
  "visible",
]
