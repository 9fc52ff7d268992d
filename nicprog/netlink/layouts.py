# SPDX-License-Identifier: Apache-2.0
"""Messages of the families ``ethtool`` and ``netdev``.

Names are those of the kernel's descriptions (Documentation/netlink/specs); the place of an
attribute in its list is its number.
"""

from __future__ import annotations

from typing import Any, Final

from pyroute2.netlink import NLA_F_NESTED, genlmsg, nla


def _attributes(*items: str) -> tuple[tuple[str, str], ...]:
    """``name:kind`` each, ``uint32`` without a kind; ``-`` where there is no attribute."""
    result = [("unspec", "none")]
    for number, item in enumerate(items, 1):
        name, _, kind = item.partition(":")
        result.append((f"unknown-{number}", "none") if name == "-" else (name, kind or "uint32"))
    return tuple(result)


def number_of(layout: Any, name: str) -> int:
    """Number of an attribute of a message or nest."""
    return [known for known, _ in layout.nla_map].index(name)


def _nest(*items: str, **nests: Any) -> type[nla]:
    return type(
        "nest", (nla,), {"nla_flags": NLA_F_NESTED, "nla_map": _attributes(*items), **nests}
    )


def _message(*items: str, **nests: Any) -> type[genlmsg]:
    return type("message", (genlmsg,), {"nla_map": _attributes(*items), **nests})


_DEVICE: Final = _nest("dev-index", "dev-name:asciiz", "flags", "phy-index")
_BIT: Final = _nest("index", "name:asciiz", "value:flag")
_BITSET: Final = _nest(
    "nomask:flag",
    "size",
    "bits:list_of_bits",
    "value:cdata",
    "mask:cdata",
    list_of_bits=_nest("bit:one", one=_BIT),
)

FEATURES: Final = _message(
    "header:dev", "hw:bitset", "wanted:bitset", "active:bitset", "nochange:bitset",
    dev=_DEVICE, bitset=_BITSET,
)  # fmt: skip
RINGS: Final = _message(
    "header:dev", "rx-max", "rx-mini-max", "rx-jumbo-max", "tx-max", "rx", "rx-mini", "rx-jumbo",
    "tx", "rx-buf-len", "tcp-data-split:uint8", "cqe-size", "tx-push:uint8", "rx-push:uint8",
    "tx-push-buf-len", "tx-push-buf-len-max", "hds-thresh", "hds-thresh-max",
    dev=_DEVICE,
)  # fmt: skip
CHANNELS: Final = _message(
    "header:dev", "rx-max", "tx-max", "other-max", "combined-max", "rx-count", "tx-count",
    "other-count", "combined-count",
    dev=_DEVICE,
)  # fmt: skip
COALESCE: Final = _message(
    "header:dev", "rx-usecs", "rx-max-frames", "rx-usecs-irq", "rx-max-frames-irq", "tx-usecs",
    "tx-max-frames", "tx-usecs-irq", "tx-max-frames-irq", "stats-block-usecs",
    "use-adaptive-rx:uint8", "use-adaptive-tx:uint8", "pkt-rate-low", "rx-usecs-low",
    "rx-max-frames-low", "tx-usecs-low", "tx-max-frames-low", "pkt-rate-high", "rx-usecs-high",
    "rx-max-frames-high", "tx-usecs-high", "tx-max-frames-high", "rate-sample-interval",
    "use-cqe-mode-tx:uint8", "use-cqe-mode-rx:uint8", "tx-aggr-max-bytes", "tx-aggr-max-frames",
    "tx-aggr-time-usecs",
    dev=_DEVICE,
)  # fmt: skip
_FLOWS: Final = _nest(
    *(
        f"{flow}:cdata"
        for flow in (
            "ether", "ip4", "ip6", "tcp4", "tcp6", "udp4", "udp6", "sctp4", "sctp6", "ah4", "ah6",
            "esp4", "esp6", "ah-esp4", "ah-esp6", "gtpu4", "gtpu6", "gtpc4", "gtpc6", "gtpc-teid4",
            "gtpc-teid6", "gtpu-eh4", "gtpu-eh6", "gtpu-ul4", "gtpu-ul6", "gtpu-dl4", "gtpu-dl6",
        )
    )
)  # fmt: skip
RSS: Final = _message(
    "header:dev", "context", "hfunc", "indir:cdata", "hkey:cdata", "input-xfrm", "start-context",
    "flow-hash:flows",
    dev=_DEVICE, flows=_FLOWS,
)  # fmt: skip

DEV: Final = _message(
    "ifindex", "-", "xdp-features:uint64", "xdp-zc-max-segs", "xdp-rx-metadata-features:uint64",
    "xsk-features:uint64",
)  # fmt: skip
QUEUE: Final = _message("id", "ifindex", "type", "napi-id", "dmabuf", "io-uring:hex", "xsk:hex")
NAPI: Final = _message(
    "ifindex", "id", "irq", "pid", "defer-hard-irqs", "gro-flush-timeout:cdata",
    "irq-suspend-timeout:cdata", "threaded",
)  # fmt: skip
QSTATS: Final = _message(
    "ifindex", "queue-type", "queue-id", "scope:cdata", "-", "-", "-", "rx-packets:cdata",
    "rx-bytes:cdata", "tx-packets:cdata", "tx-bytes:cdata", "rx-alloc-fail:cdata",
    "rx-hw-drops:cdata", "rx-hw-drop-overruns:cdata", "rx-csum-complete:cdata",
    "rx-csum-unnecessary:cdata", "rx-csum-none:cdata", "rx-csum-bad:cdata",
    "rx-hw-gro-packets:cdata", "rx-hw-gro-bytes:cdata", "rx-hw-gro-wire-packets:cdata",
    "rx-hw-gro-wire-bytes:cdata", "rx-hw-drop-ratelimits:cdata", "tx-hw-drops:cdata",
    "tx-hw-drop-errors:cdata", "tx-csum-none:cdata", "tx-needs-csum:cdata",
    "tx-hw-gso-packets:cdata", "tx-hw-gso-bytes:cdata", "tx-hw-gso-wire-packets:cdata",
    "tx-hw-gso-wire-bytes:cdata", "tx-hw-drop-ratelimits:cdata", "tx-stop:cdata", "tx-wake:cdata",
)  # fmt: skip
