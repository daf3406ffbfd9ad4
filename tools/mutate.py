"""Break exported code on purpose; the chapter's tests must notice: `mutate.py [NB ...] [--list | --self-test]`.

tools/mutations/MODULE.toml stores the mutations of a module as tables `[[mutation]]` with the keys
name (the function or class to break), old (a piece of its text, found once in the module), new, and why.
Each is applied to a copy of the course, in the module and in its notebook, and the notebook is tested there.
"""
import argparse
import ast
import json
import re
import shutil
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from check_nbs import Notebook, bound_names, is_public_def, notebooks
from run_nbs import ROOT, find_notebook, run

COPIED = 'attn_course', 'nbs', 'settings.ini', 'setup.py', 'pyproject.toml', 'constraints.txt', 'README.md'
RUNNER = 'run_nbs.py', 'setup_env.py'
BROKEN = {'SyntaxError', 'IndentationError', 'NameError', 'UnboundLocalError', 'ImportError', 'ModuleNotFoundError'}
KEYS = {'name', 'old', 'new', 'why'}


def load(
    root:Path, # of the course
    module:str, # such as 'cam'
) -> list: # dictionaries with the keys name, old, new, why
    "The stored mutations of a module. Raises ValueError for a missing or malformed file."
    file = f'tools/mutations/{module}.toml'
    try: found = tomllib.loads((root/file).read_text(encoding='utf-8')).get('mutation', [])
    except FileNotFoundError: raise ValueError(f'{file} is missing: store a mutation for each function') from None
    except tomllib.TOMLDecodeError as e: raise ValueError(f'{file} cannot be read: {e}') from None
    for m in found:
        if m.keys() != KEYS: raise ValueError(f'{file}: a mutation has name, old, new and why, not {", ".join(m)}')
    return found


def source_of(root, module): return (root/'attn_course'/f'{module}.py').read_text(encoding='utf-8')


def cell_to_break(
    nb:Notebook, # the notebook of the module
    old:str, # text to find
) -> int: # index of the cell
    "The exported cell that holds `old`. Raises ValueError unless it occurs exactly once."
    if (times := sum(c.src.count(old) for c in nb.exported)) != 1:
        raise ValueError(f'its old text occurs {times} times in the exported cells of {nb.file}, not once')
    return next(c.i for c in nb.exported if old in c.src)


def wrong_with(
    m:dict, # a mutation
    nb:Notebook, # the notebook of its module
    source:str, # text of the module
) -> str: # '' when the mutation can be applied
    "Why a stored mutation is stale or no mutation."
    if (times := source.count(m['old'])) != 1:
        return f'its old text occurs {times} times in attn_course/{nb.name}.py, not once'
    if m['old'] == m['new']: return 'its new text equals the old one'
    line = source[:source.index(m['old'])].count('\n') + 1
    if not any(line in lines_of(o) for o in ast.parse(source).body if m['name'] in bound_names(o)):
        return f'its old text lies outside {m["name"]}'
    try:
        ast.parse(source.replace(m['old'], m['new']))
        cell_to_break(nb, m['old'])
    except SyntaxError: return 'its new text is no Python'
    except ValueError as e: return str(e)
    return ''


def lines_of(
    node, # a statement
) -> range: # its line numbers
    "The lines of a statement, decorators included."
    return range(min(o.lineno for o in (node, *getattr(node, 'decorator_list', []))), node.end_lineno + 1)


def unmutated(
    source:str, # text of the module
    mutations:list, # its stored mutations
) -> list: # names
    "Public functions and classes which no mutation breaks."
    names = {o.name: None for o in ast.parse(source).body if is_public_def(o)}
    return [n for n in names if n not in {m['name'] for m in mutations}]


def copy_course(
    root:Path, # of the course
    target:Path, # an empty folder
):
    "Copy what a chapter's test needs."
    left_out = shutil.ignore_patterns('__pycache__', '.*')
    for name in COPIED:
        if (root/name).is_dir(): shutil.copytree(root/name, target/name, ignore=left_out)
        elif (root/name).exists(): shutil.copy(root/name, target/name)
    (target/'tools').mkdir()
    for name in RUNNER: shutil.copy(ROOT/'tools'/name, target/'tools'/name)


def apply(
    m:dict, # a mutation
    nb:Notebook, # the notebook of its module, as it is in the course
    root:Path, # of the copy
):
    "Break the module and its notebook."
    module = root/'attn_course'/f'{nb.name}.py'
    module.write_text(module.read_text(encoding='utf-8').replace(m['old'], m['new']), encoding='utf-8')
    path = root/nb.file
    raw, i = json.loads(path.read_text(encoding='utf-8')), cell_to_break(nb, m['old'])
    raw['cells'][i]['source'] = nb.cells[i].src.replace(m['old'], m['new'])
    path.write_text(json.dumps(raw), encoding='utf-8')


def test_copy(
    root:Path, # of the course
    nb:Notebook, # to be tested
    m:dict=None, # a mutation to apply first
) -> tuple: # did it pass?, seconds, what it printed
    "Test a notebook in a copy of the course, with the modules of that copy."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        copy_course(root, copy)
        if m: apply(m, nb, copy)
        cmd = [sys.executable, copy/'tools'/'run_nbs.py', '--one', copy/nb.file]
        return run(cmd, PYTHONPATH=str(copy), OMP_NUM_THREADS='1', MPLBACKEND='agg')


def cause(
    out:str, # what a failed test printed
    nb:Notebook, # that was tested
) -> tuple: # name of the error ('' if no cell raised), its message with the cell's id
    "What ended a test."
    if not (m := re.search(r'^(\w+) in .*:\n=+\n\s*While Executing Cell #(\d+):', out, re.M)):
        return '', (out.strip().splitlines() or ['nothing was printed'])[-1]
    said = re.findall(rf'^(?:[\w.]+\.)?{m[1]}:?(.*)$', out[m.end():], re.M) or ['']
    return m[1], f'{m[1]} at cell {nb.cells[int(m[2]) - 1].id}: {" ".join(said[-1].split())[:60]}'.rstrip(': ')


def verdict(
    root:Path, # of the course
    nb:Notebook, # the notebook of the mutated module
    m:dict, # a mutation
) -> tuple: # was it killed?, line to print
    "Test a mutant: a test of the chapter must fail, and not because the mutation is no valid code."
    passed, seconds, out = test_copy(root, nb, m)
    name, what = ('', 'every test passed') if passed else cause(out, nb)
    killed = bool(name) and name not in BROKEN
    outcome = 'killed' if killed else 'SURVIVED' if passed else 'BROKEN' if name else 'CRASHED'
    return killed, f'{outcome:8} {nb.name}.{m["name"]}: {m["why"]} ({what}, {seconds:.0f} s)'


def attack(
    root:Path, # of the course
    nb:Notebook, # a notebook that exports
):  # yields (was it killed?, line to print)
    "Try the stored mutations of a notebook's module; what is missing or stale fails."
    try: mutations, source = load(root, nb.name), source_of(root, nb.name)
    except FileNotFoundError: return (yield False, f'MISSING  attn_course/{nb.name}.py: run make export')
    except ValueError as e: return (yield False, f'MISSING  {e}')
    for name in unmutated(source, mutations): yield False, f'MISSING  {nb.name}.{name} has no mutation: add one'
    wrong = {i: reason for i, m in enumerate(mutations) if (reason := wrong_with(m, nb, source))}
    for i, reason in wrong.items(): yield False, f'STALE    {nb.name}.{mutations[i]["name"]}: {reason}'
    usable = [m for i, m in enumerate(mutations) if i not in wrong]
    passed, _, out = test_copy(root, nb) if usable else (True, 0, '')
    if not passed: return (yield False, f'RED      {nb.file} fails without any mutation: {cause(out, nb)[1]}')
    with ThreadPoolExecutor(2) as pool: yield from pool.map(lambda m: verdict(root, nb, m), usable)


def chosen(
    names:list, # what the user typed; empty for every module that has mutations
) -> list: # notebooks
    "The notebooks meant. Raises FileNotFoundError or ValueError when there is none."
    if names: return [Notebook(find_notebook(n), ROOT) for n in names]
    nbs = {nb.name: nb for nb in (Notebook(p, ROOT) for p in notebooks(ROOT))}
    stored = sorted(p.stem for p in (ROOT/'tools'/'mutations').glob('*.toml'))
    if not stored: raise FileNotFoundError('tools/mutations/ holds no mutations')
    if lost := [n for n in stored if n not in nbs]: raise ValueError(f"mutations without a notebook: {lost}")
    return [nbs[n] for n in stored]


def finish(
    results, # (was it killed?, line) as they come
) -> int: # exit status
    "Print each line, then the count."
    done = []
    for ok, line in results:
        print(line, flush=True)
        done.append(ok)
    print(f'{sum(done)} passed, {len(done) - sum(done)} failed')
    return int(not all(done))


def show(
    nbs:list, # notebooks
):
    "Print the stored mutations of their modules. Raises ValueError where there are none."
    for nb in nbs:
        for m in load(ROOT, nb.name): print(f'{nb.name}.{m["name"]}: {m["why"]}')


def main() -> int: # exit status
    "Attack the notebooks the user names."
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('notebooks', nargs='*', help='such as 07 or workbench/01; left out: all with mutations')
    parser.add_argument('--list', action='store_true', help='print the stored mutations')
    parser.add_argument('--self-test', action='store_true', help='attack a small planted course')
    opts = parser.parse_args()
    if opts.self_test:
        from mutate_plants import self_test
        return self_test()
    try:
        nbs = chosen(opts.notebooks)
        if opts.list: return show(nbs)
    except (FileNotFoundError, ValueError) as e: sys.exit(f'{e}\n0 passed, 1 failed')
    for nb in nbs:
        if not nb.exported: print(f'{nb.file} exports nothing: there is nothing to mutate')
    return finish(result for nb in nbs if nb.exported for result in attack(ROOT, nb))


if __name__ == '__main__': sys.exit(main())
