"""``xnn devices``."""

from __future__ import annotations

import click

from xnn.backends import device
from xnn.backends import devices as all_devices


@click.command(short_help="List the devices and what others need.")
def devices() -> None:
    """List the devices and, for what is not usable, the reason and what to install."""
    reports = all_devices()
    width = max(len(report.name) for report in reports)
    for report in reports:
        if report.device is not None:
            click.echo(f"{report.name:{width}}  {report.description}")
        else:
            click.echo(f"{report.name:{width}}  not usable: {report.description}")
            if report.remedy:
                click.echo(f"{'':{width}}  to use it: {report.remedy}")
    click.echo(f"'auto' is {device('auto')}")
