"""Sphinx's settings: the guide in Markdown, the reference from the docstrings; see `make docs`."""

import fastmlp

project = "fastmlp"
author = "the fastmlp authors"
copyright = author
version = release = fastmlp.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2
napoleon_google_docstring = False
napoleon_use_rtype = False
autosummary_generate = True
autodoc_typehints = "none"
default_role = "py:obj"
templates_path = ["_templates"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"fastmlp {version}"
