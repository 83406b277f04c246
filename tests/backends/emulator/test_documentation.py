"""docs/emulator.md says what is so: its first example runs, and fails the way it says without the barrier."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from xnn.backends.emulator import EmulatedModule, SanitizerError, SanitizerUnavailable, emulation

TEXT = (Path(__file__).parents[3] / "docs" / "emulator.md").read_text(encoding="utf-8")


def test_the_first_example():
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {}
    exec(blocks[0], names)
    assert names["row_sum"].name == "row_sum"

    source = re.search(r'r"""(.*?)"""', blocks[0], re.DOTALL)[1]
    faulty = EmulatedModule(
        re.sub(r" *__syncthreads\(\);\n", "", source), filename="row_sum.cu"
    ).get_function("row_sum")
    says = re.search(r"# SanitizerError: (.*?) \.\.\.", blocks[1], re.DOTALL)[1]
    says = " ".join(says.replace("#", " ").split())
    with emulation(sanitize="thread"):
        try:
            with pytest.raises(SanitizerError) as caught:
                faulty((64,), (256,), (names["x"], np.empty(64, np.float32), np.int32(1000)))
        except SanitizerUnavailable as reason:
            pytest.skip(str(reason))
    assert re.sub(r"at \S*/", "at ", str(caught.value)).startswith(says)
