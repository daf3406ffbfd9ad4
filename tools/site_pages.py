"""Turn a notebook into the page that the site shows."""
import ast
import copy
import re
from pathlib import PurePosixPath

from course import Notebook, is_patch, text

DIRECTIVE = re.compile(r'^[ \t]*#[ \t]*\|.*\n?', re.M)
REMOTE = re.compile(r'\w+:|//|#')
LINK = re.compile(r'(\]\()([^)\s]+)(\))')
NOT_HERE = ('Hints and solutions can be opened here. To have an answer checked, run the notebook: '
            '`make lab` opens it.')


def page(
    nb:Notebook, # one of the course
    repo:str, # address of the repository's files, without slash at the end
) -> dict: # a notebook as JSON, as the site shows it
    "A notebook without its tests and directives, its set-up folded."
    kept = []
    for cell in nb.cells:
        if is_heading(cell, 'Tests'): break
        if cell.is_code: kept = joined(kept, code_cell(cell))
        else: kept.append(prose_cell(cell, repo))
        if is_heading(cell, 'Exercises'): kept.append(markdown(f'{cell.id}x', NOT_HERE))
    kept += functions_cell(nb)
    return {**nb.raw, 'cells': kept}


def is_heading(
    cell, # of a `Notebook`
    words:str, # such as 'Tests'
) -> bool: # does it open that part of a notebook?
    "Is it the cell with this heading?"
    return not cell.is_code and re.match(rf'## {words}\s*(\n|$)', cell.src) is not None


def markdown(
    name:str, # id of the cell
    source:str, # what it says
) -> dict: # a cell as JSON
    "A new cell of prose."
    return {'cell_type': 'markdown', 'id': name, 'metadata': {}, 'source': source}


def prose_cell(
    cell, # of prose
    repo:str, # address of the repository's files
) -> dict: # a cell as JSON
    "Prose; links to files that have no page lead to the repository."
    def elsewhere(m):
        path = PurePosixPath(m[2])
        has_page = REMOTE.match(m[2]) or path.name.partition('#')[0].endswith('.ipynb')
        return m[0] if has_page else f'{m[1]}{repo}/{path}{m[3]}'
    return markdown(cell.id, LINK.sub(elsewhere, cell.src))


def code_cell(
    cell, # of code
) -> list: # of one cell as JSON, or none when nothing is left to show
    "Code without directives; what JupyterLab folds is folded, a solution with what it puts out."
    code = DIRECTIVE.sub('', cell.src).strip('\n')
    if not code: return []
    found = copy.deepcopy(cell.raw)
    found['source'], found['outputs'] = code, [o for o in cell.outputs if is_shown(o)]
    found['metadata'] = {'tags': []}
    if cell.folded: found['metadata']['tags'].append('hide-input')
    if cell.folded and re.search(r'\w_solution\b', code):
        found['metadata'] = {'tags': ['hide-cell'],
                             'mystnb': {'code_prompt_show': 'Show the solution',
                                        'code_prompt_hide': 'Hide the solution'}}
    return [found]


def joined(
    kept:list, # cells as JSON
    new:list, # one cell that follows them, or none
) -> list: # cells as JSON
    "Folded cells that put out nothing become one."
    last = kept[-1] if kept else {}
    if not new or not all(map(is_silent, (last, *new))): return kept + new
    source = '\n\n'.join([last['source'], *(c['source'] for c in new)])
    return [*kept[:-1], {**last, 'source': source}]


def is_silent(
    cell:dict, # as JSON
) -> bool: # is it folded, without an output?
    "Does a reader of the site see nothing of it but a line to open?"
    return cell.get('metadata', {}).get('tags') == ['hide-input'] and not cell['outputs']


def is_shown(
    output:dict, # of a code cell
) -> bool: # is there something a reader of the site wants to see?
    "Warnings and the empty space of a progress bar are left out."
    if output['output_type'] == 'stream': return output['name'] == 'stdout'
    html = text(output.get('data', {}).get('text/html'))
    return bool(html.strip()) or 'text/html' not in output.get('data', {})


def offered(
    nb:Notebook, # one of the course
) -> list: # of pairs (cell, definition), in the order of the notebook
    "Functions and classes exported for readers, and methods given to fastai's classes."
    return [(c, o) for c, o in nb.definitions if 'exporti' not in c.directives or is_patch(o)]


def called(
    node:ast.stmt, # a definition
) -> str: # such as 'heatmaps' or 'Learner.show_results'
    "The name that a reader types; a patch belongs to the class of its first parameter."
    if not is_patch(node): return node.name
    return f'{ast.unparse(node.args.args[0].annotation)}.{node.name}'


def place(
    nb:Notebook, # one that exports a module
    node:ast.stmt, # a definition in it
) -> str: # the target of links
    "Where the site tells of a definition; `Quiz` and `quiz` have places of their own."
    return f'{nb.module}.{called(node)}' + '.class'*isinstance(node, ast.ClassDef)


def functions_cell(
    nb:Notebook, # one of the course
) -> list: # of one cell as JSON, or none
    "Links from a notebook to what it exports."
    links = [f'[`{called(o)}`](#{place(nb, o)})' for _, o in offered(nb)]
    if not links: return []
    return [markdown('its-functions', f'**What this notebook exports:** {", ".join(links)}')]
