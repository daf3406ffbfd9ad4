"""Self-test of the lint: a clean course, and in it violations, each found by one rule alone."""
import sys
import tempfile
from functools import cache
from pathlib import Path

from course import Course, Notebook
from freshness import code_hash
from lint import MAX_FIGURE, MAX_LIVE, MAX_NOTEBOOK, RULES, WIDGET_VIEW, problems
from mutate_plants import write_course

RENDER, PLOT = 'nbs/workbench/00_render.ipynb', 'nbs/workbench/01_plot.ipynb'
EXERCISE = 'nbs/workbench/05_exercise.ipynb'
CHAPTER, START = 'nbs/01_attention.ipynb', 'nbs/00_start.ipynb'
RESULTS = 'nbs/results/01.csv'
MODULE = '"Words."\ndef weights(scores): return scores.softmax(-1) # words\n'
ALT = 'Three bars of equal height: without temperature every weight is a third.'
WEIGHTS = '''#| export
def weights(
    scores:Tensor, # (queries, keys), any real numbers
    t:float=1., # temperature, above 0
) -> Tensor: # (queries, keys), rows sum to 1
    "Scores as weights."
    return (scores/t).softmax(-1)


class Lookup(nn.Module):
    "Weights times values."

    def __init__(self,
        values:Tensor, # (keys, d)
    ):
        super().__init__()
        self.values = values

    def forward(self, scores): # (queries, keys)
        return weights(scores) @ self.values'''

ERROR = dict(output_type='error', ename='ValueError', evalue='', traceback=[])
STUDY = "#| study\nfrom_study = [weights(torch.zeros(2, 3))]"

TWICE = '''#| export
def {}(
    x, # a number
    again=None, # a number
) -> int: # twice x
    "Twice."
    return 2*x'''


def code(src, *outputs, **metadata):
    "A code cell; an output is a mime bundle."
    outputs = [dict(output_type='display_data', metadata={}, data=o) for o in outputs]
    rest = dict(execution_count=None, metadata=metadata, outputs=outputs)
    return dict(rest, cell_type='code', source=src)


def hidden(src):
    "A folded code cell."
    return code(src, jupyter={'source_hidden': True}, tags=['hide-input'])


def prose(src):
    "A cell of text."
    return dict(cell_type='markdown', source=src, metadata={})


def notebook(*cells):
    "A notebook whose cells have the ids c0, c1, ..."
    kernel = dict(name='python3', display_name='python3', language='python')
    return dict(cells=[dict(c, id=f'c{i}') for i, c in enumerate(cells)], nbformat=4,
                nbformat_minor=5, metadata=dict(kernelspec=kernel))


def figure(alt):
    "An output that shows a picture."
    return {'text/html': f'<p>A <img src="data:," alt="{alt}"></p>', 'image/png': 'AA=='}


def small(name, package, function='draw'):
    "A notebook of the workbench with one function and its test."
    imports = code(f'#| export\nimport {package}')
    return notebook(prose(f'# {name}'), code(f'#| default_exp {name}'), imports,
                    code(TWICE.format(function)),
                    code(f'assert {function}(1) == 2\nprint(1)', {'text/plain': '1'}))


def clean_course():
    "File -> content (a dictionary for a notebook) of a course without problems."
    chapter = notebook(
        prose('# Attention'),
        hidden('#| default_exp attention'),
        hidden('#| export\nimport torch\nfrom torch import nn, Tensor'),
        hidden('#| hide\nfrom attn_course.exercise import check\n'
               'from attn_course.render import draw'),
        hidden('torch.manual_seed(0)'),
        hidden(WEIGHTS),
        code('w = weights(torch.zeros(2, 3))\nw', figure(ALT)),
        code('assert w.sum() == 2'),
        code(STUDY),
        prose('## Tests'),
        hidden('assert Lookup(torch.ones(3, 1))(torch.zeros(2, 3)).shape == (2, 1)'))
    start = notebook(
        prose('# Start'),
        code('from attn_course.all import *'),
        code('print(1)', {'text/plain': '1'}))
    return {
        RENDER: small('render', 'numpy as np'),
        PLOT: small('plot', 'matplotlib', 'plot'),
        EXERCISE: small('exercise', 'html', 'check'),
        CHAPTER: chapter,
        START: start,
        'attn_course/attention.py': MODULE,
        'nbs/_scratch.ipynb': '',
        'nbs/.hidden/x.ipynb': '',
        'pyproject.toml': '[tool.ruff]\nextend-exclude = ["nbs/02_*.ipynb"]\n',
    }


@cache
def made_by():
    "The hash that a result of the clean course holds."
    with tempfile.TemporaryDirectory() as folder:
        write_course(Path(folder), clean_course())
        return code_hash(Notebook(Path(folder)/CHAPTER, Path(folder)))


def sub(file, old, new):
    "An edit: `old` becomes `new` in a text file or in the source of the one cell that holds it."
    def edit(course):
        if isinstance(course[file], str):
            assert old in course[file], old
            course[file] = course[file].replace(old, new, 1)
        else:
            cell, = [c for c in course[file]['cells'] if old in c['source']]
            cell['source'] = cell['source'].replace(old, new, 1)
    return edit


def insert(file, i, *cells):
    "An edit: new cells before cell `i`."
    def edit(course):
        course[file]['cells'][i:i] = [dict(c, id=f'new{k}') for k, c in enumerate(cells)]
    return edit


def put(file, *path, value):
    "An edit: an item deep in a notebook gets a new value."
    def edit(course):
        place = course[file]
        for o in path[:-1]: place = place[o]
        place[path[-1]] = value
    return edit


def write(file, content):
    "An edit: a file gets this content; None removes it."
    def edit(course):
        course[file] = content
        if content is None: del course[file]
    return edit


def add(file, src):
    "An edit: a new cell near the end."
    return insert(file, 8 if file == CHAPTER else 5, code(src))


def both(first, second):
    "Two edits, one after the other."
    def edit(course):
        first(course)
        second(course)
    return edit


MADE = '''#| export
class Made:
    "A class that a function makes."

def make():
    "A `Made`."
    return Made()'''

PLANTS = dict(
    default_exp=[
        sub(PLOT, 'default_exp plot', 'default_exp plots'),
        sub(RENDER, '#| default_exp render', 'x = 1'),
        add(PLOT, '#| default_exp plot'),
        write('nbs/workbench/03_render.ipynb', small('render', 'numpy')),
    ],
    imports_upward=[
        sub(PLOT, 'import matplotlib', 'import matplotlib\nfrom attn_course.exercise import check'),
        sub(CHAPTER, 'attn_course.render import draw', 'attn_course.attention import weights'),
        sub(CHAPTER, 'from attn_course.render import draw', 'import attn_course.nowhere'),
        sub(CHAPTER, 'from attn_course.render import draw', 'from attn_course import later'),
        sub(CHAPTER, 'attn_course.render import draw', 'attn_course.all import draw'),
    ],
    explicit_names=[
        sub(CHAPTER, 'render import draw', 'render import *'),
        sub(START, 'attn_course.all import *', 'attn_course.render import *'),
    ],
    light_modules=[
        sub(CHAPTER, 'import torch\n', 'import torch, torchvision\n'),
        sub(RENDER, 'import numpy as np', 'import torch'),
        sub(CHAPTER, 'import torch\n', 'import torch\nfrom attn_course.plot import plot\n'),
    ],
    reserved_packages=[
        sub(CHAPTER, 'import torch\n', 'import torch\nfrom fastai.vision.all import Learner\n'),
        sub(RENDER, '    return 2*x', '    import matplotlib.pyplot as plt\n    return 2*x'),
        sub(EXERCISE, 'import html', 'import ipywidgets'),
    ],
    imports_alone=[
        sub(CHAPTER, 'torch.manual_seed(0)', 'import math\ntorch.manual_seed(0)'),
        add(CHAPTER, 'def f():\n    import math\n    return math.pi'),
        add(CHAPTER, '#| export\nimport math\nx = 1'),
        sub(START, 'from attn', '%matplotlib inline\nfrom attn'),
    ],
    short_cells=[
        add(CHAPTER, 'x = 1\n'*13),
        insert(CHAPTER, 8, hidden('#| export\n' + 'x = 1\n'*31)),
        add(CHAPTER, '#| hide\n' + 'x = 1\n'*31),
        sub(CHAPTER, 'torch.manual_seed(0)', 'torch.manual_seed(0)' + '\nx = 1'*30),
    ],
    chapter_sizes=[
        insert(CHAPTER, 8, *[code('x = 1')]*44),
        insert(CHAPTER, 8, *[code('x = 1\n'*12)]*21),
        insert(CHAPTER, 8, *[hidden('#| export\n' + 'x = 1\n'*12)]*12),
        insert(CHAPTER, 8, *[hidden('#| export\n' + 'x = 1\n'*13)]*4),
        insert(CHAPTER, 8, *[hidden(f'#| export\ndef _{o}(): pass') for o in 'abcde']),
        insert(CHAPTER, 8, code('#| export\n' + 'x = 1\n'*13)),
    ],
    docments=[
        sub(CHAPTER, ' # temperature, above 0', ''),
        sub(CHAPTER, ', # (keys, d)', ', #'),
        sub(CHAPTER, '): # (queries, keys)', '):'),
        sub(CHAPTER, ' # (queries, keys), rows sum to 1', ''),
    ],
    tested_later=[
        sub(CHAPTER, 'assert w.sum() == 2', 'w.sum() == 2'),
        sub(PLOT, 'assert plot(1) == 2', 'test_fail(lambda: plot(1))'),
        sub(PLOT, 'assert plot', '#| eval: false\nassert plot'),
        add(CHAPTER, '#| export\n@patch\ndef plot(self:Lookup):\n    "Draw."\n    return 1'),
    ],
    seeded=[
        sub(CHAPTER, 'torch.manual_seed(0)', 'x = 0'),
    ],
    folded=[
        put(CHAPTER, 'cells', 4, 'metadata', value={}),
        put(CHAPTER, 'cells', 2, 'metadata', 'tags', value=[]),
        put(CHAPTER, 'cells', 10, 'metadata', value={}),
    ],
    no_private_names=[
        sub(CHAPTER, 'render import draw', 'render import draw, _draw'),
        both(sub(CHAPTER, 'from attn_course.render import draw', 'from attn_course import render'),
             add(CHAPTER, 'render._draw(1)')),
        both(sub(CHAPTER, 'from attn_course.render import draw', 'import attn_course.render'),
             add(CHAPTER, 'attn_course.render._draw(1)')),
    ],
    num_workers=[
        add(CHAPTER, 'f(num_workers=2)'),
        add(CHAPTER, "options = {'num_workers': 4}"),
        add(CHAPTER, 'num_workers = 1'),
        add(CHAPTER, 'def f(bs, num_workers=1): return bs'),
    ],
    tests_can_fail=[
        add(CHAPTER, 'with Output():\n    assert w.sum() == 2'),
        add(CHAPTER, 'out = widgets.Output()\nwith out: test_eq(1, 1)'),
        add(CHAPTER, '@interact\ndef f(x=1): assert x'),
        add(CHAPTER, 'interact(lambda x: test_eq(x, 1), x=1)'),
        add(CHAPTER, 'def press(b): assert b\nbutton.on_click(press)'),
    ],
    no_widget_state=[
        put(CHAPTER, 'metadata', 'widgets', value={}),
        put(START, 'cells', 2, 'outputs', 0, 'data', value={WIDGET_VIEW: {}}),
    ],
    outputs_stored=[
        put(START, 'cells', 2, 'outputs', value=[]),
        add(CHAPTER, "for x in w: pass\nprint('shown')"),
        add(CHAPTER, 'w'),
    ],
    no_errors=[
        put(CHAPTER, 'cells', 7, 'outputs', value=[ERROR]),
    ],
    results_fresh=[
        sub('attn_course/attention.py', 'softmax', 'sigmoid'),
        sub(CHAPTER, 'zeros(2, 3))]', 'ones(2, 3))]'),
        insert(CHAPTER, 9, code('#| study\nSEEDS = [0]')),
        write('attn_course/attention.py', None),
        sub(RESULTS, 'code_hash', 'hash'),
        write(RESULTS, 'seed,code_hash\n'),
    ],
    kernelspec=[
        put(PLOT, 'metadata', 'kernelspec', 'name', value='venv'),
    ],
    no_machine_paths=[
        insert(CHAPTER, 8, code('draw(1)', {'text/plain': '/opt/env/site-packages/x.py:1: old'})),
    ],
    notebook_size=[
        insert(CHAPTER, 9, prose('x'*MAX_NOTEBOOK)),
    ],
    figure_size=[
        put(CHAPTER, 'cells', 6, 'outputs', 0, 'data', 'image/png', value='A'*MAX_FIGURE),
        put(START, 'cells', 2, 'outputs', 0, 'data', 'text/html', value='<script>' + 'x'*MAX_LIVE),
    ],
    valid=[
        write(PLOT, '{"cells": ['),
        write(PLOT, '[]'),
        put(PLOT, 'cells', 1, 'source', value=1),
        put(PLOT, 'metadata', value=None),
        put(PLOT, 'nbformat_minor', value=4),
        put(PLOT, 'cells', 3, 'id', value='c2'),
        put(PLOT, 'cells', 3, 'id', value='a b'),
    ],
    figures_have_alt=[
        put(CHAPTER, 'cells', 6, 'outputs', 0, 'data', value={'image/png': 'AA=='}),
        put(CHAPTER, 'cells', 6, 'outputs', 0, 'data', value=figure('Three bars.')),
        put(START, 'cells', 2, 'outputs', 0, 'data', value={'text/html': '<img src="data:,">'}),
    ],
    alts_differ=[
        insert(CHAPTER, 8, code('draw(1)', figure(ALT))),
    ],
)

GOOD = dict(
    operator_at_line_start=add(CHAPTER, '#| export\n_text = ("%s"\n        % 1)'),
    magic_in_test=add(CHAPTER, '%time w.sum()\nw.sum?'),
    cell_magic=add(CHAPTER, '%%bash\nfor x in a b; do echo $x; done'),
    import_inside=sub(CHAPTER, '    return (scores/t)', '    import timm\n    return (scores/t)'),
    tested_by_way=sub(CHAPTER, 'assert w.sum() == 2', 'total = w.sum()\nassert total == 2'),
    class_through_function=insert(CHAPTER, 8, code(MADE), code('assert make()')),
    no_workers=add(CHAPTER, 'f(num_workers=0)'),
    own_version=sub(CHAPTER, 'from attn_course.render import draw', 'import attn_course'),
    private=add(CHAPTER, '#| export\ndef _f(x): return x'),
    long_hidden=add(CHAPTER, '#| hide\n' + 'x = 1\n'*30),
    same_image_twice=put(
        CHAPTER, 'cells', 6, 'outputs', 0, 'data', 'text/html',
        value=[f'<img alt="{ALT}"><noscript><img alt="{ALT}"></noscript>',
               '<script>"<img>"</script>']),
    helper_of_modules=add(CHAPTER, '#| exporti\ndef helper(\n    x, # a number\n): return x'),
    not_rewritten=both(sub('pyproject.toml', '02', '01'),
                       put(CHAPTER, 'cells', 4, 'metadata', value={})),
    glossary=write('nbs/glossary.ipynb', notebook(prose('# Glossary'))))


def lint(course):
    "Write a course to a temporary folder and lint it there: a list of (rule, line)."
    with tempfile.TemporaryDirectory() as folder:
        write_course(Path(folder), course)
        return list(problems(Course(Path(folder))))


def trial(edit, expected):
    "What is wrong with the lint of a course after `edit`; '' if exactly the rules `expected` fire."
    course = clean_course() | {RESULTS: f'seed,code_hash\n0,{made_by()}\n'}
    edit(course)
    found = lint(course)
    if {rule for rule, _ in found} == expected: return ''
    got = ''.join(f'\n  {rule}: {line}' for rule, line in found) or ' no problem'
    return f'expected {", ".join(expected) or "no problem"}, got{got}'


def main() -> int: # exit status
    "Do the clean courses pass, and does every violation fire its rule and no other?"
    trials = [('clean course', lambda course: None, set())]
    trials += [(f'good: {name}', edit, set()) for name, edit in GOOD.items()]
    for name, edits in PLANTS.items():
        trials += [(f'{name} {i}', edit, {name}) for i, edit in enumerate(edits, 1)]
    results = [(name, trial(edit, expected)) for name, edit, expected in trials]
    failed = [f'{name}: {wrong}' for name, wrong in results if wrong]
    failed += [f'{name}: no violation is planted' for name in RULES.keys() - PLANTS.keys()]
    for line in failed: print(line)
    print(f'{len(trials) - len(failed)} passed, {len(failed)} failed')
    return int(bool(failed))


if __name__ == '__main__': sys.exit(main())
