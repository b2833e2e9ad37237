"""The page in a real browser: what a reader sees, and nothing else happens.

Needs Chromium (Debian's `chromium`) and `pip install 'attnjax[browser]'`.
"""

import os
import shutil
import statistics
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import masks, viz

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WORDS = [
  "a",
  "fluffy",
  "blue",
  "creature",
  "roamed",
  "<script>document.title='run'</script>",
  "<img/src=x/onerror=alert(1)>",
  "猫",
  "שלום",
  "🙂",
  "creature",
  "slept",
]


@pytest.fixture(scope="module")
def browser():
  api = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: attnjax[browser]"
  )
  if CHROMIUM is None:
    pytest.skip("no chromium on this machine")
  with api.sync_playwright() as playwright:
    found = playwright.chromium.launch(
      executable_path=CHROMIUM, args=["--no-sandbox"]
    )
    yield found
    found.close()


@pytest.fixture
def opened(browser, tmp_path):
  """Opens a page from its file; fails where it asks for or says anything.

  A test waits for what it needs by a selector. `wait_for_function` asks again
  by `eval`, which the page's own policy forbids: it works on a machine so fast
  that the first answer is yes, and fails on any other.
  """
  said, asked = [], []

  def opens(made, fragment="", **options):
    path = made.save(tmp_path / "page.html")
    tab = browser.new_page(viewport={"width": 1280, "height": 820}, **options)
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: said.append(dialog.message))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(f"file://{path}{fragment}")
    tab.wait_for_selector("#overview button.chosen")
    return tab

  yield opens
  assert said == []
  assert [url for url in asked if not url.startswith("file:///")] == []
  assert all(url.split("#")[0].endswith("page.html") for url in asked)


def draws(*shape, causal=True, seed=0):
  logits = np.random.default_rng(seed).normal(size=shape) * 2
  if causal:
    logits = np.where(np.tri(shape[-1], dtype=bool), logits, -np.inf)
  weights = np.exp(logits - logits.max(-1, keepdims=True))
  return weights / weights.sum(-1, keepdims=True)


def small():
  length = len(WORDS)
  return viz.page(
    {
      "step 10": draws(2, 3, length, length),
      "step 90": draws(2, 3, length, length, seed=1),
    },
    WORDS,
    title="<b>words</b>",
  )


def keep(tab, name):
  """Screenshots are artefacts, where a folder for them is named."""
  if folder := os.environ.get("ATTNJAX_SCREENSHOTS"):
    Path(folder).mkdir(parents=True, exist_ok=True)
    tab.screenshot(path=f"{folder}/{name}.png")


def at_cell(tab, grid, across=0):
  """Points at a cell of the first row of a matrix, of 28 pixels a cell."""
  area, labels = grid.bounding_box(), float(grid.get_attribute("data-labels"))
  x = area["x"] + labels + 8 + 28 * across
  tab.mouse.move(x, area["y"] + labels + 8)


def test_text_stays_text(opened):
  tab = opened(small())
  assert tab.title() == "<b>words</b>"
  assert tab.inner_text("h1") == "<b>words</b>"
  shown = tab.locator("#first .token").all_inner_texts()
  assert shown[5].startswith("<script>")
  assert tab.locator("#first .tokens script, #first .tokens img").count() == 0


def test_hover_click_and_keys_change_what_is_shown(opened):
  tab = opened(small())
  words, token = tab.locator("#first .words"), tab.locator("#first .token")
  before = words.inner_text()
  token.nth(3).hover()
  assert words.inner_text().startswith("creature")
  assert words.inner_text() != before
  token.nth(3).click()
  assert "token=3" in tab.url
  assert "creature attends to" in tab.inner_text("#live")
  tab.keyboard.press("ArrowRight")
  assert "token=4" in tab.url
  assert words.inner_text().startswith("roamed")
  tab.keyboard.press("Home")
  assert words.inner_text().startswith("a")
  assert "attends to a 100" in words.inner_text()

  tab.click("#head-1-2")
  assert "layer=1" in tab.url
  assert "head=2" in tab.url
  tab.keyboard.press("ArrowLeft")
  assert "head=1" in tab.url
  tab.focus("#tab-sentence")
  for view in ("edges", "matrix", "dots", "rollout", "heads"):
    tab.keyboard.press("ArrowRight")
    assert f"view={view}" in tab.url
    assert tab.locator(f"#first .view.{view}").is_visible()
    keep(tab, view)


def test_the_weights_that_are_shown_are_those_given(opened):
  weights = draws(1, 2, 5, 5)
  tab = opened(viz.page(weights, "abcde"))
  tab.click("#head-0-1")
  tab.locator(".token").nth(4).click()
  said = tab.inner_text("#first .words span.to").replace("\u00a0", " ")
  best = int(weights[0, 1, 4].argmax())
  share = weights[0, 1, 4, best]
  assert said.split("attends to ")[1].startswith(
    f"{'abcde'[best]} {share:.0%}"[:-1]
  )


def test_an_address_restores_the_view(opened):
  tab = opened(
    small(), "#other=1&layer=1&head=2&view=matrix&token=3&theme=dark"
  )
  assert tab.input_value("#layer") == "1"
  assert tab.input_value("#head") == "2"
  assert tab.locator("#second .view.matrix").is_visible()
  assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
  keep(tab, "two_dark")


def test_a_token_is_found_and_heads_are_sorted(opened):
  tab = opened(small())
  tab.fill("#find", "CREATURE")
  assert tab.inner_text("#found") == "2 found"
  tab.press("#find", "Enter")
  tab.press("#find", "Enter")
  assert "token=10" in tab.url
  tab.click("#tab-heads")
  tab.click("#first th button >> text=entropy")
  cells = tab.locator("#first tbody td:nth-child(2)").all_inner_texts()
  assert cells == sorted(cells, key=float, reverse=True)
  assert tab.get_attribute("#first th >> nth=1", "aria-sort") == "descending"


def test_the_matrix_zooms_and_reads_a_pair(opened):
  tab = opened(small(), "#view=matrix")
  grid = tab.locator("#first .view.matrix canvas")
  at_cell(tab, grid)
  assert "a attends to a: 100" in tab.inner_text("#first .view.matrix .read")
  picture = lambda: grid.evaluate("x => x.toDataURL()")
  before = picture()
  tab.click("#first .view.matrix [aria-label='zoom in']")
  assert picture() != before
  tab.click("#first .view.matrix [aria-label='whole matrix']")
  assert picture() == before


def test_cross_attention_shows_two_sentences(opened):
  weights = draws(2, 2, 5, 7, causal=False)
  tab = opened(viz.page(weights, "abcde", [f"k{i}" for i in range(7)]))
  assert tab.locator("#first .token").count() == 12
  tab.locator("#first [aria-label=keys] .token").nth(2).click()
  assert tab.inner_text("#first .words").startswith("k2")
  assert "is attended to by" in tab.inner_text("#first .words")
  keep(tab, "cross")


def test_512_tokens_are_as_many_elements_and_answer(opened):
  """It opens in 1 s on a quiet machine: seconds are printed, not asserted."""
  words = [f"w{i}" for i in range(512)]
  made = viz.page(draws(12, 12, 512, 512), words)
  start = time.perf_counter()
  tab = opened(made)
  tab.locator(".token").nth(511).wait_for()
  took = time.perf_counter() - start

  # Of 38 million weights none is an element: they are drawn when asked for.
  elements = tab.evaluate("document.querySelectorAll('*').length")
  assert elements < 10 * 512, elements

  tab.wait_for_timeout(3000)  # the overview is drawn meanwhile
  hover = """async i => {
    const token = document.querySelectorAll('.token')[i];
    const start = performance.now();
    token.dispatchEvent(new PointerEvent('pointerenter'));
    const words = document.querySelector('.words'), name = token.textContent;
    while (!words.textContent.startsWith(name)) await null;
    words.getBoundingClientRect();
    return performance.now() - start;
  }"""
  times = [tab.evaluate(hover, i) for i in range(100, 120)]
  print(f"opened in {took:.2f} s, hover {statistics.median(times):.1f} ms")


def remembering():
  from attnjax import memory

  random = np.random.default_rng(3)
  key = random.normal(size=(5, 2, 4)).astype(np.float32)
  key /= np.linalg.norm(key, axis=-1, keepdims=True)
  key[4] = key[1]  # asked for again
  value = random.normal(size=(5, 2, 4)).astype(np.float32)
  state = memory.init(memory.delta_net(), (), heads=2, width=4)
  gates = memory.Gates(rate=np.ones((5, 2), np.float32))
  return viz.page(
    viz.memory_trace(state, key, key, value, gates),
    ["red", "blue", "green", "grey", "blue"],
    title="a memory",
  )


def masked():
  import attnjax

  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 9, 2, 4)))
  local = masks.causal() & masks.sliding_window(2)
  model = lambda x: attnjax.attend(
    attnjax.attend(x, x, x, mask=local), x, x, mask=masks.causal()
  )
  worth = np.array([[0.25, -0.5], [0.0, 1.5]])
  return viz.page(viz.capture(model, x), "abcdefghi", ablation=worth)


def test_a_mask_shows_which_pairs_are_visible(opened):
  tab = opened(masked(), "#view=mask")
  pane = "#first .view.mask"
  tab.wait_for_selector(f"{pane} .told:not(:empty)")
  # 3 keys a query but the first two, of 81 pairs.
  assert "30" in tab.inner_text(f"{pane} .told")
  grid = tab.locator(f"{pane} canvas")
  at_cell(tab, grid)
  assert tab.inner_text(f"{pane} .read") == "a sees a"
  at_cell(tab, grid, across=3)
  assert tab.inner_text(f"{pane} .read") == "a does not see d"
  keep(tab, "mask")
  tab.fill("#layer", "1")
  tab.wait_for_selector(f"{pane} .told:has-text('56')")


def test_rollout_follows_a_token_through_the_layers(opened):
  made = masked()
  tab = opened(made, "#view=rollout&token=8")
  pane = "#first .view.rollout"
  tab.wait_for_selector(f"{pane} .told:not(:empty)")
  assert "What is in i after each layer" in tab.inner_text(f"{pane} .told")
  # The token itself keeps half of what it was after the first layer.
  at_cell(tab, tab.locator(f"{pane} canvas"), across=8)
  said = tab.inner_text(f"{pane} .read")
  assert said.startswith("after layer 0: ")
  assert int(said.split()[3].split("\u00a0")[0]) >= 50
  tab.focus(f"{pane} canvas")
  tab.keyboard.press("ArrowLeft")
  assert "token=7" in tab.url
  keep(tab, "rollout")


def test_what_a_head_is_worth_sorts_the_table(opened):
  tab = opened(masked(), "#view=heads")
  tab.click("#first th button >> text=loss without it")
  first = tab.locator("#first tbody tr").first.inner_text().split("\t")
  assert first[-1].strip() == "1.500"


def test_a_memory_shows_what_was_written_and_what_a_read_returns(opened):
  tab = opened(remembering(), "#view=written&head=0")
  assert tab.locator("#tab-mask").is_hidden()
  assert tab.locator("#tab-rollout").is_hidden()
  canvas = tab.locator("#first canvas.bars")
  # Drawn once its layer is unpacked; then it is as high as its tokens.
  tab.wait_for_selector("canvas.bars[style*=height]")
  area = canvas.bounding_box()
  tab.mouse.click(area["x"] + 10, area["y"] + 8 + 22 * 1.5)
  assert "token=1" in tab.url
  assert "is like what is read at blue" in tab.inner_text("#first .words")
  keep(tab, "written")
  tab.click("#tab-sentence")
  tab.locator("#first .token").nth(4).click()
  said = tab.inner_text("#first .words")
  assert "reads what is like the values of blue (4) 100" in said
  keep(tab, "memory")


def test_nothing_serious_for_those_who_do_not_see_or_point(opened):
  axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
  plain = ("sentence", "edges", "matrix", "dots", "rollout", "heads")
  pages = [(small(), view) for view in plain]
  pages += [(masked(), "mask"), (masked(), "rollout")]
  pages += [(remembering(), "written"), (remembering(), "sentence")]
  for theme in ("light", "dark"):
    for made, view in pages:
      tab = opened(
        made, f"#view={view}&theme={theme}&token=3&other=1", bypass_csp=True
      )
      found = axe.run(tab).response["violations"]
      tab.close()
      serious = [
        (x["id"], [n["target"] for n in x["nodes"]])
        for x in found
        if x["impact"] in ("serious", "critical")
      ]
      assert serious == [], (view, theme)


VIEWS = ("sentence", "edges", "matrix", "dots", "rollout", "heads")


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_is_wider_than_the_screen(opened, width):
  for made, views in (
    (small(), VIEWS),
    (masked(), ("mask", "heads")),
    (remembering(), ("written",)),
  ):
    tab = opened(made, "#token=3")
    tab.set_viewport_size({"width": width, "height": 844})
    for view in views:
      tab.click(f"#tab-{view}")
      wide = tab.evaluate("document.documentElement.scrollWidth")
      assert wide <= width, (view, wide)
      keep(tab, f"{view}_{width}")
    tab.close()


def test_a_slider_may_be_dragged_for_long(opened):
  tab = opened(small())
  for name, values in (("threshold", 50), ("layer", 2), ("head", 3)):
    # 300 changes, of which a browser would refuse to put each in its address.
    tab.evaluate(
      """([name, values]) => {
        const slider = document.getElementById(name);
        for (let i = 0; i < 300; i++) {
          slider.value = name === "threshold" ? i % values / 100 : i % values;
          slider.dispatchEvent(new Event("input"));
        }
      }""",
      [name, values],
    )
  assert tab.inner_text("#layer-value") == "1"
  assert tab.inner_text("#head-value") == "2"
  tab.wait_for_url("**head=2*")  # once it rests


def test_sliders_move_by_keys_and_head_is_their_mean_too(opened):
  tab = opened(small())
  tab.focus("#layer")
  tab.keyboard.press("ArrowRight")
  assert tab.inner_text("#layer-value") == "1"
  tab.focus("#head")
  tab.keyboard.press("ArrowLeft")
  assert tab.inner_text("#head-value") == "mean"
  assert tab.get_attribute("#head", "aria-valuetext") == "mean"
  assert "head=-1" in tab.url


def test_every_control_is_reached_and_used_by_keys_alone(opened):
  """What the pointer can do, Tab, arrows, Enter and letters can."""
  made = small()
  for view in VIEWS:
    tab = opened(made, f"#view={view}&token=3")
    tab.wait_for_selector(f"#first .view.{view}")
    # Of buttons in a group, such as tokens, one is in the order of Tab.
    wanted = tab.evaluate(
      """() => [...document.querySelectorAll("button, input, select, canvas")]
        .filter(x => x.offsetParent && !x.disabled && x.tabIndex >= 0)
        .map((x, i) => x.dataset.number = String(i))"""
    )
    groups = tab.evaluate(
      """() => [...document.querySelectorAll("button, canvas.grid")]
        .filter(x => x.offsetParent && x.tabIndex < 0)
        .every(x => x.closest("[role=tablist], .tokens, #overview")
          .querySelector("[tabindex='0']"))"""
    )
    assert groups, view
    met = set()
    for _ in range(len(wanted) + 3):
      tab.keyboard.press("Tab")
      at = "document.activeElement"
      met.add(tab.evaluate(f"{at}.dataset.number"))
      ring = f"{at} === document.body || {at}.matches(':focus-visible')"
      assert tab.evaluate(ring)
    assert set(wanted) <= met, view
    tab.close()


def test_pairs_are_read_and_zoomed_by_keys_alone(opened):
  words = [f"w{i}" for i in range(20)]
  weights = draws(2, 2, 20, 20)
  tab = opened(viz.page(weights, words), "#view=matrix&head=1")
  said = lambda view: tab.inner_text(f"#first .view.{view} .read")
  tab.focus("#first .view.matrix canvas")
  for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
    tab.keyboard.press(key)
  share = weights[0, 1, 2, 1]
  assert said("matrix").startswith(f"w2 attends to w1: {100 * share:.0f}"[:-1])
  assert "token=2" in tab.url
  for _ in range(6):
    tab.keyboard.press("+")
  canvas = tab.locator("#first .view.matrix canvas")
  before = canvas.evaluate("x => x.toDataURL()")
  for _ in range(17):
    tab.keyboard.press("ArrowDown")
  # What is moved to is brought into sight.
  assert canvas.evaluate("x => x.toDataURL()") != before
  assert said("matrix").startswith("w19 attends to w1:")

  tab.keyboard.press("Shift+Tab")  # the buttons of the zoom
  tab.keyboard.press("Enter")
  tab.focus("#tab-matrix")
  tab.keyboard.press("ArrowRight")
  tab.locator("#first .view.dots canvas").wait_for()
  tab.focus("#first .view.dots canvas")
  tab.keyboard.press("ArrowLeft")  # of dots a column is a query
  assert "token=18" in tab.url

  tab.focus("#tab-dots")
  tab.keyboard.press("ArrowRight")
  tab.locator("#first .view.rollout canvas").wait_for()
  tab.focus("#first .view.rollout canvas")
  tab.keyboard.press("ArrowDown")
  assert "layer=1" in tab.url
  tab.keyboard.press("ArrowLeft")
  assert "token=17" in tab.url


def test_keys_choose_either_side_of_the_edges_and_a_head_of_the_table(opened):
  tab = opened(small(), "#view=edges&token=3")
  tab.focus("#first canvas.edges")
  tab.keyboard.press("ArrowRight")
  assert "side=key" in tab.url
  assert "token=3" in tab.url
  tab.keyboard.press("ArrowDown")
  assert "token=4" in tab.url
  assert "side=key" in tab.url
  tab.keyboard.press("ArrowLeft")
  assert "side=key" not in tab.url
  tab.focus("#tab-edges")
  for _ in range(4):  # matrix, dots, rollout, heads
    tab.keyboard.press("ArrowRight")
  tab.locator("#first tbody button").last.wait_for()
  tab.focus("#first tbody button >> nth=-1")
  tab.keyboard.press("Enter")
  assert "layer=1" in tab.url
  assert "head=2" in tab.url
  assert tab.evaluate("document.activeElement.id") == "tab-sentence"


def test_a_token_is_found_in_either_sentence(opened):
  weights = draws(1, 2, 3, 4, causal=False)
  tab = opened(
    viz.page(weights, ["one", "two", "red"], ["un", "red", "x", "y"])
  )
  tab.fill("#find", "red")
  assert tab.inner_text("#found") == "2 found"
  tab.press("#find", "Enter")
  assert "token=2" in tab.url
  tab.press("#find", "Enter")
  assert "token=1&side=key" in tab.url
  assert tab.locator("#first .token.found").count() == 2


def test_beside_a_model_that_lacks_the_view_it_says_so(opened):
  words = ["w"] * 4
  made = viz.page(
    {
      "self": draws(2, 1, 4, 4),
      "memory": viz.MemoryTrace(np.ones((1, 4)), draws(1, 4, 4)),
    },
    words,
  )
  tab = opened(made, "#view=written&model=1&other=0")
  assert "self has no such view" in tab.inner_text("#second")
  assert tab.locator("#first canvas.bars").is_visible()


def test_a_long_sentence_on_a_phone_is_drawn(opened):
  # 512 tokens of 22 pixels at 3 pixels each are more than a canvas can hold.
  made = viz.page(draws(1, 1, 512, 512), [f"w{i}" for i in range(512)])
  tab = opened(made, "#view=edges&token=500", device_scale_factor=3)
  canvas = tab.locator("#first canvas.edges")
  assert canvas.evaluate("x => x.width * x.height") <= 16.1e6
  assert canvas.evaluate("x => x.height") <= 16_000
  assert canvas.evaluate(
    "x => x.getContext('2d').getImageData(0, 0, x.width, x.height)"
    ".data.some(v => v)"
  )


def test_a_notebook_shows_it_in_a_frame(browser, tmp_path):
  said = []
  path = tmp_path / "notebook.html"
  path.write_text(f"<!DOCTYPE html>{small()._repr_html_()}")
  tab = browser.new_page()
  tab.on("console", lambda message: said.append(message.text))
  tab.on("pageerror", lambda error: said.append(str(error)))
  tab.goto(f"file://{path}")
  before = tab.evaluate("history.length")
  frame = tab.frame_locator("iframe")
  frame.locator("#first .token").nth(3).click()
  assert "creature" in frame.locator("#first .words").inner_text()
  frame.locator("#tab-matrix").click()
  assert frame.locator("#first .view.matrix").is_visible()
  # The way back of the notebook is not filled with steps of the page.
  assert tab.evaluate("history.length") == before
  assert said == []


def test_a_captured_model_on_a_page(opened):
  import attnjax

  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 2, 4)))
  causal = lambda x: attnjax.attend(x, x, x, mask=masks.causal())
  tab = opened(viz.page(viz.capture(causal, x), "abcde"))
  tab.locator(".token").first.click()
  assert "attends to a 100" in tab.inner_text("#first .words")


def test_patches_of_a_picture_light_up_where_a_query_looks(opened):
  weights = draws(1, 2, 7, 7, causal=False)
  image = np.arange(24.0).reshape(4, 6)
  made = viz.page(weights, viz.patch_tokens(2, 3), image=image, patches=(2, 3))
  tab = opened(made, "#view=picture")
  canvas = tab.locator("#first canvas.picture")
  tab.wait_for_selector("canvas.picture[width='480']")
  plain = canvas.evaluate("x => x.toDataURL()")
  area = canvas.bounding_box()
  tab.mouse.click(area["x"] + area["width"] - 5, area["y"] + 5)
  assert "token=3" in tab.evaluate("location.hash")
  assert tab.inner_text("#first .words").startswith("r0c2")
  assert canvas.evaluate("x => x.toDataURL()") != plain
  keep(tab, "picture")
