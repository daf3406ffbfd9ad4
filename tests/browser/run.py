"""Use the course in a real browser: `make browser`."""
import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from playwright.sync_api import TimeoutError as NotInTime
from playwright.sync_api import sync_playwright

from lab import ROOT, WAIT, jupyterlab
from pages import check_site
from patches import NOTEBOOK as PATCHES
from patches import check_in_lab
from reader import Checks, Stop, explorer, move_by_key, open_page
from words import NOTEBOOK as WORDS
from words import check_words_in_lab

FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking',
         '--disable-component-update', '--disable-sync']
PROGRAMS = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
NOTEBOOK_JS = Path(__file__).with_name('notebook.js')


def find_chromium() -> str: # path of the program
    "The Chromium of this machine; `CHROMIUM` in the environment comes first."
    names = [os.environ.get('CHROMIUM', ''), *PROGRAMS]
    found = [path for path in map(shutil.which, names) if path]
    if not found:
        raise FileNotFoundError('there is no Chromium here: install one, or name it in CHROMIUM')
    return found[0]


def notebook_path(
    path:str, # where JupyterLab starts: '/lab' or '/lab/tree/.../00_start.ipynb'
    nb:str, # a notebook, without .ipynb
) -> str: # where it shows `nb`
    "The path of `nb` beside the notebook JupyterLab starts with."
    folder = path.rpartition('/')[0] if path.endswith('.ipynb') else '/lab/tree'
    return f'{folder}/{nb}.ipynb'


def show_explorer(
    page, # playwright's page, JupyterLab on it
):
    "Scroll to the first explorer; raises RuntimeError when there is none."
    for cell in page.evaluate('course.explorers()'):
        page.evaluate('id => course.show(id)', cell)
        try: return explorer(page).locator('[aria-live]').first.wait_for(timeout=10_000)
        except NotInTime: pass
    raise RuntimeError('no output of this notebook is an explorer with a caption')


def check_lab(
    check:Checks, # where steps are counted
    browser, # playwright's browser
    nb:str, # a notebook of the reader's copy, without .ipynb
    folder:Path, # where logs and screenshots go
):
    "A reader in JupyterLab: run the notebook, move its explorer."
    with ExitStack() as stack:
        with check('make lab serves'): url = stack.enter_context(jupyterlab(folder))
        page, _ = stack.enter_context(open_page(browser, folder/'lab.png', WAIT))
        run_all(check, page, url, nb)
        with check('the explorer is in sight'): show_explorer(page)
        with check('arrow keys move the explorer'): said = move_by_key(page)
        print(f'      it says: {said}')


def check_chapter(
    check:Checks, # where steps are counted
    browser, # playwright's browser
    folder:Path, # where logs and screenshots go, made anew
    nb:str, # a notebook, without .ipynb
    try_out, # function of check and page, once all cells have run
):
    "A reader in JupyterLab, with the explorers of a chapter."
    folder.mkdir()
    with ExitStack() as stack:
        url = stack.enter_context(jupyterlab(folder))
        page, _ = stack.enter_context(open_page(browser, folder/'lab.png', WAIT))
        run_all(check, page, url, nb)
        try_out(check, page)


def run_all(
    check:Checks, # where steps are counted
    page, # playwright's page
    url:str, # where JupyterLab starts
    nb:str, # a notebook, without .ipynb
):
    "Open a notebook and run it."
    with check(f'JupyterLab opens {nb}'):
        page.goto(re.sub(r'/lab[^?]*', lambda m: notebook_path(m[0], nb), url))
        page.add_script_tag(path=NOTEBOOK_JS)
        page.wait_for_function('course.ready()')
    with check(f'all cells of {nb} run, none shows an error'):
        page.evaluate('course.runAll()')
        page.wait_for_function('course.finished()')
        if errors := page.evaluate('course.errors()'): raise RuntimeError(errors[0])


def main(
    nb:str, # a notebook, without .ipynb
) -> int: # exit status: 1 when a step failed
    "Take all steps, tell how many passed."
    check, folder = Checks(), Path(tempfile.mkdtemp(prefix='course_browser_'))
    with suppress(Stop), ExitStack() as stack:
        with check('there is a Chromium'): program = find_chromium()
        p = stack.enter_context(sync_playwright())
        browser = stack.enter_context(p.chromium.launch(executable_path=program, args=FLAGS))
        with suppress(Stop): check_lab(check, browser, nb, folder)
        for name, try_out in ((PATCHES, check_in_lab), (WORDS, check_words_in_lab)):
            with suppress(Stop): check_chapter(check, browser, folder/name, name, try_out)
        with suppress(Stop): check_site(check, browser, ROOT/'_site'/'html', folder)
    print(f'{check.passed} passed, {check.failed} failed')
    return bool(check.failed)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--nb', default='00_start', help='a notebook under nbs, without .ipynb')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(parser.parse_args().nb))
