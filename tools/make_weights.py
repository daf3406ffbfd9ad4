"""Train the networks that ship with the course again: `make weights NB=11`.

A chapter that ships one defines `make_weights()` in a cell marked `#| study`: it trains and returns
a dictionary from names of files to weights. They go to attn_course/weights/NAME.safetensors.
"""
import os
import sys

from safetensors.torch import save_file

from course import NBS
from experiments import namespace, studies
from setup_env import ROOT

WEIGHTS = ROOT/'attn_course'/'weights'


def main(
    numbers:list, # of chapters; empty for all that ship weights
) -> int: # exit status
    "Train and store, or say which chapters ship nothing."
    found = studies()
    makers = {n: nb for n, nb in found.items()
              if any('def make_weights' in c.src for c in nb.study)}
    if unknown := [n for n in numbers if n not in makers]:
        sys.exit(f"Chapter {', '.join(unknown)} ships no weights; there are: {', '.join(makers)}.")
    os.chdir(NBS)
    WEIGHTS.mkdir(exist_ok=True)
    for number in numbers or makers:
        for name, weights in namespace(makers[number])['make_weights']().items():
            file = WEIGHTS/f'{name}.safetensors'
            save_file({k: w.contiguous() for k, w in weights.items()}, file)
            print(file.name)
    return 0


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
