"""How the documentation is built: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import ffabric

project = "ffabric"
author = "The ffabric authors"
copyright = author
version = release = ffabric.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "ffabric_docs"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "literal"
exclude_patterns = ["_build", "_ext"]
highlight_language = "none"
smartquotes_action = "qe"

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
_ALIASES = ("Described", "Peer", "Peers", "Ranges", "Target", "Uuid")
autodoc_type_aliases = {name: name for name in _ALIASES}
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"ffabric {release}"
html_static_path = ["_static"]
html_css_files = ["ffabric.css"]
html_copy_source = False
html_show_sphinx = False
