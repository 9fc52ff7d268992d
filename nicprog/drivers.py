# SPDX-License-Identifier: Apache-2.0
"""What drivers refuse without telling beforehand, by the names that they give themselves.

ethtool tells sizes and counts; which rules a driver takes it says only by refusing one. The facts
are of Linux 7.2 where nothing else is said. The planner refuses by them, with a reason, and the
models of :mod:`nicprog.sim` refuse by them with an errno. A driver that is not here has no limits
that are known.
"""

from __future__ import annotations

from typing import Any, Final

from nicprog.model import MATCH_FIELDS, Flow, RuleLimits, TableGrowth

MICROSOFT_KEY: Final = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)

_TCP_UDP: Final = frozenset({Flow.TCP4, Flow.UDP4, Flow.TCP6, Flow.UDP6})
_INTEL: Final = RuleLimits(fields=MATCH_FIELDS - {"tos", "l4_proto"}, whole_fields=True)

UNTOLD: Final[dict[str, dict[str, Any]]] = {
    "qs_soft": {"default_key": MICROSOFT_KEY, "masks_max": 16},
    # en_fs_ethtool.c: locations below 1024, which ETHTOOL_GRXCLSRLCNT leaves out; no TOS, no octets
    # behind the IP header, VLAN by its number alone. The table is four times the channels. 15
    # contexts with key and fields of their own (en/rss.h, en/rx_res.h).
    "mlx5_core": {
        "contexts": 15,
        "context_keys": True,
        "context_fields": True,
        "locations": 1024,
        "rule_limits": RuleLimits(fields=MATCH_FIELDS - {"tos", "l4_octets"}, vlan_id_only=True),
        "table_growth": TableGrowth(least=256, per_queue=4),
    },
    # ice_ethtool_fdir.c: one input set for each flow type of a port. That it is made of whole
    # fields, without TOS and protocol, is from memory of the code, as for i40e.
    "ice": {"masks_max_per_flow": 1, "rule_limits": _INTEL},
    # i40e_ethtool.c: the same, and to change it the old rules of the type have to go first.
    # i40e_reconfig_rss_queues: fewer queues discard table and key that were set; from memory.
    "i40e": {
        "masks_max_per_flow": 1,
        "rule_limits": _INTEL,
        "fewer_channels_lose_rss": True,
    },
    # ixgbe_ethtool.c: one mask for the whole port, IPv4 only; the table reaches 16 queues on 82599.
    "ixgbe": {
        "masks_max": 1,
        "table_queues_max": 16,
        "rule_limits": RuleLimits(
            flows=frozenset({Flow.IP4, Flow.TCP4, Flow.UDP4}), fields=MATCH_FIELDS - {"tos"}
        ),
        "ntuple_resets_table": True,  # Firedancer, ethtool-channels.c
    },
    # igb_ethtool.c: rules for MAC addresses, EtherType and VLAN priority only.
    # Measured, Linux 6.1: igb_setup_mrqc makes the table anew for another number of queues.
    "igb": {
        "rule_limits": RuleLimits(flows=frozenset()),
        "channels_lose_table": True,
    },
    # bnxt_ethtool.c: the location must be RX_CLS_LOC_ANY; others that take it take any location
    # too. Tables come in blocks of 64. 32 contexts with keys of their own, and shared fields.
    "bnxt_en": {
        "picks_locations": True,
        "table_growth": TableGrowth(least=64, per_queue=1),
        "contexts": 32,
        "context_keys": True,
    },
    # fbnic_rpc.c, fbnic_ethtool.c: any location only; one context, which shares key and fields.
    "fbnic": {"picks_locations": True, "contexts": 1},
    # sfc ethtool_common.c: any location only; contexts with key and fields, and a rule's queue is
    # added to that of its context (cap_rss_rxnfc_adds). How many depends on the firmware
    # (from memory).
    "sfc": {
        "picks_locations": True,
        "contexts": None,
        "context_keys": True,
        "context_fields": True,
        "context_adds_queue": True,
    },
    # otx2_ethtool.c, MAX_RSS_GROUPS: seven contexts, which share key and fields.
    "rvu-nicpf": {"contexts": 7},
    # gve_flow_rule.c: TCP, UDP and SCTP; it takes TOS and VLAN and does not look at them.
    "gve": {
        "rule_limits": RuleLimits(
            flows=_TCP_UDP, fields=frozenset({"src", "dst", "src_port", "dst_port"}), drops=False
        ),
    },
    # Measured, Linux 6.1 to 7.3: with each change of channels the device goes back to steering of
    # its own, though the table that was set is shown; hashed fields count while rx-hashing is on,
    # and once that was turned off all packets are for queue 0.
    "virtio_net": {"channels_lose_table": True, "fields_need_rx_hashing": True},
    # Measured on QEMU's Cadence GEM, Linux 6.1: the protocol is not compared; rules for other
    # packets are taken and shown, and steer nothing; a drop is refused. ETHTOOL_GRXCLSRLCNT leaves
    # out how many there can be: 4 there, a card may have more. That parts of fields count for
    # nothing is from memory of macb_main.c, gem_prog_cmp_regs.
    "macb": {
        "hashes": False,
        "rules_ignore_protocol": True,
        "locations": 4,
        "rule_limits": RuleLimits(
            flows=frozenset({Flow.TCP4, Flow.UDP4}),
            fields=frozenset({"src", "dst", "src_port", "dst_port"}),
            whole_fields=True,
            drops=False,
        ),
    },
    # vmxnet3 has no set_channels (from memory of its code).
    "vmxnet3": {"fixed_channels": True},
}
"""Fields of :class:`nicprog.model.Capabilities` by driver."""
