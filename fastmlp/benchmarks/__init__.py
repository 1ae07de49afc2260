"""Benchmarks against other libraries: the works, the rivals, and how claims are measured.

``works``    what is trained: sizes, data, initial weights, optimizer, number of epochs
``rivals``   one module per library, the only importer of its package
``pairs``    one process: a rival and fastmlp in turn on one work
``runner``   starts those processes with a fixed number of threads, and prints the table

Nothing here is imported by the rest of the package except by its command line.
"""

from .runner import main

__all__ = ["main"]
