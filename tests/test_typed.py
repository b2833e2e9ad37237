"""A user's type checker reads the annotations of the package."""

import importlib.resources


def test_the_package_says_that_it_is_typed():
  assert importlib.resources.files("attnjax").joinpath("py.typed").is_file()
