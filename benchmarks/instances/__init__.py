"""Compare instance types for your own model: training, serving, and costs."""
