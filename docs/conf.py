"""How Sphinx builds the site: `python -m sphinx -W docs docs/_build`."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from wnrl import __version__  # noqa: E402

project, author, release = "wnrl", "The wnrl authors", __version__
copyright = "2026, The wnrl authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "extension.site"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"wnrl {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False

myst_heading_anchors = 4  # the anchors that GitHub makes
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # `-D nb_execution_mode=force` runs the tutorials
nb_execution_timeout, nb_execution_in_temp = 600, True

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
smartquotes = False  # they would make `--game` one dash
default_role = "py:obj"  # a name in backticks is a link where the site documents it
nitpicky = True  # a name of ours that is neither there nor in the code is a warning
_OTHERS = r"(torch|nn|numpy|np|gymnasium|stable_baselines3|sb3_contrib|abc|collections|contextlib|pathlib|Path)(\..*)?"
nitpick_ignore_regex = [(r"py:(class|exc|obj)", _OTHERS)]  # of other projects, whose sites are not asked
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
