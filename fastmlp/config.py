"""What is installed and what is in use: for bug reports and for benchmarks."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np

from . import kernels, threads
from .version import __version__

__all__ = ["show_config"]


@overload
def show_config(mode: Literal["stdout"] = ...) -> None: ...
@overload
def show_config(mode: Literal["dict"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Tell the build in use, the CPU's features, the threads and the versions.

    Parameters
    ----------
    mode : {"stdout", "dict"}, default "stdout"
        Print it, or return it.

    Returns
    -------
    dict or None
        Keys ``fastmlp``, ``variant``, ``usable_variants``, ``cpu_features``, ``threads``,
        ``python``, ``numpy``, ``machine`` and ``safetensors``.

    Raises
    ------
    ValueError
        If ``mode`` is neither.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.show_config(mode="dict")["variant"] in ("avx512", "avx2", "base")
    True
    """
    if mode not in ("stdout", "dict"):
        raise ValueError(f"mode: got {mode!r}, expected 'stdout' or 'dict'")
    import platform

    found: dict[str, Any] = {
        "fastmlp": __version__,
        "variant": kernels.VARIANT,
        "usable_variants": kernels.usable_variants(),
        "cpu_features": sorted(kernels.CPU_FEATURES),
        "threads": threads.get_num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "safetensors": _version_of("safetensors"),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    if mode == "dict":
        return found
    for name, value in found.items():
        print(f"{name + ':':17} {', '.join(value) if isinstance(value, list) else value}")
    return None


def _version_of(package: str) -> str:
    # Here and not above: it takes longer to import than all of fastmlp.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
