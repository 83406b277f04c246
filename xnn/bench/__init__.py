"""Operations, kernels and training steps against the limits of a device and against PyTorch: ``xnn bench``."""

from xnn.bench.compare import changes, comparison
from xnn.bench.figure import roofline
from xnn.bench.measure import Candidate, Times, alternate, rotate
from xnn.bench.report import Report, Row
from xnn.bench.session import run
from xnn.bench.table import describe, table

__all__ = [
    "Candidate",
    "Report",
    "Row",
    "Times",
    "alternate",
    "changes",
    "comparison",
    "describe",
    "roofline",
    "rotate",
    "run",
    "table",
]
