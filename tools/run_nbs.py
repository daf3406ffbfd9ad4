"""Test notebooks, each in a process of its own, two at a time: `run_nbs.py [NB ...]`."""
import argparse
import configparser
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from course import find_notebook, notebooks
from setup_env import ROOT, clean_environ

TIMEOUT = 300
TAIL = 40


def skip_flags() -> list: # such as ['slow']
    "The directives of cells that tests leave out, from settings.ini."
    cfg = configparser.ConfigParser(delimiters=['='])
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    return cfg['DEFAULT']['tst_flags'].split()


def tested_cells(
    path:Path, # a notebook
) -> list: # their sources
    "The code that a test of the notebook at `path` runs. Raises ValueError when there is none."
    skipped = re.compile(rf"^\s*#\s*\|\s*(eval:\s*false|{'|'.join(skip_flags())})\s*$", re.M | re.I)
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    code = [''.join(c['source']) for c in cells if c['cell_type'] == 'code']
    code = [c for c in code if c.strip() and not skipped.search(c)]
    if not code: raise ValueError(f'{path.name} has no code that is run')
    return code


@contextmanager
def heard():
    "Gives the set of exercises to which a right answer is given inside the `with`."
    from attn_course import exercise
    check, right = exercise.check, set()
    def listen(number, *args, **kwargs):
        verdict = check(number, *args, **kwargs)
        if verdict.ok: right.add(str(number))
        return verdict
    exercise.check = listen
    try: yield right
    finally: exercise.check = check


def unsolved(
    path:Path, # a notebook
    right:set, # numbers of the exercises that were solved in it
) -> list: # numbers of the chapter's other exercises
    "A chapter shows a solution of each of its exercises, and `check` accepts it."
    file = ROOT/'nbs'/'exercises'/f'{path.stem[:2]}.py'
    if path.parent != ROOT/'nbs' or not file.is_file(): return []
    return sorted(runpy.run_path(str(file))['exercises'].keys() - right)


def test_one(
    path:Path, # a notebook
) -> bool: # did every cell run, and is every exercise solved?
    "Run a notebook through nbdev's `test_nb`; one that nbdev skips has failed."
    from nbdev.test import test_nb
    tested_cells(path)
    with heard() as right: ok, seconds = test_nb(path, skip_flags=skip_flags(), basepath=ROOT)
    if ok and not seconds: print('nbdev skips this notebook: see its front matter and kernelspec')
    left = unsolved(path, right) if ok and seconds else []
    if left: print(f'no solution is accepted for exercise {", ".join(left)}')
    return bool(ok and seconds and not left)


def run(
    cmd:list, # a command line
    timeout:int=TIMEOUT, # seconds until it is ended, with all it started
    **environ, # added to the environment
) -> tuple: # did it exit with 0, seconds, what it printed
    "Run `cmd` from the root of the course, without input."
    start = time.time()
    proc = subprocess.Popen(
        [str(c) for c in cmd], cwd=ROOT, env=clean_environ() | environ, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors='replace')
    try: out = proc.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        os.killpg(proc.pid, signal.SIGKILL)
        out = f'{proc.communicate()[0]}\nended after {timeout} s'
    return proc.returncode == 0, time.time() - start, out


def report(
    name:str, # what was checked
    ok:bool, # did it pass?
    out:str='', # shown when it did not
    seconds:float=None, # shown when given
) -> bool: # `ok`
    "Print one result as one line, with the end of `out` after a failure."
    took = '' if seconds is None else f'  {seconds:.1f} s'
    print(f"{'ok  ' if ok else 'FAIL'}  {name}{took}", flush=True)
    if not ok:
        print('\n'.join(f'      {line}' for line in out.rstrip().splitlines()[-TAIL:]), flush=True)
    return ok


def run_all(
    jobs:dict, # name to command line
    workers:int=2, # how many run at a time
    timeout:int=TIMEOUT, # seconds for each
    **environ, # added to the environment
) -> list: # for each job: did it pass?
    "Run the jobs side by side, one thread of computing each, and report each as it ends."
    environ = dict(OMP_NUM_THREADS='1', MPLBACKEND='agg') | environ
    with ThreadPoolExecutor(workers) as pool:
        going = {pool.submit(run, cmd, timeout, **environ): name for name, cmd in jobs.items()}
        res = []
        for done in as_completed(going):
            ok, seconds, out = done.result()
            res.append(report(going[done], ok, out, seconds))
    return res


def jobs(
    nbs:list, # paths of notebooks
    script:str=__file__, # a program that takes `--one NOTEBOOK`
    python:str=sys.executable, # the interpreter
) -> dict: # name to command line
    "The command that tests each notebook."
    return {p.relative_to(ROOT).as_posix(): [python, script, '--one', p] for p in nbs}


def finish(
    results:list, # for each check: did it pass?
) -> int: # exit status
    "Print the closing line; a run without any check has failed."
    results = results or [report('something to test', False, 'nothing was found')]
    print(f'{sum(results)} passed, {len(results) - sum(results)} failed', flush=True)
    return int(not all(results))


def chosen(
    names:list, # what the user typed; empty for all
) -> list: # paths
    "The notebooks meant by `names`; ends the program with one sentence when a name is wrong."
    try: return [find_notebook(n) for n in names] or notebooks()
    except (FileNotFoundError, ValueError) as e: sys.exit(f'{e}\n0 passed, 1 failed')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('notebooks', nargs='*',
                        help='such as 07 or workbench/01; all when left out')
    parser.add_argument('--one', type=Path, help='test this notebook in this process')
    opts = parser.parse_args()
    if opts.one: sys.exit(not test_one(opts.one.resolve()))
    sys.exit(finish(run_all(jobs(chosen(opts.notebooks)))))
