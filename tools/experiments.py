"""Run the studies behind the chapters: `make experiments`, or one: `make experiments NB=05`.

`make experiments CHECK=1` is for code that only moved, or whose change should change no number: it
runs one seed of every variant, and writes the new hash where all numbers are as before. No machine
repeats the last digits of another, so what differs from the stored numbers is run once more here,
with the code that made the table.

A chapter that has a study marks its cells with `#| study`. Together with the chapter's imports and
its module they define `VARIANTS` and `SEEDS`, two lists, and `study(variant, seed)`, which trains
and returns a dictionary from metric to number. The results of chapter NN go to nbs/results/NN.csv,
a row for each number; the lint says when code that they depend on has changed since.
"""
import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from course import NBS, Notebook, notebooks
from freshness import code_hash
from setup_env import ROOT

RESULTS = NBS/'results'
COLUMNS = 'seed', 'variant', 'metric', 'value', 'seconds', 'versions', 'code_hash'


def studies() -> dict: # number of the chapter to its notebook
    "The chapters that have a study."
    nbs = map(Notebook, notebooks())
    return {nb.number: nb for nb in nbs if nb.is_chapter and nb.study}


def namespace(
    nb:Notebook, # a chapter with a study
) -> dict: # what its study cells define
    "Run the imports and the study cells of a chapter, with the public names of its module."
    res = vars(import_module(f'attn_course.{nb.module}')).copy() if nb.module else {}
    for cell in nb.code:
        if cell.only_imports or cell in nb.study:
            exec(compile(cell.src, f'{nb.file}, cell {cell.id}', 'exec'), res)
    return res


def rows(
    nb:Notebook, # a chapter with a study
):  # yields rows of `COLUMNS`
    "Run a study and tell each of its numbers as it comes."
    code, names = code_hash(nb), namespace(nb)
    versions = ' '.join(f'{n}={version(n)}' for n in ('fastai', 'torch'))
    for variant in names['VARIANTS']:
        for seed in names['SEEDS']:
            start = time.time()
            metrics = names['study'](variant, seed)
            seconds = round(time.time() - start, 1)
            print(f'{nb.name}  {variant}  seed {seed}  {metrics}  {seconds} s', flush=True)
            for name, value in metrics.items():
                yield seed, variant, name, value, seconds, versions, code


def write(
    nb:Notebook, # a chapter with a study
):
    "Run a study to its end, then write its results."
    store(nb, [COLUMNS, *rows(nb)])


def store(
    nb:Notebook, # a chapter with a study
    table:list, # rows, that of the names first
):
    "Write the results of a study."
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS/f'{nb.number}.csv', 'w', newline='', encoding='utf-8') as f:
        csv.writer(f, lineterminator='\n').writerows(table)


def first_seed(
    nb:Notebook, # a chapter with a study
) -> dict: # (variant, metric) -> number, as text; without times, which no clock repeats
    "One seed of every variant."
    names, found = namespace(nb), {}
    for variant in names['VARIANTS']:
        seed, start = names['SEEDS'][0], time.time()
        for metric, value in names['study'](variant, seed).items():
            if not metric.startswith('time'): found[f'{variant}, {metric}'] = str(value)
        print(f'{nb.name}  {variant}  seed {seed}  {time.time() - start:.0f} s', flush=True)
    return found


def by_old_code(
    number:str, # of a chapter with a study
) -> dict: # as `first_seed` gives it
    "What the code that made the stored table says on this machine."
    file = f'nbs/results/{number}.csv'
    git = ['git', '-C', ROOT]
    log = [*git, 'log', '-1', '--format=%H', '--', file]
    made = subprocess.check_output(log, text=True).strip()
    with tempfile.TemporaryDirectory() as folder:
        course, said = Path(folder)/'course', Path(folder)/'said.json'
        subprocess.check_call([*git, 'worktree', 'add', '-q', '--detach', course, made])
        try:
            for tool in ('experiments.py', 'course.py', 'freshness.py'): # those of today
                shutil.copy(ROOT/'tools'/tool, course/'tools'/tool)
            subprocess.check_call([sys.executable, course/'tools'/'experiments.py', '--say', said,
                                   number], env=os.environ | {'PYTHONPATH': str(course)})
            return json.loads(said.read_text())
        finally: subprocess.check_call([*git, 'worktree', 'remove', '--force', course])


def check(
    nb:Notebook, # a chapter with a study
) -> list: # sentences, one for each number that differs; empty if all are equal
    "Run the first seed of every variant; if all numbers are as before, write the new hash."
    code = code_hash(nb)
    with open(RESULTS/f'{nb.number}.csv', newline='', encoding='utf-8') as f:
        table = list(csv.reader(f))
    if all(row[-1] == code for row in table[1:]): return []
    now, seed = first_seed(nb), table[1][0]
    before = {f'{row[1]}, {row[2]}': row[3] for row in table[1:] if row[0] == seed}
    if any(before.get(name) != value for name, value in now.items()):
        before = by_old_code(nb.number)
    wrong = [f'{nb.name}, {name}: {value}, not {before.get(name, "nothing")}'
             for name, value in now.items() if before.get(name) != value]
    if not wrong: store(nb, [table[0], *([*row[:-1], code] for row in table[1:])])
    return wrong


def main() -> int: # exit status
    "Run the studies there are, or check them, or say that there is none."
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', help='numbers of chapters; all when left out')
    parser.add_argument('--check', action='store_true', help='one seed, and the hash')
    parser.add_argument('--say', type=Path, help='write one seed of a study to this JSON file')
    args, found = parser.parse_args(), studies()
    if unknown := [n for n in args.names if n not in found]:
        sys.exit(f"There is no study in chapter {', '.join(unknown)}; there are: "
                 f"{', '.join(found) or 'none'}.")
    if not found: print('No chapter has a study yet: none of their cells is marked #| study.')
    os.chdir(NBS)
    wrong = []
    for number in args.names or found:
        if args.say: args.say.write_text(json.dumps(first_seed(found[number])))
        elif args.check: wrong += check(found[number])
        else: write(found[number])
    for line in wrong: print(line)
    if wrong: print('Run these studies anew: make experiments NB=...')
    return int(bool(wrong))


if __name__ == '__main__': sys.exit(main())
