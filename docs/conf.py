"""How the documentation is built: ``make docs``."""

from importlib.metadata import version as version_of

project = "qserv"
author = "the qserv developers"
version = release = version_of("qserv")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_click",
]
exclude_patterns = ["_build"]
default_role = "py:obj"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = f"qserv {version}"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_show_sourcelink = False


def literal_examples(_app, _context, lines):
    """Show the lines that click prints as they stand as they stand."""
    shown = ["    " + line[2:] if line.startswith("| ") else line for line in lines]
    lines[:] = []
    for before, line in zip(["", *shown], shown, strict=False):
        if line.startswith("    ") and not before.startswith("    "):
            lines += ["::", ""]
        lines.append(line)


def setup(app):
    """Connect the hooks."""
    app.connect("sphinx-click-process-description", literal_examples)
