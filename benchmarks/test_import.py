"""What ``import xnn`` adds to ``import numpy``, each in a fresh process."""

from __future__ import annotations

import subprocess
import sys

from xnn.bench import alternate


def _run(code: str):
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def test_import(record) -> None:
    functions = {"numpy": _run("import numpy"), "xnn": _run("import numpy, xnn")}
    times = alternate(functions, rounds=15, seconds_per_round=0)
    added = times["xnn"].median - times["numpy"].median
    print(f"\nimport xnn adds {added:.3f} s to import numpy ({times['numpy'].median:.3f} s)")
    record(times["xnn"].samples, added_seconds=round(added, 4))
