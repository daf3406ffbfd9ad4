"""Test the whole course: `make test`, or one chapter of it: `make test NB=07`."""
import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

from course import NBS, Notebook, notebooks
from run_nbs import chosen, finish, jobs, report, run, run_all
from setup_env import ROOT, clean_environ, python_of

PACKAGE = ROOT/'attn_course'
HAND_WRITTEN = {'__init__.py', 'all.py'}
NOT_COPIED = '.*', 'my', '_*', 'build', 'dist', '*.egg-info', 'scratch*'
IN_CI = bool(os.environ.get('CI'))


def copy_tree(
    to:Path, # a folder that does not exist yet
) -> Path: # the same folder
    "A copy of what the course is made of."
    def ignore(folder, names):
        top = shutil.ignore_patterns(*NOT_COPIED)(folder, names) if Path(folder) == ROOT else set()
        return top | {n for n in names if n in ('__pycache__', '.ipynb_checkpoints')}
    return Path(shutil.copytree(ROOT, to, ignore=ignore))


def modules(
    package:Path, # a folder of modules
) -> dict: # path within the folder to text
    "The generated modules of a package."
    files = sorted(p for p in package.rglob('*.py') if p.name not in HAND_WRITTEN)
    return {p.relative_to(package).as_posix(): p.read_text(encoding='utf-8') for p in files}


def export_copy(
    tree:Path, # a copy of the course; its generated modules are made anew
) -> str: # empty, or what went wrong
    "Export the notebooks of a copy."
    for name in modules(tree/'attn_course'): (tree/'attn_course'/name).unlink()
    cmd = [sys.executable, '-c', 'from nbdev.doclinks import nbdev_export; nbdev_export()']
    done = subprocess.run(cmd, cwd=tree, env=clean_environ(), capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ''


def first_difference(
    name:str, # of the module
    ours:str, # its text in the package
    exported:str, # its text as exported
) -> str: # a few lines
    "How a module differs from its notebook."
    names = f'attn_course/{name}', 'its notebook'
    diff = difflib.unified_diff(ours.splitlines(), exported.splitlines(), *names, n=1, lineterm='')
    return '\n'.join(list(diff)[:12])


def strict_in_ci(
    name:str, # what was checked
    ok:bool, # did it pass?
    out:str, # shown when it did not
) -> list: # the result, nothing for a reader who changed a cell
    "A difference which fails in CI, and of which a reader is only told."
    if ok or IN_CI: return [report(name, ok, out)]
    print(f'note  not so: {name}\n{out}', flush=True)
    return []


def unreadable(
    path:Path, # a notebook
) -> bool: # is its file no JSON?
    "Is a notebook corrupt?"
    try: return not json.loads(path.read_text(encoding='utf-8'))
    except ValueError: return True


def check_modules() -> list: # for each check: did it pass?
    "Are the modules what the notebooks give?"
    if bad := [p.relative_to(ROOT).as_posix() for p in notebooks() if unreadable(p)]:
        return [report('the notebooks can be exported', False,
                       f'{", ".join(bad)} is no notebook: restore it')]
    with tempfile.TemporaryDirectory() as tmp:
        tree = copy_tree(Path(tmp)/'copy')
        if said := export_copy(tree): return [report('the notebooks can be exported', False, said)]
        ours, exported = modules(PACKAGE), modules(tree/'attn_course')
    lost = [f'attn_course/{n} is missing: run `make export`' for n in exported if n not in ours]
    lost += [f'attn_course/{n} has no notebook: delete it' for n in ours if n not in exported]
    both = [n for n in exported if n in ours and ours[n] != exported[n]]
    changed = [first_difference(n, ours[n], exported[n]) for n in both]
    advice = 'Notebooks were changed: run `make export` and the package follows.'
    said = '\n'.join([*changed, advice])
    return [report(f'each of {len(exported)} modules has its notebook', not lost, '\n'.join(lost)),
            *strict_in_ci('the modules equal what the notebooks give', not changed, said)]


def check_readme() -> list: # for each check: did it pass?
    "Is README.md what the index gives?"
    name = 'README.md equals nbs/index.ipynb'
    ok, _, out = run([sys.executable, ROOT/'tools'/'write_readme.py', '--check'])
    if 'Traceback' in out or not (ROOT/'README.md').is_file(): return [report(name, False, out)]
    return strict_in_ci(name, ok, out)


def check_committed() -> list: # for each check: did it pass?
    "In CI, is every file committed? Nothing is checked where there is no git checkout."
    if not (IN_CI and (ROOT/'.git').exists() and shutil.which('git')): return []
    ok, _, out = run(['git', 'status', '--porcelain'])
    return [report('every file is committed', ok and not out, out)]


def check_style(
    nbs:list, # the notebooks under test; empty for package, tools, tests, exercises and notebooks
) -> list: # for each check: did it pass?
    "Is ruff content?"
    modules = [PACKAGE/f'{Notebook(nb).module}.py' for nb in nbs]
    files = nbs + [m for m in modules if m.is_file()] or ['.']
    ok, seconds, out = run([sys.executable, '-m', 'ruff', 'check', *files])
    return [report('ruff finds nothing', ok, out, seconds)]


def check_lint(
    nbs:list, # the notebooks under test; empty for all
) -> list: # for each check: did it pass?
    "The rules that no other tool has."
    lint = [sys.executable, ROOT/'tools'/'lint.py']
    rules = {f'the rules are kept in {nb.stem}': [*lint, nb.relative_to(NBS)] for nb in nbs}
    return run_all(rules or {'the rules are kept': lint})


def check_tools() -> list: # for each check: did it pass?
    "The tests of the tools and of the names, in files of their own."
    tests = sorted((ROOT/'tests').glob('*.py'))
    return run_all({p.stem: [sys.executable, p] for p in tests}, PYTHONPATH=str(ROOT/'tools'))


PROVE = '''
import sys
from attn_course.exercise import prove
sys.exit('\\n'.join(prove(sys.argv[1])) or 0)
'''


def check_exercises(
    nbs:list, # the notebooks under test; empty for all
) -> list: # for each check: did it pass?
    "Do the checkers of each chapter accept its solutions and reject wrong answers?"
    todo = {p.stem for p in (NBS/'exercises').glob('*.py')}
    if nbs: todo &= {p.name[:2] for p in nbs if p.parent == NBS}
    cmd = [sys.executable, '-c', PROVE]
    return run_all({f'exercises of chapter {n}': [*cmd, n] for n in sorted(todo)})


WHEEL_CHECK = '''
import sys
from importlib import import_module
from pathlib import Path
import attn_course
here = Path(attn_course.__file__).resolve().parent
assert here.is_relative_to(Path(sys.prefix).resolve()), f'the package came from {here}'
lost = [f for f in sys.argv[1:] if not (here/f).is_file()]
assert not lost, f'the wheel lacks {lost}'
for f in sys.argv[1:]:
    if f.endswith('.py') and '/' not in f: import_module('attn_course.' + f[:-3])
import_module('attn_course.scenes').make_scenes(1)
'''


def check_wheel() -> list: # for each check: did it pass?
    "Does a wheel, installed where there is nothing else, hold all it needs, and find its fonts?"
    files = [p for p in PACKAGE.rglob('*') if p.is_file() and '__pycache__' not in p.parts]
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        tree, pip = copy_tree(tmp/'copy'), [sys.executable, '-m', 'pip']
        steps = [run([*pip, 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', tmp, tree])]
        venv.create(tmp/'clean', with_pip=False)
        python = python_of(tmp/'clean')
        steps.append(run([*pip, '--python', python, 'install', '-q', '--no-deps',
                          *tmp.glob('*.whl')]))
        names = [p.relative_to(PACKAGE).as_posix() for p in files]
        steps.append(run([python, '-P', '-c', WHEEL_CHECK, *names],
                         PYTHONPATH=sysconfig.get_path('purelib')))
    bad = next((out for ok, _, out in steps if not ok), '')
    return [report('a wheel holds all it needs', all(ok for ok, *_ in steps), bad,
                   sum(s for _, s, _ in steps))]


def main() -> int: # exit status
    "Run every check; one chapter needs no wheel."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('notebooks', nargs='*',
                        help='such as 07 or workbench/01; all when left out')
    names = parser.parse_args().notebooks
    nbs = chosen(names)
    some = nbs if names else []
    res = check_modules() + check_readme() + check_committed()
    res += check_style(some) + check_lint(some) + run_all(jobs(nbs)) + check_exercises(some)
    return finish(res if names else res + check_tools() + check_wheel())


if __name__ == '__main__': sys.exit(main())
