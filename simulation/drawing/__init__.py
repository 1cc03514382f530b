"""How one sneaker or one car is drawn: a flat-shaded product shot from a seeded description."""
