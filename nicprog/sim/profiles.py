# SPDX-License-Identifier: Apache-2.0
"""What the models of NICs are like, by driver: what ethtool tells, and quirks.

What a driver refuses without telling is in :mod:`nicprog.drivers`, under the driver's own name. The
facts are of Linux 7.2 (``ethtool_ops`` and rule code of each driver); numbers that depend on the
card or the machine are those of a usual one, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nicprog.ethtool import HashFunction, InputTransform

_TOEPLITZ: Final = HashFunction.TOEPLITZ
_NO_TRANSFORM: Final = InputTransform(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """Something that a driver does, or does in some machines only, and does not tell.

    Attributes:
        name: As :data:`QUIRKS` and names of models (``sim:ice+irdma-holds-channels``) spell it.
        profiles: Models that can have it.
        always: Every such model has it; else those that are asked to.
        text: What happens.
        source: Who says so.
    """

    name: str
    profiles: tuple[str, ...]
    always: bool
    text: str
    source: str


_EVERY_QUIRK: Final = (
    Quirk(
        name="channels-reset-table",
        profiles=("igb",),
        always=True,
        text="other channels make a table of equal blocks, also where another was set",
        source="measured in a guest, Linux 6.1; igb_main.c, igb_setup_mrqc",
    ),
    Quirk(
        name="channels-lose-contexts",
        profiles=("bnxt", "mlx5"),
        always=False,
        text="other channels lose RSS contexts, and the rules that name them with them",
        source="Linux, net/ethtool/common.c, ethtool_rxfh_context_lost, which bnxt calls; that the "
        "rules go too is from memory",
    ),
    Quirk(
        name="fewer-channels-lose-rss",
        profiles=("i40e",),
        always=True,
        text="fewer channels make table and key the default ones; set them again",
        source="Linux, i40e_main.c, i40e_reconfig_rss_queues (from memory)",
    ),
    Quirk(
        name="ntuple-resets-table",
        profiles=("ixgbe",),
        always=True,
        text="turning rx-ntuple-filter on sets the default table; turn it on first",
        source="Firedancer, ethtool-channels.c",
    ),
    Quirk(
        name="untold-locations",
        profiles=("mlx5", "macb"),
        always=True,
        text="ETHTOOL_GRXCLSRLCNT says nothing about the size of the table of rules",
        source="Linux, mlx5/core/en_fs_ethtool.c, mlx5e_ethtool_get_rxnfc; macb: measured, 6.1",
    ),
    Quirk(
        name="loses-fields",
        profiles=("gve",),
        always=True,
        text="rules with TOS or a VLAN are taken without them, and take more packets then",
        source="Linux, google/gve/gve_flow_rule.c, gve_generate_flow_rule",
    ),
    Quirk(
        name="irdma-holds-channels",
        profiles=("ice",),
        always=False,
        text="while the module irdma is loaded the channels cannot be changed (EBUSY)",
        source="Firedancer; intel/ethernet-linux-ice issue 45",
    ),
    Quirk(
        name="xsk-blocks-rules",
        profiles=("i40e",),
        always=False,
        text="with an AF_XDP socket bound, rules need rx-ntuple-filter off and on first",
        source="intel/ethernet-linux-i40e issue 16",
    ),
    Quirk(
        name="firmware-keeps-key",
        profiles=("ena",),
        always=False,
        text="older generations of instances show the hash key and do not set it",
        source="amzn/amzn-drivers issues 24, 80, 239",
    ),
    Quirk(
        name="another-hash",
        profiles=("ena",),
        always=False,
        text="the hash is not Toeplitz over the key that is read; nothing that is read shows it",
        source="amzn/amzn-drivers issues 169, 248",
    ),
    Quirk(
        name="shifted-key",
        profiles=("virtio_net",),
        always=False,
        text="the device hashes by a zero octet and the key without its last one; the key that was "
        "set reads back. Another kernel is the only remedy",
        source="measured in a guest, Linux 6.12.95 of Debian; 6.1 and 7.3 do not have it",
    ),
    Quirk(
        name="ignores-protocol",
        profiles=("macb",),
        always=True,
        text="a rule for TCP takes UDP with the same addresses and ports, and the other way round",
        source="measured in a guest, Linux 6.1",
    ),
    Quirk(
        name="idle-rules",
        profiles=("macb",),
        always=True,
        text="rules for IPv6 and for frames are taken and shown, and steer nothing",
        source="measured in a guest, Linux 6.1",
    ),
    Quirk(
        name="instance-without-rss",
        profiles=("gve",),
        always=False,
        text="some types of instances have neither table nor key",
        source="GoogleCloudPlatform/compute-virtual-ethernet-linux issues 55, 69",
    ),
)
QUIRKS: Final = {quirk.name: quirk for quirk in _EVERY_QUIRK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of NIC.

    Attributes:
        driver: What ETHTOOL_GDRVINFO says.
        combined: Active combined channels at the start, and the most of them.
        apart: Active RX channels, and as many TX ones, of a driver that counts them apart, and the
            most of them.
        has_channels: There is something to read.
        table_size: Entries; 0 without a table, and where the size goes with the queues.
        key_bytes: Length of the hash key; 0 when it is not shown.
        functions: Hash functions.
        transforms: Of what is hashed.
        locations: Slots for rules; 0 without.
        takes_any: It takes RX_CLS_LOC_ANY.
        udp_ports: Ports of UDP are hashed at the start.
        rings_max: Most descriptors of a ring.
        coalesces: Parameters of coalescing that it has.
        queues_coalesce: Each queue has parameters of its own.
        features: Those that can be turned on and off, and whether they are on at the start; beside
            them ``rx-ntuple-filter`` where there are rules.
        private_flags: Likewise, by the driver's names.
    """

    driver: str
    combined: tuple[int, int] = (0, 0)
    apart: tuple[int, int] = (0, 0)
    has_channels: bool = True
    table_size: int = 0
    key_bytes: int = 40
    functions: HashFunction = _TOEPLITZ
    transforms: InputTransform = _NO_TRANSFORM
    locations: int = 0
    takes_any: bool = False
    udp_ports: bool = True
    rings_max: int = 4096
    coalesces: frozenset[str] = frozenset({"rx_coalesce_usecs", "tx_coalesce_usecs"})
    queues_coalesce: bool = False
    features: Mapping[str, bool] = field(
        default_factory=lambda: {"rx-hashing": True, "rx-gro": True, "rx-checksum": True}
    )
    private_flags: Mapping[str, bool] = field(default_factory=dict)


_FRAMES_TOO: Final = frozenset(
    {
        "rx_coalesce_usecs",
        "tx_coalesce_usecs",
        "rx_max_coalesced_frames",
        "tx_max_coalesced_frames",
        "use_adaptive_rx_coalesce",
        "use_adaptive_tx_coalesce",
    }
)

PROFILES: Final = {
    # As many channels as the machine has CPUs.
    "mlx5": Profile(
        driver="mlx5_core",
        combined=(8, 128),
        functions=_TOEPLITZ | HashFunction.XOR,
        transforms=InputTransform.SYMMETRIC_OR_XOR,
        locations=1024,
        rings_max=8192,
        coalesces=_FRAMES_TOO,
        # From memory of mlx5/core/en_ethtool.c, as are the flags of the others.
        private_flags={"rx_cqe_moder": True, "rx_cqe_compress": False, "rx_striding_rq": True},
    ),
    # A table of 512 to 2048 entries by the number of ports; a key of 52 octets.
    "ice": Profile(
        driver="ice",
        combined=(8, 64),
        table_size=2048,
        key_bytes=52,
        transforms=InputTransform.SYMMETRIC_XOR,
        locations=1024,
        rings_max=8160,
        queues_coalesce=True,
        private_flags={"link-down-on-close": False, "fw-lldp-agent": False},
    ),
    "i40e": Profile(
        driver="i40e",
        combined=(8, 64),
        table_size=512,
        key_bytes=52,
        locations=8192,
        udp_ports=False,
        queues_coalesce=True,
    ),
    # 82599: 63 channels, of which the table of 128 entries reaches 16.
    "ixgbe": Profile(
        driver="ixgbe", combined=(8, 63), table_size=128, locations=2045, udp_ports=False
    ),
    # The key is not shown; 16 rules by EtherType and MAC address.
    "igb": Profile(
        driver="igb",
        combined=(4, 8),
        table_size=128,
        key_bytes=0,
        locations=16,
        udp_ports=False,
    ),
    "bnxt": Profile(
        driver="bnxt_en",
        combined=(8, 74),
        locations=1024,
        takes_any=True,
        coalesces=_FRAMES_TOO,
        rings_max=8191,
    ),
    # From memory of fbnic_ethtool.c, as are the numbers of the two after it.
    "fbnic": Profile(
        driver="fbnic", combined=(8, 128), table_size=256, locations=32, takes_any=True
    ),
    "sfc": Profile(driver="sfc", combined=(8, 32), table_size=128, locations=8192, takes_any=True),
    "octeontx2": Profile(driver="rvu-nicpf", combined=(8, 64), table_size=256, locations=384),
    # No rules in the kernel's driver.
    "ena": Profile(driver="ena", combined=(8, 32), table_size=128, rings_max=16384),
    # RX and TX apart; rules where the device offers them.
    "gve": Profile(driver="gve", apart=(8, 16), table_size=128, locations=1024),
    "virtio_net": Profile(
        driver="virtio_net",
        combined=(8, 16),
        table_size=128,
        coalesces=_FRAMES_TOO,
        features={"rx-hashing": False, "rx-gro": True, "rx-checksum": True},
    ),
    # From memory of vmxnet3_ethtool.c: a table, no key, channels that are read only.
    "vmxnet3": Profile(driver="vmxnet3", combined=(8, 8), table_size=32, key_bytes=0),
    # Cadence GEM: two queues that nothing but rules tells of, no table; four rules in a guest.
    "macb": Profile(
        driver="macb",
        combined=(2, 2),
        has_channels=False,
        key_bytes=0,
        locations=4,
        features={"rx-gro": True, "rx-checksum": True},
    ),
    # From memory of e1000e/ethtool.c: no channels, no table, no rules.
    "e1000e": Profile(driver="e1000e", has_channels=False, key_bytes=0),
}
"""Kinds of NICs by the names that follow ``sim:``."""
