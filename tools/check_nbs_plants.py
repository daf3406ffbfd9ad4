"""Self-test of the lint: a small clean course, and violations planted in it, each of which one rule must name."""
import hashlib
import json
import tempfile
from pathlib import Path

from check_nbs import COURSE_RULES, MAX_BYTES, RULES, WIDGET_VIEW, Course, names_header, notebooks, problems, wordless

RENDER, PLOT, EXERCISE = (f'nbs/workbench/{o}.ipynb' for o in ('01_render', '02_plot', '04_exercise'))
CHAPTER, START = 'nbs/01_attention.ipynb', 'nbs/00_start.ipynb'
ANSWERS, RESULTS = 'nbs/exercises/01.py', 'nbs/results/01.csv'
MODULE = '"Words."\ndef weights(scores): return scores.softmax(-1) # words\n'
ALT = 'Three bars of equal height: without temperature every weight is a third.'
VERSIONS = dict(fastai='2', fastcore='1', torch='2')

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

SOLUTIONS = [f"check('01.{k}', {k})" for k in (1, 2, 3)]
QUESTION = "dict(ask='Why?', choices=[('So.', True, 'Yes.'), ('No.', False, 'It is so.')])"
ANSWER = "  '01.{0}': dict(check=check, hints=['a', 'b'], solution=1, wrong=[(2, 'one'), (3, 'one')]),"
EXERCISES = '\n'.join(["def check(answer): return None if answer == 1 else 'one'", 'exercises = {',
                       *map(ANSWER.format, (1, 2, 3)), '}', 'quiz = [', *[f'  {QUESTION},']*5, ']'])

TWICE = '''#| export
def {}(
    x, # a number
    again=None, # a number
) -> int: # twice x
    "Twice."
    return 2*x'''


def code(src, *outputs, folded=False):
    "A code cell; an output is a mime bundle."
    return dict(cell_type='code', source=src, execution_count=None,
                metadata={'jupyter': {'source_hidden': True}} if folded else {},
                outputs=[dict(output_type='display_data', metadata={}, data=o) for o in outputs])


def prose(src): return dict(cell_type='markdown', source=src, metadata={})


def notebook(*cells):
    "A notebook whose cells have the ids c0, c1, ..."
    return dict(cells=[dict(c, id=f'c{i}') for i, c in enumerate(cells)], nbformat=4, nbformat_minor=5,
                metadata=dict(kernelspec=dict(name='python3', display_name='python3', language='python')))


def figure(alt): return {'text/html': f'<p>A <img src="data:," alt="{alt}"></p>', 'image/png': 'AA=='}


def small(name, package, function='draw'):
    "A notebook of the workbench with one function and its test."
    return notebook(prose(f'# {name}'), code(f'#| default_exp {name}'), code(f'#| export\nimport {package}'),
                    code(TWICE.format(function)),
                    code(f'assert {function}(1) == 2\nprint(1)', {'text/plain': '1'}))


def exercise(k):
    "Text, stub and folded solution."
    return (prose(f'Exercise 01.{k}'), code(f"answer = None\ncheck('01.{k}', answer)"),
            code(SOLUTIONS[k - 1], folded=True))


def clean_course():
    "File -> content (a dictionary for a notebook) of a course without problems."
    chapter = notebook(
        prose('# Attention'), code('#| default_exp attention'),
        code('#| export\nimport torch\nfrom torch import nn, Tensor'),
        code('#| hide\nfrom attn_course.exercise import check\nfrom attn_course.render import draw'),
        code('torch.manual_seed(0)'), code(WEIGHTS), code('w = weights(torch.zeros(2, 3))\nw', figure(ALT)),
        code('assert w.sum() == 2'), code('assert Lookup(torch.ones(3, 1))(torch.zeros(2, 3)).shape == (2, 1)'),
        *exercise(1), *exercise(2), *exercise(3), code("quiz('01')"), prose('## Edge cases'))
    start = notebook(prose('# Start'), code('from attn_course.all import *'), code('print(1)', {'text/plain': '1'}))
    made_by = hashlib.sha256(wordless(MODULE).encode()).hexdigest()[:12]
    return {RENDER: small('render', 'numpy as np'), PLOT: small('plot', 'matplotlib', 'plot'), START: start,
            EXERCISE: small('exercise', 'html', 'check'), CHAPTER: chapter, 'attn_course/attention.py': MODULE,
            ANSWERS: EXERCISES, RESULTS: f'seed,code_hash\n0,{made_by}\n',
            'nbs/_scratch.ipynb': '', 'nbs/.hidden/x.ipynb': '',
            'settings.ini': '[DEFAULT]\nrequirements = fastai>=2 torch numpy pillow matplotlib\n',
            'constraints.txt': ''.join(f'{k}=={v}\n' for k, v in VERSIONS.items()),
            'tools/fastai_names.txt': f'{names_header(VERSIONS)}\nHook show_images\n'}


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


def add(file, src): return insert(file, 8 if file == CHAPTER else 5, code(src))


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
    reading_order=[
        write('nbs/extra.ipynb', notebook(prose('# Extra'))),
    ],
    imports_upward=[
        sub(PLOT, 'import matplotlib', 'import matplotlib\nfrom attn_course.exercise import check'),
        sub(CHAPTER, 'attn_course.render import draw', 'attn_course.attention import weights'),
        sub(CHAPTER, 'from attn_course.render import draw', 'import attn_course.nowhere'),
        sub(CHAPTER, 'from attn_course.render import draw', 'from attn_course import later'),
        sub(CHAPTER, 'attn_course.render import draw', 'attn_course.all import weights'),
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
    optional_nested=[
        sub(PLOT, 'import matplotlib', 'import matplotlib, timm'),
        sub(EXERCISE, 'import html', 'import sklearn.datasets'),
    ],
    fastai_names=[
        lambda c: sub(CHAPTER, 'Lookup(nn', 'Hook(nn')(c) or sub(CHAPTER, 'Lookup(torch', 'Hook(torch')(c),
        sub(RENDER, '#| export\ndef', '#| export\nshow_images = 1\ndef'),
    ],
    fastai_names_fresh=[
        sub('constraints.txt', 'torch==2', 'torch==3'),
    ],
    parses=[
        add(CHAPTER, 'x = = 1'),
    ],
    imports_alone=[
        sub(CHAPTER, 'torch.manual_seed(0)', 'import math\ntorch.manual_seed(0)'),
        add(CHAPTER, 'def f():\n    import math\n    return math.pi'),
        add(CHAPTER, '#| export\nimport math\nx = 1'),
        sub(START, 'from attn', '%matplotlib inline\nfrom attn'),
    ],
    no_magics=[
        add(CHAPTER, '#| export\n%time\nx = 1'),
        add(CHAPTER, '#| export\nx = !ls'),
    ],
    short_cells=[
        add(CHAPTER, 'x = 1\n'*13),
        add(CHAPTER, '#| export\n' + 'x = 1\n'*31),
        add(CHAPTER, '#| hide\n' + 'x = 1\n'*31),
        put(CHAPTER, 'cells', 11, 'source', value=SOLUTIONS[0] + '\nx = 1'*30),
    ],
    docstrings=[
        sub(CHAPTER, '    "Scores as weights."\n', ''),
        sub(CHAPTER, '    "Weights times values."\n\n', ''),
        sub(CHAPTER, '    def forward(self', '    def other(self'),
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
    notebook_format=[
        put(CHAPTER, 'nbformat_minor', value=4),
        put(PLOT, 'metadata', 'kernelspec', 'name', value='venv'),
    ],
    cell_ids=[
        put(CHAPTER, 'cells', 3, 'id', value='c2'),
        put(CHAPTER, 'cells', 3, 'id', value=None),
        put(PLOT, 'cells', 3, 'id', value='a b'),
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
        put(CHAPTER, 'cells', 7, 'outputs', value=[dict(output_type='error', ename='ValueError')]),
    ],
    file_size=[
        insert(CHAPTER, 8, prose('x'*MAX_BYTES)),
    ],
    results_fresh=[
        sub('attn_course/attention.py', 'softmax', 'sigmoid'),
        insert(CHAPTER, 8, code('#| study\nSEEDS = [0]')),
        write('attn_course/attention.py', None),
        sub(RESULTS, 'code_hash', 'hash'),
        write(RESULTS, 'seed,code_hash\n'),
    ],
    no_orphans=[
        write('nbs/exercises/17.py', ''),
        write('nbs/results/render.csv', ''),
    ],
    figures_have_alt=[
        put(CHAPTER, 'cells', 6, 'outputs', 0, 'data', value={'image/png': 'AA=='}),
        put(CHAPTER, 'cells', 6, 'outputs', 0, 'data', value=figure('Three bars.')),
        put(START, 'cells', 2, 'outputs', 0, 'data', value={'text/html': '<img src="data:,">'}),
    ],
    alts_differ=[
        insert(CHAPTER, 8, code('draw(1)', figure(ALT))),
    ],
    exercise_files=[
        write(ANSWERS, None),
        sub(ANSWERS, '{', '{('),
        sub(ANSWERS, 'quiz =', 'questions ='),
    ],
    exercises_complete=[
        sub(ANSWERS, "'01.2': dict", "'01.3': dict"),
        sub(ANSWERS, "hints=['a', 'b']", "hints=['a']"),
        sub(ANSWERS, "(2, 'one'), ", ''),
        sub(ANSWERS, "(2, 'one')", "(2, '')"),
        sub(ANSWERS, 'check=check, ', ''),
    ],
    solutions_folded=[
        put(CHAPTER, 'cells', 11, 'metadata', value={}),
        put(CHAPTER, 'cells', 11, 'source', value="check('01.2', 1)"),
        lambda c: [sub(CHAPTER, 'Exercise 01.1', 'Exercise')(c), c[CHAPTER]['cells'].pop(10)],
    ],
    quiz_complete=[
        sub(ANSWERS, f'  {QUESTION},\n', ''),
        sub(ANSWERS, 'False', 'True'),
        sub(ANSWERS, "'It is so.'", "''"),
        sub(CHAPTER, "quiz('01')", "'quiz'"),
    ],
    corrupt=[
        write(PLOT, '{"cells": ['),
        write(PLOT, '[]'),
        put(PLOT, 'cells', 1, 'source', value=1),
        put(PLOT, 'metadata', value=None),
    ],
    no_notebooks=[
        lambda c: [c.pop(o) for o in list(c) if o.endswith('.ipynb')],
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
        value=[f'<img alt="{ALT}"><noscript><img alt="{ALT}"></noscript>', '<script>"<img>"</script>']),
    glossary=write('nbs/glossary.ipynb', notebook(prose('# Glossary'))))


def lint(course):
    "Write a course to a temporary folder and lint it there: a list of (rule, line)."
    with tempfile.TemporaryDirectory() as folder:
        for file, content in course.items():
            path = Path(folder)/file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding='utf-8')
        return list(problems(Course(folder)))


def trial(edit, expected):
    "What is wrong with the lint of a course after `edit`; None if exactly the rules `expected` fire."
    course = clean_course()
    edit(course)
    found = lint(course)
    if {o for o, _ in found} == expected: return None
    got = '\n  '.join(f'{o}: {line}' for o, line in found) or 'no problem'
    return f'expected {", ".join(expected) or "no problem"}, got {got}'


def self_test() -> int:
    "Exit status 0 if the clean courses pass and every planted violation fires its rule and no other."
    trials = [('clean course', lambda c: None, set()), *((f'good: {name}', f, set()) for name, f in GOOD.items())]
    trials += [(f'{name} plant {i}', f, {name}) for name, fs in PLANTS.items() for i, f in enumerate(fs, 1)]
    failed = [f'{name}: {wrong}' for name, f, expected in trials if (wrong := trial(f, expected))]
    failed += [f'{name}: no violation is planted' for name in (RULES | COURSE_RULES).keys() - PLANTS.keys()]
    for line in failed: print(line)
    print(f'{len(trials) - len(failed)} passed, {len(failed)} failed')
    return bool(failed)
