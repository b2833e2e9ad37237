"""One attention head that moves nouns by the adjectives in front of them."""
