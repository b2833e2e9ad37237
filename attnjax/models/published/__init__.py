"""Published models: the Hugging Face layout read into our modules and written.

`load` makes a model and its tokenizer of a directory, or a model of images and
what it does to them first; `save` writes them back.
What a family calls its settings and its tensors is one table each, in
`families`.
"""

from attnjax.models.published.image_processor import ImageProcessor
from attnjax.models.published.load import load
from attnjax.models.published.save import save
from attnjax.models.published.tokenizer import PublishedTokenizer

__all__ = ["ImageProcessor", "PublishedTokenizer", "load", "save"]
