"""The command ``xnn``."""

from __future__ import annotations

import logging
import sys
import warnings

import click

from xnn import __version__
from xnn.cli.bench import bench
from xnn.cli.devices import devices
from xnn.cli.evaluate import evaluate, predict
from xnn.cli.train import train

__all__ = ["main"]


class _PlainErrors(click.Group):
    """A group whose commands report the errors that users can do something about in one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        from xnn.backends import DeviceError
        from xnn.data import DownloadError
        from xnn.training import CheckpointError, NonFiniteLossError

        try:
            with warnings.catch_warnings():
                # NumPy's about overflow; what comes of it is reported as a loss that is not finite.
                warnings.simplefilter("ignore", RuntimeWarning)
                return super().invoke(ctx)
        except (
            DeviceError,
            DownloadError,
            CheckpointError,
            NonFiniteLossError,
            ValueError,
            OSError,
        ) as error:
            if ctx.params.get("debug"):
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=_PlainErrors, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="xnn")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Train, evaluate and use neural networks, on a CUDA GPU if there is one and on the CPU otherwise."""
    # The library announces through logging; on the command line that is a plain line.
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.WARNING)


main.add_command(train)
main.add_command(evaluate)
main.add_command(predict)
main.add_command(devices)
main.add_command(bench)
