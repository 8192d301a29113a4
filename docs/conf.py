"""How Sphinx builds this site: `sphinx-build -W --keep-going docs OUT`."""

from sphinx.application import Sphinx

from zfnet_jax import __version__

project = "zfnet_jax"
author = "The zfnet_jax authors"
version = release = __version__
copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["results"]
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Docstrings mark code by single backticks.
default_role = "code"
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = "zfnet_jax"
html_static_path = []
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#a8380b", "color-brand-content": "#a8380b"},
    "dark_css_variables": {"color-brand-primary": "#ff9d73", "color-brand-content": "#ff9d73"},
}


def setup(app: Sphinx) -> None:
    """Leaves out the fields of named tuples, which their docstrings describe as attributes."""

    def skip(
        _app: Sphinx, _what: str, _name: str, member: object, skipped: bool, _: object
    ) -> bool:
        return skipped or type(member).__name__ == "_tuplegetter"

    app.connect("autodoc-skip-member", skip)
