"""Make the course's virtual environment, unless it is up to date. Standard library only."""
import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENV = ROOT/'.venv'
SOURCES = 'settings.ini', 'setup.py', 'pyproject.toml', 'constraints.txt'


def clean_environ() -> dict: # environment for the programs we start
    "The environment without what would mix other Pythons' packages into ours."
    mixed = 'PYTHONPATH', 'PYTHONHOME', 'JUPYTER_PATH', 'PIP_TARGET', 'PIP_PREFIX', 'IN_TEST'
    kept = {k: v for k, v in os.environ.items() if k not in mixed}
    return kept | {'PIP_USER': '0', 'PIP_DISABLE_PIP_VERSION_CHECK': '1',
                   'JUPYTER_PREFER_ENV_PATH': '1'}


def python_of(
    env:Path, # a virtual environment
) -> Path: # its interpreter
    "The Python of `env`."
    return env/'bin'/'python'


def fingerprint(
    extra:str, # 'course' or 'dev'
) -> str: # changes when an installation would
    "A hash of all that an installation of `extra` depends on."
    texts = [(ROOT/f).read_text(encoding='utf-8') for f in SOURCES]
    return hashlib.sha256('\0'.join([extra, sys.version, str(ROOT), *texts]).encode()).hexdigest()


def is_ours(
    env:Path, # a virtual environment, or where one will be
) -> bool: # False when it is missing, broken or of another Python
    "Is `env` a working environment of the Python that runs this?"
    cfg = env/'pyvenv.cfg'
    if not (cfg.is_file() and python_of(env).exists()): return False
    version = re.search(r'^version\s*=\s*(\d+)\.(\d+)', cfg.read_text(encoding='utf-8'), re.M)
    return bool(version) and tuple(map(int, version.groups())) == sys.version_info[:2]


def create(
    env:Path, # where the environment goes; emptied when it exists
):
    "Make a new virtual environment."
    print(f"Making {env.name} with Python {'.'.join(map(str, sys.version_info[:3]))}", flush=True)
    cmd = [sys.executable, '-m', 'venv', '--clear', str(env)]
    if subprocess.run(cmd, env=clean_environ()).returncode:
        sys.exit('Python could not make a virtual environment; on Debian and Ubuntu install the '
                 'package python3-venv.')


def pip(
    env:Path, # the environment to install into
    *args:str, # what follows `pip install`
):
    "Run `pip install`, quietly unless someone watches, and stop with one sentence when it fails."
    quiet = [] if sys.stdout.isatty() else ['--quiet']
    cmd = [str(python_of(env)), '-m', 'pip', 'install', '--no-input', *quiet, *args]
    if subprocess.run(cmd, cwd=ROOT, env=clean_environ()).returncode:
        sys.exit(f"pip could not install into {env.name}; what it said stands above. Try again: "
                 f"{' '.join(cmd)}")


def install(
    env:Path, # the environment to install into
    extra:str, # 'course' or 'dev'
    constraints:Path, # a file of pins
    *more:str, # further arguments of `pip install`
):
    "Install the package as it lies here, with `extra`, its build tools first."
    pip(env, '-c', str(constraints), 'setuptools', 'wheel')
    pip(env, '-c', str(constraints), '--no-build-isolation', *more, '-e', f'.[{extra}]')


def ensure(
    extra:str, # 'course' or 'dev'; 'dev' holds all of 'course'
    env:Path=ENV, # the environment
):
    "Make `env` hold the package with `extra`; a stamp inside tells when that is so already."
    stamp = env/'attn_course.json'
    ours = is_ours(env)
    done = json.loads(stamp.read_text()) if ours and stamp.is_file() else {}
    if done.get(extra) == fingerprint(extra) or done.get('dev') == fingerprint('dev'): return
    if not ours: create(env)
    stamp.unlink(missing_ok=True)
    print(f'Installing the course into {env.name}: minutes the first time, seconds later',
          flush=True)
    install(env, extra, ROOT/'constraints.txt')
    stamp.write_text(json.dumps({extra: fingerprint(extra)}))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('extra', choices=['course', 'dev'])
    ensure(parser.parse_args().extra)
