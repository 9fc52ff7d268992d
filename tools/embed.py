# SPDX-License-Identifier: Apache-2.0
"""Writes a file as a C array: embed.py INPUT OUTPUT.c NAME."""

import pathlib
import sys

source, target, name = sys.argv[1:]
data = pathlib.Path(source).read_bytes()
rows = (", ".join(map(str, data[i : i + 24])) for i in range(0, len(data), 24))
pathlib.Path(target).write_text(
    f"extern const unsigned char {name}[];\nextern const unsigned long {name}_bytes;\n"
    f"_Alignas(8) const unsigned char {name}[] = {{\n" + ",\n".join(rows) + "\n};\n"
    f"const unsigned long {name}_bytes = sizeof {name};\n"
)
