"""A manifest of many rows is read in little memory."""

import subprocess
import sys

import pytest

MEMORY_SCRIPT = """
import sys
from pathlib import Path
from augrank.manifest.read import read_table
from training.data.manifest.context import context_columns, encode_context
from training.data.manifest.manifest import ManifestOptions, attribute_columns, check_manifest
from training.data.manifest.rows import fingerprint
from training.data.manifest.targets import TargetOutcomes, find_targets

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

file = Path(sys.argv[1])
read_table(file.with_name("few.csv"), {})
before = resident("VmRSS")
table = read_table(file, {})
manifest = check_manifest(table, file.parent, ("original", "bright"), ManifestOptions())
columns = context_columns(manifest.frame, manifest.context, manifest.numeric)
encode_context(manifest.frame, columns)
assert [len(each.row) for each in TargetOutcomes(manifest.frame, ("open_rate",), {})]
attribute_columns(manifest)
fingerprint(manifest, ())
print(resident("VmHWM") - before, len(manifest.frame))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_bounded_with_rows(tmp_path):
    rows, further = 400_000, 15
    (tmp_path / "a.png").write_bytes(b"")
    header = "relative_im_path,augmentation,campaign_type,open_rate,open_rate_probability"
    header += "".join(f",column {number}" for number in range(further)) + "\n"
    cells = [
        f"a.png,{('original', 'bright')[n % 2]},type {n % 30},{n % 3 % 2},0.{n % 9}"
        + "".join(f",a value {(n * number) % 97}" for number in range(further))
        + "\n"
        for n in range(1000)
    ]
    body = "".join(cells)
    for name, repeats in (("few.csv", 1), ("m.csv", rows // 1000)):
        with (tmp_path / name).open("w", encoding="utf-8") as stream:
            stream.write(header)
            stream.writelines(body for _ in range(repeats))
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path / "m.csv")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    used, read = map(int, done.stdout.split())
    assert read == rows
    assert used < 180 * rows  # a byte for each cell, and numbers of each row; as text, 670
