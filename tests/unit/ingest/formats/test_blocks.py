"""The rows of a CSV are the same however it is cut into blocks, and those it has."""

import csv
import io
import random

import pytest
from support.reading import read, table

from qserv.errors import BadContribution
from qserv.ingest.formats import parsing, quotes

SEED = 12
FILES = 120
PIECES = [*'ab1é,,, "\n\n', '""', '"a,"', '"\n"', "\r\n", "\r", "\0", "\\", "\ufeff"]
ODD = frozenset(',"\r\n')


@pytest.fixture
def rows_of(tmp_path, monkeypatch):
    def rows(content, columns, block, **options):
        monkeypatch.setattr(quotes, "BLOCK", block)
        monkeypatch.setattr(parsing, "_PARSED", max(block, 64))
        path = tmp_path / "t.csv"
        path.write_bytes(content)
        into = table(**dict.fromkeys("abc"[:columns], "VARCHAR"))
        try:
            found = read(path, into, **options)
        except BadContribution as error:
            return str(error)
        good = zip(*found.rows.values(), strict=True)
        return list(zip(found.numbers, good, strict=True)), found.reasons

    return rows


def values(chance, count):
    pieces = ["a", "b", ",", '"', "\n", "\r\n", " ", "é", "\\N", "\ufeff"]
    made = [
        "".join(chance.choices(pieces, k=chance.randrange(5))) for _ in range(count)
    ]
    return [None if chance.random() < 0.15 else value for value in made]


def in_csv(value, chance):
    if value is None:
        return chance.choice(["", "\\N"])
    if ODD & set(value) or value in {"", "\\N"} or chance.random() < 0.3:
        return '"' + value.replace('"', '""') + '"'
    return value


def escaped(value, chance):
    if value is None:
        return "\\N"
    odd = {*ODD, "\\"} if chance.random() < 0.5 else {'"', "\\"}
    text = "".join(f"\\{each}" if each in odd else each for each in value)
    return text if len(odd) > 2 and text else f'"{text}"'


@pytest.mark.parametrize(
    ("write", "options"), [(in_csv, {}), (escaped, {"escape": "\\"})]
)
def test_what_was_written_is_read(rows_of, write, options):
    chance = random.Random(SEED)
    for _ in range(FILES):
        columns, newline = chance.randint(1, 3), chance.choice(["\n", "\r\n", "\r"])
        rows = [values(chance, columns) for _ in range(chance.randrange(8))]
        if chance.random() < 0.3:
            rows.insert(len(rows) // 2, values(chance, columns + 1))
        lines = [",".join("abc"[:columns])]
        lines += [",".join(write(value, chance) for value in row) for row in rows]
        end = newline if not lines[-1] or chance.random() < 0.7 else ""
        content = (chance.choice(["", "\ufeff"]) + newline.join(lines) + end).encode()
        good = [(i, tuple(r)) for i, r in enumerate(rows, 1) if len(r) == columns]
        bad = [i for i, row in enumerate(rows, 1) if len(row) != columns]
        for block in (chance.randrange(1, 30), 2**20):
            found, told = rows_of(content, columns, block, **options)
            assert (found, [row for row, *_ in told]) == (good, bad), content


def test_anything_is_read_alike_and_as_others_read_it(rows_of):
    chance = random.Random(SEED)
    for _ in range(FILES):
        columns = chance.randint(1, 3)
        body = "".join(chance.choices(PIECES, k=chance.randrange(30)))
        content = (",".join("abc"[:columns]) + "\n" + body).encode()
        found = rows_of(content, columns, 2**20)
        assert rows_of(content, columns, chance.randrange(1, 30)) == found, content
        if isinstance(found, tuple):
            rows = list(csv.reader(io.StringIO(content.decode(), newline="")))[1:]
            rows = [row or [""] for row in rows if row or columns == 1]
            same = [[value or "" for value in row] for _, row in found[0]]
            assert same == [row for row in rows if len(row) == columns], content


def test_an_empty_value_at_the_end_would_pass_for_one_in_quotes(rows_of, monkeypatch):
    """The guarantee: Arrow takes it so where the last row has no newline."""
    content = b'a,b\n"x",'
    assert rows_of(content, 2, 100) == ([(1, ("x", None))], [])
    monkeypatch.setattr(quotes, "_ended", lambda held, _: held)
    assert rows_of(content, 2, 100) == ([(1, ("x", ""))], [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'a\n\n7\n\n"x\n', "t.csv, row 4: a quote opens and never"),
        (b'a\n"' + 50_000 * b"1,2,3\n" + b'8,2,"y\n', "t.csv, row 1: a quote opens"),
        (b"x" * 500_000, "t.csv: its first line names no columns: field larger than"),
    ],
)
def test_faults_are_told_with_their_rows(rows_of, content, message):
    assert message in rows_of(content, 1, 2**20)
