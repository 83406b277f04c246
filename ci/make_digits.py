"""Make the embedded digits in xnn/data/embedded from those of scikit-learn, which this needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from xnn.data.idx import write_idx

FOLDER = Path(__file__).parents[1] / "xnn" / "data" / "embedded"


def main() -> None:
    """Write both files, the same bytes every time."""
    digits = load_digits()
    write_idx(FOLDER / "digits-images-idx3-ubyte.gz", digits.images.astype(np.uint8))
    write_idx(FOLDER / "digits-labels-idx1-ubyte.gz", digits.target.astype(np.uint8))


if __name__ == "__main__":
    main()
