"""The page as a file: whole, small, and with every text as text."""

import base64
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

import attnjax
from attnjax import masks, viz
from attnjax.viz import page_build
from attnjax.viz.packing import pack, restored

FOLDER = Path(page_build.__file__).parent
SOURCE = FOLDER / "page_source"


def draws(*shape, causal=False, seed=0):
  logits = np.random.default_rng(seed).normal(size=shape)
  if causal:
    logits = np.where(np.tri(shape[-1], dtype=bool), logits, -np.inf)
  weights = np.exp(logits)
  return weights / weights.sum(-1, keepdims=True)


def carried(made):
  """The data of a page, as a browser reads them."""
  block = re.search(r'id="data">(.*?)</script>', made.html, re.DOTALL)
  return json.loads(block[1])


def test_a_page_that_is_packed_more_coarsely_says_so(monkeypatch):
  weights = draws(1, 2, 5, 5)
  assert carried(viz.page(weights, "abcde"))["notes"] == []
  monkeypatch.setattr(viz.html_page, "_LARGE", 500)
  data = carried(viz.page(weights, "abcde"))
  assert ["127 levels" in note for note in data["notes"]] == [True]
  (layer,) = data["models"][0]["layers"]
  codes = np.frombuffer(
    zlib.decompress(base64.b64decode(layer["packed"]), -15), np.uint8
  ).reshape(2, 5, 5)
  error = np.abs(restored(codes) - weights[0])
  assert (error <= np.sqrt(weights[0]) / 80 + 4e-5).all()


def test_what_the_wheel_carries_is_what_the_sources_make():
  built = (FOLDER / "page_template.html").read_text(encoding="utf-8")
  assert built == page_build.build(), "run python -m attnjax.viz.page_build"
  assert not re.search(r"https?://|@import|<link|\bsrc=", built)


def test_the_pages_of_the_docs_are_of_this_template():
  pages = FOLDER.parents[1] / "docs" / "pages"
  for path in pages.glob("*.html"):
    text = path.read_text(encoding="utf-8")
    assert text == page_build.renewed(text, page_build.build()), (
      "run python -m attnjax.viz.page_build docs/pages/*.html"
    )


def test_a_page_of_12_layers_12_heads_and_128_tokens_is_below_2_mb():
  """Weights of noise, which are as hard to compress as any."""
  made = viz.page(draws(12, 12, 128, 128), [f"w{i}" for i in range(128)])
  assert len(made.html.encode()) < 2_000_000


@pytest.mark.parametrize(
  "token",
  [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--",
    "&lt;b>",
    "\u2028",
    "\u202e",
    "\ud800",
    "/*SCRIPT*/",
    "猫",
    "🙂",
    b"\xe2\x82",
    17,
  ],
  ids=ascii,
)
def test_a_token_is_text_whatever_it_is(token, tmp_path):
  made = viz.page(draws(1, 2, 2), [token, "b"], title=str(token))
  data = carried(made)
  assert data["sentences"] == [[viz.visible(token, longest=24), "b"]]
  assert made.html.count("<script") == 2
  made.save(tmp_path / "page.html")


def test_weights_of_a_page_are_those_of_the_model():
  x = jax.random.normal(jax.random.key(0), (2, 7, 2, 4))
  causal = lambda x: attnjax.attend(x, x, x, mask=masks.causal())
  captured = viz.capture(causal, x)
  data = carried(viz.page(captured, "abcdefg", batch=1))
  (layer,) = data["models"][0]["layers"]
  expected = captured.weights().values[0, 1]
  assert layer["packed"] == pack(expected)
  error = abs(restored(np.rint(255 * np.sqrt(expected))) - expected)
  assert (error <= np.sqrt(expected) / 255 + 1e-5).all()

  names = data["models"][0]["statistics"]["names"]
  values = data["models"][0]["statistics"]["values"][0]
  found = viz.head_statistics(captured, batch=1, tokens="abcdefg")
  for head in (0, 1):
    assert values[head][names.index("own")] == round(
      found.at(layer=0, head=head, statistic="own"), 4
    )
  assert values[0][names.index("induction")] is None  # no token repeats


def test_a_long_text_says_what_is_left_out_and_how_to_choose():
  length = 2000
  weights = np.full((1, 1, length, length), 1 / length, np.float32)
  data = carried(viz.page(weights, [str(i) for i in range(length)], most=10))
  assert data["models"][0]["layers"][0]["queries"] == [*range(1990, 2000)]
  assert "10 of 2,000 tokens are shown" in data["notes"][0]
  assert "shown=" in data["notes"][0]
  chosen = carried(viz.page(weights, ["x"] * length, shown=[0, -1]))
  assert chosen["models"][0]["layers"][0]["keys"] == [0, 1999]


def test_layers_take_the_sentences_that_fit_them():
  def model(x, memory):
    x = attnjax.attend(x, x, x)
    return attnjax.attend(x, memory, memory)

  x = jax.random.normal(jax.random.key(0), (1, 3, 2, 4))
  memory = jax.random.normal(jax.random.key(1), (1, 5, 2, 4))
  captured = viz.capture(model, x, memory)
  data = carried(viz.page(captured, "abc", "vwxyz"))
  sides = [
    (layer["querySentence"], layer["keySentence"])
    for layer in data["models"][0]["layers"]
  ]
  assert sides == [(0, 0), (0, 1)]
  rows = data["models"][0]["statistics"]["values"]
  assert len(rows[0][0]) == len(rows[1][0])
  assert rows[1][0][1] is None  # no distance between two sentences


def test_bad_weights_and_tokens_are_refused_by_name():
  weights = draws(1, 2, 3, 3)
  for wrong, tokens, message in (
    (weights, "ab", r"3 queries, and there are \[2\] tokens"),
    (weights, "", "one or more"),
    (np.swapaxes(weights, -1, -2), "abc", "swap them"),
    (-weights, "abc", "weights, not logits"),
    (weights * np.nan, "abc", "weights, not logits"),
    (weights * 7, "abc", "at most 1"),
    (weights[0, 0], "abc", "L H T S or H T S"),
    ({}, "abc", "one model or more"),
  ):
    with pytest.raises(ValueError, match=message):
      viz.page(wrong, tokens)
  with pytest.raises(ValueError, match="batch must be below 1"):
    viz.page(weights, "abc", batch=1)


def test_rows_that_do_not_sum_to_1_are_shown_and_said():
  """Weights of a sigmoid, each by itself."""
  weights = np.full((1, 1, 3, 3), 0.9)
  notes = carried(viz.page(weights, "abc"))["notes"]
  assert "sum to 2.70 to 2.70 and not to 1" in notes[0]
  empty = np.tri(3, k=-1)[None, None] / np.maximum(np.arange(3), 1)[:, None]
  assert carried(viz.page(empty, "abc"))["notes"] == []


def test_a_notebook_shows_the_page_in_a_frame():
  made = viz.page(draws(1, 2, 2), "ab")
  frame = made._repr_html_()
  assert frame.startswith("<iframe")
  assert "<script" not in frame


def test_the_functions_of_the_page():
  if (node := shutil.which("node")) is None:
    pytest.skip("no node on this machine, which runs the page's own tests")
  done = subprocess.run(
    [node, "--test"], cwd=SOURCE, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_types_of_the_page():
  if (checker := shutil.which("tsc")) is None:
    pytest.skip("no tsc on this machine: npm install --global typescript")
  done = subprocess.run(
    [checker, "-p", "."], cwd=SOURCE, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout


def test_a_picture_is_carried_in_8_bits():
  image = np.linspace(-2, 2, 24).reshape(4, 6)
  tokens = viz.patch_tokens(2, 3)
  made = viz.page(draws(1, 7, 7), tokens, image=image, patches=(2, 3))
  picture = carried(made)["picture"]
  assert picture["before"] == 1
  pixels = zlib.decompress(base64.b64decode(picture["packed"]), -15)
  found = np.frombuffer(pixels, np.uint8).reshape(4, 6, 3)
  assert found[0, 0].tolist() == [0, 0, 0]
  assert found[-1, -1].tolist() == [255, 255, 255]
  for wrong, patches, message in (
    (image, None, "needs patches="),
    (image, (3, 3), "some of the 7 tokens"),
    (image[0], (2, 3), "Y X"),
    (image * np.nan, (2, 3), "finite"),
    (np.full((4, 6), 300), (2, 3), "0 to 255"),
  ):
    with pytest.raises(ValueError, match=message):
      viz.page(draws(1, 7, 7), tokens, image=wrong, patches=patches)


def test_the_mask_of_each_layer_is_carried_and_of_plain_weights_none():
  x = jax.random.normal(jax.random.key(0), (1, 7, 2, 4))
  local = masks.causal() & masks.sliding_window(2)
  model = lambda x: attnjax.attend(x, attnjax.attend(x, x, x, mask=local), x)
  first, second = carried(viz.page(viz.capture(model, x), "abcdefg"))["models"][
    0
  ]["layers"]
  unpacked = np.frombuffer(
    zlib.decompress(base64.b64decode(first["mask"]), -15), np.uint8
  )
  seen = np.asarray(local.dense(7, 7))[0]
  # One head, for all see alike.
  np.testing.assert_array_equal(unpacked.reshape(7, 7) == 255, seen)
  assert zlib.decompress(base64.b64decode(second["mask"]), -15) == b"\xff" * 49
  plain = carried(viz.page(draws(1, 2, 2), "ab"))["models"][0]
  assert "mask" not in plain["layers"][0]


def test_what_a_head_is_worth_is_a_column_of_its_numbers():
  weights, worth = draws(2, 3, 4, 4), np.arange(6.0).reshape(2, 3)
  found = carried(viz.page(weights, "abcd", ablation=worth))["models"][0]
  assert found["statistics"]["names"][-1] == "loss without it"
  last = [[h[-1] for h in layer] for layer in found["statistics"]["values"]]
  assert last == worth.tolist()
  two = {"a": weights, "b": weights}
  models = carried(viz.page(two, "abcd", ablation={"b": worth}))["models"]
  lengths = [len(m["statistics"]["names"]) for m in models]
  assert lengths[1] == lengths[0] + 1
  for wrong, message in (
    (worth, "a mapping by the names"),
    ({"c": worth}, "one of"),
    ({"a": worth[:1]}, "a row for each of 2 layers"),
  ):
    with pytest.raises(ValueError, match=message):
      viz.page(two, "abcd", ablation=wrong)


def test_a_memory_says_what_it_wrote_and_reads_what_it_was_told():
  from attnjax import memory

  key = jax.random.normal(jax.random.key(1), (6, 2, 4))
  key = key / np.linalg.norm(key, axis=-1, keepdims=True)
  value = jax.random.normal(jax.random.key(2), (6, 2, 3))
  state = memory.init(memory.delta_net(), (), heads=2, width=4, value_width=3)
  gates = memory.Gates(rate=np.ones((6, 2), np.float32))
  trace = viz.memory_trace(state, key, key, value, gates)
  # With rate 1 the delta rule gives back what was just written.
  own = np.diagonal(trace.alike, axis1=1, axis2=2)
  np.testing.assert_allclose(own, 1, atol=1e-5)
  assert not np.triu(trace.alike, 1).any()
  # Of the first token the change is the outer product of unit key and value.
  np.testing.assert_allclose(
    trace.written[:, 0], np.linalg.norm(value[0], axis=-1), rtol=1e-5
  )
  # What is written twice changes nothing the second time.
  twice = lambda x: np.concatenate([x[:1], x[:1]])
  again = viz.memory_trace(
    state, *(twice(x) for x in (key, key, value)), jax.tree.map(twice, gates)
  )
  np.testing.assert_allclose(again.written[:, 1], 0, atol=1e-5)

  data = carried(viz.page(trace, "abcdef"))["models"][0]
  assert data["kind"] == "memory"
  assert carried(viz.page(trace, "abcdef"))["notes"] == []
  np.testing.assert_allclose(data["layers"][0]["written"], trace.written)
  with pytest.raises(ValueError, match="one token or more"):
    viz.memory_trace(state, key[:0], key[:0], value[:0], gates)
