"""The steps of a day that are not commands of augrank itself; review_dag.py runs them.

    collect ─ python -m export transform ─ decide ─ publish

Each step reads and writes S3 only, below the day's ``dt=YYYY-MM-DD``, and can be run again: it then
finds the same, and writes the same.
"""
