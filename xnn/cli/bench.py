"""``xnn bench``."""

from __future__ import annotations

import sys
from pathlib import Path

import click


def _show(text: str) -> None:
    """What is being measured, on the terminal's last line."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text[:110]}", nl=False, err=True)


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--device", default="all", metavar="DEVICE", help="all, or names separated by commas: cpu,cuda:0."
)
@click.option("--dtype", default="float32", metavar="DTYPE,...", help="float16, bfloat16, float32, float64.")
@click.option(
    "--steps", is_flag=True, help="Training steps: instead of operations, or beside those in NAMES."
)
@click.option(
    "--compile", "compiled", is_flag=True, help="Also against torch.compile, which compiles for a while."
)
@click.option("--quick", is_flag=True, help="Small cases and few rounds: a look, no result to keep.")
@click.option(
    "--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write all numbers there."
)
@click.option(
    "--figure", type=click.Path(path_type=Path), metavar="FILE", help="Draw the roofline there (PNG)."
)
@click.option("--compare", is_flag=True, help="Compare two results: xnn bench --compare A.json B.json.")
def bench(
    names: tuple[str, ...],
    device: str,
    dtype: str,
    steps: bool,
    compiled: bool,
    quick: bool,
    file: Path | None,
    figure: Path | None,
    compare: bool,
) -> None:
    """Measure operations against their kernels, PyTorch and the limits of each device.

    NAMES are operations, such as softmax or '*norm'; all that have something to measure by default.

    The limits are measured first: what a large copy moves and what a large matrix product computes. Each operation's
    time is then compared with the least time that its bytes and its arithmetic need at these rates ("roof"), and
    with the time of the original of a kernel ("/orig"), of PyTorch ("/torch") and of torch.compile ("/comp"): 2.00x
    says that xnn takes half the time. "±" is half of the distance between the quartiles.
    """
    from xnn.bench import Report, comparison, describe, roofline, run, table
    from xnn.training.plots import has_matplotlib

    if compare:
        if len(names) != 2:
            raise click.UsageError(f"--compare takes two files, got {len(names)}")
        click.echo(comparison(Report.read(names[0]), Report.read(names[1])))
        return
    for path in (file, figure):
        if path is not None and not path.parent.is_dir():
            raise click.UsageError(f"{path}: there is no folder {path.parent}")
    if figure is not None and not has_matplotlib():
        raise click.ClickException('figures need matplotlib: pip install "xnn[plot]"')
    report = run(
        names, device=device, dtypes=[name.strip() for name in dtype.split(",")], quick=quick, compiled=compiled,
        operations=bool(names) or not steps, steps=steps, progress=_show,
        save=(lambda unfinished: unfinished.write(file)) if file is not None else (lambda _: None),
    )  # fmt: skip
    _show("")
    click.echo(f"{describe(report)}\n\n{table(report)}")
    if file is not None:
        report.write(file)
        click.echo(f"\nall numbers are in {file}")
    if figure is not None and report.rows:
        roofline(report, figure)
        click.echo(f"the roofline is in {figure}")
    if report.settings.get("interrupted"):
        sys.exit(130)
