"""Training: what the machine can do, what the input lets it do, and what a plain script does."""
