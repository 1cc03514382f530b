"""Benchmarks of training and serving, locally and on AWS; no other package imports this one."""
