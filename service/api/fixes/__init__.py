"""Routes of corrections: their history, what an inspector looks at, files in and out."""
