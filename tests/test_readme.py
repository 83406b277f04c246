"""The README keeps its word: two commands, and every example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
EXAMPLES = [code for language, code in BLOCKS if language == "python"]


def test_the_first_block_holds_exactly_two_commands():
    language, commands = BLOCKS[0]
    assert language == "sh"
    train, test = commands.strip().splitlines()
    assert "xnn train digits" in train
    assert "pytest" in test


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.strip().splitlines()[0][:40])
def test_example(code, capsys, monkeypatch):
    monkeypatch.setenv("XNN_DEVICE", "cpu")
    exec(compile(code, "README.md", "exec"), {"__name__": "example"})
    accuracy = re.search(r"test accuracy: ([0-9.]+)", capsys.readouterr().out)
    if "test accuracy" in code:
        assert accuracy is not None
        assert float(accuracy[1]) > 0.95
