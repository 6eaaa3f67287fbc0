"""Data sets: where each one lies, what its owner chose about it, and which snapshot of it stands on the disk.

::

    place         name -> folders and files          pure
    description   dataset.json: columns, roles, choices
    snapshots     content -> snapshot, the identity of what a job reads

Knows no data library: the rows themselves are read by `jobs.data`.
"""
