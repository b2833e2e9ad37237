"""Figures and numbers of what models attend to, and of how they learn.

`capture` looks into a model; the summaries are numbers of what it saw. Figures
need matplotlib, which is loaded when one is made: `pip install 'attnjax[viz]'`.
"""

from attnjax.viz.alignment import alignment_figure
from attnjax.viz.attention import attention_figure, save_attention
from attnjax.viz.attention_rollout import rollout
from attnjax.viz.captured import AttentionCall, Captured, capture
from attnjax.viz.curves import learning_curve_figure, save_curves
from attnjax.viz.head_effects import head_ablation, head_attribution
from attnjax.viz.head_figures import head_overview_figure, head_values_figure
from attnjax.viz.heads import (
  entropy,
  head_similarity,
  head_statistics,
  induction_targets,
  mass_on,
  mean_distance,
)
from attnjax.viz.html_page import Page, page
from attnjax.viz.lines import lines_figure, save_lines
from attnjax.viz.mask_figure import mask_figure
from attnjax.viz.memory_trace import MemoryTrace, memory_trace
from attnjax.viz.named_array import NamedArray
from attnjax.viz.page_picture import patch_tokens
from attnjax.viz.recurrence import joined
from attnjax.viz.rollout_figure import rollout_figure
from attnjax.viz.style import save_figure
from attnjax.viz.tokens import visible

__all__ = [
  "AttentionCall",
  "Captured",
  "MemoryTrace",
  "NamedArray",
  "Page",
  "alignment_figure",
  "attention_figure",
  "capture",
  "entropy",
  "head_ablation",
  "head_attribution",
  "head_overview_figure",
  "head_similarity",
  "head_statistics",
  "head_values_figure",
  "induction_targets",
  "joined",
  "learning_curve_figure",
  "lines_figure",
  "mask_figure",
  "mass_on",
  "mean_distance",
  "memory_trace",
  "page",
  "patch_tokens",
  "rollout",
  "rollout_figure",
  "save_attention",
  "save_curves",
  "save_figure",
  "save_lines",
  "visible",
]
