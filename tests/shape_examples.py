"""Small layers, models and memories in the sizes of `tests.shape_lines`."""

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax import cache as caches
from attnjax import memory, models, nn, testing
from attnjax.ops import heads
from tests.shape_lines import B, C, D, E, F, H, K, L, M, N, S, T, V, W

EVERY_AUX = ("logsumexp", "weights", "entropy", "max_logit")
RNGS = lambda: nnx.Rngs(0)
KEY = lambda: jax.random.key(0)


def multi_head(bias=True):
  """Parameters of many heads, K shared among H."""
  shapes = ((M, H, D), (M, K, D), (M, K, E), (H, E, M))
  axes = (2, 2, 2, 1)
  return heads.MultiHeadParams(
    *(
      heads.Projection(jnp.ones(s), jnp.ones(s[-n:]) if bias else None)
      for s, n in zip(shapes, axes, strict=True)
    )
  )


def single_head():
  """Parameters of one head of self-attention."""
  shapes = ((M, D), (M, D), (M, E))
  return heads.SelfAttentionParams(
    *(heads.Projection(jnp.ones(s), jnp.ones(s[-1:])) for s in shapes)
  )


def layer():
  return nn.MultiHeadAttention(
    M, H, kv_heads=K, head_width=D, value_width=E, use_bias=True, rngs=RNGS()
  )


def latent_layer():
  return nn.LatentAttention(
    M,
    H,
    latent_width=14,
    head_width=D,
    rotary_width=2,
    value_width=E,
    rngs=RNGS(),
  )


def feed_forward(activation="gelu"):
  return nn.FeedForward(M, F, activation=activation, rngs=RNGS())


def encoder():
  config = models.EncoderConfig(
    width=M, depth=L, heads=H, head_width=D, hidden=F
  )
  return models.Encoder(config, V, rngs=RNGS())


def block(order="pre"):
  return nn.TransformerBlock(
    layer(), feed_forward(), width=M, order=order, rngs=RNGS()
  )


def neural_memory(width=W, heads=2, head_width=None):
  rule = memory.delta_net()
  return nn.NeuralMemory(
    width, heads, rule=rule, head_width=head_width, rngs=RNGS()
  )


def near(window=3):
  return nn.WindowAttention(W, 2, window=window, persistent=E, rngs=RNGS())


def mixer(kind):
  """A memory beside attention, or alone."""
  if kind is nn.MemoryAlone:
    return kind(neural_memory())
  options = {"segment": T} if kind is nn.MemoryAsContext else {}
  window = None if options else 3
  return kind(near(window), neural_memory(), width=W, rngs=RNGS(), **options)


def memory_lm(architecture):
  config = models.MemoryLMConfig(
    architecture, "delta_net", window=3, width=W, depth=L, heads=2, hidden=F
  )
  return models.MemoryLM(config, V, rngs=RNGS())


def held(batch=(B,)):
  return caches.init(batch, C, K, D, value_width=E)


def decoder(**options):
  sizes = {"width": W, "depth": L, "heads": H, "kv_heads": K, "head_width": D}
  sizes |= {"hidden": F, "max_length": N + T}
  config = models.DecoderConfig(**(sizes | options))
  return models.DecoderLM(config, V, rngs=RNGS())


def decode(tokens):
  model = decoder()
  return model.decode(tokens, model.init_cache((B,), C))


def generate(prompt, lengths):
  return models.generate(
    decoder(), prompt, steps=N, key=KEY(), top_k=3, top_p=0.9, lengths=lengths
  )


def cross_block():
  return nn.CrossBlock(layer(), layer(), feed_forward(), width=M, rngs=RNGS())


def seq2seq(attention="additive"):
  config = models.Seq2SeqConfig(W, D, depth=L, attention=attention)
  return models.Seq2Seq(config, N, V, rngs=RNGS())


def albert():
  config = models.AlbertConfig(
    V, embedding=D, width=W, depth=L, heads=K, hidden=F, max_length=N
  )
  return models.Albert(config, rngs=RNGS())


def encoder_decoder():
  config = models.EncoderDecoderConfig(
    W, encoder_depth=E, decoder_depth=L, heads=K, hidden=F, positions="learned"
  )
  return models.EncoderDecoder(config, N, V, rngs=RNGS())


def vit(**options):
  # Six patches and a class token.
  sizes = {"height": 6, "breadth": 4, "channels": 3, "patch": 2, "width": W}
  sizes |= {"depth": L, "heads": K, "hidden": F}
  return models.ViT(models.ViTConfig(**(sizes | options)), V, rngs=RNGS())


def next_token(model, source, tokens):
  """One step of a decoding, as the searches ask for it."""
  memory = model.encode(source)
  return models.NextToken(model, memory)(model.init_state(memory, C), tokens)


def search(found, **options):
  """A search in a model that says everything is as likely."""
  step = lambda state, tokens: (jnp.zeros((len(tokens), V)), state)
  return found(step, (), batch=B, start=0, end=1, max_length=N, **options)


MEMORIES = {
  f.__name__: f(chunk=3)
  for f in (
    memory.atlas,
    memory.delta_net,
    memory.gated_delta_net,
    memory.kimi_delta_attention,
    memory.mesa_net,
    memory.lact,
    memory.linear_attention,
    memory.mamba2,
    memory.memora,
    memory.moneta,
    memory.titans,
    memory.ttt_linear,
    memory.ttt_mlp,
    memory.yaad,
  )
}


def memory_state(rule, batch=(B,), width=E):
  """A memory that has read nothing."""
  sizes = {"heads": H, "width": D, "value_width": width}
  weights = memory.initial_weights(rule, KEY(), **sizes)
  return memory.init(rule, batch, **sizes, weights=weights)


def remember(rule, query, key, value, rate):
  """A sequence through a memory, whose gates are all the rate."""
  gates = dict.fromkeys(memory.wanted_gates(rule), rate)
  if rule.retention.by_channel:
    gates["decay"] = rate[..., None] * jnp.ones_like(key)
  state = memory_state(rule, query.shape[:-3], value.shape[-1])
  state, out = memory.stream(state, query, key, value, memory.Gates(**gates))
  return out, state.weights


def drawn():
  """The arrays that a problem of the conformance suite draws."""
  sizes = {"length": T, "keys": S, "heads": H, "shared": K, "width": D}
  problem = testing.Problem(batch=(B,), value_width=E, bias="H T S", **sizes)
  arrays = problem.floats()
  return [arrays[name] for name in ("query", "key", "value", "bias")]
