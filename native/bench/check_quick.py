# SPDX-License-Identifier: Apache-2.0
"""Runs `qs-bench-engine --quick` and checks that its document is whole; no figure is judged."""

import json
import subprocess
import sys

CASES = ["1", "1000", "100000"]


def main() -> None:
    """Checks the program given as the only argument; raises on anything that is missing."""
    # The program itself stops with status 1 unless every request was answered.
    run = subprocess.run([sys.argv[1], "--quick"], stdout=subprocess.PIPE, check=True)
    doc = json.loads(run.stdout)
    for key in ("cycles_per_request", "instructions_per_request", "requests_per_second"):
        assert list(doc[key]) == CASES, key
    assert all(doc["cycles_per_request"][n] > 0 for n in CASES)
    for key in ("connects_per_second", "bytes_per_idle_connection"):
        assert doc[key] > 0, key
    for key in ("syn", "ack"):
        assert doc["cycles_per_flood_segment"][key] > 0, key
    for key in ("checksum", "no_checksum"):
        assert doc["bulk_gbit_per_second"][key] > 0, key
    for key in ("cpu", "tsc_hz", "compiler"):
        assert doc["machine"][key], key

    refused = subprocess.run(
        [sys.argv[1], "--count", "many"], check=False, stderr=subprocess.PIPE, text=True
    )
    assert refused.returncode == 2, refused
    assert "many" in refused.stderr, refused.stderr


if __name__ == "__main__":
    main()
