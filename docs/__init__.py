"""Pages, notebooks, and `docs.site`, which makes a web site of them."""
