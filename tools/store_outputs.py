"""Run notebooks from a fresh kernel and store what they show: `make outputs NB=07`."""
import base64
import io
import json
import os
import re
import sys
import time
from itertools import groupby
from pathlib import Path

import nbformat
from execnb.nbio import nb2str
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert.filters import strip_ansi
from nbdev.clean import clean_nb
from nbdev.config import get_config
from PIL import Image

from course import NBS, find_notebook, notebooks
from setup_env import ROOT

TIMEOUT = 600
MOST = 1_500_000 # bytes of a stored notebook
DEPRECATED = 'ignore:`torch.jit:FutureWarning' # what timm says when it is imported
os.environ.setdefault('PYTHONWARNINGS', DEPRECATED)
MAX_LIVE = 100_000
TRIMMED = '<!-- alive in JupyterLab -->'
WIDGET_VIEW = 'application/vnd.jupyter.widget-view+json'

_skipped = re.compile(r'^\s*#\s*\|\s*eval:\s*false\s*$', re.M)
_script = re.compile(r'<script\b.*?</script>', re.S | re.I)
_bar_line = re.compile(r'^.*\d+%\|.*\n?', re.M)
_bar_html = re.compile(r'<style>(?:(?!</style>).)*\bprogress\s*\{.*?</style>'
                       r'|<div>\s*<progress.*?</div>', re.S)


def _place(
    nb:Path, # a notebook under `nbs`
) -> tuple: # sorts the workbench before the chapters and the index last
    "Where `nb` stands when notebooks are run."
    return nb.stem == 'index', nb.parent == NBS, nb.relative_to(NBS).as_posix()


def chosen(
    names:list, # what the user typed, as for `make test`; empty for all
) -> list: # paths in the order they are run
    "The notebooks meant. Raises FileNotFoundError or ValueError for a name of none or several."
    return sorted({find_notebook(name) for name in names} or notebooks(), key=_place)


def _runs(
    cell:dict, # a notebook cell
) -> bool: # False for prose, empty cells and cells marked `#| eval: false`
    "Is `cell` to be run?"
    is_code = cell.cell_type == 'code' and bool(cell.source.strip())
    return is_code and not _skipped.search(cell.source)


def run(
    nb:dict, # a notebook as nbformat reads it; its outputs are replaced
    folder:Path, # where the kernel starts
):
    "Run `nb` in a fresh kernel. Raises RuntimeError naming the cell that failed."
    client = NotebookClient(nb, timeout=TIMEOUT, kernel_name='python3',
                            resources={'metadata': {'path': str(folder)}},
                            force_raise_errors=True, record_timing=False,
                            extra_arguments=['--log-level=40'])
    with client.setup_kernel():
        for i, cell in enumerate(nb.cells):
            if not _runs(cell): continue
            try: client.execute_cell(cell, i)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as e:
                said = strip_ansi(str(e)).strip()
                raise RuntimeError(f"cell {i} (id {cell.get('id')}): {said}") from None


def _without_bars(
    out:dict, # an output of a cell, changed in place
) -> bool: # False when nothing but progress bars was there
    "Take progress bars out of `out`."
    data = out if out.output_type == 'stream' else out.get('data', {})
    found = False
    for key, bar in (('text', _bar_line), ('text/plain', _bar_line), ('text/html', _bar_html)):
        if key not in data or not bar.search(data[key]): continue
        found, data[key] = True, bar.sub('', data[key])
    return not found or any(str(data[k]).strip() for k in ('text', 'text/html') if k in data)


def _joined(
    outputs:list, # outputs of a cell
) -> list: # between two figures one piece of stdout, then one of stderr
    "Join what a cell printed piece by piece; the order of two streams is a matter of chance."
    res = []
    for is_stream, outs in groupby(outputs, lambda o: o.output_type == 'stream'):
        outs = sorted(outs, key=lambda o: o.name == 'stderr') if is_stream else list(outs)
        for out in outs:
            if is_stream and res and res[-1].get('name') == out.name: res[-1].text += out.text
            else: res.append(out)
    return res


def tidy_output(
    out:dict, # an output of a cell, changed in place
    trim:bool=True, # take the scripts out of a live view too large to be stored?
) -> bool: # False when nothing worth keeping is left
    "Strip the widget view, progress bars and, with `trim`, the scripts of large live views."
    data = out.get('data', {})
    data.pop(WIDGET_VIEW, None)
    html = data.get('text/html', '')
    if trim and len(html.encode()) > MAX_LIVE and _script.search(html):
        data['text/html'] = _script.sub('', html) + TRIMMED
    return _without_bars(out) and (bool(data) or 'data' not in out)


def tidy(
    nb:dict, # a notebook as nbformat reads it
) -> str: # the text of its file
    "Clean `nb` as `nbdev_clean` does, without widget state and with tidy outputs."
    nb.metadata.pop('widgets', None)
    for cell in nb.cells:
        if cell.cell_type == 'code':
            cell.outputs = [o for o in _joined(cell.outputs) if tidy_output(o)]
    cfg, res = get_config(path=ROOT), json.loads(nbformat.writes(nb))
    keys = cfg.allowed_metadata_keys.split(), cfg.allowed_cell_metadata_keys.split()
    clean_nb(res, False, *keys, cfg.clean_ids)
    fit(res)
    return nb2str(res)


def fit(
    nb:dict, # a notebook as JSON; its largest PNGs shrink until the file fits
):
    "Keep a stored notebook within MOST bytes. The HTML picture, which is shown, stays as it is."
    for _ in range(100):
        if len(nb2str(nb).encode()) <= MOST: return
        outputs = [o.get('data', {}) for c in nb['cells'] for o in c.get('outputs', [])]
        doubled = [data for data in outputs if {'image/png', 'text/html'} <= data.keys()]
        if not doubled: return
        largest = max(doubled, key=lambda data: len(''.join(data['image/png'])))
        largest['image/png'] = smaller(''.join(largest['image/png']))


def smaller(
    png:str, # a picture in base64
) -> str: # the same
    "A PNG at 0.85 times its size."
    img = Image.open(io.BytesIO(base64.b64decode(png))).convert('RGB')
    size = [max(1, round(n*.85)) for n in img.size]
    file = io.BytesIO()
    img.resize(size, Image.Resampling.LANCZOS).save(file, 'PNG', optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def has_stderr(
    nb:dict, # a notebook as nbformat reads it
) -> bool: # is there a warning for its author to look at?
    "Did any cell of `nb` write to stderr?"
    return any(o.get('name') == 'stderr' for c in nb.cells for o in c.get('outputs', []))


def store(
    path:Path, # a notebook; rewritten when every cell ran
) -> bool: # did any cell write to stderr?
    "Run the notebook at `path`, store its outputs, print its size and time."
    start, nb = time.time(), nbformat.read(path, as_version=4)
    run(nb, path.parent)
    path.write_text(tidy(nb), encoding='utf-8')
    name = path.relative_to(NBS).as_posix()
    print(f'{name:40} {path.stat().st_size/1000:7.0f} KB {time.time()-start:7.1f} s', flush=True)
    return has_stderr(nb)


def main(
    names:list, # what the user typed, see `chosen`
) -> int: # exit status: 1 when a notebook failed
    "Store the outputs of the notebooks meant by `names`."
    noisy, failed = [], []
    for path in chosen(names):
        name = path.relative_to(NBS).as_posix()
        try:
            if store(path): noisy.append(name)
        except RuntimeError as e:
            failed.append(name)
            print(f'{name}: left as it was, {e}', file=sys.stderr, flush=True)
    if noisy: print('Written to stderr, look at them:', *noisy)
    if failed: print('Failed:', *failed, file=sys.stderr)
    return bool(failed)


if __name__ == '__main__':
    try: sys.exit(main(sys.argv[1:]))
    except (FileNotFoundError, ValueError) as e: sys.exit(str(e))
