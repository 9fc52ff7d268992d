# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qstack import Server, classify, match
from qstack.config import ListenConfig, StackConfig, read_serve_config, split_nic
from qstack.errors import ConfigError


@pytest.mark.parametrize(
    ("nic", "parts"),
    [
        ("tap:qs0", ("tap", "qs0")),
        ("pair:w", ("pair", "w")),
        ("xsk:eth1", ("xsk", "eth1")),
        ("eth1", ("xsk", "eth1")),
        ("eth0:1", ("xsk", "eth0:1")),
    ],
)
def test_nic_names(nic: str, parts: tuple[str, str]) -> None:
    assert split_nic(nic) == parts


@pytest.mark.parametrize(
    "nic", ["", "tap:", "pair:", "averyveryverylongname", "tap:sixteen-bytes-xx"]
)
def test_bad_nic_names(nic: str) -> None:
    with pytest.raises(ConfigError):
        split_nic(nic)


A = {"nic": "tap:t", "addresses": ("10.0.0.2/24",)}


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({**A, "queues": 0}, "queues must be 1..64, got 0"),
        ({**A, "queues": 65}, "queues must be 1..64"),
        ({**A, "queues": True}, "queues must be 1..64, got True"),
        ({**A, "queues": 2, "workers": 3}, "workers must be 1..2, got 3"),
        ({**A, "mtu": 70_000}, "mtu must be"),
        ({"nic": "tap:t"}, "needs an address of its own"),
        ({"nic": "tap:t", "addresses": ("10.0.0.2",)}, "lacks the length of its prefix"),
        ({"nic": "tap:t", "addresses": ("10.0.0.300/24",)}, "10.0.0.300"),
        ({"nic": "tap:t", "addresses": ("10.0.0.2/24", "10.0.0.3/24")}, "an IPv4 address already"),
        ({"nic": "eth1", "host_addresses": ("10.0.0.1/24",)}, "belong to a TAP"),
        ({**A, "gateways": ("10.0.0.1/24",)}, "gateway"),
        ({**A, "join": True}, "can be joined"),
    ],
)
def test_bad_settings_say_what_is_wrong(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        StackConfig(**settings)


def test_addresses_by_version() -> None:
    config = StackConfig(
        nic="tap:t", addresses=("fd00::2/64", "10.0.0.2/24"), gateways=("fd00::1",)
    )
    assert config.address(4) == "10.0.0.2/24"
    assert config.address(6) == "fd00::2/64"
    assert config.gateway(6) == "fd00::1"
    assert config.gateway(4) is None


@pytest.mark.parametrize(("port", "priority"), [(0, 0), (65_536, 0), (80, 8), (80, -1)])
def test_bad_listeners(port: int, priority: int) -> None:
    with pytest.raises(ConfigError):
        ListenConfig(port=port, priority=priority)


@pytest.mark.parametrize("way", ["receive", "send"])
def test_buffers_begin_between_a_segment_and_the_most(way: str) -> None:
    def config(most: int, initial: int | None, mtu: int = 0) -> StackConfig:
        sizes: dict[str, Any] = {
            f"{way}_buffer_bytes": most,
            f"{way}_buffer_initial_bytes": initial,
        }
        return StackConfig(nic="tap:t", addresses=("10.0.0.2/24",), mtu=mtu, **sizes)

    config(4096, None)
    config(4096, 4096)
    config(65_536, 8960, 9000)
    with pytest.raises(ConfigError, match=f"{way}_buffer_initial_bytes must be 2048..4096"):
        config(4096, 4097)
    with pytest.raises(ConfigError, match=f"{way}_buffer_initial_bytes must be 2048"):
        config(4096, 2047)
    with pytest.raises(ConfigError, match=f"{way}_buffer_initial_bytes must be 8960"):
        config(65_536, 8959, 9000)


@pytest.mark.parametrize("name", ["minimum_share_percent", "reserved_percent"])
@pytest.mark.parametrize("value", [(1,), (0,) * 9, (-1,) * 8, ("1",) * 8, (True,) * 8, [1] * 8, 5])
def test_bad_parts_of_classes(name: str, value: Any) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=f"{name} must be 8 numbers from 0 to "):
        StackConfig(nic="tap:t", addresses=("10.0.0.2/24",), **settings)


@pytest.mark.parametrize("dscp", [(1,), (64,) * 8, (-1,) * 8, (1.5,) * 8, (True,) * 8, 5])
def test_bad_dscp(dscp: Any) -> None:
    with pytest.raises(ConfigError, match="dscp must be 8 numbers from 0 to 63"):
        StackConfig(nic="tap:t", addresses=("10.0.0.2/24",), dscp=dscp)


@pytest.mark.parametrize("rates", [(1000,), (0, 999, *(0,) * 6), (0, -1) * 4, ("1MiB",) * 8, 5])
def test_bad_rates_of_sources(rates: Any) -> None:
    with pytest.raises(ConfigError, match="source_rate_bytes must be 8 numbers"):
        StackConfig(nic="tap:t", addresses=("10.0.0.2/24",), source_rate_bytes=rates)


def test_class_0_takes_what_goes_beyond_the_rates_of_sources() -> None:
    def config(**settings: Any) -> StackConfig:
        return StackConfig(nic="tap:t", addresses=("10.0.0.2/24",), **settings)

    config(source_rate_bytes=(0, *(1000,) * 7), source_prefix_ipv4=1, source_prefix_ipv6=128)
    with pytest.raises(ConfigError, match="class 0 has no limit"):
        config(source_rate_bytes=(1000,) * 8)
    with pytest.raises(ConfigError, match=r"source_prefix_ipv4 must be 1\.\.32"):
        config(source_prefix_ipv4=0)
    with pytest.raises(ConfigError, match=r"source_prefix_ipv6 must be 1\.\.128"):
        config(source_prefix_ipv6=129)


@pytest.mark.parametrize("vlans", [(0,), (4095,), (1,) * 17, (True,), ("5",), [5], 5])
def test_bad_vlans(vlans: Any) -> None:
    with pytest.raises(ConfigError, match="vlans must be at most 16 numbers from 1 to 4094"):
        StackConfig(nic="tap:t", addresses=("10.0.0.2/24",), vlans=vlans)


def test_vlans_need_a_stack_that_knows_its_neighbours() -> None:
    with pytest.raises(ConfigError, match="xsk: vlans are for tap and pair"):
        StackConfig(nic="xsk:eth7", vlans=(5,))


def test_a_match_names_a_vlan_that_the_stack_takes() -> None:
    app = Server(nic="tap:t", addresses=("10.0.0.2/24",), vlans=(5,))
    app.listen(port=80, classify=classify(match(7, vlan=5), match(1, vlan=0)))(lambda _: None)
    with pytest.raises(ConfigError, match=r"port 81: a match names VLAN 6, .* which is \(5,\)"):
        app.listen(port=81, classify=classify(match(7, vlan=6)))


def test_classes_have_no_more_than_there_is() -> None:
    def config(**settings: Any) -> StackConfig:
        return StackConfig(nic="tap:t", addresses=("10.0.0.2/24",), **settings)

    config(minimum_share_percent=(93, *(1,) * 7))
    with pytest.raises(ConfigError, match=r"all classes together have 100\.1, 100 at most"):
        config(minimum_share_percent=(93.1, *(1,) * 7))
    with pytest.raises(ConfigError, match="all classes together have 56, 50 at most"):
        config(reserved_percent=(7,) * 8)


@pytest.mark.parametrize("growth", [(1,), (0,) * 7, (0,) * 9, (-1,) * 8, ("1MiB",) * 8, 5])
def test_bad_growth(growth: Any) -> None:
    with pytest.raises(ConfigError, match="buffer_growth_bytes must be 8 sizes"):
        StackConfig(nic="tap:t", addresses=("10.0.0.2/24",), buffer_growth_bytes=growth)


def test_serve_config(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(
        '[stack]\nnic = "tap:t"\naddresses = ["10.0.0.2/24"]\npoll_idle = "20us"\n'
        'receive_buffer = "64KiB"\nreceive_buffer_initial = "16KiB"\n'
        "minimum_share_percent = [5, 1, 1, 1, 1, 1, 1, 2.5]\n"
        "dscp = [0, 0, 0, 0, 0, 0, 0, 46]\n"
        'source_rate = ["0B", "0B", "0B", "0B", "0B", "0B", "0B", "1MiB"]\n'
        "vlans = [5, 6]\n"
        "reserved_percent = [0, 0, 0, 0, 0, 0, 0, 10]\nbuffer_growth = ["
        + '"0B", '
        * 7
        + '"1MiB"]\n[[listen]]\nport = 80\n[[listen]]\nport = 443\npriority = 7\n'
        'congestion = "newreno"\nkeepalive = "10min"\nuser_timeout = "30s"\nnodelay = false\n'
        'receive_buffer = "16KiB"\nsend_buffer = "1MiB"\nmss_max = 1200\n'
    )
    config = read_serve_config(path)
    assert config.listen == (
        ListenConfig(port=80),
        ListenConfig(
            port=443,
            priority=7,
            congestion="newreno",
            keepalive="10min",
            user_timeout="30s",
            nodelay=False,
            receive_buffer="16KiB",
            send_buffer="1MiB",
            mss_max=1200,
        ),
    )
    sizes = [(one.receive_buffer_bytes, one.send_buffer_bytes) for one in config.listen]
    assert sizes == [(0, 0), (16 << 10, 1 << 20)]
    assert [(one.keepalive_ns, one.user_timeout_ns, one.nodelay) for one in config.listen] == [
        (0, 0, True),
        (600 * 10**9, 30 * 10**9, False),
    ]
    stack = StackConfig(**config.stack)
    assert stack.poll_idle_ns == 20_000
    assert (stack.receive_buffer_bytes, stack.receive_buffer_initial_bytes) == (65_536, 16_384)
    assert stack.buffer_growth_bytes == (0,) * 7 + (1 << 20,)
    assert stack.addresses == ("10.0.0.2/24",)
    assert stack.minimum_share_percent == (5, 1, 1, 1, 1, 1, 1, 2.5)
    assert stack.reserved_percent == (0,) * 7 + (10,)
    assert stack.dscp == (0,) * 7 + (46,)
    assert stack.source_rate_bytes == (0,) * 7 + (1 << 20,)
    assert stack.vlans == (5, 6)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[stack\n", r"malformed TOML.*line 1"),
        ("\n\nx = \n", r"malformed TOML.*line 3"),
        ("[stack]\nqueus = 3\n", "stack.queus is unknown; known: .*queues"),
        ("[stack]\npoll_idle = 20\n", "stack.poll_idle: 20 needs a unit"),
        ("[stack]\nbuffer_growth = [20]\n", "stack.buffer_growth: 20 needs a unit"),
        ('[stack]\npoll_idle = "20"\n', "has no unit"),
        ("[[listen]]\nprio = 3\n", "takes port, priority, congestion, keepalive, .*nodelay"),
        ('[[listen]]\nport = 80\ncongestion = "bbr"\n', "port 80: congestion must be .*'bbr'"),
        ("[[listen]]\nport = 80\ncongestion = 3\n", 'congestion must be "cubic" or "newreno"'),
        ("[[listen]]\nport = 80\nkeepalive = 60\n", "port 80: keepalive = 60 needs a unit"),
        ('[[listen]]\nport = 80\nkeepalive = "60"\n', "port 80: keepalive: .*has no unit"),
        ('[[listen]]\nport = 80\nkeepalive = "0s"\n', "keepalive must be more than 0 .*32767s"),
        ('[[listen]]\nport = 80\nkeepalive = "32767.1s"\n', "keepalive must be .*'32767.1s'"),
        ('[[listen]]\nport = 80\nuser_timeout = "86401s"\n', "user_timeout must be .*86400s"),
        ("[[listen]]\nport = 80\nnodelay = 1\n", "nodelay must be true or false, got 1"),
        ("[[listen]]\nport = 80\npacing = 1\n", "pacing must be true or false, got 1"),
        ("[[listen]]\nport = 80\npacing_rate_max = 5000\n", "pacing_rate_max needs pacing = true"),
        (
            "[[listen]]\nport = 80\npacing = true\npacing_rate_max = 999\n",
            "pacing_rate_max must be 1000..1000000000000 bytes a second, got 999",
        ),
        (
            "[[listen]]\nport = 80\npacing = true\npacing_rate_max = 5000.5\n",
            "pacing_rate_max must be .*, got 5000.5",
        ),
        ("[[listen]]\nport = 80\nreceive_buffer = 9\n", "receive_buffer = 9 needs a unit"),
        ('[[listen]]\nport = 80\nsend_buffer = "0B"\n', "port 80: send_buffer must be 1..1073"),
        ('[[listen]]\nport = 80\nsend_buffer = "2GiB"\n', "send_buffer must be .*'2GiB'"),
        ('[[listen]]\nport = 80\nsend_buffer = "2"\n', "port 80: send_buffer: .*has no unit"),
        ("[[listen]]\nport = 80\nmss_max = 87\n", "mss_max must be 88..65535 bytes, got 87"),
        ("[[listen]]\nport = 80\nmss_max = true\n", "mss_max must be .*, got True"),
        ("[[listen]]\nport = 80\nshed_reset = 1\n", "shed_reset must be true or false, got 1"),
        ("[[listen]]\nport = 80\nthread = 1\n", "thread must be a name, got 1"),
        ("[[listen]]\nport = 99999\n", "port must be"),
        ("[[listen]]\nport = 80\n[[listen]]\nport = 80\n", "port 80 is named twice"),
        ("listen = 3\n", r"\[\[listen\]\]"),
        ("stack = 3\n", r"\[stack\]"),
        ("[lissten]\n", "unknown table 'lissten'"),
    ],
)
def test_bad_serve_config_names_the_file(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=what) as caught:
        read_serve_config(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_serve_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_serve_config(tmp_path / "none.toml")
