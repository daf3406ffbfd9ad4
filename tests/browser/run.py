"""Use the course in a real browser: `make browser`."""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import TimeoutError as NotInTime
from playwright.sync_api import sync_playwright

from lab import ROOT, WAIT, jupyterlab

FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking',
         '--disable-component-update', '--disable-sync']
PROGRAMS = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
KEYS = 'ArrowDown', 'ArrowRight', 'ArrowUp', 'ArrowLeft'
PAGE_WAIT = 30
LOCAL = 'file:', 'data:', 'blob:'
NOTEBOOK_JS = Path(__file__).with_name('notebook.js')


class Stop(Exception):
    "A step failed: the steps that build on it are left out."


class Checks:
    "Counts the steps that passed and failed, with a line for each."
    def __init__(self): self.passed, self.failed = 0, 0

    @contextmanager
    def __call__(self,
        what:str, # the step, in a few words
    ):
        "One step; raises `Stop` when it fails."
        try: yield
        except Exception as e:
            self.failed += 1
            print(f'FAIL  {what}: {e}', flush=True)
            raise Stop from e
        self.passed += 1
        print(f'ok    {what}', flush=True)


def find_chromium() -> str: # path of the program
    "The Chromium of this machine; `CHROMIUM` in the environment comes first."
    names = [os.environ.get('CHROMIUM', ''), *PROGRAMS]
    found = [path for path in map(shutil.which, names) if path]
    if not found:
        raise FileNotFoundError('there is no Chromium here: install one, or name it in CHROMIUM')
    return found[0]


@contextmanager
def open_page(
    browser, # playwright's browser
    shot:Path, # the screenshot made at the end, whatever happened
    wait:int, # seconds
    **kwargs, # for the browser's context
): # a page and the list of addresses it asks for
    "An empty page that waits for anything at most `wait` seconds."
    context = browser.new_context(viewport={'width': 1280, 'height': 1000}, **kwargs)
    page, asked = context.new_page(), []
    page.set_default_timeout(wait*1000)
    context.on('request', lambda request: asked.append(request.url))
    try: yield page, asked
    finally:
        with suppress(PlaywrightError):
            page.screenshot(path=shot, timeout=10_000)
            print(f'      screenshot: {shot}', flush=True)
        context.close()


def notebook_path(
    path:str, # where JupyterLab starts: '/lab' or '/lab/tree/.../00_start.ipynb'
    nb:str, # a notebook, without .ipynb
) -> str: # where it shows `nb`
    "The path of `nb` beside the notebook JupyterLab starts with."
    folder = path.rpartition('/')[0] if path.endswith('.ipynb') else '/lab/tree'
    return f'{folder}/{nb}.ipynb'


def explorer(
    page, # playwright's page
): # locator of an output
    "The first output in sight that has a caption."
    return page.locator('.jp-OutputArea-output', has=page.locator('[aria-live]')).first


def show_explorer(
    page, # playwright's page, JupyterLab on it
):
    "Scroll to the first explorer; raises RuntimeError when there is none."
    for cell in page.evaluate('course.explorers()'):
        page.evaluate('id => course.show(id)', cell)
        try: return explorer(page).locator('[aria-live]').first.wait_for(timeout=10_000)
        except NotInTime: pass
    raise RuntimeError('no output of this notebook is an explorer with a caption')


def _answers(
    page, # playwright's page
    control, # locator of a select or a canvas
    caption, # locator of what the explorer says
) -> bool: # did the caption change?
    "Press arrow keys on `control` until the explorer says something else."
    before, element = caption.text_content(), caption.element_handle()
    for key in KEYS:
        control.press(key)
        changed = '([element, before]) => element.textContent !== before'
        with suppress(NotInTime):
            page.wait_for_function(changed, arg=[element, before], timeout=2000)
            return True
    return False


def move_by_key(
    page, # playwright's page
) -> str: # what the explorer says in the end
    "Move the explorer by each kind of control. Raises RuntimeError for one that does not answer."
    view = explorer(page)
    caption = view.locator('[aria-live]').first
    kinds = [kind for kind in ('select', 'canvas[tabindex]') if view.locator(kind).count()]
    if not kinds: raise RuntimeError('the explorer has neither a select nor a canvas')
    for kind in kinds:
        if not any(_answers(page, control, caption) for control in view.locator(kind).all()):
            raise RuntimeError(f'no arrow key on a {kind} changed the caption '
                               f'{caption.text_content()!r}')
    return caption.text_content()


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
        with check(f'JupyterLab opens {nb}'):
            page.goto(re.sub(r'/lab[^?]*', lambda m: notebook_path(m[0], nb), url))
            page.add_script_tag(path=NOTEBOOK_JS)
            page.wait_for_function('course.ready()')
        with check('all cells run, none shows an error'):
            page.evaluate('course.runAll()')
            page.wait_for_function('course.finished()')
            if errors := page.evaluate('course.errors()'): raise RuntimeError(errors[0])
        with check('the explorer is in sight'): show_explorer(page)
        with check('arrow keys move the explorer'): said = move_by_key(page)
        print(f'      it says: {said}')


def check_html(
    check:Checks, # where steps are counted
    browser, # playwright's browser
    nb:str, # a notebook, without .ipynb
    folder:Path, # where screenshots go
):
    "A reader of the exported page, with scripts on and off."
    page_url = (ROOT/'_html'/f'{nb}.html').as_uri()
    with check('make html writes the page'):
        done = subprocess.run(['make', 'html', f'NB={nb}'], cwd=ROOT, capture_output=True,
                              text=True, timeout=WAIT)
        if done.returncode: raise RuntimeError((done.stdout + done.stderr)[-2000:])
    with open_page(browser, folder/'page.png', PAGE_WAIT) as (page, asked):
        with check('arrow keys move the explorer of the page'):
            page.goto(page_url)
            explorer(page).wait_for()
            said = move_by_key(page)
        print(f'      it says: {said}')
        with check('the page asks no other host for anything'):
            if outside := [u for u in asked if not u.startswith(LOCAL)]:
                raise RuntimeError(', '.join(outside))
    without = open_page(browser, folder/'no_scripts.png', PAGE_WAIT, java_script_enabled=False)
    with without as (page, _), check('with scripts off the page shows the picture'):
        page.goto(page_url)
        picture = page.locator('.jp-OutputArea-output:has(script) img').first
        picture.scroll_into_view_if_needed()
        if not picture.evaluate('img => img.naturalWidth'):
            raise RuntimeError('the picture is empty')
        if not picture.get_attribute('alt'): raise RuntimeError('the picture has no alt text')


def main(
    nb:str, # a notebook, without .ipynb
) -> int: # exit status: 1 when a step failed
    "Take all steps, tell how many passed."
    check, folder = Checks(), Path(tempfile.mkdtemp(prefix='course_browser_'))
    with suppress(Stop), ExitStack() as stack:
        with check('there is a Chromium'): program = find_chromium()
        p = stack.enter_context(sync_playwright())
        browser = stack.enter_context(p.chromium.launch(executable_path=program, args=FLAGS))
        for part in (check_lab, check_html):
            with suppress(Stop): part(check, browser, nb, folder)
    print(f'{check.passed} passed, {check.failed} failed')
    return bool(check.failed)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--nb', default='00_start', help='a notebook under nbs, without .ipynb')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(parser.parse_args().nb))
