"""What Sphinx is told; `python -m docs.site` calls it."""

import pathlib

import attnjax

HERE = pathlib.Path(__file__).parent

project = "attnjax"
author = "The attnjax authors"
version = release = attnjax.__version__
extensions = ["myst_nb"]
language = "en"
exclude_patterns: list[str] = []

# Notebooks are shown as they were committed, with what they printed then.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
# Mathematics is written in Unicode, so that a docstring, a page and the site
# show the same; a dollar is a dollar.
myst_dmath_allow_labels = False

smartquotes = False  # "weights" is what is typed
highlight_language = "none"
default_role = "py:obj"  # names in tables of docstrings
python_maximum_signature_line_length = 68
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "attnjax"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]

templates_path = [str(HERE / "templates")]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_sidebars = {
  "**": [
    "sidebar/brand.html",
    "sidebar/versions.html",
    "sidebar/search.html",
    "sidebar/scroll-start.html",
    "sidebar/navigation.html",
    "sidebar/scroll-end.html",
  ]
}
