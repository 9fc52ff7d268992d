# SPDX-License-Identifier: Apache-2.0
"""Networks to try a stack in, made of namespaces and taken away again.

* `tap_lab()`: one namespace. The server makes its TAP there, clients run there too and reach it
  through the kernel's side. With a bad wire the client has a namespace of its own, and the server's
  kernel routes between the wire and the TAP.
* `veth_lab()`: a client's and a server's namespace joined by a veth pair, with a bad wire between
  them if asked for.

Nothing touches the namespace of the host: names are unique, so labs can run side by side, and
addresses and interfaces are seen in the lab only. A lab is recorded in RUNDIR/labs under a lock
that its process holds; when the process dies without cleaning up, the next lab, or `sweep()`,
does it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import json
import os
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from pyroute2 import IPRoute, netns

from .rundir import run_dir

T = TypeVar("T")

NETNS_DIR = Path("/run/netns")
PREFIX = "qsl-"

SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17
IFA_F_NODAD = 0x02
IPV6_MTU_LEAST = 1280  # RFC 8200 section 5
WIRE_START_S = 5.0
END_S = 2.0


class LabError(Exception):
    """A lab cannot be made or removed; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Namespace:
    """A network namespace of a lab.

    Attributes:
        name: As `ip netns` lists it.
    """

    name: str

    def command(self, args: Sequence[str | os.PathLike[str]]) -> list[str]:
        """Returns the command line that runs `args` inside."""
        return ["ip", "netns", "exec", self.name, *(os.fspath(arg) for arg in args)]

    def run(
        self,
        args: Sequence[str | os.PathLike[str]],
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Runs a command inside, as `subprocess.run` does."""
        return subprocess.run(self.command(args), **options)

    def popen(
        self,
        args: Sequence[str | os.PathLike[str]],
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Starts a command inside, as `subprocess.Popen` does; its pid is the command's own."""
        return subprocess.Popen(self.command(args), **options)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Moves the calling thread inside, and back at the end.

        Sockets and devices opened meanwhile stay there, threads started meanwhile too.
        """
        with open("/proc/thread-self/ns/net") as before:
            netns.setns(self.name, flags=0)
            try:
                yield
            finally:
                netns.setns(before.fileno())


@dataclass(frozen=True, kw_only=True, slots=True)
class Impairment:
    """What a bad wire does to one direction; chances in percent.

    Attributes:
        loss: Independent losses.
        burst_enter: Gilbert-Elliott model: from good to bad, for each frame.
        burst_leave: From bad to good.
        burst_loss: Loss while bad.
        duplicate: Frames that come twice.
        corrupt: IP packets with one flipped bit.
        reorder: Frames held back for `reorder_us`, so that later ones overtake them.
        reorder_us: How long, microseconds.
        delay_us: Delay of every frame, microseconds.
        jitter_us: Up to so much more; never changes the order.
        rate_mbit: Bandwidth, Mbit/s; 0 is unlimited.
        queue_frames: Frames under way at most; what is more is dropped.
    """

    loss: float = 0
    burst_enter: float = 0
    burst_leave: float = 0
    burst_loss: float = 0
    duplicate: float = 0
    corrupt: float = 0
    reorder: float = 0
    reorder_us: float = 500
    delay_us: float = 0
    jitter_us: float = 0
    rate_mbit: float = 0
    queue_frames: int = 4096

    def spec(self) -> str:
        """Returns the form that qs-impair reads."""
        return ",".join(f"{f.name}={getattr(self, f.name):g}" for f in fields(self))


class Wire:
    """A running qs-impair between client (a) and server (b)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Takes a qs-impair that is ready, with its output piped."""
        self._process = process

    def stop(self) -> dict[str, dict[str, int]]:
        """Ends it; nothing passes any more.

        Returns:
            Counters of "a_to_b" (client to server) and "b_to_a".
        """
        self._process.terminate()
        out, _ = self._process.communicate(timeout=END_S)
        counters: dict[str, dict[str, int]] = json.loads(out)
        return counters


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """A network that is up. In a TAP lab without a wire, `client` and `server` are the same.

    Attributes:
        name: Names the lab for `remove()`.
        client_if: The client's interface; in a TAP lab without a wire the kernel's side of the TAP.
        server_if: The server's interface; in a TAP lab the server makes it.
        client4: Address and prefix of the client's side.
        server4: Address and prefix for the stack.
        host4: Address and prefix for the kernel's side of the TAP, the stack's gateway to the
            client; None in a veth lab.
        mtu: Bytes of an IP packet at most; below 1,280 the addresses of IPv6 are not set.
        wire: The bad wire in between, or None.
    """

    name: str
    kind: Literal["tap", "veth"]
    client: Namespace
    server: Namespace
    client_if: str
    server_if: str
    client4: ipaddress.IPv4Interface
    client6: ipaddress.IPv6Interface
    server4: ipaddress.IPv4Interface
    server6: ipaddress.IPv6Interface
    mtu: int
    host4: ipaddress.IPv4Interface | None = None
    host6: ipaddress.IPv6Interface | None = None
    wire: Wire | None = None


# --- records ----------------------------------------------------------------------------------


def _labs_dir() -> Path:
    path = run_dir() / "labs"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A lab as recorded: what there is to take away."""

    name: str
    kind: str
    namespaces: tuple[str, ...]
    interfaces: tuple[str, ...]
    kept: bool
    alive: bool


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _record(name: str, kind: str, interfaces: Sequence[str], namespaces: Sequence[str]) -> IO[str]:
    """Writes the record; it appears under its name only when it is locked and whole."""
    path = _labs_dir() / f"{name}.json"
    draft = path.with_suffix(".new")
    file = draft.open("x")
    _lock(file)
    content = {"kind": kind, "namespaces": list(namespaces), "interfaces": list(interfaces)}
    json.dump(content | {"kept": False}, file)
    file.flush()
    draft.rename(path)
    return file


def _read(path: Path) -> tuple[Record, IO[str]] | None:
    """Reads a record; its file is returned locked if the owner is dead."""
    try:
        file = path.open("r+")
    except FileNotFoundError:
        return None
    alive = not _lock(file)
    try:
        content = json.load(file)
    except json.JSONDecodeError:
        # Not one of ours: those appear when they are whole.
        file.close()
        return None
    record = Record(
        name=path.stem,
        kind=content["kind"],
        namespaces=tuple(content["namespaces"]),
        interfaces=tuple(content["interfaces"]),
        kept=content["kept"],
        alive=alive,
    )
    return record, file


def labs() -> list[Record]:
    """Returns every recorded lab: of living processes, kept ones, and leftovers of dead ones."""
    found = []
    for path in sorted(_labs_dir().glob("*.json")):
        if entry := _read(path):
            entry[1].close()
            found.append(entry[0])
    return found


def sweep() -> list[str]:
    """Takes away what processes left that died without doing so.

    Returns:
        Names of the labs removed.
    """
    removed = []
    for path in sorted(_labs_dir().glob("*.json")):
        if not (entry := _read(path)):
            continue
        record, file = entry
        with file:
            if not record.alive and not record.kept:
                _take_away(record.namespaces, record.interfaces)
                path.unlink(missing_ok=True)
                removed.append(record.name)
    return removed


def keep(lab: Lab) -> None:
    """Lets the lab outlive this process, until `remove()`."""
    path = _labs_dir() / f"{lab.name}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"kept": True}))


def remove(name: str) -> None:
    """Takes a lab away, whoever made it, ending every process in it.

    Raises:
        LabError: There is no such lab.
    """
    path = _labs_dir() / f"{name}.json"
    if not (entry := _read(path)):
        known = ", ".join(record.name for record in labs()) or "none"
        raise LabError(f"no lab {name!r}; there are: {known}")
    record, file = entry
    with file:
        _take_away(record.namespaces, record.interfaces)
        path.unlink(missing_ok=True)


# --- taking away ------------------------------------------------------------------------------


def _processes_in(namespace: str) -> list[int]:
    try:
        wanted = (NETNS_DIR / namespace).stat()
    except FileNotFoundError:
        return []
    pids = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # Processes come and go meanwhile.
        with contextlib.suppress(OSError):
            found = (entry / "ns/net").stat()
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                pids.append(int(entry.name))
    return pids


def _end_processes(namespace: str) -> None:
    """Ends what runs in a namespace of ours: asks first, then kills."""
    deadline = time.monotonic() + END_S
    for number in (signal.SIGTERM, signal.SIGKILL):
        pids = _processes_in(namespace)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while pids and time.monotonic() < deadline:
            time.sleep(0.01)
            pids = _processes_in(namespace)
        deadline += END_S


def _take_away(namespaces: Sequence[str], interfaces: Sequence[str]) -> None:
    for name in namespaces:
        _end_processes(name)
        if (NETNS_DIR / name).exists():
            netns.remove(name)
    for name in interfaces:
        forget(name)


def forget(name: str) -> None:
    """Removes what is kept in RUNDIR about an interface or wire that is gone.

    Its control socket, and the lock and snapshot that nicprog left for a rollback.
    """
    for path in run_dir().glob(f"{name}.*"):
        path.unlink(missing_ok=True)


# --- making -----------------------------------------------------------------------------------


def _require_rights() -> None:
    if os.geteuid() != 0:
        raise LabError("a lab makes network namespaces, which needs root; run it with sudo")
    if not shutil.which("ip"):
        raise LabError("the command `ip` is missing; apt-get install iproute2")


def _inside(namespace: str, function: Callable[[], T]) -> T:
    """Calls `function` in `namespace`, in a thread of its own: ours stays where it is."""

    def call() -> T:
        netns.setns(namespace, flags=0)
        return function()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(call).result()


def _netlink(namespace: str, function: Callable[[IPRoute], T]) -> T:
    """Calls `function` with a netlink socket of `namespace`.

    Not IPRoute(netns=...) and not netns.create(): those fork, and a signal that arrives in the copy
    of our process would unwind our context managers there and take the lab away.
    """

    def call() -> T:
        with IPRoute() as ipr:
            return function(ipr)

    return _inside(namespace, call)


def _sysctl(path: str, value: int) -> None:
    # A kernel without IPv6 has none of these.
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/sys/net", path).write_text(str(value))


def _make_namespace(name: str, *, ipv6: bool) -> None:
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        raise LabError(f"cannot make the network namespace {name}: {made.stderr.strip()}")

    def settle() -> None:
        # An address is usable at once, and nothing but the test talks.
        _sysctl("ipv6/conf/default/accept_dad", 0)
        _sysctl("ipv6/conf/default/router_solicitations", 0)
        _sysctl("ipv6/conf/default/disable_ipv6", 0 if ipv6 else 1)

    _inside(name, settle)
    _netlink(name, lambda ipr: ipr.link("set", index=1, state="up"))


def _make_pair(one: tuple[str, str], two: tuple[str, str], mtu: int) -> None:
    """Joins (namespace, interface) with (namespace, interface) by a veth of one queue each way."""
    queues = {"num_tx_queues": 1, "num_rx_queues": 1, "mtu": mtu}
    with (NETNS_DIR / two[0]).open() as peer_ns:
        peer = {"ifname": two[1], "net_ns_fd": peer_ns.fileno(), **queues}
        _netlink(
            one[0], lambda ipr: ipr.link("add", ifname=one[1], kind="veth", peer=peer, **queues)
        )
    for namespace, ifname in (one, two):
        _bring_up(namespace, ifname)


def _bring_up(namespace: str, ifname: str) -> None:
    _netlink(
        namespace, lambda ipr: ipr.link("set", index=socket.if_nametoindex(ifname), state="up")
    )


def _add_addresses(
    namespace: str, ifname: str, *addresses: ipaddress.IPv4Interface | ipaddress.IPv6Interface
) -> None:
    def add(ipr: IPRoute) -> None:
        index = socket.if_nametoindex(ifname)
        (link,) = ipr.link("get", index=index)
        ipv6 = link.get("mtu") >= IPV6_MTU_LEAST
        for address in addresses:
            if address.version == 6 and not ipv6:
                continue
            flags = IFA_F_NODAD if address.version == 6 else 0
            prefix = address.network.prefixlen
            ipr.addr("add", index=index, address=str(address.ip), prefixlen=prefix, flags=flags)

    _netlink(namespace, add)


def _checksum_in_software(namespace: str, ifname: str) -> None:
    """Turns TX checksum offload off, and with it segmentation: frames are then as on a wire."""

    def ioctl() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_STXCSUM, 0))
            request = struct.pack("16sP16x", ifname.encode(), ctypes.addressof(value))
            fcntl.ioctl(s, SIOCETHTOOL, request)

    _inside(namespace, ioctl)


def _find_impair(given: str | os.PathLike[str] | None) -> str:
    path = given or os.environ.get("QSTACK_IMPAIR") or shutil.which("qs-impair")
    if not path or not os.access(path, os.X_OK):
        raise LabError(
            f"the program qs-impair is not at {path or 'a place in PATH'}; build it "
            "(meson compile -C build) and set QSTACK_IMPAIR to build/native/bench/qs-impair"
        )
    return os.fspath(path)


def _start_wire(
    program: str, namespace: Namespace, ends: tuple[str, str], args: Sequence[str]
) -> Wire:
    process = namespace.popen(
        [program, *ends, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stderr
    readable, _, _ = select.select([process.stdout], [], [], WIRE_START_S)
    if not readable or not process.stdout.readline():
        process.kill()
        raise LabError(f"qs-impair did not start: {process.stderr.read().strip()}")
    return Wire(process)


@contextlib.contextmanager
def _recorded(
    kind: str, interfaces: Sequence[str], namespaces: Sequence[str], name: str
) -> Iterator[None]:
    """Holds the record of a lab, and takes away at the end whatever was made of it."""
    file = _record(name, kind, interfaces, namespaces)
    path = _labs_dir() / f"{name}.json"
    owner = os.getpid()
    try:
        yield
    finally:
        # A forked copy of the process may come by here too; remove() or keep() may have been
        # called.
        if os.getpid() == owner and (entry := _read(path)):
            entry[1].close()
            if not entry[0].kept:
                _take_away(namespaces, interfaces)
                path.unlink(missing_ok=True)
        file.close()


_CLIENT4 = ipaddress.IPv4Interface("10.77.0.1/24")
_SERVER4 = ipaddress.IPv4Interface("10.77.0.2/24")
_CLIENT6 = ipaddress.IPv6Interface("fd77::1/64")
_SERVER6 = ipaddress.IPv6Interface("fd77::2/64")

# Client and router at the ends of the wire in front of a TAP.
_FAR4 = ipaddress.IPv4Interface("10.78.0.1/24")
_ROUTER4 = ipaddress.IPv4Interface("10.78.0.2/24")
_FAR6 = ipaddress.IPv6Interface("fd78::1/64")
_ROUTER6 = ipaddress.IPv6Interface("fd78::2/64")


def _unique() -> str:
    return secrets.token_hex(4)


@dataclass(frozen=True, kw_only=True, slots=True)
class _WireSpec:
    """A bad wire to be made; args as of `veth_lab`."""

    to_server: Impairment
    to_client: Impairment
    seed: int
    program: str


def _wire_spec(
    to_server: Impairment | None,
    to_client: Impairment | None,
    seed: int,
    impair_program: str | os.PathLike[str] | None,
) -> _WireSpec | None:
    if to_server is None and to_client is None:
        return None
    return _WireSpec(
        to_server=to_server or Impairment(),
        to_client=to_client or Impairment(),
        seed=seed,
        program=_find_impair(impair_program),
    )


def _join(
    client: tuple[str, str], server: tuple[str, str], middle: Namespace, mtu: int, spec: _WireSpec
) -> Wire:
    """Joins (namespace, interface) with (namespace, interface) by a bad wire in `middle`."""
    _make_pair(client, (middle.name, "a"), mtu)
    _make_pair(server, (middle.name, "b"), mtu)
    args = ["--seed", str(spec.seed)]
    args += ["--a-to-b", spec.to_server.spec(), "--b-to-a", spec.to_client.spec()]
    return _start_wire(spec.program, middle, ("a", "b"), args)


def _route_by(namespace: str, ifname: str) -> None:
    """Makes the kernel there pass packets on."""

    def settle() -> None:
        _sysctl("ipv4/ip_forward", 1)
        _sysctl("ipv6/conf/all/forwarding", 1)

    _inside(namespace, settle)
    _checksum_in_software(namespace, ifname)
    _add_addresses(namespace, ifname, _ROUTER4, _ROUTER6)


def _add_default_routes(namespace: str) -> None:
    def add(ipr: IPRoute) -> None:
        for router in (_ROUTER4, _ROUTER6):
            family = socket.AF_INET if router.version == 4 else socket.AF_INET6
            ipr.route("add", family=family, dst="default", gateway=str(router.ip))

    _netlink(namespace, add)


@contextlib.contextmanager
def tap_lab(
    *,
    mtu: int = 1500,
    to_server: Impairment | None = None,
    to_client: Impairment | None = None,
    seed: int = 1,
    impair_program: str | os.PathLike[str] | None = None,
) -> Iterator[Lab]:
    """Makes a namespace in which a server can make the TAP `server_if`.

    Run the server inside (`lab.server.popen`, or `lab.server.entered()` around opening the stack)
    with `server4` and `server6` as its own addresses, `host4` and `host6` as those of the
    kernel's side and as its gateways, and clients in `lab.client`: the same place, or the far end
    of the wire.

    Args:
        mtu: What the server should give the TAP, bytes.
        to_server: As for `veth_lab`; the wire leads to the kernel that has the TAP.
        to_client: As for `veth_lab`.
        seed: As for `veth_lab`.
        impair_program: As for `veth_lab`.

    Yields:
        The lab; it and every process in it are gone afterwards.

    Raises:
        LabError: No rights, or a program is missing.
    """
    _require_rights()
    spec = _wire_spec(to_server, to_client, seed, impair_program)
    sweep()
    tag = _unique()
    name = f"{PREFIX}{tag}"
    tap = f"qt{tag}"
    server = Namespace(name=name)
    client, middle = (Namespace(name=f"{name}-{end}") for end in "cw") if spec else (server, None)
    namespaces = [server.name, *([client.name, middle.name] if middle else [])]
    with _recorded("tap", [tap], namespaces, name):
        for namespace in namespaces:
            _make_namespace(namespace, ipv6=middle is None or namespace != middle.name)
        wire = None
        client_if = tap
        if spec and middle:
            client_if = f"qc{tag}"
            wire = _join((client.name, client_if), (name, "router"), middle, mtu, spec)
            _route_by(name, "router")
            _checksum_in_software(client.name, client_if)
            _add_addresses(client.name, client_if, _FAR4, _FAR6)
            _add_default_routes(client.name)
        yield Lab(
            name=name,
            kind="tap",
            client=client,
            server=server,
            client_if=client_if,
            server_if=tap,
            client4=_FAR4 if wire else _CLIENT4,
            client6=_FAR6 if wire else _CLIENT6,
            server4=_SERVER4,
            server6=_SERVER6,
            host4=_CLIENT4,
            host6=_CLIENT6,
            mtu=mtu,
            wire=wire,
        )


@contextlib.contextmanager
def veth_lab(
    *,
    mtu: int = 1500,
    to_server: Impairment | None = None,
    to_client: Impairment | None = None,
    seed: int = 1,
    impair_program: str | os.PathLike[str] | None = None,
) -> Iterator[Lab]:
    """Makes a client's and a server's namespace, joined by a veth pair that is ready for AF_XDP.

    Both ends have one queue, their addresses, and no TX checksum offload: what arrives carries
    whole checksums, so that a stack that trusts nothing can verify them.

    Args:
        mtu: Bytes, up to 9000 or what veth takes; below 1,280 there is no IPv6.
        to_server: Puts a bad wire in between, in a namespace of its own; this is what it does to
            frames for the server.
        to_client: The same for frames for the client. Either makes the wire.
        seed: Of the wire: the same one repeats the fate of each frame.
        impair_program: Where qs-impair is; default $QSTACK_IMPAIR, then PATH.

    Yields:
        The lab; it and every process in it are gone afterwards.

    Raises:
        LabError: No rights, or a program is missing.
    """
    _require_rights()
    spec = _wire_spec(to_server, to_client, seed, impair_program)
    sweep()
    tag = _unique()
    client, server, middle = (Namespace(name=f"{PREFIX}{tag}-{end}") for end in "csw")
    client_if, server_if = f"qc{tag}", f"qs{tag}"
    namespaces = [client.name, server.name, *([middle.name] if spec else [])]
    with _recorded("veth", [server_if], namespaces, f"{PREFIX}{tag}"):
        for name in namespaces:
            _make_namespace(name, ipv6=name != middle.name)
        wire = None
        if spec:
            ends = (client.name, client_if), (server.name, server_if)
            wire = _join(*ends, middle, mtu, spec)
        else:
            _make_pair((client.name, client_if), (server.name, server_if), mtu)
        _checksum_in_software(client.name, client_if)
        _checksum_in_software(server.name, server_if)
        _add_addresses(client.name, client_if, _CLIENT4, _CLIENT6)
        _add_addresses(server.name, server_if, _SERVER4, _SERVER6)
        yield Lab(
            name=f"{PREFIX}{tag}",
            kind="veth",
            client=client,
            server=server,
            client_if=client_if,
            server_if=server_if,
            client4=_CLIENT4,
            client6=_CLIENT6,
            server4=_SERVER4,
            server6=_SERVER6,
            mtu=mtu,
            wire=wire,
        )
