"""Self-test of mutate.py: a small planted course in which every kind of result occurs once."""
import json
import shutil
import sys
import tempfile
from pathlib import Path

from course import Notebook
from mutate import attack
from setup_env import ROOT

EXPORTED = '''def twice(x): return 2*x
def half(x): return x/2
def third(x): return x/3
def packaged(x): return x + 1
def undone(x): return x - 1
def learned(x): return x + 2'''
FROM_PACKAGE = 'from attn_course import calc', 'assert calc.packaged(1) == 2'
TESTS = 'assert twice(2) == 4 and half(4) == 2 and third(3) == 1', 'assert undone(1) == 0'
TRAINING = (
    'def train(x): return learner.fit(x)',
    'class Learner:\n    def fit(self, x): self.x = x; return learned(x)',
    'learner = Learner()',
    'made = train(1)',
    'assert made == 3',
    'assert learner.x == 1',
    'made = 2\nassert made == twice(1)',
)
MUTATIONS = [
    ('twice', '2*x', '3*x', 'killed'),
    ('packaged', 'x + 1', 'x + 3', 'killed'),
    ('half', 'x/2', 'x*.5', 'SURVIVED'),
    ('third', 'x/3', 'y/3', 'BROKEN'),
    ('twice', 'x*2', 'x*3', 'STALE'),
    ('twice', 'x/2', 'x/4', 'STALE'),
    ('half', 'x/2', 'x//', 'STALE'),
    ('undone', 'x - 1', "__import__('os')._exit(3)", 'CRASHED'),
    ('learned', 'x + 2', 'x + 4', 'killed'),
]
ENTRY = '[[mutation]]\nname = "{}"\nold = "{}"\nnew = "{}"\nwhy = "{}"\n'


def notebook(
    sources:list, # of its code cells
) -> dict: # as it is stored
    "A notebook whose cells have the ids c0, c1, ..."
    rest = dict(cell_type='code', metadata={}, outputs=[], execution_count=None)
    cells = [dict(rest, id=f'c{i}', source=o) for i, o in enumerate(sources)]
    kernel = dict(name='python3', display_name='python3', language='python')
    return dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)


def plant(
    root:Path, # an empty folder
    tests:tuple, # code of the cells behind the exported one
    mutations:list, # (name, old, new, why)
) -> Notebook: # of the only module
    "Write a course of one notebook and one module."
    cells = ['#| default_exp calc', f'#| export\n{EXPORTED}', *tests]
    write_course(root, {
        'attn_course/__init__.py': '',
        'attn_course/calc.py': EXPORTED + '\n',
        'nbs/01_calc.ipynb': notebook(cells),
        'tools/mutations/calc.toml': ''.join(ENTRY.format(*m) for m in mutations),
    })
    shutil.copy(ROOT/'settings.ini', root)
    return Notebook(root/'nbs'/'01_calc.ipynb', root)


def write_course(
    root:Path, # a folder
    files:dict, # path -> text, or a dictionary for a notebook
):
    "Write the files of a planted course."
    for file, content in files.items():
        (root/file).parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (root/file).write_text(text, encoding='utf-8')


def outcomes(
    tests:tuple, # code of cells
    mutations:list, # (name, old, new, why)
) -> list: # (was it killed?, line)
    "Attack a planted course."
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        return list(attack([plant(root, tests, mutations)]))


def quick_or_whole(
    said:str, # a line of `attack`
) -> str: # the form that decided, '' for what was not run
    "Which form of the notebook a verdict is about."
    words = said.rpartition(' (')[2]
    return words.split(',')[0] if words.startswith(('quick,', 'whole,')) else ''


def main() -> int: # exit status
    "Are killed, surviving, broken, stale mutations and a red chapter told apart?"
    found = outcomes(FROM_PACKAGE + TESTS + TRAINING, MUTATIONS)
    expected = sorted((why == 'killed', why) for *_, why in MUTATIONS)
    forms = {said.split()[1]: quick_or_whole(said) for ok, said in found if ok}
    red = outcomes(('assert twice(2) == 5',), MUTATIONS[:1])
    run = [said for _, said in found if not said.startswith('STALE')]
    right = [
        sorted((ok, said.split()[0]) for ok, said in found) == expected,
        all(f': {said.split()[0]} (' in said for said in run),
        any('AssertionError at cell c4' in said for _, said in found),
        forms == {'calc.twice:': 'quick', 'calc.packaged:': 'quick', 'calc.learned:': 'whole'},
        [ok for ok, _ in red] == [False] and red[0][1].startswith('RED'),
    ]
    if not all(right): print(right, *(said for _, said in found + red), sep='\n')
    print(f'{sum(right)} passed, {len(right) - sum(right)} failed')
    return int(not all(right))


if __name__ == '__main__': sys.exit(main())
