"""No public name of ours is a name of the fastai that is installed, unless it is the same thing."""
import sys
from importlib import import_module

import fastai.vision.all as fastai

import attn_course.all


def modules() -> list: # modules of ours
    "Whose names `from attn_course.all import *` brings."
    names = {o.__module__ for o in vars(attn_course.all).values() if hasattr(o, '__module__')}
    return [import_module(n) for n in sorted(n for n in names if is_ours(n))]


def is_ours(
    name:str, # of a module
) -> bool: # is it of our package?
    "Does a module belong to attn_course?"
    return isinstance(name, str) and name.startswith('attn_course.')


def clashes(
    module, # one of ours
) -> list: # names
    "Public names of a module that mean something else in fastai."
    names = [n for n in module.__all__ if hasattr(fastai, n)]
    return [n for n in names if getattr(fastai, n) is not getattr(module, n)]


def main() -> int: # exit status
    "Ask every module."
    found = {module.__name__: clashes(module) for module in modules()}
    wrong = {name: names for name, names in found.items() if names}
    for name, names in wrong.items():
        print(f'{name}: {", ".join(names)} is a name of fastai.vision.all: choose another')
    print(f'{len(found) - len(wrong)} passed, {len(wrong)} failed')
    return int(bool(wrong) or not found)


if __name__ == '__main__': sys.exit(main())
