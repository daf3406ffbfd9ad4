"""Break exported code on purpose; the notebook's tests must notice: `mutate.py [NB ...]`.

tools/mutations/MODULE.toml stores the mutations of a module as tables `[[mutation]]` with the keys
name (the function or class to break), old (a piece of its text, found once in the module), new and
why. Each is applied to a copy of the course, in the module and in its notebook, and the notebook
is run there: first without all that trains (tools/training.py), then, if no test noticed, as a
whole.

This process imports what the notebooks need, once, and forks a child for each run.
"""
import argparse
import ast
import gc
import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

from course import Notebook, bound_names, find_notebook, imports, lines_of, notebooks, own_imports
from setup_env import ROOT
from training import quick_cells

COPIED = 'attn_course', 'nbs', 'settings.ini', 'setup.py', 'pyproject.toml', 'constraints.txt', \
    'README.md'
BROKEN = {'SyntaxError', 'IndentationError', 'NameError', 'UnboundLocalError', 'ImportError',
          'ModuleNotFoundError'}
LOG = 'printed' # a file in a copy of the course
KEYS = {'name', 'old', 'new', 'why'}
WORKERS, SECONDS = 2, 300
FORK = multiprocessing.get_context('fork')


# Stored mutations

def load(
    root:Path, # of the course
    module:str, # such as 'cam'
) -> list: # dictionaries with the keys name, old, new, why
    "The stored mutations of a module, [] without a file. Raises ValueError for a malformed one."
    file = f'tools/mutations/{module}.toml'
    if not (root/file).exists(): return []
    try: found = tomllib.loads((root/file).read_text(encoding='utf-8')).get('mutation', [])
    except tomllib.TOMLDecodeError as e: raise ValueError(f'{file} cannot be read: {e}') from None
    for m in found:
        if m.keys() != KEYS:
            raise ValueError(f'{file}: a mutation has name, old, new and why, not {", ".join(m)}')
    return found


def cell_to_break(
    nb:Notebook, # the notebook of the module
    old:str, # text to find
) -> int: # index of the cell
    "The exported cell that holds `old`. Raises ValueError unless it occurs exactly once."
    times = sum(c.src.count(old) for c in nb.exported)
    if times == 1: return next(c.i for c in nb.exported if old in c.src)
    raise ValueError(f'its old text occurs {times} times in the exported cells of {nb.file}, not '
                     'once')


def wrong_with(
    m:dict, # a mutation
    nb:Notebook, # the notebook of its module
) -> str: # '' when the mutation can be applied
    "Why a stored mutation is stale or no mutation."
    source = module_path(nb.root, nb).read_text(encoding='utf-8')
    times = source.count(m['old'])
    if times != 1:
        return f'its old text occurs {times} times in attn_course/{nb.module}.py, not once'
    if m['old'] == m['new']: return 'its new text equals the old one'
    line = source[:source.index(m['old'])].count('\n') + 1
    around = [o for o in ast.parse(source).body if line in lines_of(o)]
    if not any(m['name'] in bound_names(o) for o in around):
        return f'its old text lies outside {m["name"]}'
    try:
        ast.parse(source.replace(m['old'], m['new']))
        cell_to_break(nb, m['old'])
    except SyntaxError: return 'its new text is no Python'
    except ValueError as e: return str(e)
    return ''


def module_path(
    root:Path, # of the course or of a copy
    nb:Notebook, # a notebook that exports
) -> Path: # may be missing
    "The module of a notebook."
    return root/'attn_course'/f'{nb.module}.py'


# Running a notebook in a copy of the course

@dataclass
class Trial:
    "A notebook to run, mutated or not."
    nb:Notebook # as it is in the course
    m:dict = None # a mutation to apply first
    cells:dict = field(default_factory=dict) # index of a cell -> source that takes its place
    go_on:bool = False # after an error?
    seconds:float = SECONDS # until it is ended


@dataclass
class Outcome:
    "How a trial ended."
    errors:list # (index of the cell, name of the exception, its message)
    crashed:str = '' # the last words of a process that did not come to its end
    seconds:float = 0 # how long it took

    @property
    def passed(self) -> bool:
        "Did every cell run?"
        return not (self.errors or self.crashed)

    @property
    def killed(self) -> bool:
        "Did a test fail, and not because the mutation is no valid code?"
        return bool(self.errors) and self.errors[0][1] not in BROKEN

    def cause(self,
        nb:Notebook, # that was run
    ) -> str: # error, cell and message
        "What ended it."
        if self.crashed: return self.crashed
        if not self.errors: return 'every test passed'
        i, name, message = self.errors[0]
        return f'{name} at cell {nb.cells[i].id}: {" ".join(message.split())[:60]}'.rstrip(': ')


def copy_course(
    trial:Trial, # its mutation is applied
    target:Path, # an empty folder
):
    "Copy what a notebook needs, and break its module."
    left_out = shutil.ignore_patterns('__pycache__', '.*', 'images')
    for path in (trial.nb.root/name for name in COPIED):
        if path.is_dir(): shutil.copytree(path, target/path.name, ignore=left_out)
        elif path.exists(): shutil.copy(path, target)
    if trial.m is None: return
    module = module_path(target, trial.nb)
    source = module.read_text(encoding='utf-8').replace(trial.m['old'], trial.m['new'])
    module.write_text(source, encoding='utf-8')


def sources(
    trial:Trial, # may be mutated
) -> dict: # index of a cell -> code to run
    "The code of a notebook as a trial runs it."
    found = {c.i: trial.cells.get(c.i, c.src) for c in trial.nb.code if c.runs}
    if trial.m is None: return found
    broken = cell_to_break(trial.nb, trial.m['old'])
    return found | {broken: found[broken].replace(trial.m['old'], trial.m['new'])}


def child(
    trial:Trial, # to be run
    copy:Path, # a copy of the course
    answer, # a connection to send the errors through
):
    "Run a trial in this process, which ends afterwards."
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log = os.open(copy/LOG, os.O_CREAT | os.O_WRONLY)
    for stream in (1, 2): os.dup2(log, stream)
    os.chdir((copy/trial.nb.file).parent)
    os.environ['PYTHONPATH'] = str(copy)
    sys.path.insert(0, str(copy))
    from execnb.shell import CaptureShell
    shell, errors = CaptureShell(copy/trial.nb.file), []
    for i, source in sources(trial).items():
        e = shell.run_cell(source).exception
        if e: errors.append((i, type(e).__name__, str(e)))
        if e and not trial.go_on: break
    answer.send(errors)


class Running:
    "A trial under way."

    def __init__(self,
        trial:Trial, # to be run in a child of this process
    ):
        self.trial, self.start = trial, time.time()
        self.folder = Path(tempfile.mkdtemp()).resolve()
        copy_course(trial, self.folder)
        self.answer, writer = FORK.Pipe(duplex=False)
        args = trial, self.folder, writer
        self.process = FORK.Process(target=child, args=args, daemon=True)
        self.process.start()
        writer.close()

    @property
    def over(self) -> bool:
        "Has it answered, died or taken too long?"
        return self.answer.poll() or time.time() > self.start + self.trial.seconds

    def end(self) -> Outcome:
        "Take the answer, and clear away the process and its copy."
        try: outcome = Outcome(self.answer.recv() if self.answer.poll() else None)
        except (EOFError, OSError): outcome = Outcome([], self.last_words('the process died'))
        if outcome.errors is None: outcome = Outcome([], f'ended after {self.trial.seconds:.0f} s')
        outcome.seconds = time.time() - self.start
        with suppress(ProcessLookupError): os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()
        shutil.rmtree(self.folder, ignore_errors=True)
        return outcome

    def last_words(self,
        default:str, # where nothing was printed
    ) -> str: # one line
        "The end of what the process printed."
        log = self.folder/LOG
        said = log.read_text(encoding='utf-8', errors='replace') if log.exists() else ''
        return ([line for line in said.splitlines() if line.strip()] or [default])[-1]


def side_by_side(
    trials:list, # to be run, as many at a time as there are workers
    until:float = float('inf'), # time after which none is started
):  # yields (trial, its outcome), None for a trial there was no time for
    "Run trials and tell how each ended."
    waiting, going = list(trials), []
    try:
        while going or waiting and time.time() < until:
            while waiting and len(going) < WORKERS and time.time() < until:
                going.append(Running(waiting.pop(0)))
            wait([r.answer for r in going], timeout=1)
            for r in [r for r in going if r.over]:
                going.remove(r)
                yield r.trial, r.end()
        yield from ((trial, None) for trial in waiting)
    finally:
        for r in going: r.end()


def preload(
    nbs:list, # notebooks that will be run
    known:dict, # name of a module of ours -> its notebook
):
    "Import what the notebooks and the modules they use import, but nothing of ours."
    todo, seen = list(nbs), []
    while todo:
        nb = todo.pop()
        seen.append(nb)
        used = {known.get(name) for c in nb.code for name, _ in own_imports(c.tree)}
        todo += [o for o in used if o and o not in seen + todo]
    packages = {name for nb in seen for c in nb.code for name, _, _ in imports(c.tree)}
    for name in sorted(packages | {'execnb.shell'}):
        if name.split('.')[0] == 'attn_course': continue
        with suppress(ImportError), warnings.catch_warnings(action='ignore'):
            importlib.import_module(name)
    gc.freeze()


# Verdicts: pairs of (was the mutant killed?, line to print)

def quick_forms(
    nbs:list, # notebooks
) -> tuple: # notebook -> its cells to be changed, notebook -> why it fails as it is
    "The quick form of each notebook. A cell that fails for want of training is left out too."
    forms = {nb: quick_cells(nb) for nb in nbs}
    red, todo = {}, nbs
    for _ in range(3):
        trials = [Trial(nb, cells=forms[nb], go_on=True) for nb in todo]
        todo = []
        for trial, outcome in side_by_side(trials):
            nb, was_whole = trial.nb, not trial.cells
            if outcome.crashed or outcome.errors and was_whole: red[nb] = outcome.cause(nb)
            elif outcome.errors: todo.append(nb)
            forms[nb] = forms[nb] | dict.fromkeys([i for i, *_ in outcome.errors], '')
    return {nb: form for nb, form in forms.items() if nb not in todo}, red


def line(
    trial:Trial, # of a mutant
    outcome:Outcome, # how it ended
    form:str, # 'quick' or 'whole'
) -> str: # for the user
    "What became of a mutant."
    word = 'killed' if outcome.killed else 'SURVIVED'
    if not outcome.killed and outcome.errors: word = 'BROKEN'
    if outcome.crashed: word = 'CRASHED'
    what = f'{form}, {outcome.cause(trial.nb)}, {outcome.seconds:.0f} s'
    return f'{word:8} {trial.nb.module}.{trial.m["name"]}: {trial.m["why"]} ({what})'


def usable(
    nb:Notebook, # a notebook that exports
    trials:list, # a trial for each mutation that can be applied is added
):  # yields verdicts on what is stale
    "Read the stored mutations of a notebook."
    if not module_path(nb.root, nb).exists():
        return (yield False, f'MISSING  attn_course/{nb.module}.py: run make export')
    try: mutations = load(nb.root, nb.module)
    except ValueError as e: return (yield False, f'MISSING  {e}')
    for m in mutations:
        wrong = wrong_with(m, nb)
        if wrong: yield False, f'STALE    {nb.module}.{m["name"]}: {wrong}'
        else: trials.append(Trial(nb, m))


def attack(
    nbs:list, # notebooks that export
    until:float = float('inf'), # time after which nothing is started
):  # yields verdicts
    "Try the mutations of notebooks: first on their quick forms, then on the whole notebooks."
    trials = []
    for nb in nbs: yield from usable(nb, trials)
    forms, red = quick_forms(list(dict.fromkeys(t.nb for t in trials)))
    for nb, why in red.items(): yield False, f'RED      {nb.file} fails without any mutation: {why}'
    trials = [t for t in trials if t.nb not in red]
    alive = [t for t in trials if t.nb not in forms]
    quick = [Trial(t.nb, t.m, forms[t.nb]) for t in trials if t.nb in forms]
    for trial, outcome in side_by_side(quick, until):
        if outcome and outcome.killed: yield True, line(trial, outcome, 'quick')
        elif outcome and not trial.cells: yield False, line(trial, outcome, 'whole')
        else: alive.append(Trial(trial.nb, trial.m))
    yield from attack_whole(alive, until)


def attack_whole(
    trials:list, # mutants that no quick form noticed
    until:float, # time after which nothing is started
):  # yields verdicts
    "Run whole notebooks: each as it is, then its mutants."
    nbs, red = list(dict.fromkeys(t.nb for t in trials)), []
    for trial, outcome in side_by_side([Trial(nb) for nb in nbs], until):
        if outcome is None or outcome.passed: continue
        red.append(trial.nb)
        yield False, (f'RED      {trial.nb.file} fails without any mutation: '
                      f'{outcome.cause(trial.nb)}')
    for trial, outcome in side_by_side([t for t in trials if t.nb not in red], until):
        if outcome: yield outcome.killed, line(trial, outcome, 'whole')
        else:
            print(f'no time for {trial.nb.module}.{trial.m["name"]}: {trial.m["why"]}', flush=True)


# The command

def chosen(
    names:list, # what the user typed; empty for every module that has mutations
    known:dict, # name of a module -> its notebook
) -> list: # notebooks
    "The notebooks meant. Raises FileNotFoundError or ValueError when there is none."
    found = [Notebook(find_notebook(n)) for n in names]
    for nb in found:
        if not nb.module: print(f'{nb.file} exports nothing: there is nothing to mutate')
    if names: return [nb for nb in found if nb.module]
    stored = sorted(p.stem for p in (ROOT/'tools'/'mutations').glob('*.toml'))
    lost = [n for n in stored if n not in known]
    if lost:
        raise ValueError(f'tools/mutations/ holds mutations without a notebook: {", ".join(lost)}')
    return [known[n] for n in stored]


def finish(
    verdicts, # (was it killed?, line) as they come
) -> int: # exit status
    "Print each line, then the count."
    done = []
    for ok, said in verdicts:
        print(said, flush=True)
        done.append(ok)
    print(f'{sum(done)} passed, {len(done) - sum(done)} failed')
    return int(not all(done))


def show(
    nbs:list, # notebooks
):
    "Print the stored mutations of their modules."
    for nb in nbs:
        for m in load(ROOT, nb.module): print(f'{nb.module}.{m["name"]}: {m["why"]}')


def options() -> argparse.Namespace:
    "What the user typed."
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('notebooks', nargs='*', help='such as 07 or workbench/01; left out: all')
    parser.add_argument('--list', action='store_true', help='print the stored mutations')
    parser.add_argument('--minutes', type=float, default=float('inf'),
                        help='start nothing after this time')
    parser.add_argument('--self-test', action='store_true', help='attack a small planted course')
    return parser.parse_args()


def main() -> int: # exit status
    "Attack the notebooks the user names."
    opts, start = options(), time.time()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)) # so that no child outlives this
    if opts.self_test:
        plants = [sys.executable, ROOT/'tests'/'mutate_plants.py']
        return subprocess.call(plants, env=os.environ | {'PYTHONPATH': str(ROOT/'tools')})
    try:
        known = {nb.module: nb for nb in map(Notebook, notebooks()) if nb.module}
        nbs = chosen(opts.notebooks, known)
        if opts.list: return show(nbs)
    except (FileNotFoundError, ValueError) as e: sys.exit(f'{e}\n0 passed, 1 failed')
    os.environ |= dict(OMP_NUM_THREADS='1', MPLBACKEND='agg', IN_TEST='1')
    preload(nbs, known)
    return finish(attack(nbs, start + 60*opts.minutes))


if __name__ == '__main__': sys.exit(main())
