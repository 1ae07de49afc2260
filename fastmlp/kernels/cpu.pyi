def features() -> frozenset[str]:
    """The instruction sets of ``variants.py`` that this CPU and its operating system support."""
