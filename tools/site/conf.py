"""The settings of Sphinx."""

from gradcam_cli import __version__

project = "gradcam-cli"
author = "the contributors of gradcam-cli"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

# `--option` stays as it is: no dashes, no curly quotes.
smartquotes = False

html_theme = "furo"
html_title = f"gradcam-cli {release}"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

# The anchors of headings are those of GitHub.
myst_heading_anchors = 6

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
# Docstrings put names between single backticks, as Markdown does.
default_role = "literal"
napoleon_numpy_docstring = False

# The prompt is not copied, and neither is the output below a command.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
copybutton_here_doc_delimiter = "EOF"
