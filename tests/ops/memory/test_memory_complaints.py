"""What cannot be is said: the argument, what was expected, the remedy."""

import jax.numpy as jnp
import pytest

from attnjax import memory
from attnjax.memory import Algorithm, Gates, Rule

T, H, D, E = 7, 2, 5, 3


def numbers(x=0.5, shape=(T, H)):
  return jnp.full(shape, x)


def stream(rule=None, shapes=None, gates=None, state=None, way=None):
  """A call of which one thing is wrong."""
  rule = rule or memory.delta_net()
  shapes = {"query": (T, H, D), "key": (T, H, D), "value": (T, H, E)} | (
    shapes or {}
  )
  if state is None:
    state = memory.init(rule, (), H, D, value_width=E)
  arrays = [jnp.ones(shape) for shape in shapes.values()]
  gates = gates or Gates(numbers())
  return memory.stream(state, *arrays, gates, implementation=way)


DECAY = Rule(retention=memory.decay())
MOMENTUM = Rule(algorithm=memory.momentum())
YAAD = Rule(objective=memory.huber(None))


@pytest.mark.parametrize(
  ("rule", "gates", "words"),
  [
    (DECAY, Gates(numbers()), "gates: decay is missing, and the rule needs it"),
    (MOMENTUM, Gates(numbers()), "gates: momentum is missing"),
    (YAAD, Gates(numbers()), "gates: threshold is missing"),
    (None, Gates(None), "gates: rate is missing.*; give one number a token"),
    (None, Gates(numbers(), numbers()), "momentum is given, and the rule has"),
    (None, Gates(numbers(), None, numbers()), "no use for it; leave it out"),
    (
      None,
      Gates(numbers(shape=(T,))),
      r"rate must have the shape '\*B T H' = \[7, 2\] of the keys, got \[7\]",
    ),
    (None, Gates(numbers(shape=(T, 1))), r"\[7, 2\] of the keys, got \[7, 1\]"),
    (None, Gates(numbers(-0.25)), "rate must be finite and 0.0 or more, got"),
    (None, Gates(numbers(jnp.nan)), "rate must be finite"),
    (None, Gates(numbers(jnp.inf)), "rate must be finite"),
    (
      DECAY,
      Gates(numbers(), None, numbers(1.5)),
      "decay must be finite and within 0.0 and 1.0, got numbers from 1.5 to"
      " 1.5; a sigmoid keeps them there",
    ),
    (MOMENTUM, Gates(numbers(), numbers(-0.5)), "momentum must be finite and"),
    (
      memory.kimi_delta_attention(),
      Gates(numbers(), None, numbers()),
      r"decay must have the shape '\*B T H D' = \[7, 2, 5\] of the keys",
    ),
    (YAAD, Gates(numbers(), threshold=numbers(-1.0)), "threshold must be"),
    (None, Gates(jnp.ones((T, H), jnp.int32)), "rate must be floats, got int"),
  ],
)
def test_gates(rule, gates, words, as_a_user):
  with pytest.raises(ValueError, match=words):
    stream(rule, gates=gates)


@pytest.mark.parametrize(
  ("shapes", "words"),
  [
    ({"key": (T - 1, H, D)}, r"memory: key must be .* got the shape \[6, 2, 5"),
    ({"value": (T, H + 1, E)}, r"value must be .* = \[2\] of the state"),
    ({"query": (1, T, H, D)}, "query must be"),
    ({"query": (T, H, D + 1)}, "arrays of the widths"),
    ({"value": (T, H, E + 1)}, "the state has maps of the sizes"),
  ],
)
def test_arrays(shapes, words, as_a_user):
  with pytest.raises(ValueError, match=words):
    stream(shapes=shapes)


@pytest.mark.parametrize(
  ("heads", "width", "words"),
  [
    (H + 1, D, r"\*B and H = \[3\] of the state"),
    (H, D + 2, "make the state with memory.init of the same rule and widths"),
  ],
)
def test_a_state_of_another_shape(heads, width, words, as_a_user):
  state = memory.init(memory.delta_net(), (), heads, width, value_width=E)
  with pytest.raises(ValueError, match=words):
    stream(state=state)
  with pytest.raises(ValueError, match=words):
    memory.read(state, jnp.ones((T, H, D)))


@pytest.mark.parametrize(
  ("choices", "words"),
  [
    ({"chunk": 0}, "chunk must be at least 1 token, got 0"),
    ({"window": 0}, "window must be at least 1 token, got 0"),
    ({"reads": "never"}, r"reads must be one of \['after', 'before'\], got"),
    ({"gradients": "batch"}, "gradients must be one of"),
    ({"updates": "chunk"}, "updates='chunk' needs gradients='chunk'"),
    (
      {"updates": "chunk", "gradients": "chunk", "window": 3},
      "window is 3; leave it at 1",
    ),
    ({"decayed": True}, "and a retention that decays"),
    (
      {"retention": memory.channel_decay(), "window": 2},
      "steps at every token",
    ),
    (
      {"retention": memory.channel_decay(), "algorithm": memory.momentum()},
      "and neither momentum, Muon nor polynomial features",
    ),
    (
      {
        "decayed": True,
        "gradients": "chunk",
        "retention": memory.decay(),
      },
      "needs gradients='token'",
    ),
  ],
)
def test_rules(choices, words, as_a_user):
  with pytest.raises(ValueError, match=words):
    Rule(**choices)


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: memory.titans(chunk=0), "chunk must be at least 1"),
    (lambda: memory.mlp(0), "mlp: depth must be at least 1, got 0"),
    (lambda: memory.gated_mlp(0), "gated_mlp: expansion must be at least 1"),
    (lambda: memory.huber(0.0), "huber: delta must be above 0, got 0.0"),
    (lambda: memory.l_p(1.0), "l_p: p must be above 1, got 1.0"),
    (lambda: memory.l_q(1.0), "l_q: q must be above 1, got 1.0"),
    (lambda: memory.kl(0.0), "kl: scale must be above 0, got 0.0"),
    (lambda: memory.muon(0), "muon: iterations must be at least 1, got 0"),
    (lambda: memory.polynomial(0), "polynomial: degree must be at least 1"),
    (
      lambda: memory.init(memory.titans(), (), H, D),
      "nothing would ever be learned; give weights=memory.initial_weights",
    ),
    (
      lambda: memory.init(
        memory.delta_net(), (), H, D, weights={"map_0": jnp.ones((H, D, E))}
      ),
      r"weights must have the shapes \{'map_0': \(2, 5, 5\)\}, got",
    ),
    (
      lambda: memory.init(memory.ttt_linear(), (), H, D, value_width=E),
      "residual=True adds a query of width 5 to a value of width 3",
    ),
    (
      lambda: memory.init(memory.delta_net(), (), H, D, gain=jnp.ones((H, D))),
      "has none; leave it out",
    ),
    (
      lambda: memory.init(memory.ttt_linear(), (), H, D, gain=jnp.ones(D)),
      r"gain must have the shape \(2, 5\) of heads and values, got \(5,\)",
    ),
    (
      lambda: Algorithm(dampened=True),
      "scales gradients by 1 - η, which needs momentum",
    ),
    (lambda: stream(way="pallas"), r"must be one of \['chunked', 'sequential'"),
  ],
)
def test_choices(make, words, as_a_user):
  with pytest.raises(ValueError, match=words):
    make()


@pytest.mark.parametrize(
  "rule",
  [
    Rule(memory.matrix(residual=True)),
    Rule(objective=memory.huber()),
    Rule(algorithm=memory.muon(has_momentum=False)),
    Rule(window=2),
  ],
)
def test_a_chunk_that_cannot_be_computed_at_once(rule, as_a_user):
  state = memory.init(rule, (), H, D)
  x = jnp.ones((T, H, D))
  given = (state, x, x, x, Gates(numbers(0.1)))
  with pytest.raises(NotImplementedError, match="or 'sequential', which"):
    memory.stream(*given, implementation="chunked")
