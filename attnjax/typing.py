"""Array aliases and the axis legend that every annotation follows.

=====  ==================================================================
axis   meaning
=====  ==================================================================
``B``  batch; ``*B`` is any number of leading batch axes, none included
``T``  query length
``S``  key and value length
``H``  query heads
``K``  key/value heads, ``H % K == 0``
``G``  query heads a key head serves, ``G = H // K``
``D``  width of a query and of a key
``E``  width of a value
``M``  width of the model
``Z``  width of the latent that keys and values are mapped from
``R``  features of a query and a key that are rotated
``F``  width of the feed-forward layer
``V``  size of the vocabulary
``X``  experts of a mixture
``A``  experts that a token is sent to
``L``  layers
``C``  capacity of a cache, or size of a chunk
``N``  number of chunks
=====  ==================================================================

The layout is BTHD, as in ``jax.nn.dot_product_attention``. Annotations are
`jaxtyping <https://docs.kidger.site/jaxtyping>`_ and cost nothing at run time;
the tests check them with beartype.
"""

import jax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Scalar, Shaped

__all__ = [
  "Array",
  "ArrayLike",
  "Bool",
  "DTypeLike",
  "Float",
  "Int",
  "Key",
  "PrecisionLike",
  "PyTree",
  "Scalar",
  "Shaped",
]

# `jax.typing` does not export it.
PrecisionLike = jax.lax.PrecisionLike
