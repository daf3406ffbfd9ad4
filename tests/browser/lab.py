"""Start and stop JupyterLab for the browser test."""
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WAIT = 300


def free_port() -> int: # a port on 127.0.0.1
    "A port no one listens on."
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def command(
    folder:Path, # where the reader's copy goes
    port:int, # where JupyterLab listens
    token:str, # what lets the browser in
) -> list: # a command line
    "What a reader types, with a reader's copy of the test's own."
    args = f'--no-browser --port={port} --ServerApp.port_retries=0 --IdentityProvider.token={token}'
    return ['make', 'lab', f'MY={folder}', f'ARGS={args} --LabApp.expose_app_in_browser=True']


def _tail(
    log:Path, # a text file
) -> str: # its last lines, indented
    "The end of a log."
    return ''.join(f'\n      {line}' for line in log.read_text().splitlines()[-20:])


def _wait_for_url(
    proc:subprocess.Popen, # JupyterLab
    log:Path, # where it writes
    port:int, # where it listens
) -> str: # the address it opens for its reader, without the token
    "Wait until JupyterLab says where it is; raises RuntimeError with the end of its log."
    end = time.time() + WAIT
    while time.time() < end and proc.poll() is None:
        if url := re.search(rf'http://127\.0\.0\.1:{port}/lab[^\s?]*', log.read_text()):
            return url[0]
        time.sleep(.2)
    raise RuntimeError(f'it did not come up, the end of its log:{_tail(log)}')


def stop(
    proc:subprocess.Popen, # the leader of a process group
):
    "End `proc` and all it started; kernels end with their server."
    for sig, seconds in ((signal.SIGTERM, 30), (signal.SIGKILL, 5)):
        try:
            os.killpg(proc.pid, sig)
            end = time.time() + seconds
            while time.time() < end:
                proc.poll()
                os.killpg(proc.pid, 0)
                time.sleep(.1)
        except ProcessLookupError: return


@contextmanager
def jupyterlab(
    folder:Path, # where the reader's copy, the settings and the log go
): # the address it opens for its reader, with its token
    "JupyterLab as `make lab` starts it, stopped at the end."
    port, token, log = free_port(), secrets.token_hex(16), folder/'lab.log'
    own = {'JUPYTERLAB_SETTINGS_DIR': str(folder/'settings'),
           'JUPYTERLAB_WORKSPACES_DIR': str(folder/'workspaces')}
    with open(log, 'w') as out:
        proc = subprocess.Popen(
            command(folder/'my', port, token), cwd=ROOT, env=os.environ | own, stdout=out,
            stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
    try: yield f'{_wait_for_url(proc, log, port)}?token={token}'
    finally: stop(proc)
