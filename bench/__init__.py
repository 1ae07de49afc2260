"""What ``python -m bench.<name>`` measures is the installed package.

Python looks into the current folder first, where fastmlp lies without its compiled modules.
"""

import sys
from pathlib import Path

_root = str(Path(__file__).resolve().parents[1])
if _root in sys.path:
    sys.path.remove(_root)
    sys.path.append(_root)
