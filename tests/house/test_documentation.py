"""The documentation says what the code says, and no more."""

import importlib.util
import re
from pathlib import Path

import click
import pytest

from qserv import config, errors
from qserv.cli.main import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = generator().PAGES


def commands(group, name="qserv"):
    for verb, command in group.commands.items():
        yield f"{name} {verb}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {verb}")


COMMANDS = dict(commands(main))
SETTINGS = {*config.CzarConfig.model_fields, *config.WorkerConfig.model_fields}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_generated_page_is_up_to_date(page, rewrite):
    text = PAGES[page]()
    if rewrite:
        page.write_text(text)
    assert page.read_text() == text, "pytest tests/house --rewrite, then look at it"


@pytest.mark.parametrize("kind", list(errors.subclasses()), ids=lambda k: k.__name__)
def test_every_error_is_in_the_reference(kind):
    page = (REFERENCE / "errors.md").read_text()
    assert f"| `{kind.code}` | `{kind.__name__}` |" in page


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_is_explained_in_the_reference(name):
    page = (REFERENCE / "configuration.md").read_text()
    assert re.search(rf"^\| `{name}` \| `[^|]+` \| .{{10,}} \|$", page, re.MULTILINE)


def test_the_reference_shows_every_command_with_its_options():
    page = (REFERENCE / "cli.md").read_text()
    assert "click:: qserv.cli.main:main" in page
    assert ":nested: full" in page


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_examples(name):
    command = COMMANDS[name]
    help_text = command.get_help(click.Context(command, info_name=name))
    assert "Examples:" in help_text
    assert name in help_text.partition("Examples:")[2]
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, f"{name} {option.opts[0]} has no help"


@pytest.mark.parametrize("proto", sorted((ROOT / "proto").rglob("*.proto")))
def test_every_file_of_the_protocol_is_in_the_reference(proto):
    path = proto.relative_to(ROOT).as_posix()
    assert f"../../{path}" in (REFERENCE / "wire.md").read_text()


def pages():
    written = [*DOCS.rglob("*.md"), *(ROOT / "cluster").rglob("*.md")]
    kept = [path for path in written if "_build" not in path.parts]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *kept]


CLAIMS = re.compile(
    r"\b(TLS|SSL|encrypt\w*|authenticat\w*|password\w*|Kubernetes|Helm|SLURM"
    r"|MySQL|TAP|fail-?over)\b"
)
DENIAL = re.compile(
    r"\b(no|not|nor|neither|never|without|nothing|refuses?)\b", re.IGNORECASE
)


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_does_not_exist_is_not_claimed(page):
    blocks = re.split(r"\n\s*\n|\n(?=[-|#])", page.read_text())
    claims = [b for b in blocks if CLAIMS.search(b) and not DENIAL.search(b)]
    assert claims == []


def test_encryption_is_denied_for_as_long_as_there_is_none():
    code = "".join(p.read_text() for p in (ROOT / "qserv" / "wire").glob("*.py"))
    assert "ssl_server_credentials" not in code, "now change the pages and CLAIMS"
    denial = (DOCS / "explanation" / "what-it-does-not-do.md").read_text()
    assert "neither encryption nor authentication" in denial


LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    ends = LINK.findall(page.read_text())
    assert [end for end in ends if not (page.parent / end).exists()] == []


EXAMPLE = re.compile(r"```toml\n# (czar|worker)\.toml\n(.*?)```", re.DOTALL)
MODELS = {"czar": config.CzarConfig, "worker": config.WorkerConfig}


def test_examples_of_settings_are_settings(tmp_path):
    found = [each for page in pages() for each in EXAMPLE.findall(page.read_text())]
    assert len(found) > 2
    for program, text in found:
        path = tmp_path / f"{program}.toml"
        path.write_text(text)
        assert config.load(MODELS[program], path).model_fields_set
