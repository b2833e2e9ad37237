"""What a notebook shows of a value is HTML of its own."""

import html.parser

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks, memory, viz
from attnjax.ops.attention.explain import Explanation, Verdict


class Elements(html.parser.HTMLParser):
  """Names of all elements, and the text between them."""

  def __init__(self):
    super().__init__()
    self.names, self.text = [], ""

  def handle_starttag(self, tag, attrs):
    self.names.append(tag)

  def handle_data(self, data):
    self.text += data


def shown(value):
  found = Elements()
  found.feed(value._repr_html_())
  return found


def test_an_explanation_is_a_table_with_the_chosen_one_bold():
  x = jnp.ones((4, 1, 2))
  told = attnjax.explain(x, x, x, aux=("weights",))
  found = shown(told)
  assert found.names.count("tr") == 1 + len(told.verdicts)
  assert f"<b>{told.chosen}</b>" in told._repr_html_()
  hard = Explanation(None, (Verdict("a", True, True, "<script>"),))
  assert "script" not in shown(hard).names
  assert "<script>" in shown(hard).text


def test_a_memory_says_its_maps_and_how_much_it_read():
  state = memory.init(memory.delta_net(), (), heads=2, width=3)
  x = jnp.ones((1, 2, 3))
  state = memory.write(state, x, x, memory.Gates(jnp.ones((1, 2))))
  found = shown(state)
  assert "1 tokens read" in found.text
  assert "map_0" in found.text
  assert "(2, 3, 3)" in found.text
  traced = []
  jax.jit(lambda s: traced.append(s._repr_html_()))(state)
  assert "traced" in traced[0]


def test_a_mask_a_capture_and_an_array_draw_themselves():
  assert "svg" in shown(masks.causal()).names
  x = jnp.ones((1, 5, 2, 4))
  captured = viz.capture(lambda x: attnjax.attend(x, x, x), x)
  assert shown(captured).names.count("tr") == 2
  drawn = captured.weights()._repr_html_()
  assert "layer 1, batch 1, head 2, query 5, key 5" in drawn
  assert len(drawn) > 1000


def test_a_plan_is_its_figure():
  from attnjax.plan import Job, make_plan, mesh_of, topology

  machine = topology("cpu:1")
  x = jax.ShapeDtypeStruct((3, 5), "float32")
  job = Job("double", lambda x: 2 * x, (x,), {"x": x}, 3, 0.0)
  made = make_plan(job, machine, mesh_of(machine, {"data": 1}))
  assert shown(made).names[0] == "svg"


def test_a_page_stands_in_a_frame_that_it_cannot_leave():
  made = viz.page(np.eye(2)[None], ["</iframe><script>", "b"])
  found = shown(made)
  assert found.names == ["iframe"]
  assert found.text.strip() == ""


@pytest.mark.parametrize("value", [masks.causal(), masks.full()])
def test_a_repr_is_text_still(value):
  assert "<" not in repr(value)
