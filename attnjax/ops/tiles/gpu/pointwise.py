"""Operations of each number by itself, as expressions of Triton."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from attnjax.ops.tiles.gpu.terms import type_of

__all__ = ["POINTWISE", "SAME", "written"]

SAME = ("copy_p", "pvary", "reshard", "stop_gradient")

_INFIX = {
  "add": "+",
  "add_any": "+",
  "sub": "-",
  "mul": "*",
  "eq": "==",
  "ne": "!=",
  "lt": "<",
  "le": "<=",
  "gt": ">",
  "ge": ">=",
  "and": "&",
  "or": "|",
  "xor": "^",
  "shift_left": "<<",
  "rem": "%",
}
_CALLS = {
  "abs": "tl.abs",
  "ceil": "tl.ceil",
  "cos": "tl.cos",
  "erf": "tl.erf",
  "exp": "tl.exp",
  "exp2": "tl.exp2",
  "floor": "tl.floor",
  "log": "tl.log",
  "rsqrt": "tl.rsqrt",
  "sin": "tl.sin",
  "sqrt": "tl.sqrt",
}
# Triton has these for float32 alone, as functions of a library that only a
# compiler links; written so, an interpreter has them too.
_FORMULAS: dict[str, str] = {
  "neg": "-{0}",
  "square": "{0} * {0}",
  "logistic": "1 / (1 + tl.exp(-{0}))",
  "tan": "tl.sin({0}) / tl.cos({0})",
  "is_finite": '(tl.abs({0}) < float("inf"))',
  "one_minus_square": "(1 - {0}) * (1 + {0})",  # since JAX 0.12
  "tanh": "tanh({0})",
  "log1p": "log1p({0})",
  "expm1": "expm1({0})",
  "sign": "sign({0})",
  "max": "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
  "min": "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
  "clamp": "tl.minimum(tl.maximum({1}, {0}), {2})",
}
POINTWISE = frozenset(
  (
    *_INFIX,
    *_CALLS,
    *_FORMULAS,
    *SAME,
    *("div", "not", "integer_pow", "select_n", "convert_element_type"),
    *("shift_right_logical", "shift_right_arithmetic"),
  )
)


def written(line, ins: Sequence[str], dtypes: Sequence) -> str:
  """An operation as an expression of the expressions of its arguments."""
  name, out = line.primitive.name, line.outvars[0].aval.dtype
  special = _SPECIAL.get(name)
  if special is not None:
    return special(line, ins, dtypes)
  if name in _INFIX:
    text = f"{ins[0]} {_INFIX[name]} {ins[1]}"
    return f"({text})" if out == bool else f"tl.cast({text}, {type_of(out)})"
  if name in _CALLS:
    return _in_float32(f"{_CALLS[name]}({{0}})", ins, out)
  return _in_float32(_FORMULAS[name], ins, out)


def _in_float32(formula: str, ins: Sequence[str], out) -> str:
  """A formula, of short floats computed in float32."""
  if out in (jnp.bfloat16, jnp.float16):
    ins = [f"tl.cast({x}, tl.float32)" for x in ins]
    return f"tl.cast({formula.format(*ins)}, {type_of(out)})"
  return formula.format(*ins)


def _divided(line, ins, dtypes) -> str:
  sign = "//" if jnp.issubdtype(dtypes[0], jnp.integer) else "/"
  out = type_of(line.outvars[0].aval.dtype)
  return f"tl.cast({ins[0]} {sign} {ins[1]}, {out})"


def _negated(line, ins, dtypes) -> str:
  return f"({ins[0]} == 0)" if dtypes[0] == bool else f"~{ins[0]}"


def _power(line, ins, dtypes) -> str:
  power = line.params["y"]
  text = " * ".join([ins[0]] * max(abs(power), 1))
  if power == 0:
    text = f"{ins[0]} * 0 + 1"
  return f"1 / ({text})" if power < 0 else text


def _selected(line, ins, dtypes) -> str:
  if len(ins) != 3:
    raise NotImplementedError("select_n of more than two")
  which = ins[0] if dtypes[0] == bool else f"({ins[0]} != 0)"
  return f"tl.where({which}, {ins[2]}, {ins[1]})"


def _converted(line, ins, dtypes) -> str:
  new = line.params["new_dtype"]
  if new == bool:
    return f"({ins[0]} != 0)"
  return f"tl.cast({ins[0]}, {type_of(new)})"


def _shifted(line, ins, dtypes) -> str:
  signed = jnp.issubdtype(dtypes[0], jnp.signedinteger)
  if (line.primitive.name == "shift_right_logical") == (not signed):
    return f"({ins[0]} >> {ins[1]})"
  raise NotImplementedError(f"{line.primitive.name} of {dtypes[0]}")


_SPECIAL: dict[str, Callable] = {
  "div": _divided,
  "not": _negated,
  "integer_pow": _power,
  "select_n": _selected,
  "convert_element_type": _converted,
  "shift_right_logical": _shifted,
  "shift_right_arithmetic": _shifted,
}
