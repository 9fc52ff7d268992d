# SPDX-License-Identifier: Apache-2.0
"""Framings and classifiers as the C library takes them."""

from __future__ import annotations

from ._native import CData, ffi, lib
from .classes import Classifier, Match
from .framing import Framing

NULL: CData = ffi.NULL

_KINDS = {
    "length": lib.QS_FRAMING_LENGTH,
    "delimiter": lib.QS_FRAMING_DELIMITER,
    "http1": lib.QS_FRAMING_HTTP1,
    "resp": lib.QS_FRAMING_RESP,
    "function": lib.QS_FRAMING_FUNCTION,
}
_FRAMING_FN = "int64_t (*)(const uint8_t *, size_t, void *)"
_CLASSIFY_FN = "int (*)(const struct qs_flow *, const uint8_t *, size_t, void *)"
_IPV4_BITS_BEFORE = 96


def framing_options(framing: Framing) -> CData:
    """Return ``struct qs_framing_opts*``."""
    opts = ffi.new("struct qs_framing_opts *")
    lib.qs_framing_opts_init(opts, _KINDS[framing.kind])
    opts.message_max = framing.message_max
    opts.length_at = framing.length_at
    opts.length_octets = framing.length_octets
    opts.length_adds = framing.length_adds
    opts.length_little = framing.length_little
    opts.delimiter_octets = len(framing.delimiter)
    ffi.memmove(opts.delimiter, framing.delimiter, len(framing.delimiter))
    if framing.function is not None:
        opts.fn = ffi.cast(_FRAMING_FN, framing.function.address)
    return opts


def classifier_options(classifier: Classifier | None) -> tuple[CData, CData]:
    """Return ``struct qs_classifier_opts*`` and the matches that it points to; NULL for None."""
    if classifier is None:
        return NULL, NULL
    opts = ffi.new("struct qs_classifier_opts *")
    lib.qs_classifier_opts_init(opts)
    matches = ffi.new("struct qs_match[]", max(1, len(classifier.matches)))
    for to, match in zip(matches, classifier.matches, strict=False):
        _fill(to, match)
    opts.matches = matches
    opts.n_matches = len(classifier.matches)
    if classifier.function is not None:
        opts.fn = ffi.cast(_CLASSIFY_FN, classifier.function.address)
    return opts, matches


def _fill(to: CData, match: Match) -> None:
    to.prio = match.priority
    if match.remote is not None:
        to.what |= lib.QS_MATCH_REMOTE
        address, bits = match.remote.network_address.packed, match.remote.prefixlen
        if match.remote.version == 4:
            address, bits = bytes(10) + b"\xff\xff" + address, bits + _IPV4_BITS_BEFORE
        ffi.memmove(to.remote.b, address, 16)
        to.remote_bits = bits
    if match.remote_port is not None:
        to.what |= lib.QS_MATCH_REMOTE_PORT
        to.port_first, to.port_last = match.remote_port
    if match.vlan is not None:
        to.what |= lib.QS_MATCH_VLAN
        to.vlan = match.vlan
    if match.pcp is not None:
        to.what |= lib.QS_MATCH_PCP
        to.pcp = match.pcp
    if match.dscp is not None:
        to.what |= lib.QS_MATCH_DSCP
        to.dscp = match.dscp
    if match.octets is not None:
        to.what |= lib.QS_MATCH_OCTETS
        to.at, octets, mask = match.octets
        to.n_octets = len(octets)
        ffi.memmove(to.octets, octets, len(octets))
        ffi.memmove(to.mask, mask, len(mask))
    if match.http_path is not None:
        to.what |= lib.QS_MATCH_HTTP_PATH
        to.text = match.http_path.encode("ascii")
    if match.http_header is not None:
        to.what |= lib.QS_MATCH_HTTP_HEADER
        to.name, to.text = (part.encode("ascii") for part in match.http_header)
