"""Public data sets and weights: pinned by hash, cached outside the repository.

`fetch` downloads an asset once; `cached` only looks. From the command line:
`python -m attnjax.data.assets --all`. DATA.md has the licences.
"""

from attnjax.data.assets.cache import AssetError, cached
from attnjax.data.assets.fetch import fetch
from attnjax.data.assets.table import ASSETS, Asset

__all__ = ["ASSETS", "Asset", "AssetError", "cached", "fetch"]
