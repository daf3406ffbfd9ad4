"""Start JupyterLab on the reader's own copy of the notebooks: `make lab`."""
import argparse
import os
import shutil
import sys
from pathlib import Path

from course import NBS, is_hidden
from setup_env import ROOT, clean_environ

START = '00_start.ipynb'


def to_copy() -> list: # paths under `nbs`
    "What a reader works with: every notebook but the index, and the stored results they draw."
    found = [*NBS.rglob('*.ipynb'), *(NBS/'results').glob('*.csv')]
    return sorted(p for p in found if p.stem != 'index' and not is_hidden(p.relative_to(NBS)))


def copy_new(
    my:Path, # the reader's folder
) -> tuple: # how many files were added, how many were there
    "Add to `my` what it lacks. Nothing that lies there is touched."
    added = kept = 0
    for path in to_copy():
        target = my/path.relative_to(NBS)
        if os.path.lexists(target): kept += 1
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            added += 1
    return added, kept


def command(
    my:Path, # the folder JupyterLab shows
    args:list, # options typed by the reader; they win over ours
) -> list: # a command line
    "How JupyterLab is started."
    root = ['--allow-root'] if os.geteuid() == 0 else []
    ours = ['--ServerApp.ip=127.0.0.1', f'--ServerApp.root_dir={my}',
            f'--LabApp.default_url=/lab/tree/{START}']
    return [sys.executable, '-m', 'jupyterlab', *root, *ours, *args]


def main():
    "Fill the reader's copy and become JupyterLab."
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--my', type=Path, default=ROOT/'my', help="the reader's folder")
    opts, args = parser.parse_known_args()
    if not (NBS/START).is_file():
        sys.exit(f'nbs/{START} is missing: this checkout is not complete.')
    my = opts.my.resolve()
    added, kept = copy_new(my)
    print(f'Your copy is {my}: {added} files added, {kept} left as they were', flush=True)
    os.chdir(my)
    cmd = command(my, args)
    os.execve(cmd[0], cmd, clean_environ())


if __name__ == '__main__': main()
