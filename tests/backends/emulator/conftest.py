from __future__ import annotations

import pytest
from xnn.backends.emulator import CompilerMissing, find_compiler


def _no_compiler() -> str:
    try:
        find_compiler()
    except CompilerMissing as error:
        return str(error)
    return ""


NO_COMPILER = _no_compiler()


@pytest.fixture(autouse=True)
def _needs_compiler() -> None:
    if NO_COMPILER:
        pytest.skip(NO_COMPILER)
