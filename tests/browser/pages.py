"""A reader of the site."""
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from patches import check_on_site
from reader import OUTPUT, Checks, explorer, move_by_key, open_page
from words import check_words_on_site

WAIT = 30 # seconds for anything
LOCAL = 'http://127.0.0.1:', 'data:', 'blob:'
START, CHAPTER = '00_start.html', '07_cam.html'
LOOKS = {'wide': dict(width=1280), 'narrow': dict(width=420),
         'wide_dark': dict(width=1280, color_scheme='dark'),
         'narrow_dark': dict(width=420, color_scheme='dark')}


class Files(SimpleHTTPRequestHandler):
    "Sends files, and writes no log."
    def log_message(self, *args):
        "Called for every request."


class Server(ThreadingHTTPServer):
    "A server that is silent when a page is left before it was read."
    def handle_error(self, *args):
        "Called for every connection that broke."


@contextmanager
def served(
    folder:Path, # of the site
): # its address, with a slash at the end
    "The site on a port of this machine, until the end of the `with`."
    server = Server(('127.0.0.1', 0), partial(Files, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f'http://127.0.0.1:{server.server_port}/'
    finally:
        server.shutdown()
        server.server_close()


def check_site(
    check:Checks, # where steps are counted
    browser, # playwright's browser
    html:Path, # folder of the site
    folder:Path, # where screenshots go
):
    "A reader of the site, with scripts on and off."
    with ExitStack() as stack:
        with check('the site is built'):
            if not (html/'index.html').is_file(): raise FileNotFoundError('run make site')
        url = stack.enter_context(served(html))
        page, asked = stack.enter_context(open_page(browser, folder/'site.png', WAIT))
        follow(check, page, url)
        search(check, page, url)
        with check('arrow keys move an explorer of the site'):
            page.goto(url + START)
            explorer(page).wait_for()
            said = move_by_key(page)
        print(f'      it says: {said}')
        with check('no request leaves the machine'):
            if outside := [u for u in asked if not u.startswith(LOCAL)]:
                raise RuntimeError(', '.join(outside))
        for name, look in LOOKS.items(): check_look(check, browser, url, folder, name, look)
        check_on_site(check, browser, url, folder)
        check_words_on_site(check, browser, url, folder)
        check_without_scripts(check, browser, url, folder)


def follow(
    check:Checks, # where steps are counted
    page, # playwright's page
    url:str, # of the site
):
    "From the front page to a heatmap, to the chapter that explains it, to the function."
    with check('the front page shows a heatmap and leads to more'):
        page.goto(url)
        if not loaded(page.locator('figure img').first): raise RuntimeError('no picture')
        card(page, 'See it').click()
        if not loaded(page.locator(f':is({OUTPUT}) img').first): raise RuntimeError('no picture')
    with check('from there to the chapter that explains it'):
        page.go_back()
        card(page, 'Understand it').click()
        page.get_by_role('heading', name='CAM and Grad-CAM').first.wait_for()
    with check('from the chapter to the function that makes it'):
        page.get_by_role('link', name='heatmaps', exact=True).last.click()
        page.wait_for_url('**/api/cam.html#cam-heatmaps')
        page.get_by_role('heading', name='heatmaps').wait_for()
        page.get_by_role('link', name='CAM and Grad-CAM').last.wait_for()


def card(
    page, # playwright's page
    name:str, # what stands over it
): # locator
    "A card of the front page."
    return page.locator('.sd-card', has=page.get_by_role('link', name=name))


def search(
    check:Checks, # where steps are counted
    page, # playwright's page
    url:str, # of the site
):
    "Type a word into the search."
    with check('search finds Grad-CAM in the chapter that builds it'):
        page.goto(f'{url}search.html?q=Grad-CAM')
        page.locator(f'#search-results a[href*="{CHAPTER}"]').first.wait_for()


def loaded(
    picture, # locator of an `<img>`
) -> bool: # has it pixels and a text for those who do not see it?
    "Does a picture show something?"
    picture.scroll_into_view_if_needed()
    return picture.evaluate('img => img.decode().then(() => img.naturalWidth > 0)') \
        and bool(picture.get_attribute('alt'))


def check_look(
    check:Checks, # where steps are counted
    browser, # playwright's browser
    url:str, # of the site
    folder:Path, # where the screenshot goes
    name:str, # of the look
    look:dict, # for `open_page`
):
    "One chapter in one kind of window: nothing sticks out, dark is dark."
    dark = look.get('color_scheme') == 'dark'
    with open_page(browser, folder/f'{name}.png', WAIT, **look) as (page, _), \
            check(f'a chapter fits, {name}'):
        page.goto(url + CHAPTER)
        out = page.evaluate('document.documentElement.scrollWidth - innerWidth')
        if out > 0: raise RuntimeError(f'the page is {out} pixels wider than the window')
        shade = page.evaluate('getComputedStyle(document.body).backgroundColor')
        light = int(shade.split('(')[1].split(',')[0]) > 128
        if light == dark: raise RuntimeError(f'its background is {shade}')


def check_without_scripts(
    check:Checks, # where steps are counted
    browser, # playwright's browser
    url:str, # of the site
    folder:Path, # where the screenshot goes
):
    "An explorer in a browser that runs no script."
    shot = folder/'no_scripts.png'
    with open_page(browser, shot, WAIT, java_script_enabled=False) as (page, _), \
            check('with scripts off a picture stands for the explorer'):
        page.goto(url + START)
        picture = page.locator(f':is({OUTPUT}):has(script) img').first
        if not loaded(picture): raise RuntimeError('it is empty or has no alt text')
