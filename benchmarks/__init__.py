"""Benchmarks of training and serving, here and on AWS; no other package imports this one."""
