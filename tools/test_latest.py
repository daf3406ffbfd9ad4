"""Test the package on the newest fastai and fastcore, without nbdev: `make test-latest`."""
import argparse
import os
import sys
import tempfile
from pathlib import Path

from course import NBS, notebooks
from run_nbs import finish, jobs, report, run, run_all, tested_cells
from setup_env import ROOT, create, install, is_ours, python_of

ENV = ROOT/'.venv-latest'
UNPINNED = {'fastai', 'fastcore', 'fastdownload', 'fastprogress', 'fasttransform', 'plum-dispatch',
            'python-fasthtml', 'fastlite', 'fastspec', 'fastgit', 'apswutils', 'apsw', 'ghapi'}
CORE = '00', '05', '06', '07', '08'
VERSIONS = '''
from importlib.metadata import version
from importlib.util import find_spec
assert not find_spec('nbdev'), 'nbdev is installed'
import attn_course.all
print(', '.join(f'{name} {version(name)}' for name in ('fastai', 'fastcore', 'torch')))
'''


def loose_pins() -> str: # the text of a constraints file
    "constraints.txt without fastai, fastcore and what comes with them."
    lines = (ROOT/'constraints.txt').read_text(encoding='utf-8').splitlines()
    return '\n'.join(line for line in lines if line.split('==')[0].strip().lower() not in UNPINNED)


def prepare():
    "Make the environment, or bring it up to the newest releases."
    if not is_ours(ENV): create(ENV)
    print(f'Bringing {ENV.name} up to date', flush=True)
    with tempfile.TemporaryDirectory() as tmp:
        pins = Path(tmp)/'pins.txt'
        pins.write_text(loose_pins(), encoding='utf-8')
        install(ENV, 'course', pins, '--upgrade', 'fastai', 'fastcore')


def run_cells(
    path:Path, # a notebook
) -> bool: # did every cell run?
    "Run the code of a notebook as its tests do; the first error is printed and ends it."
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell.instance(colors='nocolor')
    os.chdir(path.parent)
    return all(shell.run_cell(cell).success for cell in tested_cells(path))


def chapters(
    full:bool, # every notebook, or those that meet fastai most?
) -> list: # paths
    "The notebooks to run, as far as they exist."
    return [p for p in notebooks() if full or (p.parent == NBS and p.name[:2] in CORE)]


def main() -> int: # exit status
    "Prepare the environment, import the package, run the chapters."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--full', action='store_true', help='run every notebook')
    parser.add_argument('--one', type=Path, help='run this notebook in this process')
    opts = parser.parse_args()
    if opts.one: return not run_cells(opts.one.resolve())
    prepare()
    ok, seconds, out = run([python_of(ENV), '-c', VERSIONS])
    versions = out.strip().splitlines()[-1] if ok else 'the newest releases'
    res = [report(f'attn_course.all on {versions}', ok, out, seconds)]
    ok, seconds, out = run([python_of(ENV), ROOT/'tests'/'fastai_names.py'])
    res += [report('no name of ours is one of fastai', ok, out, seconds)]
    return finish(res + run_all(jobs(chapters(opts.full), __file__, python_of(ENV))))


if __name__ == '__main__': sys.exit(main())
