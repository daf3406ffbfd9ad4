"""Write what a module offers as a page of the site, from its docments."""
import ast
import inspect
import re
from importlib import import_module

from fastcore.docments import docments

from course import Notebook
from site_pages import called, offered, place

WIDE = 76 # characters of a call in one line

def module_page(
    nb:Notebook, # one that exports a module
    title:str, # of that notebook
    repo:str, # address of the repository's files, without slash at the end
) -> str: # MyST
    "What a module offers: signature, parameters, source, the notebook that explains it."
    module = import_module(f'attn_course.{nb.module}')
    notebook = nb.path.relative_to(nb.root/'nbs').as_posix()
    parts = [f'# attn_course.{nb.module}', words(module),
             f'Explained, built and tested in [{title}](../{notebook}).']
    for cell, node in offered(nb):
        name = called(node)
        parts.append(f'({place(nb, node)})=\n## {name}')
        parts += entry(found(module, node), name)
        parts.append(f'[source]({repo}/attn_course/{nb.module}.py#L{line(nb, cell, node)})')
    return '\n\n'.join(p for p in parts if p) + '\n'


def found(
    module, # that holds what `node` defines
    node:ast.stmt, # a definition
): # the function or class
    "The object behind a definition."
    obj = module
    for name in called(node).split('.'): obj = getattr(obj, name)
    return obj


def line(
    nb:Notebook, # one that exports a module
    cell, # of it
    node:ast.stmt, # a definition in that cell
) -> int: # in the module's file
    "Where a definition stands in the generated module."
    lines = (nb.root/'attn_course'/f'{nb.module}.py').read_text(encoding='utf-8').splitlines()
    start = next(i for i, o in enumerate(lines) if o.startswith('# %% ') and o.endswith(cell.id))
    opens = re.compile(rf'(def|class) {node.name}\b')
    return next(i for i, o in enumerate(lines[start:], start + 1) if opens.match(o))


def words(
    obj, # a module, function or class
) -> str: # markdown
    "What its docstring says, without the list of its versions that dispatch adds."
    return re.split(r'\n-{9,}\n', inspect.cleandoc(obj.__doc__ or ''))[0].strip()


def entry(
    obj, # a function or class
    name:str, # that a reader types
) -> list: # paragraphs
    "How something is called, what it does, its parameters and methods."
    if isinstance(obj, property): return [f'```python\n{name}\n```', words(obj)]
    sig = inspect.signature(obj)
    bare = [p.replace(annotation=p.empty) for n, p in sig.parameters.items() if n != 'self']
    call = f'{name}{sig.replace(parameters=bare, return_annotation=sig.empty)}'
    if len(call) > WIDE: call = f'{name}(\n    ' + ',\n    '.join(map(str, bare)) + ')'
    parts = [f'```python\n{call}\n```', words(obj), parameters(obj, sig)]
    return parts + ([methods(obj)] if inspect.isclass(obj) else [])


def parameters(
    obj, # a function or class
    sig:inspect.Signature, # of it
) -> str: # a table in markdown, '' when nothing is said of any parameter
    "Type and meaning of each parameter, and of what is returned."
    said = docments(obj, full=False, returns=True)
    kinds = {n: p.annotation for n, p in sig.parameters.items()}
    kinds['return'] = sig.return_annotation
    rows = [f'| {"*returns*" if n == "return" else f"`{n}`"} | {kind_of(kinds.get(n))} '
            f'| {in_table(said[n])} |' for n in said if said[n]]
    return '\n'.join(['| | type | |', '|---|---|---|', *rows]) if rows else ''


def kind_of(
    annotation, # of a parameter
) -> str: # markdown
    "The type that a parameter has, '' when none is named."
    if annotation in (None, inspect.Parameter.empty): return ''
    return f'`{in_table(inspect.formatannotation(annotation).split(".")[-1])}`'


def in_table(
    comment, # of a parameter
) -> str: # markdown
    "A comment in which no sign ends the cell or begins emphasis."
    return re.sub(r'(?<!`)([|*<])(?!`)', r'\\\1', ' '.join(str(comment).split()))


def methods(
    cls:type, # a class
) -> str: # a list in markdown, '' without methods
    "The public methods of a class that say what they do."
    own = {n: f for n, f in vars(cls).items()
           if inspect.isfunction(f) and n[0] != '_' and f.__doc__}
    return '\n'.join(f'- `{n}({", ".join(list(inspect.signature(f).parameters)[1:])})` '
                     f'{words(f).splitlines()[0]}' for n, f in own.items())
