"""Each page of the documentation runs, from its first line to its last."""

import pathlib
import re

import jax
import pytest

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page):
  blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
  assert blocks, "a page without an example"
  code = "\n".join(blocks)
  # As a reader's machine would run it, not as strictly as our own tests run.
  with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
    exec(compile(code, page.name, "exec"), {"__name__": page.stem})
