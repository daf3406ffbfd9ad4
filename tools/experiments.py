"""Run the studies behind the chapters: `make experiments`, or one: `make experiments NB=05`.

A chapter that has a study marks its cells with `#| study`. Together with the chapter's imports and
its module they define `VARIANTS` and `SEEDS`, two lists, and `study(variant, seed)`, which trains
and returns a dictionary from metric to number. The results of chapter NN go to nbs/results/NN.csv,
a row for each number; the lint says when code that they depend on has changed since.
"""
import csv
import os
import sys
import time
from importlib import import_module
from importlib.metadata import version

from course import NBS, Notebook, notebooks
from freshness import code_hash

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
    found = list(rows(nb))
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS/f'{nb.number}.csv', 'w', newline='', encoding='utf-8') as f:
        csv.writer(f, lineterminator='\n').writerows([COLUMNS, *found])


def main(
    names:list, # numbers of chapters; empty for all
) -> int: # exit status
    "Run the studies there are, or say that there is none."
    found = studies()
    if unknown := [n for n in names if n not in found]:
        sys.exit(f"There is no study in chapter {', '.join(unknown)}; there are: "
                 f"{', '.join(found) or 'none'}.")
    if not found: print('No chapter has a study yet: none of their cells is marked #| study.')
    os.chdir(NBS)
    for number in names or found: write(found[number])
    return 0


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
