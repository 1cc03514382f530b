"""Serving benchmarks: the request pipeline in process, and servers side by side."""
