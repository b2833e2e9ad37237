"""The notebooks of the docs run from their first cell to their last."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_five_and_the_docs_name_them():
  assert len(NOTEBOOKS) == 5
  text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
  assert all(f"notebooks/{x.name}" in text for x in NOTEBOOKS)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# The kernel's sockets outlive the client by a moment.
@pytest.mark.filterwarnings("ignore")
def test_a_notebook_runs(path):
  nbformat = pytest.importorskip("nbformat", reason="attnjax[notebooks]")
  client = pytest.importorskip("nbclient", reason="attnjax[notebooks]")
  pytest.importorskip("ipykernel", reason="attnjax[notebooks]")
  notebook = nbformat.read(path, as_version=4)
  client.NotebookClient(
    notebook,
    timeout=300,
    kernel_name="python3",
    resources={"metadata": {"path": str(ROOT)}},
  ).execute()
  # Something is shown, and nothing is said on the side.
  kinds = [
    kind
    for cell in notebook.cells
    for output in cell.get("outputs", ())
    for kind in output.get("data", ())
  ]
  assert {"image/png", "text/html"} & {*kinds}
