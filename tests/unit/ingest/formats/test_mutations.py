"""Files that were changed anyhow end in rows, rejects or an error that names them."""

import gzip
import io
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import MaskedColumn
from astropy.table import Table as Astropy
from support.reading import read, schema_of, table

from qserv.errors import BadContribution
from qserv.ingest import formats, inputs

EACH = 100
ROWS = 60
SEED = 4
LIMIT = 4 * 2**30
"""Bytes of memory that reading a spoilt file may reserve at most."""
INTO = table(a="BIGINT", f="DOUBLE", s="VARCHAR", b="BOOLEAN")


def whole_files() -> dict[str, bytes]:
    sky = Astropy(
        {
            "a": MaskedColumn(np.arange(ROWS), mask=[i % 7 == 0 for i in range(ROWS)]),
            "f": np.linspace(0, 1, ROWS),
            "s": [f'"é {i}' for i in range(ROWS)],
            "b": [i % 2 == 0 for i in range(ROWS)],
        }
    )
    plain = sky.copy()
    plain["s"] = [f"x {i}" for i in range(ROWS)]
    plain["a"] = np.arange(ROWS)
    arrow = pa.table({name: plain[name] for name in plain.colnames})
    found = {
        "t.csv": written(sky, format="ascii.csv"),
        "t.tsv": written(sky, format="ascii.tab"),
        "t.ecsv": written(sky, format="ascii.ecsv"),
        "t.fits": written(plain, format="fits"),
        "ascii.fits": in_ascii(plain),
        "t.parquet": arrowed(pq.write_table, arrow, write_page_checksum=True),
        "t.arrow": arrowed(pyarrow.feather.write_feather, arrow, compression="lz4"),
    }
    for serialization in ("tabledata", "binary", "binary2"):
        document = from_table(sky)
        document.get_first_table().fields[0].values.null = -5
        file = io.BytesIO()
        document.to_xml(file, tabledata_format=serialization)
        found[f"{serialization}.vot"] = file.getvalue()
    for name in ("t.csv", "t.fits", "tabledata.vot"):
        found[f"{name}.gz"] = gzip.compress(found[name], mtime=0)
    return found


def written(sky, **options) -> bytes:
    if options["format"] == "fits":
        file = io.BytesIO()
        sky.write(file, **options)
        return file.getvalue()
    text = io.StringIO()
    sky.write(text, **options)
    return text.getvalue().encode()


def in_ascii(sky) -> bytes:
    forms = {"a": "I11", "f": "D25.17", "s": "A8", "b": "I2"}
    values = {name: np.asarray(sky[name]) for name in forms}
    values["b"] = values["b"].astype(np.int32)
    columns = [
        fits.Column(name, form, array=values[name], ascii=True)
        for name, form in forms.items()
    ]
    file = io.BytesIO()
    fits.TableHDU.from_columns(columns).writeto(file)
    return file.getvalue()


def arrowed(write, arrow, **options) -> bytes:
    file = io.BytesIO()
    write(arrow, file, **options)
    return file.getvalue()


def mutated(content: bytes, chance: random.Random) -> bytes:
    new, at = bytearray(content), chance.randrange(len(content))
    match chance.randrange(5):
        case 0:
            return content[:at]
        case 1:
            for _ in range(chance.choice([1, 1, 3, 20])):
                new[chance.randrange(len(new))] ^= 1 << chance.randrange(8)
        case 2:
            lengths = [b"\xff\xff\xff\x7f", bytes(4), b"\xff" * 4, b"9999", b'""""']
            new[at : at + 4] = chance.choice(lengths)
        case 3:
            del new[at : at + chance.randrange(200)]
        case _:
            other = chance.randrange(len(new))
            new[at:at] = new[other : other + chance.randrange(200)]
    return bytes(new)


def check(path: Path) -> None:
    """Read a file in all ways; raise if it ends otherwise than it may."""
    for way in (whole, schema_of, as_it_stands):
        try:
            way(path)
        except BadContribution as error:
            if not error.text.startswith(str(path)):
                raise AssertionError(error.text) from error


def whole(path: Path) -> None:
    found = read(path, INTO)
    found.data.validate(full=True)
    told = [reject.row for reject in found.rejects]
    assert sorted(found.numbers + told) == list(range(1, len(found.numbers + told) + 1))


def as_it_stands(path: Path) -> None:
    (file,) = inputs.find("T", [path])
    for batch in formats.raw(file):
        batch.validate(full=True)


def run(directory: Path) -> None:
    """Read many files; run in a process of its own, for a library may crash."""
    import resource
    import warnings

    warnings.simplefilter("error")
    pa.set_cpu_count(1)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    for name, content in whole_files().items():
        path = directory / name
        path.write_bytes(content)
        whole(path)
        for number in range(EACH):
            # Known before it is read, whatever happens then.
            path.write_bytes(mutated(content, random.Random(f"{SEED} {name} {number}")))
            check(path)
        print("read", name, flush=True)


def test_mutated_files_never_do_worse_than_an_error(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("read ") * EACH >= 1000


if __name__ == "__main__":
    run(Path(sys.argv[1]))
