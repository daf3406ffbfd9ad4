"""What a notebook of ours is: its cells, its place in the reading order, what it imports."""
import ast
import json
import re
import symtable
import warnings
from functools import cached_property
from pathlib import Path

from setup_env import ROOT

NBS = ROOT/'nbs'
FREE = 'index', '00_start', 'glossary'
PYTHON_MAGICS = {'time', 'timeit', 'capture', 'prun'}
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
DEFINITIONS = *FUNCTIONS, ast.ClassDef
IMPORTS = ast.Import, ast.ImportFrom
INVALID = ValueError, KeyError, AttributeError, Warning # what nbformat raises for invalid files


# Files

def notebooks(
    root:Path = ROOT, # folder that holds `nbs`
) -> list: # paths, sorted; what begins with `_` or `.` is left out, as nbdev does
    "Every notebook of the course. Raises FileNotFoundError when there is none."
    nbs = Path(root)/'nbs'
    found = sorted(p for p in nbs.rglob('*.ipynb') if not is_hidden(p.relative_to(nbs)))
    if not found: raise FileNotFoundError(f'there is no notebook in {nbs}')
    return found


def is_hidden(
    path:Path, # relative to `nbs`
) -> bool: # does it or one of its folders begin with `_` or `.`?
    "Is a file none of the course?"
    return any(part[0] in '_.' for part in path.parts)


def find_notebook(
    name:str, # '07', '07_cam', 'cam', 'workbench/01' or 'nbs/07_cam.ipynb'
) -> Path: # the one notebook meant
    "The notebook meant; a bare number is a chapter. Raises FileNotFoundError or ValueError."
    name = name.removeprefix('nbs/').removesuffix('.ipynb')
    names = {p: p.relative_to(NBS).with_suffix('').as_posix() for p in notebooks()}
    for pattern in (name, f'{name}_[^/]*', f'(.*/)?{name}', rf'(.*/)?\d+_{name}'):
        found = [p for p, n in names.items() if re.fullmatch(pattern, n)]
        if len(found) > 1:
            raise ValueError(f"{name!r} means {' and '.join(names[p] for p in found)}: say which")
        if found: return found[0]
    raise FileNotFoundError(f"no notebook is called {name!r}; there are "
                            f"{', '.join(names.values())}")


def read(
    path:Path, # of a notebook
) -> dict: # its parsed JSON
    "A notebook that nbformat accepts. Raises ValueError saying what to do."
    import nbformat  # only here: `make test-latest` starts in a Python that lacks it
    try:
        raw = json.loads(path.read_text(encoding='utf-8'))
        with warnings.catch_warnings(action='error'):
            nbformat.validate(raw, version=4, version_minor=5)
    except (*INVALID, nbformat.ValidationError) as e:
        what = str(e).splitlines()[0]
        raise ValueError(f'is no valid notebook ({what}): restore it, or run nbdev_clean') from None
    return raw


# Cells

def text(
    x, # a string, a list of lines, or None
) -> str: # one string
    "A notebook stores text as a string or as a list of lines."
    return x if isinstance(x, str) else ''.join(x or ())


def without_magics(
    src:str, # code of a cell
) -> str: # Python
    "A line of magic becomes `pass`, a cell in another language nothing."
    if is_python(src): return src
    if m := re.match(r'(?:\s*#.*\n)*\s*%%(\w+).*', src):
        return src[m.end():] if m[1] in PYTHON_MAGICS else ''
    src = re.sub(r'^([ \t]*)(?:[%!?].*|[\w.]+\?{1,2})$', r'\1pass', src, flags=re.M)
    return re.sub(r'^([ \t]*[\w, ]+=[ \t]*)[%!].*$', r'\1None', src, flags=re.M)


def is_python(
    src:str, # some code
) -> bool: # does it parse?
    "Is a piece of text Python?"
    try: ast.parse(src)
    except SyntaxError: return False
    return True


class Cell:
    "One cell, with what tools ask about it."

    def __init__(self,
        raw:dict, # the cell as it is stored
        i:int, # its index in the notebook
    ):
        self.i, self.raw, self.id = i, raw, raw['id']
        self.src, self.metadata = text(raw['source']), raw['metadata']
        self.is_code = raw['cell_type'] == 'code'
        self.outputs = raw.get('outputs', [])

    @cached_property
    def directives(self) -> dict:
        "Name -> arguments of the `#|` lines that open the cell."
        found = {}
        for line in self.src.splitlines() if self.is_code else ():
            m = re.match(r'\s*#\s*\|(.*)', line)
            if line.strip() and not m: break
            words = m[1].replace(':', ' ').split() if m else []
            if words: found[words[0]] = words[1:]
        return found

    @cached_property
    def tree(self) -> ast.Module:
        "The parsed code; an empty module for prose and for what is no Python."
        src = without_magics(self.src) if self.is_code else ''
        return ast.parse(src if is_python(src) else '')

    @property
    def exported(self) -> bool:
        "Does the cell go into the package?"
        return bool({'export', 'exports', 'exporti'} & self.directives.keys())

    @property
    def folded(self) -> bool:
        "Is its code folded away in JupyterLab?"
        return bool(self.metadata.get('jupyter', {}).get('source_hidden'))

    @property
    def runs(self) -> bool:
        "Do tests run it?"
        return self.directives.get('eval', [''])[:1] != ['false'] and 'slow' not in self.directives

    @property
    def has_import(self) -> bool:
        "Does it import at its top level?"
        return any(not nested for _, _, nested in imports(self.tree))

    @property
    def only_imports(self) -> bool:
        "Does it hold imports only, or no code at all?"
        return all(isinstance(o, IMPORTS) for o in self.tree.body)

    @property
    def lines(self) -> int:
        "How many lines it has, without directives and blank ones."
        kept = [o for o in self.src.splitlines() if not re.match(r'\s*#\s*\|', o)]
        return sum(bool(o.strip()) for o in kept)

    @property
    def calls(self) -> list:
        "Every call in its code."
        return [o for o in ast.walk(self.tree) if isinstance(o, ast.Call)]

    @property
    def html(self) -> list:
        "The HTML of each output, '' for an output without."
        return [text(o.get('data', {}).get('text/html')) for o in self.outputs]


class Notebook:
    "One notebook and its place in the reading order. Raises ValueError for an invalid file."

    def __init__(self,
        path:Path, # of the notebook
        root:Path = ROOT, # of its course
    ):
        self.path, self.root = path, Path(root)
        self.file, self.raw = path.relative_to(root).as_posix(), read(path)
        self.cells = [Cell(c, i) for i, c in enumerate(self.raw['cells'])]
        self.code = [c for c in self.cells if c.is_code and c.src.strip()]
        numbered = re.fullmatch(r'(\d\d)_(\w+)', path.stem)
        self.number, self.name = numbered.groups() if numbered else ('', path.stem)

    @property
    def free(self) -> bool:
        "Does it stand outside the reading order?"
        return self.path.stem in FREE and self.path.parent == self.root/'nbs'

    @property
    def rank(self) -> tuple:
        "Sorts notebooks in reading order: the workbench, the chapters, what is free."
        if self.free: return (2,)
        return int(self.path.parent.name != 'workbench'), int(self.number or -1)

    @property
    def is_chapter(self) -> bool:
        "Is it a numbered chapter?"
        return self.rank[0] == 1 and self.rank[1] >= 1

    @property
    def module(self) -> str:
        "The name after `default_exp`, '' for a notebook that exports nothing."
        found = [c.directives['default_exp'] for c in self.code if 'default_exp' in c.directives]
        return ' '.join(found[0]) if found else ''

    @property
    def exported(self) -> list:
        "The cells that go into the package."
        return [c for c in self.code if c.exported]

    @property
    def study(self) -> list:
        "The cells marked `#| study`."
        return [c for c in self.code if 'study' in c.directives]

    @property
    def definitions(self) -> list:
        "(cell, definition) of every public function and class that is exported."
        return [(c, o) for c in self.exported for o in c.tree.body if is_public_def(o)]


class Course:
    "All notebooks under a root, those that were chosen, and those that could not be read."

    def __init__(self,
        root:Path = ROOT, # of the course
        chosen:list = None, # paths of notebooks; None for all
    ):
        self.root, self.nbs, self.invalid = Path(root), [], []
        paths = notebooks(root)
        chosen = paths if chosen is None else chosen
        for path in paths:
            try: self.nbs.append(Notebook(path, root))
            except ValueError as e: self.invalid.append((path.relative_to(root).as_posix(), str(e)))
        self.chosen = [nb for nb in self.nbs if nb.path in chosen]
        self.whole = len(chosen) == len(paths)
        ordered = [nb for nb in self.nbs if not nb.free and (nb.module or nb.exported)]
        self.ranks = {nb.name: nb.rank for nb in ordered}


# Code

def imports(
    node:ast.AST, # some code
    nested:bool = False, # does it stand inside a function?
):  # yields (module, names taken from it, is it inside a function?)
    "Every import below `node`."
    for o in ast.iter_child_nodes(node):
        if isinstance(o, ast.Import): yield from ((a.name, [], nested) for a in o.names)
        elif isinstance(o, ast.ImportFrom): yield o.module or '', [a.name for a in o.names], nested
        else: yield from imports(o, nested or isinstance(o, (*FUNCTIONS, ast.Lambda)))


def own_imports(
    tree:ast.AST, # some code
):  # yields (name of the module, names taken from it)
    "The modules of ours which are imported below `tree`."
    for module, names, _ in imports(tree):
        if module.startswith('attn_course.'): yield module.split('.')[1], names
        elif module == 'attn_course':
            yield from ((n, []) for n in names if not n.startswith('__'))


def last_name(
    node:ast.AST, # a (called) dotted expression
) -> str: # 'close' for `plt.close` and `plt.close()`, '' for other expressions
    "The name at the end of an expression."
    if isinstance(node, ast.Call): node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, 'id', '')


def first_name(
    node:ast.AST, # an expression made of dots, calls and brackets
) -> str: # 'learn' for `learn.model[0].to(x)`, '' for other expressions
    "The name an expression starts with."
    while not isinstance(node, ast.Name):
        inner = getattr(node, 'value', None) or getattr(node, 'func', None)
        if not isinstance(inner, ast.AST): return ''
        node = inner
    return node.id


def stored(
    node:ast.AST, # some code
) -> set: # names
    "Names that get a value below `node`."
    names = (o for o in ast.walk(node) if isinstance(o, ast.Name))
    return {o.id for o in names if isinstance(o.ctx, ast.Store)}


def bound_names(
    node:ast.stmt, # a statement
) -> set: # names
    "Names that a statement gives a value."
    if isinstance(node, DEFINITIONS): return {node.name}
    if isinstance(node, IMPORTS): return {(a.asname or a.name).split('.')[0] for a in node.names}
    return stored(node)


def global_names(
    nodes:list, # statements
) -> set: # such as {'torch', 'attend'}; without locals, parameters, variables of comprehensions
    "Names that statements take from the module around them."
    todo, found = [table_of(nodes)], set()
    while todo:
        table = todo.pop()
        is_top = table.get_type() == 'module'
        symbols = table.get_symbols()
        found |= {o.get_name() for o in symbols if o.is_referenced() and (is_top or o.is_global())}
        todo += table.get_children()
    return found


def assigned_names(
    node:ast.stmt, # at the top of a module
) -> set: # such as {'dls'}; variables of comprehensions are left out
    "Names that a statement leaves in the module around it."
    return {o.get_name() for o in table_of([node]).get_symbols() if o.is_assigned()}


def table_of(
    nodes:list, # statements
) -> symtable.SymbolTable: # of a module that holds them
    "Python's own table of names."
    return symtable.symtable(ast.unparse(ast.Module(nodes, type_ignores=[])), '', 'exec')


def is_public_def(
    node:ast.AST, # some code
) -> bool: # is it a function or class without leading underscore?
    "Is `node` a public definition?"
    return isinstance(node, DEFINITIONS) and not node.name.startswith('_')


def is_patch(
    node:ast.AST, # a definition
) -> bool: # is it decorated with `patch`, `patch_to`, ...?
    "Does fastcore's `patch` make this function a method of another class?"
    return any(last_name(o).startswith('patch') for o in node.decorator_list)


def lines_of(
    node:ast.stmt, # a statement
) -> range: # its line numbers
    "The lines of a statement, decorators included."
    starts = [o.lineno for o in (node, *getattr(node, 'decorator_list', []))]
    return range(min(starts), node.end_lineno + 1)
