"""Assignments of candidates by a policy, and what came of them."""
