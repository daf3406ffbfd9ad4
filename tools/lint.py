"""What no other tool checks in the notebooks, one rule, one function: `lint.py [NB | --self-test]`.

A rule is a generator of (cell or None, what to do). Rules read notebooks, they run no code of them.
"""
import ast
import csv
import io
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser

from course import (
    DEFINITIONS,
    FUNCTIONS,
    Course,
    bound_names,
    find_notebook,
    imports,
    is_patch,
    is_public_def,
    last_name,
    own_imports,
    text,
    without_magics,
)
from freshness import code_hash
from setup_env import ROOT

TORCH_ONLY = {'attention', 'spatial', 'channel', 'selfattention', 'metrics', 'contexts',
              'intercept', 'tokens', 'probe', 'capture', 'replay', 'blocks', 'places', 'cam',
              'multihead', 'vit', 'rollout', 'scale'}
LIGHT = {name: ({'torch', 'numpy'}, TORCH_ONLY) for name in TORCH_ONLY}
LIGHT |= {name: ({'numpy', 'scipy', 'PIL'}, {'render', 'scenes'}) for name in ('render', 'scenes')}
LIGHT['vit'] = {'torch', 'numpy', 'safetensors'}, TORCH_ONLY # it loads the weights that ship
FASTAI = {'data', 'study', 'attach', 'prepare', 'cases', 'interpret', 'unet', 'explore', 'caption',
          'captions', 'faithful', 'train', 'report'}
WIDGETS = {'widgets', 'explorer', 'explore', 'words'}
RESERVED = dict(matplotlib={'plot'}, ipywidgets=WIDGETS, anywidget=WIDGETS, fastai=FASTAI)
MAX_NOTEBOOK, MAX_FIGURE, MAX_LIVE = 1_500_000, 250_000, 100_000
MAX_EXPORTED, MAX_SHOWN, MIN_ALT = 30, 12, 40
MAX_CELLS, MAX_LINES, MAX_MODULE, MAX_LONG, MAX_HELPERS = 45, 250, 160, 4, 4 # of a chapter
SEEDS = {'manual_seed', 'set_seed', 'seed'}
CALLBACKS = {'interact', 'interactive', 'interactive_output', 'interact_manual', 'on_click',
             'observe', 'on_submit'}
WIDGET_VIEW = 'application/vnd.jupyter.widget-view+json'
RULES = {}


def rule(f):
    "Register a rule of the form `f(nb, course)` -> (cell or None, message)."
    RULES[f.__name__] = f
    return f


def listed(names):
    "Names as they stand in a message."
    return ', '.join(sorted(names))


# Modules and their order

@rule
def default_exp(nb, course):
    "`default_exp` is unique, there where anything is exported, and the file's name without number."
    found = [c for c in nb.code if 'default_exp' in c.directives]
    if nb.exported and not found:
        yield nb.exported[0], f'exports to no module: add `#| default_exp {nb.name}` above'
    for c in found[1:]: yield c, 'second default_exp: keep one'
    if nb.module not in ('', nb.name):
        yield found[0], f'default_exp is {nb.module!r}: make it {nb.name!r}, the name of the file'
    others = [o.file for o in course.nbs if o is not nb and o.module == nb.module != '']
    if others:
        yield found[0], f'is also the default_exp of {listed(others)}: one notebook, one module'


@rule
def imports_upward(nb, course):
    "A notebook imports only from modules above; `attn_course.all` is for those outside the order."
    for c in nb.code:
        for module, _ in own_imports(c.tree):
            if module == 'all':
                if not nb.free:
                    yield c, 'imports attn_course.all: import from modules above, by name'
            elif module not in course.ranks:
                yield c, f'imports attn_course.{module}, which no notebook makes'
            elif course.ranks[module] >= nb.rank:
                yield c, f'imports attn_course.{module}, which is not above: move one of them'


@rule
def explicit_names(nb, course):
    "Names of our modules are imported explicitly."
    for c in nb.code:
        for module, names in own_imports(c.tree):
            if '*' in names and not (nb.free and module == 'all'):
                yield c, f'star import of attn_course.{module}: name what you take'


@rule
def no_private_names(nb, course):
    "No private name crosses modules."
    known = {name for c in nb.code for name in module_names(c.tree)}
    for c in nb.code:
        taken = [n for _, names in own_imports(c.tree) for n in names]
        behind = [o for o in ast.walk(c.tree) if isinstance(o, ast.Attribute)]
        taken += [o.attr for o in behind if ast.unparse(o.value) in known]
        private = {n for n in taken if n.startswith('_') and not n.startswith('__')}
        if private:
            yield c, f'takes {listed(private)} from a module: make it public there, or do without'


def module_names(tree):
    "What modules of ours are called in some code: 'cam' after `from attn_course import cam`."
    for o in ast.walk(tree):
        if isinstance(o, ast.ImportFrom) and o.module == 'attn_course':
            yield from (a.asname or a.name for a in o.names)
        elif isinstance(o, ast.Import):
            names = [a for a in o.names if a.name.startswith('attn_course.')]
            yield from (a.asname or a.name for a in names)


@rule
def light_modules(nb, course):
    "Torch-only modules import nothing heavier at the top, render and scenes no torch."
    if nb.name not in LIGHT: return
    packages, own = LIGHT[nb.name]
    known = packages | RESERVED.keys() | sys.stdlib_module_names | {'attn_course'}
    for c in nb.exported:
        heavy = {m.split('.')[0] for m, _, nested in imports(c.tree) if not nested} - known
        heavy |= {f'attn_course.{m}' for m, _ in own_imports(c.tree) if m not in own}
        if heavy: yield c, f'imports {listed(heavy)}: {nb.name} may need {listed(packages)} only'


@rule
def reserved_packages(nb, course):
    "matplotlib, the widget packages and fastai stay in the modules that are for them."
    for c in nb.exported:
        for package in {m.split('.')[0] for m, _, _ in imports(c.tree)} & RESERVED.keys():
            if nb.name not in RESERVED[package]:
                yield c, f'imports {package}, which belongs in {listed(RESERVED[package])}'


# Cells

@rule
def imports_alone(nb, course):
    "A cell with an import holds only imports; exported functions may import packages inside."
    for c in nb.code:
        found = any(not (nested and c.exported) for _, _, nested in imports(c.tree))
        if found and not c.only_imports:
            yield c, 'mixes imports with other code: give the imports a cell'


@rule
def short_cells(nb, course):
    "In a chapter exported and folded cells up to 30 lines, visible ones up to 12; else twice that."
    scale = 2 if nb.path.parent.name == 'workbench' else 1 # a class of the workbench is whole
    for c in nb.code:
        out_of_sight = c.folded or 'hide' in c.directives
        limit = scale*(MAX_EXPORTED if c.exported or out_of_sight else MAX_SHOWN)
        if c.lines > limit: yield c, f'has {c.lines} lines, keep it to {limit}: split it'


@rule
def chapter_sizes(nb, course):
    "How much of a chapter a reader sees before *Exercises*, and how much of it is a module."
    if not (nb.is_chapter or nb.name == 'start') or is_old(nb.file, course.root): return
    later = set(below(nb, 'Exercises'))
    shown = [c for c in nb.code if not (c.folded or 'hide' in c.directives or c in later)]
    long = [c for c in nb.exported if c.lines > MAX_SHOWN]
    found = {
        'visible cells before Exercises': (len(shown), MAX_CELLS),
        'visible lines before Exercises': (sum(c.lines for c in shown), MAX_LINES),
        'exported lines': (sum(c.lines for c in nb.exported), MAX_MODULE),
        f'exported cells of more than {MAX_SHOWN} lines': (len(long), MAX_LONG),
        'private helpers': (len(helpers(nb)), MAX_HELPERS),
    }
    for what, (n, most) in found.items():
        if n > most: yield None, f'has {n} {what}, keep it to {most}: move code to the workbench'
    for c in long:
        if not c.folded: yield c, f'is exported and has {c.lines} lines: fold it'


def helpers(nb):
    "The private functions and classes that a notebook exports."
    definitions = (o for c in nb.exported for o in c.tree.body if isinstance(o, DEFINITIONS))
    return [o.name for o in definitions if o.name.startswith('_')]


@rule
def folded(nb, course):
    "Set-up cells and *Tests* of a chapter are folded, with the tag `hide-input`."
    if not nb.is_chapter or is_old(nb.file, course.root): return
    for c in [*set_up(nb), *below(nb, 'Tests')]:
        if not (c.folded and 'hide-input' in c.metadata.get('tags', [])):
            yield c, 'is set-up or test: fold it (jupyter.source_hidden, and the tag hide-input)'


def set_up(nb):
    "The cells before a chapter's first idea: `default_exp`, imports, the seed."
    for c in nb.code:
        if c.only_imports: yield c
        else:
            if is_seed(c): yield c
            return


def is_seed(cell):
    "Does the cell seed?"
    return any(last_name(o) in SEEDS for o in cell.calls)


def below(nb, heading):
    "The code cells under a heading that has a cell of its own."
    starts = [c.i for c in nb.cells if re.fullmatch(rf'#+ {heading}', c.src.strip())]
    return [c for c in nb.code if starts and c.i > starts[0]]


def is_old(file, root):
    "Is a notebook on the list of those that are not rewritten yet, in pyproject.toml?"
    config = tomllib.loads((root/'pyproject.toml').read_text(encoding='utf-8'))
    return any(fnmatch(file, o) for o in config['tool']['ruff']['extend-exclude'])


# Definitions and their tests

@rule
def docments(nb, course):
    "Every parameter of a public definition has a comment beside it; so has a plain return type."
    for c, o in nb.definitions:
        commented = comment_lines(without_magics(c.src))
        for d, args in signatures(o):
            name = o.name if d is o else f'{o.name}.{d.name}'
            bare = [a for a, lines in args if not commented & lines]
            if bare:
                yield c, f'{name}: no comment beside {", ".join(bare)}: say shape, unit or range'
            returns = getattr(d, 'returns', None)
            if is_plain(returns) and returns.end_lineno not in commented:
                said = ast.unparse(returns)
                yield c, f'{name}: no comment beside `-> {said}`: say what it holds'


def signatures(node):
    "(definition, [(parameter, its lines)]) of a function, or of a class and its public methods."
    if isinstance(node, FUNCTIONS): return [(node, parameters(node))]
    is_data = any(last_name(o) == 'dataclass' for o in node.decorator_list)
    fields = [o for o in node.body if is_data and isinstance(o, ast.AnnAssign)]
    methods = [o for o in node.body if isinstance(o, FUNCTIONS)]
    public = [o for o in methods if o.name == '__init__' or is_public_def(o)]
    own = node, [(o.target.id, {o.lineno, o.end_lineno}) for o in fields]
    return [own, *((m, parameters(m)) for m in public)]


def parameters(f):
    "[(name, lines where its comment may stand)], without self, cls, *args and **kwargs."
    args = *f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs
    return [(o.arg, {o.lineno, o.end_lineno}) for o in args if o.arg not in ('self', 'cls')]


def is_plain(returns):
    "Does a return type leave open what it holds? A class (`Figure`) says it, `Tensor` does not."
    if returns is None or isinstance(returns, ast.Constant): return False
    name = last_name(returns.value if isinstance(returns, ast.Subscript) else returns)
    return name == 'Tensor' or not name[:1].isupper()


def comment_lines(src) -> set:
    "Numbers of the lines that carry a comment."
    tokens = tokenize.generate_tokens(io.StringIO(src).readline)
    try: comments = [t for t in tokens if t.type == tokenize.COMMENT]
    except (tokenize.TokenError, SyntaxError): return set()
    return {t.start[0] for t in comments if t.string.strip('# ')}


@rule
def tested_later(nb, course):
    "Every public definition is called in a later cell, and what came back is asserted on."
    for c, o in nb.definitions:
        if 'exporti' in c.directives: continue # for other modules only: tested by what uses it
        below = nb.code[nb.code.index(c) + 1:]
        later = [d.tree for d in below if not d.exported and d.runs]
        if not any(is_tested(later, n, is_patch(o)) for n in makers(nb, o)):
            yield c, f'{o.name} has no test: call it in a later cell and assert on what comes back'


def makers(nb, node):
    "The name of a definition; for a class also those of the definitions that use it."
    names, more = set(), {node.name}
    while more and isinstance(node, ast.ClassDef):
        names |= more
        others = [o for _, o in nb.definitions if o.name not in names]
        more = {o.name for o in others if mentions(o, names)}
    return names | more


def is_tested(trees, name, as_method):
    "Does a cell use `name` and assert, or assert on what was made with `name` before?"
    made = set()
    for tree in trees:
        used = [o for o in tree.body if uses(o, name, as_method)]
        for o in tree.body:
            if o in used or mentions(o, made): made |= bound_names(o)
        tests = [o for o in ast.walk(tree) if is_test(o) and last_name(o) != 'test_fail']
        if tests and (used or any(mentions(o, made) for o in tests)): return True
    return False


def is_test(node):
    "Is `node` an assert, or a call of a test function?"
    if isinstance(node, ast.Assert): return True
    return isinstance(node, ast.Call) and last_name(node).startswith(('test_', 'assert_'))


def mentions(tree, names):
    "Does one of these names occur in the code?"
    return any(getattr(o, 'id', None) in names for o in ast.walk(tree))


def uses(tree, name, as_method):
    "Does `name` occur in the code (for a patched method: after a dot)?"
    return any(getattr(o, 'attr' if as_method else 'id', None) == name for o in ast.walk(tree))


@rule
def tests_can_fail(nb, course):
    "No test sits inside `Output`, `interact` or a click handler, where errors are swallowed."
    every = [(c, o) for c in nb.code for o in ast.walk(c.tree)]
    assigned = [o for _, o in every if isinstance(o, ast.Assign) and last_name(o.value) == 'Output']
    outputs = {last_name(t) for o in assigned for t in o.targets} | {'Output'}
    given = [o for _, o in every if isinstance(o, ast.Call) and last_name(o) in CALLBACKS]
    handlers = {last_name(a) for o in given for a in o.args}
    for c, o in every:
        if swallows(o, outputs, handlers) and any(map(is_test, ast.walk(o))):
            yield c, 'test inside Output, interact or a handler cannot fail: test the pure function'


def swallows(node, outputs, handlers):
    "Does code inside `node` run where its errors are lost?"
    if isinstance(node, ast.With):
        return any(last_name(o.context_expr) in outputs for o in node.items)
    if isinstance(node, ast.Call):
        return last_name(node) in CALLBACKS and any(isinstance(a, ast.Lambda) for a in node.args)
    if not isinstance(node, FUNCTIONS): return False
    return node.name in handlers or any(last_name(d) in CALLBACKS for d in node.decorator_list)


@rule
def seeded(nb, course):
    "The first code cell of a chapter after `default_exp` and the imports seeds."
    first = next((c for c in nb.code if not c.only_imports), None)
    if nb.is_chapter and first and not is_seed(first):
        yield first, 'first code cell does not seed: put torch.manual_seed(...) into a cell above'


@rule
def num_workers(nb, course):
    "`num_workers`, where written, is 0."
    for c in nb.code:
        code = re.sub(r'#.*', '', c.src)
        for m in re.finditer(r"\bnum_workers\b['\"]?\s*[:=]\s*(\w+)", code):
            if m[1].isdigit() and int(m[1]): yield c, f'num_workers is {m[1]}: make it 0'


# What is stored

@rule
def kernelspec(nb, course):
    "The kernel is `python3`."
    kernel = nb.raw['metadata'].get('kernelspec', {}).get('name')
    if kernel != 'python3': yield None, f'kernelspec is {kernel!r}: make it python3'


@rule
def no_widget_state(nb, course):
    "No widget state, no widget view: they hold random ids."
    if 'widgets' in nb.raw['metadata']: yield None, 'stores widget state: run make outputs'
    for c in nb.code:
        if any(WIDGET_VIEW in o.get('data', {}) for o in c.outputs):
            yield c, 'stores a widget view: run make outputs'


@rule
def outputs_stored(nb, course):
    "Some outputs are stored in every notebook with code, and those of cells that show something."
    code = [c for c in nb.code if c.tree.body and c.runs]
    shown = [c for c in code if not (c.exported or c.has_import)]
    if shown and not any(c.outputs for c in shown):
        yield None, 'stores no outputs: run make outputs'
        return
    for c in shown:
        if shows(c) and not c.outputs:
            yield c, 'shows something, but its output is not stored: run make outputs'


def shows(cell):
    "Does the cell print at its top level, or end in a bare name?"
    values = [o.value for o in cell.tree.body if isinstance(o, ast.Expr)]
    if any(isinstance(o, ast.Call) and last_name(o) == 'print' for o in values): return True
    last = cell.tree.body[-1]
    is_name = isinstance(last, ast.Expr) and isinstance(last.value, ast.Name)
    return is_name and not cell.src.rstrip().endswith(';')


@rule
def no_errors(nb, course):
    "No stored output is an error."
    for c in nb.code:
        for o in c.outputs:
            if o['output_type'] == 'error': yield c, f'stores an error ({o["ename"]}): correct it'


@rule
def no_machine_paths(nb, course):
    "No stored output names a folder of the machine it was made on."
    for c in nb.code:
        found = re.search(r'(/[\w.-]+){2,}/site-packages|/home/\w+|/Users/\w+', said(c.outputs))
        if found: yield c, f'stores the path {found[0]}: silence what printed it, run make outputs'


def said(outputs) -> str:
    "What outputs print, without pictures and pages."
    streams = [text(o.get('text')) for o in outputs]
    return '\n'.join(streams + [text(o.get('data', {}).get('text/plain')) for o in outputs])


@rule
def notebook_size(nb, course):
    "At most 1.5 MB."
    size = nb.path.stat().st_size
    if size > MAX_NOTEBOOK:
        yield None, f'has {size/1000:.0f} KB, keep it to {MAX_NOTEBOOK//1000}: show less'


@rule
def figure_size(nb, course):
    "A figure has at most 250 KB as stored, a live view 100 KB."
    for c in nb.code:
        for o, html in zip(c.outputs, c.html, strict=True):
            limit = MAX_LIVE if '<script' in html else MAX_FIGURE
            live = {'text/html': html} if '<script' in html else o.get('data', {})
            size = sum(len(text(v).encode()) for v in live.values() if not isinstance(v, dict))
            if size > limit: yield c, f'its output has {size/1000:.0f} KB, keep it to {limit//1000}'


@rule
def results_fresh(nb, course):
    "Stored results were made by the code as it is."
    path = course.root/'nbs'/'results'/f'{nb.number}.csv'
    if not (nb.is_chapter and path.exists()): return
    with path.open(newline='', encoding='utf-8') as f:
        hashes = {row.get('code_hash') for row in csv.DictReader(f)}
    if hashes != {code_hash(nb)}:
        said = f'run make experiments NB={nb.number}'
        yield None, f'nbs/results/{path.name} was made by other code: {said}'


# Figures

class Alts(HTMLParser):
    "Collects the alt text of every <img>, '' where there is none."

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        "Called by the parser."
        if tag == 'img': self.found.append((dict(attrs).get('alt') or '').strip())


def alts(html) -> list:
    "Alt texts of the images in `html`, in order."
    parser = Alts()
    parser.feed(html)
    parser.close()
    return parser.found


def figures(nb):
    "(cell, its alt texts) for every stored output that shows a picture."
    for c in nb.code:
        for o, html in zip(c.outputs, c.html, strict=True):
            found = alts(html)
            if found or any(k.startswith('image/') for k in o.get('data', {})): yield c, found


@rule
def figures_have_alt(nb, course):
    "Every stored figure's HTML holds an `<img alt>` of at least 40 characters."
    for c, found in figures(nb):
        if not found: yield c, 'figure without alt text: its text/html needs an <img alt="...">'
        for alt in found:
            if len(alt) < MIN_ALT:
                yield c, f'alt text {alt!r} is shorter than {MIN_ALT} characters: state the finding'


@rule
def alts_differ(nb, course):
    "No alt text is repeated in a notebook."
    seen = set()
    for c, found in figures(nb):
        for alt in sorted({a for a in found if len(a) >= MIN_ALT}):
            if alt in seen:
                yield c, f'alt text {alt[:50]!r}... was there before: say what is different here'
            seen.add(alt)


# Running the rules

def problems(course):
    "(rule, line to print) of everything that is wrong."
    for file, message in course.invalid: yield 'valid', f'{file}: {message}'
    for nb in course.chosen:
        for name, f in RULES.items():
            for cell, message in f(nb, course):
                where = '' if cell is None else f' cell {cell.id}'
                yield name, f'{nb.file}{where}: {message}'


def main(
    args:list, # [], [NB] or ['--self-test']
) -> int: # exit status: 1 with problems
    "Lint all notebooks or one."
    if args == ['--self-test']:
        plants = [sys.executable, ROOT/'tests'/'lint_plants.py']
        return subprocess.call(plants, env=os.environ | {'PYTHONPATH': str(ROOT/'tools')})
    course = Course(ROOT, [find_notebook(args[0])] if args else None)
    found = list(problems(course))
    for _, said in found: print(said)
    print(f'{len(found)} problems' if found else f'no problems in {len(course.chosen)} notebooks')
    return int(bool(found))


if __name__ == '__main__':
    if len(sys.argv) > 2: sys.exit('usage: lint.py [NB | --self-test]')
    try: sys.exit(main(sys.argv[1:]))
    except (FileNotFoundError, ValueError) as e: sys.exit(str(e))
