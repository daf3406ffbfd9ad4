"""Sphinx: how the pages that tools/build_site.py has written become a site."""
import re

from docutils import nodes
from latex2mathml.converter import convert

project = author = 'attn_course'
copyright = '2026 onwards, The attn_course authors'
extensions = ['myst_nb', 'sphinx_design']

# Notebooks are shown with their stored outputs.
nb_execution_mode = 'off'
nb_merge_streams = True
myst_enable_extensions = ['amsmath', 'colon_fence', 'dollarmath']
myst_heading_anchors = 4 # links to headings are checked
nb_code_prompt_show = 'Show the code'
nb_code_prompt_hide = 'Hide the code'

html_theme = 'sphinx_book_theme'
html_title = 'attn_course'
html_static_path = ['static']
html_css_files = ['course.css']
html_copy_source = html_show_sourcelink = False
html_math_renderer = 'mathml'
html_theme_options = {
    'show_navbar_depth': 1,
    'navbar_persistent': [], # the search stands in the sidebar
    'use_download_button': False,
    'use_fullscreen_button': False,
    'pygments_light_style': 'a11y-high-contrast-light',
    'pygments_dark_style': 'a11y-high-contrast-dark',
}


def mathml(
    tex:str, # a formula without its dollar signs
    display:str='inline', # 'inline' or 'block'
) -> str: # a `<math>` element
    "A formula that no script has to draw. Raises ValueError for a command that is not known."
    found = convert(re.sub(r'\{(align)(ed)?\}|\{gathered\}', '{align*}', tex), display=display)
    if unknown := re.search(r'\\[a-zA-Z]+|&(?!#|\w+;)', found):
        raise ValueError(f'the formula {tex!r} holds {unknown[0]!r}, which is not known')
    return found


def inline_formula(self, node:nodes.math):
    "Writes a formula in a line."
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def block_formula(self, node:nodes.math_block):
    "Writes a formula of its own."
    self.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app):
    "Called by Sphinx."
    app.add_html_math_renderer('mathml', (inline_formula, None), (block_formula, None))
