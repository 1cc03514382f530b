"""Manifests: the one reader of training, batch scoring, simulation and downloads.

    file or folder ─ read_table ─ Table ─ columns ─ paths, augmentations, originals
                       │                     └ Problems: the bad rows, by line
       text_file.py, parquet_file.py, aliases.py

Every cell is text: stripped, in Unicode's form NFC, blank if missing. So the same rows give the
same table whatever file they come from, and a file that trained scores completely. Needs pandas and
pyarrow: the extra ``train`` or ``bulk``.
"""
