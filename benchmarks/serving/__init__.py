"""Serving benchmarks: the request pipeline in process, and a comparison of servers."""
