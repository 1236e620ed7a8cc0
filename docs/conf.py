"""Sphinx settings of reelseek's documentation."""

project = "reelseek"
copyright = "The reelseek authors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "reelseek"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
