"""Run the studies behind the chapters: `make experiments`, or one of them: `make experiments NB=05`.

A chapter that has a study exports `VARIANTS` and `SEEDS`, two lists, and `study(variant, seed)`, which trains
and returns a dictionary from metric to number. The results of chapter NN go to nbs/results/NN.csv, a row for
each number; the lint says when the chapter's code has changed since.
"""
import csv, re, sys, time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from check_nbs import code_hash

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT/'nbs'/'results'
COLUMNS = 'seed', 'variant', 'metric', 'value', 'seconds', 'versions', 'code_hash'


def studies()->dict: # number of the chapter to its module's path
    "The chapters whose module has a study."
    nbs = sorted((ROOT/'nbs').glob('[0-9][0-9]_*.ipynb'))
    chapters = {nb.stem[:2]: ROOT/'attn_course'/f'{nb.stem[3:]}.py' for nb in nbs}
    has_study = lambda p: p.is_file() and re.search(r'^def study\(', p.read_text(encoding='utf-8'), re.M)
    return {number: path for number, path in chapters.items() if has_study(path)}


def rows(
    number:str, # of the chapter, '05'
    path:Path, # its module
):  # yields rows of `COLUMNS`
    "Run a study and tell each of its numbers as it comes."
    module = import_module(f'attn_course.{path.stem}')
    versions = ' '.join(f'{n}={version(n)}' for n in ('fastai', 'torch'))
    code = code_hash(ROOT, number, path.stem)
    for variant in module.VARIANTS:
        for seed in module.SEEDS:
            start = time.time()
            metrics = module.study(variant, seed)
            seconds = round(time.time() - start, 1)
            print(f'{path.stem}  {variant}  seed {seed}  {metrics}  {seconds} s', flush=True)
            yield from ((seed, variant, name, value, seconds, versions, code) for name, value in metrics.items())


def write(
    number:str, # of the chapter, '05'
    path:Path, # its module
):
    "Run a study to its end, then write its results."
    found = list(rows(number, path))
    with open(RESULTS/f'{number}.csv', 'w', newline='', encoding='utf-8') as f:
        csv.writer(f, lineterminator='\n').writerows([COLUMNS, *found])


def main(
    names:list, # numbers of chapters; empty for all
)->int: # exit status
    "Run the studies there are, or say that there is none."
    found = studies()
    if unknown := [n for n in names if n not in found]:
        sys.exit(f"There is no study in chapter {', '.join(unknown)}; there are: {', '.join(found) or 'none'}.")
    if not found: print('No chapter has a study yet: none of their modules has a function `study`.')
    for number in names or found: write(number, found[number])
    return 0


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
