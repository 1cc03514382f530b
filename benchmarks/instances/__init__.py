"""Instance types side by side, for a model of your own: training, serving, and what they cost."""
