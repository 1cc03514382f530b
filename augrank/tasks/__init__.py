"""Tasks: one folder for each kind of request that a bundle answers.

``base.py`` defines the interface of a task. A new task is a new folder with a ``pipeline.py`` that
defines ``load_task``; no other file changes.
"""
