from __future__ import annotations

import pytest
from click.testing import CliRunner

from xnn.bench import Report
from xnn.cli import main


def bench(*arguments: str):
    return CliRunner().invoke(main, ["bench", *arguments])


def test_bench_from_the_command_line(tmp_path):
    file, figure = tmp_path / "a.json", tmp_path / "a.png"
    result = bench("relu", "--device", "cpu", "--quick", "--json", str(file), "--figure", str(figure))
    assert result.exit_code == 0, result.output
    assert "relu" in result.output
    assert max(map(len, result.output.splitlines())) <= max(120, len(str(file)) + 30)
    assert figure.exists()
    rows = Report.read(file).rows
    assert {(r.name, r.work) for r in rows} == {("relu", "forward"), ("relu", "backward")}
    assert all(r.seconds or r.note for r in rows)

    result = bench("--compare", str(file), str(file))
    assert result.exit_code == 0, result.output
    assert "0 faster, 0 slower" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "expected names of operations, got 'nothing'"),
        (["relu", "--device", "tpu"], "got 'tpu'"),
        (["relu", "--dtype", "float33"], "got 'float33'"),
        (["relu", "--json", "no/such/folder/a.json"], "there is no folder"),
        (["--compare", "a.json"], "--compare takes two files, got 1"),
        (["--compare", "no.json", "no.json"], "no.json"),
    ],
)
def test_errors_are_one_line(arguments, message):
    result = bench(*arguments)
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output
