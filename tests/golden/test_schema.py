"""The golden files of schemas that are drafted for files."""

import pytest
from golden.runner import Case, check, files

from qserv.ingest.drafting import draft


@pytest.mark.parametrize("path", files("schema"), ids=lambda p: p.stem)
def test_golden(path, rewrite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def answer(case: Case) -> str:
        inputs: dict[str, list[str]] = {}
        for line in case.text.splitlines():
            table, _, name = line.partition(" ")
            if name.endswith(".csv"):
                inputs.setdefault(table, []).append(name)
                (tmp_path / name).write_text("")
            else:
                with (tmp_path / list(inputs.values())[-1][-1]).open("a") as file:
                    file.write(line + "\n")
        made = draft("mine", inputs)
        return f"{made.felis}---\n{made.sidecar}"

    check(path, answer, rewrite=rewrite)
