"""Why attention divides by the square root of the width."""
