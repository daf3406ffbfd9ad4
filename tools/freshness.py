"""Which code made a stored result: a hash of a study and of all our definitions that it reaches.

The study is the cells marked `#| study`. Their names lead, through the chapter's import cells and
its own module, to definitions in attn_course, and from there to others. What has no influence on a
number does not count: comments, docstrings, annotations, the sentences of errors.
"""
import ast
import hashlib
from functools import cached_property
from pathlib import Path

from course import (
    DEFINITIONS,
    FUNCTIONS,
    IMPORTS,
    Notebook,
    bound_names,
    first_name,
    global_names,
    is_patch,
)

ASSIGNMENTS = ast.Assign, ast.AnnAssign, ast.AugAssign


# Code without words

class Wordless(ast.NodeTransformer):
    "Takes out docstrings, annotations and error sentences."

    def generic_visit(self, node):
        "Bare strings go from every body."
        body = getattr(node, 'body', None)
        if isinstance(body, list): node.body = [o for o in body if not is_text(o)] or [ast.Pass()]
        return super().generic_visit(node)

    def visit_FunctionDef(self, node):
        "A function says nothing of what it returns."
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node):
        "A parameter has no annotation."
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        "A field keeps its name and its default."
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_Raise(self, node):
        "An error keeps its class."
        if isinstance(node.exc, ast.Call): node.exc = node.exc.func
        return node

    def visit_Assert(self, node):
        "An assertion keeps its condition."
        node.msg = None
        return self.generic_visit(node)


def is_text(
    node:ast.stmt, # a statement
) -> bool: # is it a docstring or another bare string?
    "Does a statement hold only words?"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def statements(
    src:str, # code of a module or cell
) -> list: # its statements, without words
    "Code of which every part counts."
    return Wordless().visit(ast.parse(src)).body


def shape(
    node, # a syntax tree or a part of it
) -> str: # the same on every version of Python
    "A syntax tree as text, without what is empty."
    if isinstance(node, list): return f'[{",".join(map(shape, node))}]'
    if not isinstance(node, ast.AST): return repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return f'{type(node).__name__}({",".join(f"{name}={shape(value)}" for name, value in fields)})'


def attributes(
    nodes:list, # statements
) -> set: # such as {'shape', 'fit'}
    "Names that stand behind a dot."
    every = [o for node in nodes for o in ast.walk(node)]
    return {o.attr for o in every if isinstance(o, ast.Attribute)}


# Modules and what they define

class Module:
    "What the names of a module of ours, or of a chapter's study, stand for."

    def __init__(self,
        name:str, # such as 'cam'
        body:list, # statements
    ):
        self.name, self.body = name, body

    @cached_property
    def imported(self) -> dict:
        "Name -> (module of ours, name there); the name there is '' for a module as a whole."
        found = {}
        for o in (o for node in self.body for o in ast.walk(node) if isinstance(o, ast.ImportFrom)):
            source = f'attn_course.{o.module or ""}'.strip('.') if o.level else o.module
            package, _, module = source.partition('.')
            if package != 'attn_course': continue
            names = {a.asname or a.name: a.name for a in o.names}
            found |= {n: (module, name) if module else (name, '') for n, name in names.items()}
        return found

    @cached_property
    def defined(self) -> dict:
        "Name -> statements that define or change it."
        found = {}
        for o in self.body:
            for name in subjects(o): found.setdefault(name, []).append(o)
        for o in (o for o in self.body if isinstance(o, ast.Expr)):
            for name in self.changed_by(o, found): found[name] = [*found[name], o]
        return found

    def changed_by(self,
        node:ast.Expr, # such as `register_method('gradcam', ...)`
        found:dict, # what the module defines
    ) -> set: # names, such as 'register_method' and 'METHODS'
        "What a call at the top is about: its function and the values that one mentions."
        name = first_name(node.value)
        bodies = [o for o in found.get(name, []) if isinstance(o, DEFINITIONS)]
        values = {n for n in global_names(bodies) if isinstance(found.get(n, [0])[0], ASSIGNMENTS)}
        return (values | {name}) & found.keys()

    @cached_property
    def patches(self) -> list:
        "(name of the class, method) of every `@patch`."
        methods = [o for o in self.body if isinstance(o, FUNCTIONS) and is_patch(o)]
        return [(name, o) for o in methods for name in patched(o)]


def subjects(
    node:ast.stmt, # at the top of a module
) -> set: # names
    "What a statement defines or changes: `METHODS['x'] = f` changes METHODS."
    if isinstance(node, FUNCTIONS) and is_patch(node): return set()
    if isinstance(node, (*IMPORTS, ast.Expr)): return set()
    targets = getattr(node, 'targets', [])
    return (bound_names(node) | {first_name(o) for o in targets}) - {'', '__all__'}


def patched(
    method:ast.FunctionDef, # decorated with `patch` or `patch_to`, its annotations in place
) -> set: # names of classes
    "The classes a method is patched onto."
    given = [o for d in method.decorator_list if isinstance(d, ast.Call) for o in d.args]
    given += [o.annotation for o in method.args.args[:1] if o.annotation]
    return {o.id for node in given for o in ast.walk(node) if isinstance(o, ast.Name)}


class Package:
    "The modules of attn_course, read when they are needed."

    def __init__(self,
        root:Path, # of the course
    ):
        self.folder, self.read = Path(root)/'attn_course', {}

    def __getitem__(self,
        name:str, # of a module
    ) -> Module: # empty for one that does not exist
        "A module; what it patches is looked up before its annotations go."
        if name not in self.read:
            path = self.folder/f'{name}.py'
            src = path.read_text(encoding='utf-8') if path.exists() else ''
            self.read[name] = Module(name, statements(src))
            self.read[name].patches = plain_patches(src)
        return self.read[name]

    def find(self,
        module:str, # where a name stands
        name:str, # what it is called there
    ) -> tuple: # (module, name) of its definition; None for what is not ours
        "Follow a name through imports to where it is defined."
        here = self[module]
        if name in here.defined: return module, name
        return self.find(*here.imported[name]) if name in here.imported else None

    def modules(self,
        start:Module, # such as a study
    ) -> list: # `start` and the modules it imports, directly or not
        "All modules that are loaded with one."
        found, todo = {}, [start]
        while todo:
            module = todo.pop()
            if module.name in found: continue
            found[module.name] = module
            todo += [self[name] for name, _ in module.imported.values()]
        return list(found.values())


def plain_patches(
    src:str, # code of a module
) -> list: # (name of the class, method without words)
    "The patches of a module."
    found = Module('', ast.parse(src).body).patches
    return [(name, Wordless().visit(o)) for name, o in found]


# The hash

def reached(
    package:Package, # where our definitions are
    study:Module, # imports and study cells of a chapter, with its module's name
    cells:list, # statements of the study cells
) -> dict: # (module, name) -> statements, in the order of their names
    "All definitions of ours that a study uses, directly or not."
    found, todo = {}, [(study, cells)]
    patches = [(m, *p) for m in package.modules(study) for p in m.patches]
    while todo:
        module, nodes = todo.pop()
        for where, name in used(package, module, nodes):
            if (where, name) in found: continue
            found[where, name] = package[where].defined[name]
            todo.append((package[where], found[where, name]))
        for where, cls, method in patches:
            key = where.name, f'{cls}.{method.name}'
            if key in found or not is_used(package, where, cls, method, nodes, found): continue
            found[key] = [method]
            todo.append((where, [method]))
    return dict(sorted(found.items()))


def used(
    package:Package, # where our definitions are
    module:Module, # where the statements stand
    nodes:list, # statements
) -> set: # (module, name)
    "The definitions of ours that statements name."
    found, behind_dots = set(), attributes(nodes)
    for name in global_names(nodes):
        where, known_as = module.imported.get(name, (module.name, name))
        names = [known_as] if known_as else behind_dots
        found |= {package.find(where, n) for n in names}
    return found - {None}


def is_used(
    package:Package, # where our definitions are
    where:Module, # that patches
    cls:str, # name of the patched class there
    method:ast.FunctionDef, # what it gets
    nodes:list, # statements that were reached
    found:dict, # definitions that were reached
) -> bool: # does it count?
    "A method patched onto our class counts with it, one of another class where its name stands."
    ours = package.find(where.name, cls)
    return ours in found if ours else method.name in attributes(nodes)


def code_hash(
    nb:Notebook, # a chapter with a study
) -> str: # 12 hexadecimal digits
    "What a stored result names as the code that made it."
    package = Package(nb.root)
    cells = [o for c in nb.study for o in statements(c.src)]
    imports = [o for c in nb.code if c.only_imports for o in c.tree.body]
    own = package[nb.module] if nb.module else Module('', [])
    study = Module(nb.module, imports + own.body)
    study.patches = own.patches
    study.defined = own.defined
    parts = [('', 'study', cells)]
    parts += [(*key, nodes) for key, nodes in reached(package, study, cells).items()]
    lines = [f'{module}.{name} {shape(nodes)}' for module, name, nodes in parts]
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:12]
