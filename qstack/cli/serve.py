# SPDX-License-Identifier: Apache-2.0
"""``qstack serve``."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..config import ListenConfig, StackConfig, check_ports, read_serve_config, split_nic
from ..errors import ConfigError
from ..http import handler
from ..server import Server
from ..site import Site

_TAP_DEFAULTS: dict[str, Any] = {
    "addresses": ("10.77.0.2/24", "fd77::2/64"),
    "host_addresses": ("10.77.0.1/24", "fd77::1/64"),
}
_DEFAULT_PORTS = (ListenConfig(port=8080),)


def _parse_listen(text: str) -> ListenConfig:
    port, colon, priority = text.partition(":")
    if not port.isdecimal() or (colon and not priority.isdecimal()):
        raise ConfigError(f"--listen {text!r}: write PORT or PORT:CLASS, such as 8443:7")
    return ListenConfig(port=int(port), priority=int(priority or 0))


def _stack_config(settings: dict[str, Any]) -> StackConfig:
    """Fill in what was left out, so that a bare ``qstack serve`` works."""
    if "nic" not in settings:
        settings["nic"] = "tap:qs0" if os.geteuid() == 0 else None
    driver, _ = split_nic(settings["nic"])
    if driver == "tap" and not settings.get("addresses"):
        settings = {**_TAP_DEFAULTS, **settings, "addresses": _TAP_DEFAULTS["addresses"]}
    elif driver == "pair" and not settings.get("addresses"):
        settings = {**settings, "addresses": _TAP_DEFAULTS["addresses"]}
    return StackConfig(**settings)


def curl_commands(config: StackConfig, ports: tuple[ListenConfig, ...]) -> list[str]:
    """Return the commands that reach the server, for each address and port."""
    if split_nic(config.nic)[0] == "pair":
        return []
    commands = []
    for text in config.addresses:
        ip = ipaddress.ip_interface(text).ip
        host = f"[{ip}]" if ip.version == 6 else str(ip)
        commands += [f"curl http://{host}:{listen.port}/" for listen in ports]
    return commands


def _report(
    server: Server, ports: tuple[ListenConfig, ...], as_json: bool, namespace: str | None
) -> None:
    info = server.info
    prefix = f"ip netns exec {namespace} " if namespace else ""
    commands = [prefix + command for command in curl_commands(server.config, ports)]
    if as_json:
        document = {**asdict(info), "listen": [asdict(p) for p in ports], "curl": commands}
        click.echo(json.dumps(document))
        return
    click.echo(
        f"serving on {info.driver} {info.ifname} ({info.mode}), {info.queues} queues, "
        f"{info.workers} workers, MTU {info.mtu}, "
        f"offloads: {', '.join(info.offloads) or 'none'}"
    )
    for listen in ports:
        click.echo(f"  port {listen.port}: class {listen.priority}")
    for command in commands:
        click.echo(f"  {command}")
    if info.driver == "pair":
        click.echo("  an in-memory wire: only a stack that joins it (pair) can connect")
    elif not commands:
        click.echo(f"  at the addresses of {info.ifname}")
    click.echo("Ctrl-C ends it")


def _give(settings: dict[str, Any], **given: Any) -> None:
    """Add what was given on the command line."""
    settings.update({name: value for name, value in given.items() if value not in (None, ())})


def _print_summary(stats: dict[str, Any]) -> None:
    for port, listener in stats["listeners"].items():
        queues = ", ".join(f"queue {q}: {n}" for q, n in listener["opened_by_queue"].items())
        click.echo(
            f"port {port}: {listener['opened']} connections ({queues or 'none'}), "
            f"{listener['calls']} calls, {listener['handler_errors']} errors",
            err=True,
        )


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option(
    "--nic",
    metavar="NIC",
    help="tap:NAME (made by QStack), a network device for AF_XDP, or pair:WIRE (in memory). "
    "Default: tap:qs0 as root, else pair.",
)
@click.option(
    "--listen",
    "listens",
    metavar="PORT[:CLASS]",
    multiple=True,
    help="Port and class, 0 to 7 (most urgent); may be repeated. Default: 8080.",
)
@click.option("--queues", type=int, metavar="N", help="Queue pairs, 1 to 64. Default: 1.")
@click.option("--workers", type=int, metavar="N", help="Threads, 1 to queues. Default: 1.")
@click.option(
    "--address",
    "addresses",
    metavar="ADDRESS/LENGTH",
    multiple=True,
    help="The stack's own, one for each IP version. Default: 10.77.0.2/24 and fd77::2/64; "
    "with AF_XDP those of the device.",
)
@click.option(
    "--host-address",
    "host_addresses",
    metavar="ADDRESS/LENGTH",
    multiple=True,
    help="TAP: what the kernel's end is given. Default: 10.77.0.1/24 and fd77::1/64.",
)
@click.option(
    "--gateway",
    "gateways",
    metavar="ADDRESS",
    multiple=True,
    help="Next hop for what is not on the link, one for each IP version. "
    "Default: none; with AF_XDP the kernel's.",
)
@click.option("--mtu", type=int, metavar="BYTES", help="Largest IP packet. Default: the device's.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file with [stack] and [[listen]]; options here win over it.",
)
@click.option("--namespace", hidden=True, help="Named in the commands that are printed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document when it serves.")
def serve(
    directory: Path | None,
    listens: tuple[str, ...],
    config_path: Path | None,
    namespace: str | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Serve the files below DIRECTORY over HTTP, until Ctrl-C.

    Without DIRECTORY a line of text. Always there: /bytes/N gives N bytes, PUT /upload answers with
    the SHA-256 of what was sent, /where with the queue and class of the connection.
    """
    settings: dict[str, Any] = {}
    ports: tuple[ListenConfig, ...] = ()
    if config_path is not None:
        file = read_serve_config(config_path)
        settings, ports = dict(file.stack), file.listen
    _give(settings, **given)
    ports = tuple(_parse_listen(text) for text in listens) or ports or _DEFAULT_PORTS
    check_ports(ports)
    try:
        site = Site(directory)
        if directory is not None and not directory.is_dir():
            raise NotADirectoryError(20, "not a directory")
    except OSError as e:
        raise ConfigError(f"cannot serve {directory}: {e.strerror}") from None
    server = Server(config=_stack_config(settings))
    for listen in ports:
        listener = server.listen(
            port=listen.port,
            priority=listen.priority,
            congestion=listen.congestion,
            keepalive=listen.keepalive,
            user_timeout=listen.user_timeout,
            nodelay=listen.nodelay,
            pacing=listen.pacing,
            pacing_rate_max=listen.pacing_rate_max,
            receive_buffer=listen.receive_buffer,
            send_buffer=listen.send_buffer,
            mss_max=listen.mss_max,
            shed_reset=listen.shed_reset,
            thread=listen.thread,
        )
        listener(handler(open_sink=site.open_sink)(site))
    _serve_until_signal(server, ports, as_json, namespace)
    return 0


def _serve_until_signal(
    server: Server, ports: tuple[ListenConfig, ...], as_json: bool, namespace: str | None
) -> None:
    with server:
        try:
            _report(server, ports, as_json, namespace)
            server.wait()
        except KeyboardInterrupt:
            pass  # it came before wait() did; the end is in order all the same
        if not as_json:
            _print_summary(server.stats())
