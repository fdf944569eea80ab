"""A value means the same whatever stands beside it, before it or behind it."""

import random
from decimal import Decimal, localcontext
from xml.sax.saxutils import escape

import pyarrow as pa
import pytest
from support.reading import read, table

from qserv.ingest.formats import parsing, quotes, texts

SEED = 11
PLAIN = """
    0x1F 0XfF 0xFFFF 0xFFFFFFFF 0xFFFFFFFFFFFFFFFF 0x 0x1p3 -0x1 +5 ++5 +-5 -5 5
    0005 -0 1.0 1. .5 . + - 1e3 1E+03 1.5e1 1e-1 1e-400 1e400 0e999
    1e99999999999999999999 1.0000000000000000001 1.5D3 1_000 1,5 5% inf -Infinity
    nan -nan(ind) NULL none n/a -- \\N true T yes F 0 2 32767 32768 -32768 -3.2768e4
    -2.147483648e9 2147483648 -9223372036854775808 9223372036854775807
    9223372036854775808 9007199254740993.0 -9.223372036854775808e18
    9.2233720368547758075e18 3.5e38 1e39 0.1 16777217 2026-01-31 2026-01-31T23
    2026-01-31T23Z 2026-01-31T23:59 2026-01-31T23:59:60 2026-01-31T24:00
    2026-01-31t23:59:59.5 2026-01-31T23:59:59.1234567 2026-02-30
    2026-01-31T23:59:59+01:00 0001-01-01 20260131 2026-01 9999-12-31T23:59:59.999999
"""
POOL = (
    *PLAIN.split(),
    "",
    "\u0665",
    " ",
    " 5",
    "5 ",
    "\u00a05",
    " true",
    "2026-01-31 23",
    " inf ",
)
TYPES = ("SMALLINT", "INTEGER", "BIGINT", "REAL", "DOUBLE", "BOOLEAN", "TIMESTAMP")


def in_csv(path, cells):
    path = path / "t.csv"
    path.write_text("k,v\n" + "".join(f'{i},"{c}"\n' for i, c in enumerate(cells)))
    return path


def in_csv_unquoted(path, cells):
    path = path / "t.csv"
    path.write_text("k;v\n" + "".join(f"{i};{c}\n" for i, c in enumerate(cells)))
    return path


def in_votable(path, cells):
    path = path / "t.vot"
    rows = "".join(
        f"<TR><TD>{i}</TD><TD>{escape(cell)}</TD></TR>" for i, cell in enumerate(cells)
    )
    path.write_text(
        '<VOTABLE><RESOURCE><TABLE><FIELD name="k" datatype="int"/><FIELD name="v" '
        f'datatype="char" arraysize="*"/><DATA><TABLEDATA>{rows}</TABLEDATA></DATA>'
        "</TABLE></RESOURCE></VOTABLE>"
    )
    return path


def meanings(path, datatype, **options):
    """Return what each cell of column v means; "bad" for one that is none."""
    found = read(path, table(k="BIGINT", v=datatype), **options)
    values = dict(zip(found.rows["k"], found.data["v"], strict=True))
    bad = {reject.row - 1: "bad" for reject in found.rejects}
    assert not values.keys() & bad.keys()
    return [text for _, text in sorted({**told(values), **bad}.items())]


def told(values):
    # Not as_py: there are times that Python has not.
    return {row: str(value.cast(pa.string())) for row, value in values.items()}


@pytest.mark.parametrize("datatype", TYPES)
@pytest.mark.parametrize(
    ("write", "options"),
    [(in_csv, {}), (in_csv_unquoted, {"delimiter": ";"}), (in_votable, {})],
)
def test_a_value_means_the_same_in_any_company(
    tmp_path, monkeypatch, datatype, write, options
):
    def mean(cells):
        return meanings(write(tmp_path, cells), datatype, **options)

    alone = {cell: mean([cell])[0] for cell in POOL}
    chance = random.Random(f"{SEED} {datatype}")
    for size in (2,) * 8 + (5,) * 4 + (20, 200):
        monkeypatch.setattr(quotes, "BLOCK", chance.choice([16, 64, 2**20]))
        some = chance.choices(POOL, k=size)
        assert mean(some) == [alone[cell] for cell in some], some
    easy = {cell for cell in POOL if alone[cell] not in {"bad", "None"}}
    together = [cell for cell in POOL if cell in easy]
    assert mean(together) == [alone[cell] for cell in together]


@pytest.mark.parametrize(
    ("module", "guard"), [(parsing, "wrapped"), (texts, "wrapped")]
)
def test_a_hexadecimal_number_would_wrap(tmp_path, monkeypatch, module, guard):
    """The guarantee: Arrow makes -1 of it, where nobody looks."""
    write = in_csv if module is parsing else in_votable
    path = write(tmp_path, ["0xFFFF", "-1"])
    assert meanings(path, "SMALLINT") == ["bad", "-1"]
    monkeypatch.setattr(module, guard, lambda _: False)
    assert meanings(path, "SMALLINT") == ["-1", "-1"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-2.147483648e9", -(2**31)), ("2147483647.0e0", 2**31 - 1), ("0x1F", 31),
        ("1e-400", None), ("1.0000000000000000001", None), ("2147483648e0", None),
        ("0.01e2", 1), ("-0.0", 0), ("0e999", 0), ("0xFFFFFFFF", None),
    ],
)  # fmt: skip
def test_a_whole_number_is_one_however_it_is_written(text, number):
    array, bad = texts.parse(pa.array([text, "+7"]), pa.int32())
    assert (bad is not None and bad[0]) == (number is None)
    assert number is None or array[0].as_py() == number


@pytest.mark.parametrize("width", [24, 53])
def test_decimals_become_the_nearest_number(width):
    chance = random.Random(SEED)
    target = pa.float32() if width == 24 else pa.float64()
    with localcontext(prec=200):
        for _ in range(200):
            # Just beside the middle of two neighbours, where rounding twice goes wrong.
            low = chance.randrange(2 ** (width - 1), 2**width - 1)
            scale = Decimal(2) ** chance.randrange(-60, 30)
            middle = (Decimal(low) + Decimal("0.5")) * scale
            for side, near in ((-1, low), (1, low + 1)):
                text = str(middle + side * scale.scaleb(-25))
                for other in ("1", "1.5D3"):
                    array, _ = texts.parse(pa.array([text, other]), target)
                    assert array[0].as_py() == float(near * scale), text
