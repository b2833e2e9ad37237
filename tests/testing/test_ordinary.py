"""Ordinary functions are held to what they offer, and to no more."""

import time
import unittest

import jax
import pytest

import attnjax
from attnjax import testing


def mine(query, key, value, mask=None, bias=None):
  return attnjax.attend(query, key, value, mask=mask, bias=bias)


def blind(query, key, value, mask=None):
  del mask
  return attnjax.attend(query, key, value)


def case(name):
  (found,) = testing.cases(only=name)
  return found


@pytest.mark.parametrize("name", ["mask/causal", "bias/S", "segments/packed"])
def test_what_a_signature_offers_is_checked(name):
  case(name).check(mine)


def test_a_wrong_one_is_found():
  with pytest.raises(AssertionError, match="mask/causal: out is off"):
    case("mask/causal").check(blind)


@pytest.mark.parametrize(
  ("name", "missing"),
  [
    ("normalizer/sink", "normalizer"),
    ("aux/entropy of sink", "aux, normalizer"),
    ("dropout/rate zero", "dropout_rate"),
    ("score_mod/alibi", "score_mod"),
  ],
)
def test_what_it_does_not_offer_is_skipped_by_name(name, missing):
  with pytest.raises(
    unittest.SkipTest, match=f"{name}: .*does not offer {missing}"
  ):
    case(name).check(mine)


def test_what_it_refuses_is_skipped_in_its_words():
  def refuses(query, key, value, **options):
    raise NotImplementedError("only on Mondays")

  with pytest.raises(
    unittest.SkipTest, match=r"mask/causal: .*only on Mondays"
  ):
    case("mask/causal").check(refuses)


def test_a_missing_derivative_is_no_refusal():
  @jax.custom_vjp
  def same(x):
    return x

  def backward(*_):
    raise NotImplementedError("no gradient")

  same.defvjp(lambda x: (x, None), backward)
  flat = lambda *x, **options: same(attnjax.attend(*x, **options))
  with pytest.raises(NotImplementedError, match="no gradient"):
    case("plain/no aux").check(flat)


def test_key_heads_are_repeated_where_that_is_asked():
  def equal(query, key, value):
    assert query.shape[-2] == key.shape[-2] == value.shape[-2]
    return attnjax.attend(query, key, value)

  case("plain/no aux").check(testing.ordinary(equal, grouped=False))


def test_an_offer_there_is_not():
  with pytest.raises(ValueError, match=r"offers must be among .*'masks'"):
    testing.ordinary(mine, offers=["masks"])


def test_quick_cases_are_one_of_a_kind():
  names = [str(x) for x in testing.quick_cases()]
  assert len(names) == 16
  assert len({name.split("/")[0] for name in names}) == 14


@pytest.mark.slow
def test_quick_cases_take_under_a_minute_of_two_cores():
  start = time.process_time()
  for one in testing.quick_cases():
    one.check(attnjax.attend)
  assert time.process_time() - start < 120
