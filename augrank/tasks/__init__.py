"""What bundles answer: one folder per task.

``base.py`` says what every task has to offer. A new task is a new folder with a ``pipeline.py``
that defines ``load_task``; no other file changes.
"""
