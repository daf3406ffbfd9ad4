"""Self-test of mutate.py: a small planted course in which every kind of result occurs once."""
import json
import shutil
import tempfile
from pathlib import Path

from check_nbs import Notebook
from mutate import attack
from run_nbs import ROOT

EXPORTED = '''def twice(x): return 2*x
def half(x): return x/2
def third(x): return x/3
def lonely(x): return x
def packaged(x): return x + 1
def undone(x): return x - 1'''
TESTS = 'assert twice(2) == 4 and half(4) == 2 and third(3) == 1', 'assert undone(1) == 0'
FROM_PACKAGE = 'from attn_course import calc', 'assert calc.packaged(1) == 2'

MUTATIONS = [
    ('twice', '2*x', '3*x', 'killed'), ('packaged', 'x + 1', 'x + 2', 'killed'), ('half', 'x/2', 'x*.5', 'SURVIVED'),
    ('third', 'x/3', 'y/3', 'BROKEN'), ('twice', 'x*2', 'x*3', 'STALE'), ('twice', 'x/2', 'x/4', 'STALE'),
    ('half', 'x/2', 'x//', 'STALE'), ('undone', 'x - 1', '__import__(\'os\')._exit(3)', 'CRASHED'),
]


def plant(root, tests, mutations):
    "Write a course of one notebook and one module to the folder `root`."
    sources = ['#| default_exp calc', f'#| export\n{EXPORTED}', *tests]
    cells = [dict(cell_type='code', id=f'c{i}', metadata={}, source=o, outputs=[], execution_count=None)
             for i, o in enumerate(sources)]
    kernel = dict(name='python3', display_name='python3', language='python')
    nb = dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)
    entry = '[[mutation]]\nname = "{}"\nold = "{}"\nnew = "{}"\nwhy = "{}"\n'
    toml = ''.join(entry.format(*m) for m in mutations)
    for file, content in {'attn_course/__init__.py': '', 'attn_course/calc.py': EXPORTED + '\n',
                          'nbs/01_calc.ipynb': json.dumps(nb), 'tools/mutations/calc.toml': toml}.items():
        (root/file).parent.mkdir(parents=True, exist_ok=True)
        (root/file).write_text(content, encoding='utf-8')
    shutil.copy(ROOT/'settings.ini', root)
    return Notebook(root/'nbs'/'01_calc.ipynb', root)


def outcomes(tests, mutations):
    "Attack a planted course: (was it killed?, first words of the line, the line) for each result."
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        return list(attack(root, plant(root, tests, mutations)))


def self_test() -> int:
    "Exit status 0 if killed, surviving, broken, stale and missing mutations and a red chapter are told apart."
    found = outcomes(FROM_PACKAGE + TESTS, MUTATIONS)
    expected = sorted([(why == 'killed', why) for *_, why in MUTATIONS] + [(False, 'MISSING')])
    red = outcomes(('assert twice(2) == 5',), MUTATIONS[:1])
    right = [sorted((ok, line.split()[0]) for ok, line in found) == expected,
             sum('calc.lonely has no mutation' in line for _, line in found) == 1,
             all(f': {line.split()[0]} (' in line for _, line in found if line.split()[0] not in ('STALE', 'MISSING')),
             any('AssertionError at cell c4' in line for _, line in found),
             [ok for ok, _ in red] == [False]*6 and red[-1][1].startswith('RED')]
    if not all(right): print(right, *(line for _, line in found + red), sep='\n')
    print(f'{sum(right)} passed, {len(right) - sum(right)} failed')
    return int(not all(right))
