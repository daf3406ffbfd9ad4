"""Write the course as pages that need no server, no kernel and no network: `make html`."""
import re
import sys
from pathlib import Path

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from course import NBS
from setup_env import ROOT
from store_outputs import TRIMMED, chosen, run, tidy_output

OUT = ROOT/'_html'
PAGE = '''
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
{{ resources.include_css('static/theme-dark.css')
   | replace('<style type="text/css">', '<style media="(prefers-color-scheme: dark)">') }}
<style>
:root { color-scheme: light dark; }
body.jp-Notebook { background: var(--jp-layout-color0); }
main { max-width: 60rem; margin: 0 auto; }
img { max-width: 100%; }
.highlight pre { overflow-x: auto; }
math[display=block] { margin: .7em 0; }
details > summary { cursor: pointer; padding: .5em 0; }
nav.course, details > summary {
  color: var(--jp-content-font-color1);
  font-family: var(--jp-ui-font-family);
}
nav.course a { color: var(--jp-content-link-color); }
</style>
{%- endblock -%}
{%- block body_header -%}
{{ super() }}
<script>
document.body.dataset.jpThemeLight = !matchMedia('(prefers-color-scheme: dark)').matches
</script>
{% if resources.contents %}
<nav class="course"><a href="{{ resources.contents }}">Contents</a></nav>
{% endif %}
{%- endblock -%}
{%- block input_group -%}
{%- if cell.metadata.get('jupyter', {}).get('source_hidden') -%}
<details><summary>Show the code of this cell</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock -%}
{%- block data_latex scoped -%}
<div class="jp-RenderedLatex jp-OutputArea-output">
{{ output.data['text/latex'] | markdown2html }}
</div>
{%- endblock -%}
'''

_title = re.compile(r'^#\s+(.+)$', re.M)
_unknown_tex = re.compile(r'\\[a-zA-Z]+|&(?!#|\w+;)')
_outside = re.compile(r'<(?:script|img|link|iframe|video|audio|source)\b[^>]*'
                      r'\s(?:src|href)="((?:https?:)?//[^"]*)"')


def mathml(
    tex:str, # a formula without its dollar signs
    display:str='inline', # 'inline' or 'block'
) -> str: # a `<math>` element
    "The formula `tex` as MathML; raises ValueError for a command that is not known."
    res = convert(re.sub(r'\{(align)(ed)?\}|\{gathered\}', '{align*}', tex), display=display)
    if bad := _unknown_tex.search(res):
        raise ValueError(f'the formula {tex!r} holds {bad[0]!r}, which is not known')
    return res


class PageRenderer(IPythonRenderer):
    "Markdown to HTML: formulas become MathML, links to notebooks become links to pages."
    def block_math(self, body): return mathml(body, 'block')
    def inline_math(self, body): return mathml(body)
    def latex_environment(self, name, body):
        return mathml(rf'\begin{{{name}}}{body}\end{{{name}}}', 'block')
    def link(self, text, url, title=None): return super().link(text, page_url(url), title)


class PageExporter(HTMLExporter):
    "Exports a notebook to one page which asks no other host for anything."
    @pass_context
    def markdown2html(self, context, source):
        "The filter of nbconvert's templates, with our renderer."
        attachments = context.get('cell', {}).get('attachments', {})
        renderer = PageRenderer(escape=False, attachments=attachments, embed_images=True,
                                path=context['resources']['metadata']['path'])
        return MarkdownWithMath(renderer=renderer).render(source)


def page_url(
    url:str, # where a link in a notebook leads
) -> str: # where it leads in the page
    "A link to a notebook of the course becomes one to its page."
    return url if re.match(r'\w+:|//', url) else re.sub(r'\.ipynb(?=$|[#?])', '.html', url)


def title(
    nb:dict, # a notebook as nbformat reads it
    default:str, # for a notebook without a heading
) -> str: # its first heading
    "What the notebook is called."
    heads = (_title.search(c.source) for c in nb.cells if c.cell_type == 'markdown')
    return next((h[1].strip() for h in heads if h), default)


def read(
    path:Path, # a notebook
) -> dict: # the notebook with every view alive
    "The notebook at `path`; it is run when a live view was too large to be stored."
    nb = nbformat.read(path, as_version=4)
    outputs = [o for c in nb.cells for o in c.get('outputs', [])]
    if any(TRIMMED in o.get('data', {}).get('text/html', '') for o in outputs): run(nb, path.parent)
    nb.metadata.pop('widgets', None)
    for cell in nb.cells:
        if cell.cell_type == 'code':
            cell.outputs = [o for o in cell.outputs if tidy_output(o, trim=False)]
    return nb


def write_page(
    nb:dict, # a notebook as nbformat reads it
    page:Path, # the file to write
    name:str, # what the browser's tab says
    folder:Path, # where pictures beside the notebook lie
):
    "Write one page; raises ValueError when it would ask another host for something."
    depth = len(page.relative_to(OUT).parts) - 1
    resources = {'metadata': {'name': name, 'path': str(folder)},
                 'contents': page != OUT/'index.html' and '../'*depth + 'index.html'}
    exporter = PageExporter(raw_template=PAGE, exclude_input_prompt=True,
                            exclude_output_prompt=True)
    html, _ = exporter.from_notebook_node(nb, resources)
    if found := _outside.search(html): raise ValueError(f'the page would load {found[1]}')
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html, encoding='utf-8')


def page_path(
    nb:Path, # a notebook under `nbs`
) -> Path: # its page
    "Where the page of `nb` is written."
    return (OUT/nb.relative_to(NBS)).with_suffix('.html')


def reading_order() -> list: # paths of all notebooks but the index
    "The start, the workbench, then the chapters."
    nbs = [nb for nb in chosen([]) if nb.stem != 'index']
    return sorted(nbs, key=lambda nb: nb.stem != '00_start')


def contents() -> dict: # a notebook
    "The first page: the index with a list of all pages under it."
    index = NBS/'index.ipynb'
    nb = read(index) if index.exists() else nbformat.v4.new_notebook(cells=[])
    links = [f'- [{title(nbformat.read(p, as_version=4), p.stem)}]({p.relative_to(NBS).as_posix()})'
             for p in reading_order()]
    text = '\n'.join(['## All pages, in reading order', '', *links])
    nb.cells.append(nbformat.v4.new_markdown_cell(text, id='all-pages'))
    return nb


def build(
    names:list, # as for `make outputs`; empty for all
) -> int: # exit status: 1 when a page could not be written
    "Write the pages of the notebooks meant by `names` and the list of all pages."
    failed = 0
    for path in [p for p in chosen(names) if p.stem != 'index'] + [NBS/'index.ipynb']:
        try:
            nb = contents() if path.stem == 'index' else read(path)
            write_page(nb, page_path(path), title(nb, path.stem), path.parent)
            print(page_path(path).relative_to(ROOT), flush=True)
        except (RuntimeError, ValueError) as e:
            failed += 1
            print(f'{path.relative_to(ROOT)}: {e}', file=sys.stderr, flush=True)
    kept = {page_path(p) for p in chosen([])} | {OUT/'index.html'}
    for page in OUT.rglob('*.html'):
        if page not in kept: page.unlink()
    return bool(failed)


if __name__ == '__main__':
    try: sys.exit(build(sys.argv[1:]))
    except (FileNotFoundError, ValueError) as e: sys.exit(str(e))
