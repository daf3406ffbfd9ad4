"""What a reader does in a browser, counted step by step."""
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import TimeoutError as NotInTime

KEYS = 'ArrowDown', 'ArrowRight', 'ArrowUp', 'ArrowLeft'
OUTPUT = '.jp-OutputArea-output, .cell_output > .output' # in JupyterLab, on the site


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


@contextmanager
def open_page(
    browser, # playwright's browser
    shot:Path, # the screenshot made at the end, whatever happened
    wait:int, # seconds
    width:int=1280, # of the window
    **kwargs, # for the browser's context
): # a page and the list of addresses it asks for
    "An empty page that waits for anything at most `wait` seconds."
    context = browser.new_context(viewport={'width': width, 'height': 1000}, **kwargs)
    page, asked = context.new_page(), []
    page.set_default_timeout(wait*1000)
    context.on('request', lambda request: asked.append(request.url))
    try: yield page, asked
    finally:
        with suppress(PlaywrightError):
            page.screenshot(path=shot, timeout=10_000)
            print(f'      screenshot: {shot}', flush=True)
        context.close()


def explorer(
    page, # playwright's page
): # locator of an output
    "The first output in sight that has a caption."
    return page.locator(OUTPUT, has=page.locator('[aria-live]')).first


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
