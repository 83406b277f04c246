from __future__ import annotations

import os
import sys
from pathlib import Path

# Two threads for everyone, set before any library is loaded.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "2")
sys.path.insert(0, str(Path(__file__).parent))
