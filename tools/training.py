"""What of a notebook can be tested without training: its quick form."""
import ast

from course import (
    DEFINITIONS,
    IMPORTS,
    Notebook,
    assigned_names,
    bound_names,
    first_name,
    global_names,
    last_name,
    lines_of,
    stored,
    without_magics,
)

TRAINS = {'fit', 'fine_tune', 'fit_one_cycle', 'fit_flat_cos', 'lr_find', 'quiet_fit', 'study'}


class Names:
    "What the names of a notebook stand for, as far as training goes."

    def __init__(self,
        nb:Notebook, # to be read
    ):
        statements = [o for c in nb.code for o in c.tree.body]
        imported = [bound_names(o) for o in statements if isinstance(o, IMPORTS)]
        self.functions = [o for o in statements if isinstance(o, DEFINITIONS)]
        self.imported = set().union(*imported)
        self.trainers = set()
        while new := {o.name for o in self.functions if self.training(o)} - self.trainers:
            self.trainers |= new

    def training(self,
        node:ast.AST, # some code
    ) -> list: # calls
        "The calls below `node` that train."
        return [o for o in ast.walk(node) if isinstance(o, ast.Call) and self.trains(o)]

    def trains(self,
        call:ast.Call, # such as `learn.fit(1)`; `ImageOps.fit(image, size)` is none
    ) -> bool: # does it train a network?
        "Is this a call of a method that trains, or of a function of the notebook that does?"
        if isinstance(call.func, ast.Name): return call.func.id in TRAINS | self.trainers
        owner = getattr(call.func, 'value', None)
        of_module = isinstance(owner, ast.Name) and owner.id in self.imported
        return last_name(call) in TRAINS and not of_module

    def needed(self,
        node:ast.stmt, # to be run
    ) -> set: # names
        "The names a statement mentions, and those that the functions among them mention."
        found, more = set(), global_names([node]) - opening(node)
        while more:
            found |= more
            functions = [o for o in self.functions if o.name in more]
            more = global_names(functions) - found
        return found


def opening(
    node:ast.stmt, # a statement
) -> set: # {'folder'} for `with TemporaryDirectory() as folder: ...`, {'x'} for `for x in ...`
    "Names that a statement gives a value before its body uses them."
    if isinstance(node, ast.For): return stored(node.target)
    if not isinstance(node, ast.With): return set()
    return set().union(*(stored(o.optional_vars) for o in node.items if o.optional_vars))


def trained(
    call:ast.Call, # `learn.fit(1)` or `train(net, dls)`
) -> str: # 'learn' or 'net'; '' where it has no name
    "What a call has trained: where its method belongs, or its first argument."
    if isinstance(call.func, ast.Attribute): return first_name(call.func.value)
    return first_name(call.args[0]) if call.args else ''


def quick_cells(
    nb:Notebook, # a notebook
) -> dict: # index of a cell -> its source without what trains; '' where nothing is left
    "The cells that change when nothing is trained: what trains goes, and what builds on it."
    names, unknown, changed = Names(nb), set(), {}
    for cell in nb.code:
        kept = [o for o in cell.tree.body if is_kept(o, cell.exported, names, unknown)]
        if len(kept) < len(cell.tree.body): changed[cell.i] = source_of(cell, kept)
    return changed


def is_kept(
    node:ast.stmt, # the next statement
    exported:bool, # does its cell go into the package?
    names:Names, # of the notebook
    unknown:set, # names that are not known so far; brought up to date
) -> bool: # can it run?
    "Definitions, imports and what is exported stay, and what needs no training."
    is_definition = exported or isinstance(node, (*DEFINITIONS, *IMPORTS))
    training = [] if is_definition else names.training(node)
    if is_definition or not (training or names.needed(node) & unknown):
        unknown -= bound_names(node)
        return True
    unknown |= assigned_names(node) | {trained(o) for o in training} - {''} - names.imported
    return False


def source_of(
    cell, # of a notebook
    statements:list, # some of its statements
) -> str: # their source
    "The lines of some statements of a cell."
    lines = without_magics(cell.src).splitlines()
    numbers = sorted({n for o in statements for n in lines_of(o)})
    return '\n'.join(lines[n - 1] for n in numbers)
