"""Lint of the notebooks, one rule, one function: `check_nbs.py [NB | --self-test | --names]`.

A rule is a generator of (cell or None, what to do). Rules read notebooks as text and run none of their code.
"""
import ast
import csv
import hashlib
import io
import json
import re
import sys
import tokenize
from collections import Counter
from configparser import ConfigParser
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path

from run_nbs import ROOT, find_notebook

FREE = 'index', '00_start', 'glossary'
TORCH_ONLY = set('attention spatial channel selfattention capture cam multihead vit rollout scale'.split())
LIGHT = {name: ({'torch', 'numpy'}, TORCH_ONLY) for name in TORCH_ONLY} | {'render': ({'numpy', 'PIL'}, set())}
FASTAI = set('data attach interpret unet explore caption faithful train report'.split())
RESERVED = dict(matplotlib={'plot'}, ipywidgets={'widgets'}, anywidget={'widgets'}, fastai=FASTAI)
IMPORT_NAMES = dict(pillow=['PIL'], fastai=['fastai', 'fastcore', 'scipy'],
                    ipywidgets=['ipywidgets', 'IPython', 'traitlets'])
NAMES_DEPEND_ON = 'fastai', 'fastcore', 'torch'
MAX_BYTES, MAX_EXPORTED, MAX_SHOWN, MIN_ALT = 300_000, 30, 12, 40
PYTHON_MAGICS = {'time', 'timeit', 'capture', 'prun'}
SEEDS = {'manual_seed', 'set_seed', 'seed'}
CALLBACKS = {'interact', 'interactive', 'interactive_output', 'interact_manual', 'on_click', 'observe', 'on_submit'}
WIDGET_VIEW = 'application/vnd.jupyter.widget-view+json'
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
RULES, COURSE_RULES = {}, {}


def rule(f):
    "Register a rule of the form `f(nb, course)` -> (cell or None, message)."
    RULES[f.__name__] = f
    return f


def course_rule(f):
    "Register a rule of the form `f(course)` -> (file, message), held when the whole course is linted."
    COURSE_RULES[f.__name__] = f
    return f


def code_hash(
    root, # folder that holds `nbs` and `attn_course`
    number:str, # of a chapter: '05'
    module:str, # its module: 'attach'
) -> str: # 12 hexadecimal digits; words (comments, docstrings) do not count
    "What a stored result names as the code that made it: the chapter's module and its study cells."
    nb, path = Path(root)/'nbs'/f'{number}_{module}.ipynb', Path(root)/'attn_course'/f'{module}.py'
    parts = [path.read_text(encoding='utf-8')] if path.exists() else []
    parts += [c.src for c in Notebook(nb, Path(root)).study] if nb.exists() else []
    return hashlib.sha256(wordless('\n'.join(parts)).encode()).hexdigest()[:12]


def wordless(src:str) -> str:
    "Code without comments, docstrings, other bare strings and annotations."
    try: tree = ast.parse(src)
    except SyntaxError: return src
    for o in ast.walk(tree):
        if isinstance(body := getattr(o, 'body', None), list):
            o.body = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        if isinstance(o, FUNCTIONS): o.returns = None
        if isinstance(o, ast.arg): o.annotation = None
    return ast.dump(tree)


def text(x) -> str:
    "A notebook stores text as a string or as a list of lines."
    return x if isinstance(x, str) else ''.join(x or ())


def last_name(node) -> str:
    "The name at the end of a (called) dotted expression: 'close' for `plt.close` and `plt.close()`."
    if isinstance(node, ast.Call): node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, 'id', '')


def without_magics(src:str) -> str:
    "Notebook code as Python: a line of magic becomes `pass`, a cell in another language nothing."
    try: return ast.parse(src) and src
    except SyntaxError: pass
    if m := re.match(r'(?:\s*#.*\n)*\s*%%(\w+).*', src): return src[m.end():] if m[1] in PYTHON_MAGICS else ''
    src = re.sub(r'^([ \t]*)(?:[%!?].*|[\w.]+\?{1,2})$', r'\1pass', src, flags=re.M)
    return re.sub(r'^([ \t]*[\w, ]+=[ \t]*)[%!].*$', r'\1None', src, flags=re.M)


def is_notebook(x) -> bool:
    "Has parsed JSON the shape of a notebook, as far as the rules rely on it?"
    return (has(x, cells=list, metadata=dict) and 'cells' in x and has(x.get('metadata', {}), kernelspec=dict)
            and all(map(is_cell, x['cells'])))


def is_cell(x) -> bool:
    "Has parsed JSON the shape of a cell?"
    src = x.get('source') if has(x, metadata=dict, outputs=list, cell_type=str) else None
    is_text = isinstance(src, str) or isinstance(src, list) and all(isinstance(line, str) for line in src)
    return (is_text and has(x.get('metadata', {}), jupyter=dict)
            and all(has(o, data=dict) for o in x.get('outputs', [])))


def has(x, **types) -> bool:
    "Is `x` a dictionary whose items, where present, have these types?"
    return isinstance(x, dict) and all(isinstance(x.get(k, t()), t) for k, t in types.items())


class Cell:
    "One cell, with what the rules ask about it."

    def __init__(self, raw, i):
        self.i, self.raw = i, raw
        self.id, self.src = raw.get('id'), text(raw.get('source'))
        self.is_code, self.metadata = raw.get('cell_type') == 'code', raw.get('metadata', {})
        self.outputs = raw.get('outputs', []) if self.is_code else []

    @cached_property
    def directives(self) -> dict:
        "Name -> arguments of the `#|` lines that open the cell."
        found = {}
        for line in self.src.splitlines() if self.is_code else ():
            if line.strip() and not (m := re.match(r'\s*#\s*\|(.*)', line)): break
            if line.strip() and (words := m[1].replace(':', ' ').split()): found[words[0]] = words[1:]
        return found

    @cached_property
    def tree(self):
        "The parsed code; an empty module for prose and for what is no Python (the rule `parses` names it)."
        try: return ast.parse(without_magics(self.src) if self.is_code else '')
        except SyntaxError: return ast.parse('')

    @property
    def exported(self): return bool({'export', 'exports', 'exporti'} & self.directives.keys())
    @property
    def folded(self): return bool(self.metadata.get('jupyter', {}).get('source_hidden'))
    @property
    def runs(self): return self.directives.get('eval', [''])[:1] != ['false'] and 'slow' not in self.directives
    @property
    def has_import(self): return any(not nested for _, _, nested in imports(self.tree))
    @property
    def lines(self): return sum(bool(o.strip()) and not re.match(r'\s*#\s*\|', o) for o in self.src.splitlines())
    @property
    def calls(self): return [o for o in ast.walk(self.tree) if isinstance(o, ast.Call)]

    @property
    def html(self):
        "The HTML of each output, '' for an output without."
        return [text(o.get('data', {}).get('text/html')) for o in self.outputs]


class Notebook:
    "One notebook and its place in the reading order. Raises ValueError for a corrupt file."

    def __init__(self, path, root):
        self.path, self.file, self.root = path, path.relative_to(root).as_posix(), root
        try: self.raw = json.loads(path.read_text(encoding='utf-8'))
        except ValueError as e: raise ValueError(f'is no notebook ({e}): restore it') from None
        if not is_notebook(self.raw): raise ValueError('is no notebook (wrong cells or metadata): restore it')
        self.cells = [Cell(c, i) for i, c in enumerate(self.raw['cells'])]
        self.code = [c for c in self.cells if c.is_code and c.src.strip()]
        numbered = re.fullmatch(r'(\d\d)_(\w+)', path.stem)
        self.number, self.name = numbered.groups() if numbered else ('', path.stem)

    @property
    def free(self): return self.path.stem in FREE and self.path.parent == self.root/'nbs'
    @property
    def rank(self): return (2,) if self.free else (self.path.parent.name != 'workbench', int(self.number or -1))
    @property
    def is_chapter(self): return self.rank[0] == 1 and 1 <= self.rank[1] <= 18
    @property
    def exported(self): return [c for c in self.code if c.exported]
    @property
    def study(self): return [c for c in self.code if 'study' in c.directives]
    @property
    def definitions(self): return [(c, o) for c in self.exported for o in c.tree.body if is_public_def(o)]


class Course:
    "All notebooks under a root, those that were chosen, and those that could not be read."

    def __init__(self, root, chosen=None):
        self.root, self.nbs, self.corrupt = Path(root), [], []
        paths = notebooks(self.root)
        chosen = paths if chosen is None else chosen
        for path in paths:
            try: self.nbs.append(Notebook(path, self.root))
            except ValueError as e:
                if path in chosen: self.corrupt.append((path.relative_to(self.root).as_posix(), str(e)))
        self.chosen = [nb for nb in self.nbs if nb.path in chosen]
        self.whole = len(chosen) == len(paths)
        self.ranks = {nb.name: nb.rank for nb in self.nbs if not nb.free}


def notebooks(
    root, # folder that holds `nbs`
) -> list: # paths, sorted
    "Every notebook of the course; files and folders that begin with `_` or `.` are left out."
    nbs = Path(root)/'nbs'
    return sorted(p for p in nbs.rglob('*.ipynb') if not any(o[0] in '_.' for o in p.relative_to(nbs).parts))


def imports(node, nested=False):
    "(module, names, is it inside a function?) of every import below `node`."
    for o in ast.iter_child_nodes(node):
        if isinstance(o, ast.Import): yield from ((a.name, [], nested) for a in o.names)
        elif isinstance(o, ast.ImportFrom): yield o.module or '', [a.name for a in o.names], nested
        else: yield from imports(o, nested or isinstance(o, (*FUNCTIONS, ast.Lambda)))


def own_imports(tree):
    "Names of our modules which are imported below `tree`; (name, names taken from it)."
    for module, names, _ in imports(tree):
        if module.startswith('attn_course.'): yield module.split('.')[1], names
        elif module == 'attn_course': yield from ((n, []) for n in names if not n.startswith('__'))


def is_public_def(node):
    "Is `node` a function or class whose name has no leading underscore?"
    return isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith('_')


def is_patch(node):
    "Does fastcore's `patch` make this function a method of another class?"
    return any(last_name(o).startswith('patch') for o in node.decorator_list)


def is_test(node):
    "Is `node` an assert, or a call of a test function?"
    if isinstance(node, ast.Assert): return True
    return isinstance(node, ast.Call) and last_name(node).startswith(('test_', 'assert_'))


def has_test(node):
    "Is there a test anywhere below `node`?"
    return any(map(is_test, ast.walk(node)))


# Modules and their order

@rule
def default_exp(nb, course):
    "`default_exp` is unique, present where anything is exported, and equal to the file's name without its number."
    found = module_names(nb)
    if nb.exported and not found: yield nb.exported[0], f'exports to no module: add `#| default_exp {nb.name}` above'
    for c, name in found[1:]: yield c, f'second default_exp ({name}): keep one'
    for c, name in found[:1]:
        if name != nb.name: yield c, f'default_exp is {name!r}: make it {nb.name!r}, the name of the file'
        others = [o.file for o in course.nbs if o is not nb and name in dict(module_names(o)).values()]
        if others: yield c, f'default_exp {name} is also that of {", ".join(others)}: one notebook, one module'


def module_names(nb):
    "[(cell, name)] of every `default_exp`."
    return [(c, ' '.join(c.directives['default_exp'])) for c in nb.code if 'default_exp' in c.directives]


@rule
def reading_order(nb, course):
    "Every notebook has a place in the reading order."
    if not (nb.free or nb.number): yield None, 'has no place in the reading order: name it NN_name.ipynb'


@rule
def imports_upward(nb, course):
    "A notebook imports only from modules above it; `attn_course.all` is for the notebooks outside the order."
    for c in nb.code:
        for module, _ in own_imports(c.tree):
            if module == 'all':
                if not nb.free: yield c, 'imports attn_course.all: import from the modules above, by name'
            elif module not in course.ranks: yield c, f'imports attn_course.{module}, which no notebook makes'
            elif course.ranks[module] >= nb.rank:
                yield c, f'imports attn_course.{module}, which does not stand above: move one of them'


@rule
def explicit_names(nb, course):
    "Names of our modules are imported explicitly."
    for c in nb.code:
        for module, names in own_imports(c.tree):
            if '*' in names and not (nb.free and module == 'all'):
                yield c, f'star import of attn_course.{module}: name what you take'


@rule
def light_modules(nb, course):
    "Torch-only modules import nothing heavier at the top, render numpy and Pillow only."
    allowed, own = LIGHT.get(nb.name, (None, None))
    if allowed is None: return
    known = allowed | RESERVED.keys() | sys.stdlib_module_names | {'attn_course'}
    for c in nb.exported:
        heavy = {m.split('.')[0] for m, _, nested in imports(c.tree) if not nested} - known
        heavy |= {f'attn_course.{m}' for m, _ in own_imports(c.tree) if m not in own}
        if heavy: yield c, f'{nb.name} imports {listed(heavy)}: it may need {listed(allowed)} only'


def listed(names): return ', '.join(sorted(names))


@rule
def reserved_packages(nb, course):
    "matplotlib, the widget packages and fastai stay in the modules that are for them."
    for c in nb.exported:
        for package in {m.split('.')[0] for m, _, _ in imports(c.tree)} & RESERVED.keys():
            if nb.name not in RESERVED[package]:
                yield c, f'imports {package}, which belongs in {listed(RESERVED[package])}'


@rule
def optional_nested(nb, course):
    "A package which ours does not require (timm, scikit-image, ...) is imported inside the function that uses it."
    if nb.name in LIGHT: return
    known = required_packages(course.root) | RESERVED.keys() | sys.stdlib_module_names | {'attn_course'}
    for c in nb.exported:
        for package in {m.split('.')[0] for m, _, nested in imports(c.tree) if not nested} - known:
            yield c, f'imports {package}, not required by settings.ini: import it where a function uses it'


def required_packages(root) -> set:
    "What may be imported at the top of a module, after the requirements in settings.ini."
    parser = ConfigParser(delimiters=['='], interpolation=None)
    parser.read(Path(root)/'settings.ini', encoding='utf-8')
    names = [re.match(r'[\w-]+', o)[0] for o in parser['DEFAULT']['requirements'].split()]
    return {o for n in names for o in IMPORT_NAMES.get(n, [n.split('-')[0]])}


@rule
def fastai_names(nb, course):
    "No public name of ours occurs in `fastai.vision.all`."
    taken = set(names_file(course.root).read_text(encoding='utf-8').split('\n', 1)[1].split())
    for c in nb.exported:
        for name in public_names(c.tree):
            if name in taken: yield c, f'{name} is a name of fastai.vision.all: choose another'


def public_names(tree):
    "Functions, classes and values that `from module import *` would bring."
    for o in tree.body:
        if is_public_def(o) and not is_patch(o): yield o.name
        targets = o.targets if isinstance(o, ast.Assign) else [o.target] if isinstance(o, ast.AnnAssign) else []
        yield from (n for t in targets for n in stored(t) if not n.startswith('_'))


def stored(node):
    "Names that get a value below `node`."
    return {o.id for o in ast.walk(node) if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Store)}


def names_file(root): return Path(root)/'tools'/'fastai_names.txt'


def names_header(versions) -> str:
    "First line of the list of fastai's names: what it was made with."
    return f'# from fastai.vision.all import *, with {", ".join(f"{k} {versions[k]}" for k in NAMES_DEPEND_ON)}'


@course_rule
def fastai_names_fresh(course):
    "The list of fastai's names was made with the versions that constraints.txt pins."
    pins = dict(re.findall(r'^([\w-]+)==([\w.]+)', (course.root/'constraints.txt').read_text(encoding='utf-8'), re.M))
    if names_file(course.root).read_text(encoding='utf-8').split('\n', 1)[0] != names_header(pins):
        yield 'tools/fastai_names.txt', 'has other versions than constraints.txt: run tools/check_nbs.py --names'


# Cells

@rule
def parses(nb, course):
    "Code cells hold Python (magics aside)."
    for c in nb.code:
        try: ast.parse(without_magics(c.src))
        except SyntaxError as e: yield c, f'does not parse ({e.msg}, line {e.lineno}): correct it'


@rule
def imports_alone(nb, course):
    "A cell with an import holds only imports; exported functions may import optional packages inside."
    for c in nb.code:
        found = any(not (nested and c.exported) for _, _, nested in imports(c.tree))
        if found and not only_imports(c): yield c, 'mixes imports with other code: give the imports a cell'


def only_imports(cell):
    "Does the cell hold imports only (or no code at all)?"
    return all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in cell.tree.body)


@rule
def no_magics(nb, course):
    "No magics in exported cells."
    for c in nb.exported:
        if without_magics(c.src) != c.src: yield c, 'exported cell holds a magic: move it to a cell of its own'


@rule
def short_cells(nb, course):
    "Exported and hidden cells up to 30 lines, shown ones up to 12; directives and blank lines do not count."
    for c in nb.code:
        out_of_sight = c.folded or 'hide' in c.directives
        limit = MAX_EXPORTED if c.exported or out_of_sight else MAX_SHOWN
        kind = 'exported' if c.exported else 'hidden' if out_of_sight else 'shown'
        if c.lines > limit: yield c, f'{kind} cell has {c.lines} lines, keep it to {limit}: split it'


@rule
def docstrings(nb, course):
    "Every public definition has a docstring; so have its public methods, `forward` excepted."
    for c, o in nb.definitions:
        methods = o.body if isinstance(o, ast.ClassDef) else []
        for d in (o, *(m for m in methods if is_public_def(m) and m.name != 'forward')):
            if not ast.get_docstring(d): yield c, f'{label(o, d)} has no docstring: say what comes back'


@rule
def docments(nb, course):
    "Every parameter of a public definition has a comment beside it, and so has a plain return type."
    for c, o in nb.definitions:
        commented = comment_lines(without_magics(c.src))
        for d, args in signatures(o):
            bare = [a for a, lines in args if not commented & lines]
            if bare: yield c, f'{label(o, d)}: no comment beside {", ".join(bare)}: say shape, unit or range'
            returns = getattr(d, 'returns', None)
            if returns is not None and is_plain(returns) and returns.end_lineno not in commented:
                yield c, f'{label(o, d)}: no comment beside `-> {ast.unparse(returns)}`: say what it holds'


def label(outer, inner):
    "How a definition is named in a message."
    return outer.name if outer is inner else f'{outer.name}.{inner.name}'


def signatures(node):
    "(definition, [(parameter, its lines)]) of a function, or of a class's fields, `__init__` and public methods."
    if isinstance(node, FUNCTIONS): return [(node, parameters(node))]
    is_data = any(last_name(o) == 'dataclass' for o in node.decorator_list)
    fields = [(o.target.id, {o.lineno, o.end_lineno}) for o in node.body if is_data and isinstance(o, ast.AnnAssign)]
    methods = [o for o in node.body if isinstance(o, FUNCTIONS) and (o.name == '__init__' or is_public_def(o))]
    return [(node, fields), *((m, parameters(m)) for m in methods)]


def parameters(f):
    "[(name, lines where its comment may stand)], without self, cls, *args and **kwargs."
    args = (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)
    return [(o.arg, {o.lineno, o.end_lineno}) for o in args if o.arg not in ('self', 'cls')]


def is_plain(returns):
    "Does a return type leave open what it holds? A class of its own (`Figure`) says it, `Tensor` or `tuple` does not."
    name = last_name(returns.value if isinstance(returns, ast.Subscript) else returns)
    return not (isinstance(returns, ast.Constant) or name[:1].isupper() and name != 'Tensor')


def comment_lines(src) -> set:
    "Numbers of the lines that carry a comment."
    try: return {t.start[0] for t in tokenize.generate_tokens(io.StringIO(src).readline)
                 if t.type == tokenize.COMMENT and t.string.strip('# ')}
    except (tokenize.TokenError, SyntaxError): return set()


@rule
def tested_later(nb, course):
    "Every public definition is called in a later cell, and what came back is asserted on there or below."
    for c, o in nb.definitions:
        later = [d.tree for d in nb.code[nb.code.index(c)+1:] if not d.exported and d.runs]
        if not any(is_tested(later, n, is_patch(o)) for n in makers(nb, o)):
            yield c, f'{o.name} has no test: call it in a later cell and assert on what comes back'


def makers(nb, node):
    "The name of a definition; for a class also those of the public definitions that use it, directly or not."
    names, more = set(), {node.name}
    while more and isinstance(node, ast.ClassDef):
        names |= more
        more = {o.name for _, o in nb.definitions if o.name not in names and mentions(o, names)}
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


def mentions(tree, names):
    "Does one of these names occur in the code?"
    return any(getattr(o, 'id', None) in names for o in ast.walk(tree))


def uses(tree, name, as_method):
    "Does `name` occur in the code (for a patched method: after a dot)?"
    return any(getattr(o, 'attr' if as_method else 'id', None) == name for o in ast.walk(tree))


def bound_names(node):
    "Names that a statement gives a value."
    return {node.name} if isinstance(node, (*FUNCTIONS, ast.ClassDef)) else stored(node)


@rule
def seeded(nb, course):
    "The first code cell of a chapter after `default_exp` and the imports seeds."
    if not nb.is_chapter: return
    first = next((c for c in nb.code if not only_imports(c)), None)
    if first and not any(last_name(o) in SEEDS for o in first.calls):
        yield first, 'first code cell does not seed: put torch.manual_seed(...) or set_seed(...) into a cell above'


@rule
def num_workers(nb, course):
    "`num_workers`, where written, is 0."
    for c in nb.code:
        for name, value in named_values(c.tree):
            if name == 'num_workers' and isinstance(value, ast.Constant) and value.value != 0:
                yield c, f'num_workers is {value.value!r}: make it 0'


def named_values(tree):
    "(name, value) of keywords, assignments, dictionary items and defaults."
    for o in ast.walk(tree):
        if isinstance(o, ast.keyword): yield o.arg, o.value
        elif isinstance(o, ast.Assign): yield from ((last_name(t), o.value) for t in o.targets)
        elif isinstance(o, ast.Dict): yield from ((getattr(k, 'value', None), v) for k, v in zip(o.keys, o.values))
        elif isinstance(o, ast.arguments):
            positional = (o.posonlyargs + o.args)[::-1]
            for args, defaults in ((positional, o.defaults[::-1]), (o.kwonlyargs, o.kw_defaults)):
                yield from ((a.arg, v) for a, v in zip(args, defaults))


@rule
def tests_can_fail(nb, course):
    "No test sits inside `Output`, `interact` or a click handler, where errors are swallowed."
    names = {last_name(t) for c in nb.code for o in ast.walk(c.tree) if isinstance(o, ast.Assign)
             and last_name(o.value) == 'Output' for t in o.targets} | {'Output'}
    handlers = {n for c in nb.code for n in handler_names(c.tree)}
    for c in nb.code:
        for o in ast.walk(c.tree):
            if swallows(o, names, handlers) and has_test(o):
                yield c, 'test inside Output, interact or a handler cannot fail: test the pure function'


def handler_names(tree):
    "Names of functions given to interact, on_click, observe, ..."
    for o in ast.walk(tree):
        if isinstance(o, ast.Call) and last_name(o) in CALLBACKS: yield from (last_name(a) for a in o.args)


def swallows(node, outputs, handlers):
    "Does code inside `node` run where its errors are lost?"
    if isinstance(node, ast.With): return any(last_name(o.context_expr) in outputs for o in node.items)
    if isinstance(node, ast.Call):
        return last_name(node) in CALLBACKS and any(isinstance(a, ast.Lambda) for a in node.args)
    return isinstance(node, FUNCTIONS) and is_handler(node, handlers)


def is_handler(node, handlers):
    "Is the function given or decorated as a callback?"
    return node.name in handlers or any(last_name(d) in CALLBACKS for d in node.decorator_list)


# What is stored

@rule
def notebook_format(nb, course):
    "nbformat 4.5 and the kernel `python3`."
    version = nb.raw.get('nbformat'), nb.raw.get('nbformat_minor')
    if version != (4, 5): yield None, f'nbformat is {version[0]}.{version[1]}: make it 4.5'
    kernel = nb.raw.get('metadata', {}).get('kernelspec', {}).get('name')
    if kernel != 'python3': yield None, f'kernelspec is {kernel!r}: make it python3'


@rule
def cell_ids(nb, course):
    "Every cell has an id of its own."
    counts = Counter(str(c.id) for c in nb.cells)
    for c in nb.cells:
        if not re.fullmatch(r'[\w-]{1,64}', c.id if isinstance(c.id, str) else ''):
            yield c, 'has no valid id: run nbdev_clean'
        elif counts[c.id] > 1: yield c, 'shares its id with another cell: give it one of its own'


@rule
def no_widget_state(nb, course):
    "No widget state, no widget view: they hold random ids."
    if 'widgets' in nb.raw.get('metadata', {}): yield None, 'stores widget state: run make outputs'
    for c in nb.code:
        if any(WIDGET_VIEW in o.get('data', {}) for o in c.outputs): yield c, 'stores a widget view: run make outputs'


@rule
def outputs_stored(nb, course):
    "Outputs are stored: some in every notebook with code, and those of cells that clearly show something."
    shown = [c for c in nb.code if c.tree.body and c.runs and not (c.exported or c.has_import)]
    if shown and not any(c.outputs for c in shown):
        yield None, 'stores no outputs: run make outputs'
        return
    for c in shown:
        if shows(c) and not c.outputs: yield c, 'shows something, but its output is not stored: run make outputs'


def shows(cell):
    "Does the cell print at its top level, or end in a bare name?"
    values = [o.value for o in cell.tree.body if isinstance(o, ast.Expr)]
    if any(isinstance(o, ast.Call) and last_name(o) == 'print' for o in values): return True
    last = cell.tree.body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Name) and not cell.src.rstrip().endswith(';')


@rule
def no_errors(nb, course):
    "No stored output is an error."
    for c in nb.code:
        for o in c.outputs:
            if o.get('output_type') == 'error': yield c, f'stores an error ({o.get("ename")}): correct it'


@rule
def file_size(nb, course):
    "At most 300 KB."
    size = nb.path.stat().st_size
    if size > MAX_BYTES: yield None, f'has {size/1000:.1f} KB, keep it to {MAX_BYTES//1000}: show less'


@rule
def results_fresh(nb, course):
    "Stored results were made by the code as it is."
    path = course.root/'nbs'/'results'/f'{nb.number}.csv'
    if not (nb.is_chapter and path.exists()): return
    with path.open(newline='', encoding='utf-8') as f: hashes = {row.get('code_hash') for row in csv.DictReader(f)}
    if hashes != {code_hash(course.root, nb.number, nb.name)}:
        yield None, f'nbs/results/{path.name} was made by other code: run make experiments NB={nb.number}'


@course_rule
def no_orphans(course):
    "Exercises and results belong to a chapter."
    numbers = {nb.number for nb in course.nbs if nb.is_chapter}
    for path in sorted((course.root/'nbs').glob('exercises/*.py')) + sorted((course.root/'nbs').glob('results/*.csv')):
        if path.stem not in numbers:
            yield path.relative_to(course.root).as_posix(), f'there is no chapter {path.stem}: remove it'


# Figures

class Alts(HTMLParser):
    "Collects the alt text of every <img>, '' where there is none."

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
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
        for o, html in zip(c.outputs, c.html):
            found = alts(html)
            if found or any(k.startswith('image/') for k in o.get('data', {})): yield c, found


@rule
def figures_have_alt(nb, course):
    "Every stored figure's HTML holds an `<img alt>` of at least 40 characters."
    for c, found in figures(nb):
        if not found: yield c, 'figure without alt text: show an object whose text/html holds an <img alt="...">'
        for alt in found:
            if len(alt) < MIN_ALT: yield c, f'alt text {alt!r} is shorter than {MIN_ALT} characters: state the finding'


@rule
def alts_differ(nb, course):
    "No alt text is repeated in a notebook."
    seen = set()
    for c, found in figures(nb):
        for alt in sorted({a for a in found if len(a) >= MIN_ALT}):
            if alt in seen: yield c, f'alt text {alt[:50]!r}... was there before: say what is different here'
            seen.add(alt)


# Exercises and quiz

def exercise_file(nb): return nb.path.parent/'exercises'/f'{nb.number}.py'


def assigned(nb) -> dict:
    "Name -> expression of the top-level assignments in a chapter's exercise file; {} if it cannot be read."
    try: tree = ast.parse(exercise_file(nb).read_text(encoding='utf-8'))
    except (OSError, SyntaxError, ValueError): return {}
    return {last_name(t): o.value for o in tree.body if isinstance(o, ast.Assign) for t in o.targets}


def fields(node, env) -> dict:
    "Key -> expression of a dictionary written as `{...}` or `dict(...)`, names looked up in `env`."
    if isinstance(node, ast.Name): node = env.get(node.id)
    if isinstance(node, ast.Dict): return {getattr(k, 'value', None): v for k, v in zip(node.keys, node.values)}
    if isinstance(node, ast.Call) and last_name(node) == 'dict': return {k.arg: k.value for k in node.keywords}
    return {}


def items(node, env) -> list:
    "Expressions in a list or tuple, names looked up in `env`."
    if isinstance(node, ast.Name): node = env.get(node.id)
    return node.elts if isinstance(node, (ast.List, ast.Tuple)) else []


def said(node) -> bool:
    "Is this expression some text? Only an empty or another constant is not."
    return not isinstance(node, ast.Constant) or isinstance(node.value, str) and bool(node.value.strip())


def numbers(nb) -> list:
    "The exercises a chapter must have, and those it has besides."
    env = assigned(nb)
    return sorted({f'{nb.number}.{k}' for k in (1, 2, 3)} | {str(k) for k in fields(env.get('exercises'), env)})


@rule
def exercise_files(nb, course):
    "Every chapter has a file of exercises that can be read."
    if not nb.is_chapter: return
    path = exercise_file(nb).relative_to(course.root).as_posix()
    if not exercise_file(nb).exists(): yield None, f'has no exercises: write {path}'
    elif not {'exercises', 'quiz'} <= assigned(nb).keys():
        yield None, f'{path} does not parse, or does not define `exercises` and `quiz`: correct it'


@rule
def exercises_complete(nb, course):
    "Every exercise has a checker, two hints, a solution and two wrong answers with words that the message must hold."
    env = assigned(nb) if nb.is_chapter else {}
    if 'exercises' not in env: return
    found = fields(env['exercises'], env)
    for number in numbers(nb):
        have = fields(found.get(number), env)
        lacks = [k for k in ('check', 'solution') if k not in have]
        if len(items(have.get('hints'), env)) < 2: lacks.append('two hints')
        wrong = [w for w in items(have.get('wrong'), env) if len(items(w, env)) == 2 and said(items(w, env)[1])]
        if len(wrong) < 2: lacks.append('two wrong answers (answer, words of the message)')
        if not number.startswith(f'{nb.number}.'): yield None, f'exercise {number} is of another chapter: renumber it'
        elif lacks: yield None, f'exercise {number} lacks {", ".join(lacks)}: add to nbs/exercises/{nb.number}.py'


@rule
def solutions_folded(nb, course):
    "After every exercise stands its folded solution, which runs and is checked."
    if not (nb.is_chapter and exercise_file(nb).exists()): return
    for number in numbers(nb):
        asked = [c.i for c in nb.cells if number in c.src and not c.folded]
        solved = [c for c in nb.code if c.folded and c.runs and calls_with(c, 'check', number)]
        if not asked: yield None, f'exercise {number} is not asked: add a cell with check({number!r}, answer)'
        elif not any(c.i > asked[0] for c in solved):
            yield nb.cells[asked[0]], f'exercise {number} lacks a folded cell below with check({number!r}, ...)'


def calls_with(cell, name, first):
    "Does the cell call the function `name` with this constant as first argument?"
    return any(last_name(o) == name and o.args and getattr(o.args[0], 'value', None) == first for o in cell.calls)


@rule
def quiz_complete(nb, course):
    "Five questions, each with a right choice, wrong ones that explain themselves, and a cell that shows them."
    env = assigned(nb) if nb.is_chapter else {}
    if 'quiz' not in env: return
    questions, where = items(env['quiz'], env), f'nbs/exercises/{nb.number}.py'
    if len(questions) != 5: yield None, f'quiz has {len(questions)} questions: write five in {where}'
    for i, q in enumerate(questions, 1):
        choices = [items(o, env) for o in items(fields(q, env).get('choices'), env)]
        if 'ask' not in fields(q, env) or len(choices) < 2 or any(len(o) != 3 or not said(o[2]) for o in choices):
            yield None, f'quiz question {i} needs ask and choices of (text, is it right?, why): complete it in {where}'
        elif sum(getattr(o[1], 'value', None) is True for o in choices) != 1:
            yield None, f'quiz question {i} needs exactly one right choice: correct it in {where}'
    if not any(calls_with(c, 'quiz', nb.number) for c in nb.code):
        yield None, f'does not show its quiz: call quiz({nb.number!r}) in a cell'


# Running the rules

def problems(course):
    "(rule, line to print) of everything that is wrong."
    if not course.nbs and not course.corrupt: yield 'no_notebooks', f'{course.root/"nbs"}: no notebooks found'
    for file, message in course.corrupt: yield 'corrupt', f'{file}: {message}'
    for nb in course.chosen:
        for name, f in RULES.items():
            for cell, message in f(nb, course):
                where = '' if cell is None else f' cell {cell.id or f"number {cell.i + 1}"}'
                yield name, f'{nb.file}{where}: {message}'
    for name, f in COURSE_RULES.items() if course.whole and course.nbs else ():
        yield from ((name, f'{file}: {message}') for file, message in f(course))


def write_names():
    "Write down which names `from fastai.vision.all import *` brings, so that the lint need not import fastai."
    from importlib.metadata import version
    from textwrap import fill

    import fastai.vision.all as fastai
    names = sorted(n for n in vars(fastai) if not n.startswith('_'))
    header = names_header({k: version(k) for k in NAMES_DEPEND_ON})
    lines = fill(' '.join(names), 110, break_long_words=False, break_on_hyphens=False)
    names_file(ROOT).write_text(f'{header}\n{lines}\n', encoding='utf-8')
    print(f'{len(names)} names')


def main(
    args:list, # [], [NB], ['--self-test'] or ['--names']
) -> int: # exit status: 1 with problems
    "Lint all notebooks or one."
    if args == ['--names']: return write_names()
    if args == ['--self-test']:
        from check_nbs_plants import self_test
        return self_test()
    course = Course(ROOT, [find_notebook(args[0])] if args else None)
    found = list(problems(course))
    for _, line in found: print(line)
    print(f'{len(found)} problems' if found else f'no problems in {len(course.chosen)} notebooks')
    return bool(found)


if __name__ == '__main__':
    if len(sys.argv) > 2: sys.exit('usage: check_nbs.py [NB | --self-test | --names]')
    try: sys.exit(main(sys.argv[1:]))
    except (FileNotFoundError, ValueError) as e: sys.exit(str(e))
