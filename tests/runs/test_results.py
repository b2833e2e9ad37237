import json

import numpy as np
import pytest

from attnjax.runs import results


@pytest.mark.parametrize(
  ("values", "expected"),
  [
    ([1.0], "1.00"),
    (np.array([1.0]), "1.00"),
    ([12.0, 14.0], "13.0 ± 1.4"),
    ([1234.0], "1234"),
    ([0.0, 0.0], "0.000 ± 0.000"),
    ([1e-5, 3e-5], "2.00e-05 ± 1.41e-05"),
  ],
)
def test_a_spread_has_three_digits(values, expected):
  assert results.spread(values) == expected


def test_results_are_written_whole_or_not_at_all(tmp_path):
  results.write_results(tmp_path, {"a": 1})
  with pytest.raises(TypeError):
    results.write_results(tmp_path, {"a": object()})
  assert json.loads((tmp_path / "result.json").read_text()) == {"a": 1}
  assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_the_columns_of_a_table_may_be_numbers():
  # A list is checked against its type one item a call, whichever it is.
  assert results.table([32, 64], [[1, 2]]).splitlines()[0] == "| 32 | 64 |"
