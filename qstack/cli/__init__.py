# SPDX-License-Identifier: Apache-2.0
"""The command ``qstack``. Exit status: 0 done, 1 it is not so, 2 usage."""

from __future__ import annotations

import logging
import signal
import sys

import click

from nicprog import NicprogError

from .. import __version__
from ..errors import ConfigError, QStackError
from ..lab import LabError
from . import bench, demo, doctor, explain, record, serve, sim

_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="qstack")
def _group() -> None:
    """QStack: a TCP stack in user space for front-end servers."""


for _verb in (
    *(serve.serve, explain.explain, record.record, demo.demo),
    *(doctor.doctor, bench.bench, sim.sim),
):
    _group.add_command(_verb)


def main() -> None:
    """Run the command line and end the process."""
    logging.basicConfig(format="qstack: %(levelname)s: %(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an end in order, as with Ctrl-C
    sys.exit(_run())


def _run() -> int:
    try:
        result = _group.main(prog_name="qstack", standalone_mode=False)
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except ConfigError as e:
        click.echo(f"qstack: {e}", err=True)
        return 2
    except (QStackError, LabError, NicprogError) as e:
        click.echo(f"qstack: {e}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    return result if isinstance(result, int) else 0
