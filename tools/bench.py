"""Measure the package against its peers, all in an environment of their own: `make bench`.

Speed and memory go to nbs/results/bench_speed.csv, what a call leaves behind to bench_trust.csv.
"""
import argparse
import subprocess
import sys

from setup_env import ROOT, clean_environ, ensure, pip, python_of

ENV = ROOT/'.venv-bench'
PEERS = {'grad-cam': '1.5.7', 'captum': '0.9.0', 'torchcam': '0.5.0'}
PARTS = {'trust': 'bench_trust.py', 'speed': 'bench_speed.py'}
QUIET = {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1', 'TQDM_DISABLE': '1'}


def prepare():
    "Make the environment, or bring it up to date: the course as it lies here, and its peers."
    ensure('course', ENV)
    pins = [f'{name}=={number}' for name, number in PEERS.items()]
    pip(ENV, '-c', str(ROOT/'constraints.txt'), *pins)


def main() -> int: # exit status
    "Prepare the environment, then let it run what was asked for."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('parts', nargs='*', metavar='part', help=f'{", ".join(PARTS)}; none: all')
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := [p for p in parts if p not in PARTS]:
        parser.error(f'unknown: {", ".join(unknown)}; there are {", ".join(PARTS)}')
    prepare()
    for part in parts:
        cmd = [str(python_of(ENV)), str(ROOT/'tools'/PARTS[part])]
        if subprocess.run(cmd, cwd=ROOT, env=clean_environ() | QUIET).returncode: return 1
    return 0


if __name__ == '__main__': sys.exit(main())
