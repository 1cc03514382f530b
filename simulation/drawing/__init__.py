"""Draw one sneaker or one car: a flat-shaded product shot from a seeded specification."""
