"""Settings of the site that `make site` builds; Sphinx reads them.  Nothing here needs a network."""

from docutils import nodes
from docutils.utils.math import latex2mathml

project, author, copyright = "egrc", "the egrc authors", "the egrc authors, MIT licence"
extensions = ["myst_nb"]
html_theme, html_title = "furo", "EGRC, a companion that runs"
html_static_path, html_css_files, html_favicon = ["static"], ["site.css"], "static/icon.svg"
html_show_sphinx = html_copy_source = html_show_sourcelink = False

nb_execution_mode = "off"  # `make paper` has run them
nb_ipywidgets_js = {}  # by default from a network; what a widget would show stands beside it as a still picture
nb_merge_streams = True
nb_render_markdown_format = "myst"  # the default, CommonMark, has no tables
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"


def formula(writer, node):
    """MathML, which browsers draw by themselves: neither a font nor a script has to be shipped."""
    display = isinstance(node, nodes.math_block)
    writer.body.append(latex2mathml.tex2mathml(node.astext(), as_block=display))
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    return {"parallel_read_safe": True}
