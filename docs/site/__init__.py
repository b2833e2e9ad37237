"""The web site of the project: ``python -m docs.site`` builds it.

public: the public names, of which each has a place in the reference.
docstrings: a docstring as reStructuredText.
signatures: how a name is called, in the words of its source.
reference: one page a public module.
links: what a link of a page in the repository is on the site.
sources: the pages in one tree, as Sphinx reads them.
gallery: the experiments by their figures, claims and first numbers.
checks: every link of the pages that were made.
versions: a folder for each tag, and the list of them.
"""
