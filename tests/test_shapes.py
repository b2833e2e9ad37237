"""The shape and dtype of everything public, one line each: the reference.

``arguments -> results`` in the axis letters of `attnjax.typing`; float32 unless
a dtype stands before the axes. Nothing is computed: `jax.eval_shape` follows
the shapes through, and every annotation is checked on the way.
"""

import importlib

import chex
import jax
import jax.numpy as jnp
import pytest

import attnjax
from attnjax import cache as caches
from attnjax import (
  glimpses,
  masks,
  memory,
  models,
  nn,
  normalizers,
  parallel,
  patterns,
  positions,
  score_mods,
  slots,
)
from attnjax import scoring as scorings
from attnjax.nn.norm import make_norm
from attnjax.ops import heads
from attnjax.ops.multi_head import decode_attention

# isort: off
# fmt: off
from tests.shape_examples import (
  EVERY_AUX, KEY, MEMORIES, RNGS, albert, block, cross_block, decode, decoder,
  drawn, encoder, encoder_decoder, feed_forward, generate, held, latent_layer,
  layer, memory_lm, memory_state, mixer, multi_head, near, neural_memory,
  next_token, remember, search, seq2seq, single_head, vit,
)
from tests.shape_lines import B, C, D, E, F, H, K, M, N, S, T, V, W, X
from tests.shape_lines import LINES, SIZE, check, results, shapes
# fmt: on
# isort: on

QKV = "B T H D, B S K D, B S K E"


def test_shapes_in_brief():
  """What the lines below say of every public name, of some in full."""
  (out,) = results(attnjax.attend, QKV)
  chex.assert_shape(out, (B, T, H, E))  # as many heads as queries, E as values

  weights, logsumexp = results(
    lambda *x: attnjax.attend(*x, aux=("weights", "logsumexp"))[1], QKV
  )[::-1]
  chex.assert_shape(weights, (B, H, T, S))
  chex.assert_shape(logsumexp, (B, H, T))

  (out,) = results(lambda *x: layer()(*x), "B T M, B S M")
  chex.assert_shape(out, (B, T, M))

  (logits,) = results(lambda x: decoder()(x), "int B T")
  chex.assert_shape(logits, (B, T, V))

  (out,) = results(attnjax.attend, "bf16 T H D, bf16 S K D, bf16 S K E")
  chex.assert_shape(out, (T, H, E))  # batch axes are optional
  chex.assert_type(out, jnp.bfloat16)


# fmt: off

@shapes(
  ("attnjax.attend", attnjax.attend, f"{QKV} -> B T H E"),
  ("", attnjax.attend, "T H D, S K D, S K E -> T H E"),
  ("", attnjax.attend, "N B T H D, N B S K D, N B S K E -> N B T H E"),
  ("", attnjax.attend, "bf16 T H D, bf16 S K D, bf16 S K E -> bf16 T H E"),
  ("", attnjax.attend, "T H D, S K D, bf16 S K E -> bf16 T H E"),
  ("attnjax.Aux", lambda *x: attnjax.attend(*x, aux=EVERY_AUX),
   f"{QKV} -> B T H E, B H T, B H T S, B H T, B H T"),
  ("", lambda *x: attnjax.attend(*x, aux=EVERY_AUX)[1],
   "bf16 T H D, bf16 S K D, bf16 S K E -> H T, H T S, H T, H T"),
  *(("", lambda *x, a=a: getattr(attnjax.attend(*x, aux=a)[1], a),
     f"{QKV} -> {'B H T S' if a == 'weights' else 'B H T'}")
    for a in EVERY_AUX),
  *(("", lambda q, k, v, b: attnjax.attend(q, k, v, bias=b),
     f"{QKV}, {bias} -> B T H E")
    for bias in ("B H T S", "H T S", "T S", "S", "()")),
  *(("", lambda q, k, v, m: attnjax.attend(q, k, v, mask=m),
     f"{QKV}, bool {mask} -> B T H E") for mask in ("B H T S", "T S")),
  *(("", lambda q, k, v, x, y: attnjax.attend(
      q, k, v, query_positions=x, key_positions=y,
      query_segment_ids=x, key_segment_ids=y),
     f"{QKV}, int {b}T, int {b}S -> B T H E") for b in ("B ", "")),
  *(("attnjax.Blockwise", lambda *x, a=a: attnjax.attend(
      *x, aux=a, implementation=attnjax.Blockwise(2, 3)),
     f"{QKV} -> B T H E{rest}") for a, rest in (
      ((), ""), (("logsumexp", "entropy", "max_logit"), ", B H T" * 3))),
  ("attnjax.Fused", lambda *x: attnjax.attend(
      *x, implementation=attnjax.Fused(2, 3, interpret=True)),
   f"{QKV} -> B T H E"),
  ("attnjax.dot_product_attention", attnjax.dot_product_attention,
   f"{QKV} -> B T H E"),
  ("", lambda *x: attnjax.dot_product_attention(*x, return_residual=True),
   f"{QKV} -> B T H E, B T H"),
  ("attnjax.attention_weights", attnjax.attention_weights,
   "B T H D, B S K D -> B H T S"),
  ("", lambda q, k, rows: attnjax.attention_weights(q, k, queries=rows),
   "T H D, S K D, int N -> H N S"),
  *((f"attnjax.parallel.{name}",
     lambda *x, name=name: getattr(parallel, name)(
       parallel.make_mesh(jax.devices()[:1], tokens=1), "tokens")(*x),
     f"{QKV} -> B T H E")
    for name in ("RingAttention", "AllGatherAttention", "UlyssesAttention")),
  ("attnjax.parallel.permute", lambda x: parallel.permute(x, "striped", T),
   "int B T -> int B T"),
  ("attnjax.parallel.unpermute",
   lambda x: parallel.unpermute(x, "striped", T, axis=1), "B T M -> B T M"),
  ("attnjax.Partial attnjax.merge",
   lambda out, total: attnjax.merge([attnjax.Partial(out, total)] * 3),
   "B T H E, B H T -> B T H E, B H T"),
  ("attnjax.self_attention",
   lambda x: attnjax.self_attention(single_head(), x), "B T M -> B T E"),
  ("", lambda x: attnjax.self_attention(single_head(), x, aux=("weights",)),
   "B T M -> B T E, B 1 T T"),
  *(("attnjax.multi_head_attention",
     lambda *x, c=c: attnjax.multi_head_attention(multi_head(), *x, combine=c),
     f"{arguments} -> B T M")
    for c in ("concatenate", "sum") for arguments in ("B T M", "B T M, B S M")),
  ("", lambda *x: attnjax.multi_head_attention(
    multi_head(False), *x, aux=EVERY_AUX),
   "T M, S M -> T M, H T, H T S, H T, H T"),
  ("", lambda x: decode_attention(multi_head(), x, held()),
   "B T M -> B T M, B C K D, B C K E, int B, int B"),
  ("", lambda x: decode_attention(multi_head(), x, held(), aux=("weights",)),
   "B T M -> B T M, B C K D, B C K E, int B, int B, B H T C"),
  ("", lambda x, m: heads.project_heads(multi_head(), x, m),
   "B T M, B S M -> B T H D, B S K D, B S K E"),
  ("", lambda x: heads.project_heads(multi_head(), x, None),
   "B T M -> B T H D, B T K D, B T K E"),
  ("", lambda x: heads.proposed_changes(multi_head().output, x),
   "B T H E -> B T H M"),
  *(("", lambda x, c=c: heads.combine_heads(multi_head().output, x, c),
     "B T H E -> B T M") for c in ("concatenate", "sum")),
  ("", lambda x: heads.linear(single_head().value, x), "B T M -> B T E"),
)
def test_shapes_of_attention(line):
  check(line)


@shapes(
  *(("attnjax.glimpse", lambda x, s, a=a: attnjax.glimpse(x, s, axis=a),
     f"{line} -> B T D")
    for a, line in ((-2, "B T D, B T"), (-2, "B T D, T"), (-1, "B T D, B D"),
                    (-1, "B T D, B T D"), (-2, "B T D, bf16 B T 1"))),
  ("", attnjax.glimpse, "B T, B T -> B T"),
  ("", attnjax.glimpse, "bf16 T, T -> bf16 T"),
  ("", lambda x, s: attnjax.glimpse(x, s, axis=-2, pool=True),
   "B T D, B T -> B D"),
  *(("attnjax.glimpses.GlimpseAux", lambda x, s, m: attnjax.glimpse(
      x, s, axis=1, mask=m, aux=("weights", "entropy")),
     f"B T D, {line}") for line in (
      "B T, bool B T -> B T D, B T, B", "T, bool B 1 -> B T D, B T, B",
      "B T D, bool B T -> B T D, B T D, B D")),
  ("attnjax.glimpses.draw attnjax.glimpses.Draw",
   lambda x, s: glimpses.draw(x, s, KEY(), axis=-2, pool=True),
   "B T D, B T -> B D, int B, B"),
  ("attnjax.glimpses.score_function", glimpses.score_function, "B, B, B -> B"),
  ("attnjax.glimpses.leave_one_out", glimpses.leave_one_out, "N B -> N B"),
)
def test_shapes_of_glimpses(line):
  check(line)


@shapes(
  *((f"attnjax.masks.{name} attnjax.masks.Mask",
     lambda mask=mask: mask.dense(T, S, batch=(B,), heads=H),
     "-> bool B H T S")
    for name, mask in (
      ("full", masks.full()),
      ("causal", masks.causal()),
      ("sliding_window", masks.sliding_window(2, 1)),
      ("dilated", masks.dilated(2)),
      ("chunked", masks.chunked(2)),
      ("from_fn", masks.from_fn(lambda b, h, q, k: q > k)),
      ("neighborhood", masks.neighborhood((2, 2), (0, 0))),
    )),
  *(("", lambda m=m: m.dense(T, S), "-> bool 1 T S")
    for m in (masks.causal() & masks.full(), ~masks.causal(),
              masks.causal() | masks.dilated(3))),
  *((f"attnjax.masks.{name}", lambda n, f=f: f(n).dense(T, S, batch=(B,)),
     f"int {n} -> bool B 1 T S") for n in ("B", "()")
    for name, f in (("prefix", masks.prefix),
                    ("query_prefix", masks.query_prefix))),
  ("attnjax.masks.lengths",
   lambda t, s: masks.lengths(t, s).dense(T, S, batch=(B,), heads=H),
   "int B, int B -> bool B H T S"),
  ("attnjax.masks.segments",
   lambda x, y: masks.segments(x, y).dense(T, S, batch=(B,)),
   "int B T, int B S -> bool B 1 T S"),
  *(("attnjax.masks.dense",
     lambda x: masks.dense(x).dense(T, S, batch=(B,), heads=H),
     f"bool {x} -> bool B H T S") for x in ("B H T S", "H T S", "T S")),
)
def test_shapes_of_masks(line):
  """`dense(T, S)` is ``*B H T S``."""
  check(line)


@shapes(
  *((f"attnjax.scoring.{name} attnjax.scoring.Scoring", scoring,
     "B K H T D, B K S D -> B K H T S")
    for name, scoring in (
      ("dot", scorings.dot()), ("scaled_dot", scorings.scaled_dot()),
      ("general", scorings.general(jnp.ones((D, D)))),
      ("additive", scorings.additive(
        jnp.ones((D, C)), jnp.ones((D, C)), jnp.ones(C))),
      ("cosine", scorings.cosine(0.1)),
      ("gaussian", scorings.gaussian(2.0)))),
  *((f"attnjax.score_mods.{name} attnjax.score_mods.ScoreMod",
     lambda x, h, q, k, mod=mod: mod(x, h, h, q, k),
     "H T S, int H 1 1, int 1 T 1, int 1 1 S -> H T S")
    for name, mod in (
      ("softcap", score_mods.softcap(3.0)),
      ("alibi", score_mods.alibi(jnp.ones(H))),
      ("relative_bias", score_mods.relative_bias(jnp.ones((V - 1, H)))),
      ("from_fn", score_mods.from_fn(lambda x, b, h, q, k: x)),
      ("compose", score_mods.compose(score_mods.softcap(3.0))))),
  *((f"attnjax.normalizers.{name} attnjax.normalizers.Normalizer", normalizer,
     "B H T S -> B H T S, B H T")
    for name, normalizer in (
      ("softmax", normalizers.softmax()),
      ("softmax", normalizers.softmax(sink=jnp.ones(H))),
      ("softmax_plus_one", normalizers.softmax_plus_one()),
      ("sigmoid", normalizers.sigmoid()),
      ("top_k", normalizers.top_k(3)))),
)
def test_shapes_of_scoring_score_mods_and_normalizers(line):
  """From queries and keys to logits, and from logits to weights."""
  check(line)


@shapes(
  *(("attnjax.positions.sinusoidal", lambda p: positions.sinusoidal(p, W),
     f"int {axes} -> {axes} W") for axes in ("T", "B T", "N B T")),
  *(("attnjax.positions.learned", positions.learned,
     f"N M, int {axes} -> {axes} M") for axes in ("T", "B T")),
  ("", positions.learned, "bf16 N M, int T -> bf16 T M"),
  *(("attnjax.positions.rotary", positions.rotary,
     f"B T H D, int {axes} -> B T H D") for axes in ("T", "B T", "1 T")),
  ("attnjax.positions.Rotary", positions.Rotary(interleaved=True),
   "bf16 T H D, int T -> bf16 T H D"),
  ("attnjax.positions.alibi_slopes", lambda: positions.alibi_slopes(H), "-> H"),
)
def test_shapes_of_positions(line):
  check(line)


@shapes(
  ("attnjax.slots.Slots", slots.Slots, "S D, S E -> S D, S E"),
  ("attnjax.slots.read", lambda k, v, q: slots.read(slots.Slots(k, v), q),
   "S D, S E, B T D -> B T E"),
  ("", lambda k, v, q: slots.read(slots.Slots(k, v), q, aux=("weights",)),
   "B S D, B S E, B T D -> B T E, B 1 T S"),
  ("attnjax.slots.write", lambda k, v, a, new: slots.write(
    slots.Slots(k, v), a, new),
   "S D, S E, B T D, B T E -> B S D, B S E"),
)
def test_shapes_of_slots(line):
  """A store is (key, value), one for all rows or one a row."""
  check(line)


@shapes(
  ("attnjax.patterns.attention_pattern",
   lambda x: patterns.attention_pattern(x, "columns"), "B H T S -> B H S T"),
  ("", patterns.attention_pattern, "T S -> T S"),
  ("attnjax.patterns.attention_rollout", patterns.attention_rollout,
   "L B H T T -> B T T"),
  ("", patterns.attention_rollout, "L H T T -> T T"),
  ("attnjax.patterns.value_maps", lambda: patterns.value_maps(multi_head()),
   "-> H M M"),
  ("attnjax.patterns.move", patterns.move,
   "B H T S, B S M, H M M -> B T M"),
)
def test_shapes_of_patterns(line):
  check(line)


@shapes(
  ("attnjax.cache.init", held, "-> B C K D, B C K E, int B, int B"),
  ("", lambda: caches.init((), C, K, D, dtype=jnp.bfloat16),
   "-> bf16 C K D, bf16 C K D, int (), int ()"),
  *((f"attnjax.cache.{f.__name__} attnjax.cache.KeyValueCache",
     lambda k, v, n, f=f: f(held(), k, v, lengths=n),
     "B T K D, B T K E, int B -> B C K D, B C K E, int B, int B")
    for f in (caches.append, caches.roll)),
  ("attnjax.cache.rewind", lambda: caches.rewind(held(), 0),
   "-> B C K D, B C K E, int B, int B"),
  ("", lambda k, v: caches.roll(held(()), k, v),
   "N K D, N K E -> C K D, C K E, int (), int ()"),
  ("", lambda: held().positions, "-> int B C"),
  ("", lambda: held().next_positions(T), "-> int B T"),
  ("", lambda: held().filled.dense(T, C, batch=(B,)), "-> bool B 1 T C"),
)
def test_shapes_of_caches(line):
  """A KeyValueCache is (key, value, length, forgotten)."""
  check(line)


@shapes(
  *((f"attnjax.memory.{name} attnjax.memory.stream",
     lambda *x, rule=rule: remember(rule, *x)[0],
     f"B T H D, B T H D, B T H {e}, B T H -> B T H {e}")
    for name, rule in MEMORIES.items()
    for e in (("D",) if rule.structure.residual else ("E", "D"))),
  ("", lambda *x: remember(MEMORIES["delta_net"], *x),
   "N B T H D, N B T H D, N B T H E, N B T H -> N B T H E, N B H D E"),
  ("", lambda *x: remember(MEMORIES["delta_net"], *x),
   "bf16 T H D, bf16 T H D, bf16 T H E, T H -> bf16 T H E, H D E"),
  ("attnjax.memory.write attnjax.memory.Gates",
   lambda k, v, r: memory.write(
     memory_state(memory.Rule()), k, v, memory.Gates(r)),
   "B T H D, B T H E, B T H -> B H D E, int ()"),
  ("attnjax.memory.read",
   lambda q: memory.read(memory_state(memory.Rule()), q),
   "B T H D -> B T H E"),
  ("attnjax.memory.init attnjax.memory.MemoryState",
   lambda: memory_state(memory.Rule(algorithm=memory.momentum())),
   "-> B H D E, B H D E, int ()"),
  ("", lambda: memory_state(memory.Rule()).norm, "-> B H"),
  ("attnjax.memory.initial_weights",
   lambda: memory.initial_weights(memory.Rule(), KEY(), H, D, value_width=E),
   "-> H D E"),
  *((f"attnjax.memory.{f.__name__} attnjax.memory.Structure",
     lambda x, f=f, shapes=shapes: f()(
       lambda name, y: y @ jnp.ones(shapes[name]), x), "B T D -> B T E")
    for f in (memory.matrix, memory.mlp, memory.gated_mlp, memory.ridge)
    for shapes in [f().shapes(D, E)]),
  *((f"attnjax.memory.{name} attnjax.memory.Objective", objective,
     "B T E, B T E, B T -> B T")
    for name, objective in (
      ("l2", memory.l2()), ("dot", memory.dot()), ("huber", memory.huber(None)),
      ("l_p", memory.l_p()), ("negative", memory.negative(memory.l2())))),
  *((f"attnjax.memory.{f.__name__} attnjax.memory.Retention",
     lambda x, f=f: f().link({"map_0": x}), "D E -> D E")
    for f in (memory.none, memory.decay, memory.channel_decay, memory.l_q,
              memory.kl)),
  ("attnjax.memory.orthogonalized", memory.orthogonalized, "H D E -> H D E"),
  ("attnjax.memory.polynomial attnjax.memory.Features",
   lambda x: memory.polynomial(2)(x), "B T D -> B T 42"),
)
def test_shapes_of_memories(line):
  """The state of a rule is (weights, momentum, position)."""
  check(line)


@shapes(
  ("attnjax.testing.Problem", drawn, "-> B T H D, B S K D, B S K E, H T S"),
)
def test_shapes_of_problems_for_testing(line):
  check(line)


@shapes(
  ("attnjax.nn.Embedding",
   lambda x: nn.Embedding(V, M, rngs=RNGS())(x), "int B T -> B T M"),
  ("", lambda x: nn.Embedding(V, M, rngs=RNGS()).logits(x), "B T M -> B T V"),
  *(("attnjax.nn.FeedForward", lambda x, a=a: feed_forward(a)(x),
     "B T M -> B T M")
    for a in ("gelu", "gelu_erf", "relu", "squared_relu", "swiglu")),
  ("attnjax.models.Encoder",
   lambda x: encoder()(x), "int B T -> B T M"),
  ("", lambda x, real: encoder()(x, real=real), "int B T, bool B T -> B T M"),
  ("attnjax.models.sentence_embeddings", models.sentence_embeddings,
   "B T M, bool B T -> B M"),
  ("attnjax.nn.MixtureOfExperts",
   lambda x: nn.MixtureOfExperts(
     M, F, experts=X, active=2, shared=D, rngs=RNGS())(x),
   "B T M -> B T M"),
  ("attnjax.nn.ExpertLinear",
   lambda: nn.ExpertLinear(X, M, F, rngs=RNGS()).kernel[...], "-> X M F"),
  *(("", lambda x, n=n: make_norm(n, M, True, RNGS())(x), "B T M -> B T M")
    for n in ("rms", "layer")),
  ("attnjax.nn.MultiHeadAttention", lambda x: layer()(x), "B T M -> B T M"),
  ("", lambda x, m: layer()(x, m), "B T M, B S M -> B T M"),
  ("", lambda x, m: layer()(x, m, aux=("weights",)),
   "B T M, B S M -> B T M, B H T S"),
  ("", lambda x: layer().decode(x, held()),
   "B T M -> B T M, B C K D, B C K E, int B, int B"),
  ("", lambda: layer().params,
   "-> M H D, H D, M K D, K D, M K E, K E, H E M, M"),
  ("attnjax.nn.LatentAttention", lambda x: latent_layer()(x),
   "B T M -> B T M"),
  ("", lambda x: latent_layer()(x, aux=("weights",)),
   "B T M -> B T M, B H T T"),
  ("", lambda x: latent_layer().decode(x, latent_layer().init_cache((B,), C)),
   "B T M -> B T M, B C 1 2, B C 1 14, int B, int B"),
  ("attnjax.nn.SelfAttention",
   lambda x: nn.SelfAttention(M, rngs=RNGS())(x), "B T M -> B T M"),
  *(("attnjax.nn.GlimpseNetwork", lambda x, c, p=p: nn.GlimpseNetwork(
      C, T, E, pool=p, rngs=RNGS())(x, c), "B T, int B -> B E")
    for p in (False, True)),
  *(("", lambda x, c, p=p: nn.GlimpseNetwork(
      C, T, E, width=D, pool=p, rngs=RNGS())(x, c, aux="weights"),
     "B T D, int B -> B E, B T") for p in (False, True)),
  ("", lambda: nn.GlimpseNetwork(C, T, E, rngs=RNGS()).effective_weights(),
   "-> C T E"),
  ("", lambda: nn.GlimpseNetwork(C, T, E, rngs=RNGS()).weights(), "-> C T"),
  ("attnjax.nn.ContentGlimpse", lambda x, c: nn.ContentGlimpse(
    C, M, E, key_width=D, rngs=RNGS())(x, c, aux="weights"),
   "B T M, int B -> B E, B T"),
  ("attnjax.nn.NeuralMemory attnjax.nn.NeuralMemoryState",
   lambda x: neural_memory(M, H, D)(x),
   "B T M -> B T M, B H D D, int (), B 3 72"),
  ("attnjax.nn.WindowAttention attnjax.nn.WindowCache",
   lambda x: near()(x), "B T W -> B T W"),
  ("", lambda x, y: near(None)(x, y), "B T W, B T W -> B T W"),
  *((f"attnjax.nn.{kind.__name__}", lambda x, kind=kind: mixer(kind)(x)[0],
     "B T W -> B T W")
    for kind in (nn.MemoryAlone, nn.MemoryAsContext, nn.MemoryAsGate,
                 nn.MemoryAsLayer)),
  ("attnjax.nn.TransformerBlock", lambda x: block()(x), "B T M -> B T M"),
  ("", lambda x: block("post")(x), "B T M -> B T M"),
  ("", lambda x: block()(x, aux=("logsumexp",)), "B T M -> B T M, B H T"),
  ("", lambda x: block().decode(x, held()),
   "B T M -> B T M, B C K D, B C K E, int B, int B"),
  ("attnjax.nn.CrossBlock", lambda *x: cross_block()(*x),
   "B T M, B S K D, B S K E -> B T M"),
  ("", lambda *x: cross_block()(*x, aux=("weights",)),
   "B T M, B S K D, B S K E -> B T M, B H T T, B H T S"),
  ("", lambda x, *m: cross_block().decode(x, held(), *m),
   "B T M, B S K D, B S K E -> B T M, B C K D, B C K E, int B, int B"),
  ("", lambda m: layer().project_memory(m), "B S M -> B S K D, B S K E"),
  ("", lambda *x: layer().read(*x), "B T M, B S K D, B S K E -> B T M"),
  ("attnjax.nn.GRUCell", lambda *x: nn.GRUCell(D, M, rngs=RNGS())(*x),
   "B M, B D -> B M"),
  ("", lambda: nn.GRUCell(D, M, rngs=RNGS()).params,
   "-> D 3 M, M 3 M, 3 M, 3 M"),
  ("attnjax.nn.GRU", lambda x, n: nn.GRU(D, M, rngs=RNGS())(x, lengths=n),
   "B T D, int B -> B T M, B M"),
  ("", lambda *x: nn.GRU(D, 5, bidirectional=True, rngs=RNGS())(*x),
   "T D, W -> T W, W"),
  ("attnjax.nn.StepAttention",
   lambda *x: nn.StepAttention(M, rngs=RNGS())(*x),
   "B M, B S M, B S M -> B M"),
  ("", lambda *x: nn.StepAttention(M, rngs=RNGS())(*x, aux=("weights",)),
   "B M, B S M, B S M -> B M, B 1 1 S"),
)
def test_shapes_of_modules(line):
  check(line)


@shapes(
  *(("attnjax.models.DecoderLM", lambda x, p=p: decoder(positions=p)(x),
     "int B T -> B T V")
    for p in ("rotary", "learned", "sinusoidal", "alibi", "none")),
  ("", lambda x: decoder()(x), "int T -> T V"),
  ("", lambda x: decoder(tied=False, norm="layer", use_bias=True)(x),
   "int B T -> B T V"),
  ("", lambda x: jax.tree.map(
    lambda p: p.astype(jnp.bfloat16), decoder())(x), "int B T -> B T V"),
  ("", lambda x: decoder()(x, positions=x, segment_ids=x), "int B T -> B T V"),
  ("", lambda x: decoder()(x, aux=EVERY_AUX),
   "int B T -> B T V, L B H T, L B H T T, L B H T, L B H T"),
  ("", lambda: decoder().init_cache((B,), C),
   "-> L B C K D, L B C K D, int L B, int L B"),
  ("", decode, "int B T -> B T V, L B C K D, L B C K D, int L B, int L B"),
  ("", decode, "int B 1 -> B 1 V, L B C K D, L B C K D, int L B, int L B"),
  ("attnjax.models.generate", generate, "int B T, int B -> int B N"),
  ("attnjax.models.sample", lambda x: models.sample(x, KEY()), "B V -> int B"),
  ("", lambda x: models.sample(x, KEY(), temperature=0.0), "V -> int ()"),
  *(("attnjax.models.Seq2Seq",
     lambda x, y, n, a=a: seq2seq(a)(x, y, source_lengths=n),
     "int B S, int B T, int B -> B T V")
    for a in ("additive", "dot", "general", "none")),
  ("", lambda *x: seq2seq()(*x, aux=EVERY_AUX),
   "int B S, int B T -> B T V, B 1 T, B 1 T S, B 1 T, B 1 T"),
  ("attnjax.models.SequenceMemory", lambda *x: seq2seq().encode(*x),
   "int B S, int B -> B S D, B S D, L B D, int B"),
  ("attnjax.models.NextToken", lambda *x: next_token(seq2seq(), *x),
   "int B S, int B -> B V, L B D"),
  ("attnjax.models.EncoderDecoder",
   lambda x, y, n: encoder_decoder()(x, y, source_lengths=n),
   "int B S, int B T, int B -> B T V"),
  ("attnjax.models.EncoderDecoderAux",
   lambda *x: encoder_decoder()(*x, aux=("weights",)),
   "int B S, int B T -> B T V, E B K S S, L B K T T, L B K T S"),
  ("attnjax.models.CrossMemory", lambda *x: encoder_decoder().encode(*x),
   "int B S, int B -> L B S K 5, L B S K 5, int B"),
  ("", lambda *x: next_token(encoder_decoder(), *x),
   "int B S, int B -> B V, L B C K 5, L B C K 5, int L B, int L B"),
  *(("attnjax.models.translate",
     lambda x, n, make=make: models.translate(
       make(), x, n, beams=K, start=0, end=1, max_length=N),
     "int B S, int B -> int B K N, int B K, B K")
    for make in (seq2seq, encoder_decoder)),
  ("attnjax.models.beam_search attnjax.models.Hypotheses",
   lambda: search(models.beam_search, beams=K),
   "-> int B K N, int B K, B K"),
  ("attnjax.models.greedy", lambda: search(models.greedy),
   "-> int B N, int B, B"),
  ("attnjax.models.Albert", lambda *x: albert()(*x), "int B T -> B T V"),
  ("", lambda x, n: albert()(x, kinds=x, lengths=n, aux=("weights", "entropy")),
   "int B T, int B -> B T V, L B K T T, L B K T"),
  *(("attnjax.models.MemoryLM", lambda x, a=a: memory_lm(a)(x),
     "int B T -> B T V") for a in ("attention", "memory", "mac", "mag", "mal")),
  ("", lambda x: memory_lm("memory")(x, norms=True),
   "int B T -> B T V, L B 2"),
  ("attnjax.models.norms_by_layer", lambda x: models.norms_by_layer(x[:2]),
   "L B H -> (), ()"),
  *(("attnjax.models.ViT", lambda x, p=p: vit(**p)(x), "B 6 4 3 -> B V")
    for p in ({}, {"pool": "mean"}, {"positions": "none"})),
  ("", lambda x: vit()(x, aux=("weights",)), "6 4 3 -> V, L K T T"),
)
def test_shapes_of_models(line):
  check(line)
# fmt: on


MODULES = (
  "attnjax",
  "attnjax.cache",
  "attnjax.glimpses",
  "attnjax.masks",
  "attnjax.memory",
  "attnjax.models",
  "attnjax.nn",
  "attnjax.normalizers",
  "attnjax.parallel",
  "attnjax.patterns",
  "attnjax.positions",
  "attnjax.score_mods",
  "attnjax.scoring",
  "attnjax.slots",
  "attnjax.testing",
)
# Names that neither take an array nor make one.
NO_ARRAYS = {"attnjax.masks.Tile", "attnjax.masks.check"}
NO_ARRAYS |= {"attnjax.Explanation", "attnjax.Verdict", "attnjax.explain"}
NO_ARRAYS |= {
  f"attnjax.models.{name}Config"
  for name in (
    *("Albert", "Decoder", "Encoder", "EncoderDecoder", "Experts"),
    *("Latent", "Lora", "MemoryLM"),
    *("Rotary", "Seq2Seq", "ViT"),
  )
}
NO_ARRAYS |= {
  f"attnjax.models.{name}"
  for name in ("MATRICES", "decoder_parameters", "partition_rules", "total")
}
# Its arrays have no letters here; tests/models/test_albert.py has their shapes.
NO_ARRAYS |= {"attnjax.models.load_albert"}
# Of directories; tests/models/test_published.py.
NO_ARRAYS |= {
  f"attnjax.models.{name}" for name in ("PublishedTokenizer", "load", "save")
}
# Of kernels of any shape; tests/models/test_lora.py.
NO_ARRAYS |= {
  f"attnjax.models.{name}"
  for name in ("LoraAdapters", "init_lora", "merge_lora")
}
# Of images of any size; tests/models/test_image_processor.py.
NO_ARRAYS |= {"attnjax.models.ImageProcessor"}
NO_ARRAYS |= {
  f"attnjax.memory.{name}"
  for name in ("Algorithm", "Rule", "gradient_descent", "momentum", "muon")
}
NO_ARRAYS |= {"attnjax.memory.wanted_gates", "attnjax.parallel.make_mesh"}
NO_ARRAYS |= {"attnjax.nn.with_attend"}
# What they hold or return is checked in tests/testing.
NO_ARRAYS |= {
  f"attnjax.testing.{name}"
  for name in (
    "Case",
    "cases",
    "check_random",
    "linear_memory_cases",
    "memory_growth",
    "oracle",
    "ordinary",
    "Ordinary",
    "quick_cases",
    "strategies",
  )
}


def test_the_sizes_differ():
  assert len(set(SIZE.values())) == len(SIZE)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_its_shape(module):
  covered = {name for line in LINES for name in line[0].split()} | NO_ARRAYS
  covered |= set(MODULES)
  public = importlib.import_module(module).__all__
  missing = {f"{module}.{name}" for name in public} - covered
  assert not missing, f"no line of shapes for {sorted(missing)}"


def test_every_line_is_of_a_public_name():
  for line in LINES:
    for name in line[0].split():
      module, _, attribute = name.rpartition(".")
      assert attribute in importlib.import_module(module).__all__, name
