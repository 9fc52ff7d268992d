# SPDX-License-Identifier: Apache-2.0
"""Where a flow lands: against the published hashes, the models, and refusals of what is no flow."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nicprog
from nicprog import sim
from nicprog.drivers import MICROSOFT_KEY
from nicprog.errors import NicprogError
from nicprog.packet import Packet
from nicprog.where import Steering
from tests.nicprog.owner import Owner
from tests.nicprog.strategies import specs
from tests.nicprog.test_cli import SPEC, refused, run, run_json

# Microsoft's suite: source, destination, hash with ports.
PUBLISHED = [
    ("66.9.149.187:2794", "161.142.100.80:1766", 0x51CCC178),
    ("199.92.111.2:14230", "65.69.140.83:4739", 0xC626B0EA),
    ("[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x40207D3D),
]


@pytest.mark.parametrize(("src", "dst", "expected"), PUBLISHED)
def test_the_published_hashes(
    owner: Owner, nic: nicprog.Backend, src: str, dst: str, expected: int
) -> None:
    assert nic.read().key[: len(MICROSOFT_KEY)] == MICROSOFT_KEY
    told = run_json("where", "qp0", "tcp", src, dst)
    table = nic.read().table.entries
    assert told["hash"] == f"0x{expected:08x}"
    assert told["entry"] == expected % len(table)
    assert told["queue"] == table[told["entry"]]
    assert told["rule"] is None
    text, _ = run("where", "qp0", "tcp", src, dst)
    assert f"queue {told['queue']}" in text
    assert f"0x{expected:08x}" in text


def test_rules_go_before_the_hash(owner: Owner, tmp_path: Path) -> None:
    spec = tmp_path / "nic.toml"
    spec.write_text(
        SPEC + '[[rule]]\nname = "none"\nprotocol = "udp"\ndst_port = 53\ndrop = true\n'
    )
    run("apply", spec)
    told = run_json("where", "qp0", "tcp", "10.0.0.1:9999", "10.0.0.2:8443")
    assert told["queue"] == 3
    assert told["rule"] is not None
    assert told["hash"] is None
    dropped = run_json("where", "qp0", "udp", "[fd00::1]:9999", "[fd00::2]:53")
    assert dropped["queue"] is None
    text, _ = run("where", "qp0", "udp", "10.0.0.1:9999", "10.0.0.2:53")
    assert "dropped" in text
    assert "by the rule at location" in text


def test_source_ports_land_where_they_are_said_to(owner: Owner, nic: nicprog.Backend) -> None:
    flow = ("tcp", "10.0.0.1", "10.0.0.2:80")
    ports = run_json("where", "qp0", *flow, "--queue", "5", "--count", "3")["source_ports"]
    assert len(ports) == 3
    for port in range(1, ports[-1] + 1):
        told = run_json("where", "qp0", "tcp", f"10.0.0.1:{port}", "10.0.0.2:80")
        assert (told["queue"] == 5) == (port in ports)
    text, _ = run("where", "qp0", *flow, "--queue", "99", status=1)
    assert "source ports none" in text


@given(data=st.data())
def test_it_says_where_a_model_sends_a_packet(data: st.DataObject) -> None:
    profile = data.draw(st.sampled_from(["ice", "mlx5", "gve", "i40e"]))
    nic = sim.SimNic(profile)
    with sim.connect(nic) as backend:
        spec = data.draw(specs(nic.device))
        try:
            steps = nicprog.plan(backend, spec).steps
        except NicprogError:  # not what this driver can hold
            steps = ()
        for step in steps:
            backend.run(step.do)
        steering = Steering(backend)
        for _ in range(10):
            packet = data.draw(packets())
            assert steering.place(packet).queue == sim.deliver(nic, packet)


def packets() -> st.SearchStrategy[Packet]:
    """Between few addresses and ports, so that rules take some."""
    address = st.sampled_from(["10.0.0.1", "10.0.1.2", "192.0.2.9"])
    port = st.sampled_from([80, 443, 1000, 8000, 65535])
    return st.builds(Packet.of, address, address, port, port, protocol=st.sampled_from([6, 17, 1]))


@pytest.mark.parametrize(
    ("flow", "why"),
    [
        (("sctpp", "10.0.0.1:1", "10.0.0.2:1"), "'sctpp' is neither tcp nor udp"),
        (("256", "10.0.0.1:1", "10.0.0.2:1"), "'256' is neither"),
        (("tcp", "10.0.0:1", "10.0.0.2:1"), "'10.0.0:1' is not an address"),
        (("tcp", "10.0.0.1:65536", "10.0.0.2:1"), "'10.0.0.1:65536' is not an address"),
        (("tcp", "10.0.0.1:1", "[fd00::1]:1"), "differ in IP version"),
        (("tcp", "10.0.0.1:1", "10.0.0.2:1", "--tos", "256"), "a TOS is 0 to 255"),
    ],
)
def test_what_is_no_flow(run_dir: Path, flow: tuple[str, ...], why: str) -> None:
    assert why in refused("where", "qp0", *flow, status=2)


def test_a_nic_that_shows_no_key(run_dir: Path) -> None:
    message = refused("where", "sim:vmxnet3", "tcp", "10.0.0.1:1", "10.0.0.2:1", status=1)
    assert message == "sim:vmxnet3: its driver shows no hash key"
