"""The patch explorer of chapter 13, in JupyterLab and on the site."""
from pathlib import Path

from reader import Checks, open_page

FRAME = 16 # milliseconds
NOTEBOOK, PAGE = '13_explore', '13_explore.html'
LOOKS = {'patches_narrow_dark': dict(width=420, color_scheme='dark'), 'patches': dict(width=1280)}
TOUR = 8 # steps


def patch_view(
    root, # a page or a locator
): # locator
    "The first patch explorer that is alive."
    return root.locator('.attn-patches').first


def hover(
    view, # locator of a patch explorer
    n:int=40, # places
) -> list: # milliseconds that each drawing took
    "Move the pointer over the picture, and read how long each answer took."
    canvas = view.locator('canvas.attn-main')
    canvas.scroll_into_view_if_needed()
    box, page, times = canvas.bounding_box(), view.page, []
    for i in range(n):
        across, down = .03 + .94*(i*7 % n)/n, .03 + .94*(i*3 % n)/n
        before = view.locator('.attn-caption').text_content()
        page.mouse.move(box['x'] + across*box['width'], box['y'] + down*box['height'])
        page.wait_for_timeout(4)
        if view.locator('.attn-caption').text_content() != before:
            times.append(float(view.get_attribute('data-ms')))
    if len(times) < n/2: raise RuntimeError(f'only {len(times)} of {n} hovers changed the caption')
    return times


def by_keys(
    view, # locator of a patch explorer
):
    "Use it by keyboard alone. Raises RuntimeError where nothing changes."
    caption = view.locator('.attn-caption')
    for part, keys in (('canvas.attn-main', ('Home', 'ArrowDown', 'ArrowLeft')),
                       ('canvas.attn-sheet', ('ArrowUp', 'ArrowRight'))):
        for key in keys:
            before = caption.text_content()
            view.locator(part).press(key)
            view.page.wait_for_timeout(60)
            if caption.text_content() == before and key != 'Home':
                raise RuntimeError(f'{key} on {part} changed nothing: {before!r}')


def take_tour(
    view, # locator of a patch explorer
    n:int=TOUR, # steps it should have
):
    "Go through the guided tour with the keyboard, step by step, and leave it."
    tour, steps = view.locator('.attn-tour'), set()
    tour.get_by_role('button', name='Take the tour').press('Enter')
    for _ in range(n):
        tour.locator('p').wait_for()
        steps.add(tour.locator('p').text_content())
        tour.get_by_role('button', name='Next').or_(tour.get_by_role('button', name='Done')) \
            .press('Enter')
        view.page.wait_for_timeout(60)
    tour.get_by_role('button', name='Take the tour').wait_for()
    if len(steps) != n: raise RuntimeError(f'the tour has {len(steps)} steps, not {n}')


def check_in_lab(
    check:Checks, # where steps are counted
    page, # playwright's page, chapter 13 open in JupyterLab and run
):
    "The explorers of the notebook: the small one with its kernel, the large one by its times."
    for cell in page.evaluate('course.explorers()'): page.evaluate('id => course.show(id)', cell)
    views = page.locator('.attn-patches')
    with check('the patch explorer answers arrow keys in JupyterLab'):
        page.evaluate('id => course.show(id)', page.evaluate('course.explorers()')[0])
        views.first.wait_for()
        by_keys(views.first)
    with check('a head is switched off, the answer moves'):
        before = views.first.locator('.attn-caption').text_content()
        views.first.get_by_role('button', name='Switch off layer').press('Enter')
        page.wait_for_function('([e, b]) => e.textContent !== b', arg=[
            views.first.locator('.attn-caption').element_handle(), before])
    with check('12 layers of 6 heads: a hover is drawn within a frame'):
        page.evaluate('id => course.show(id)', page.evaluate('course.explorers()')[-1])
        large = views.last
        large.wait_for()
        times = sorted(hover(large))
        if times[len(times)*9//10] > FRAME: raise RuntimeError(f'nine of ten take {times} ms')
    print(f'      {len(times)} hovers: median {times[len(times)//2]} ms, longest {times[-1]} ms')
    sizes = page.locator('.jp-OutputArea-output', has_text='MiB for 12 layers').first
    print(f'      it was sent {sizes.text_content().strip()}')


def check_on_site(
    check:Checks, # where steps are counted
    browser, # playwright's browser
    url:str, # of the site
    folder:Path, # where screenshots go
):
    "The chapter's own explorer, alive without a kernel."
    for name, look in LOOKS.items():
        with open_page(browser, folder/f'{name}.png', 30, **look) as (page, _), \
                check(f'the patch explorer is alive on the site, {name}'):
            page.goto(url + PAGE)
            view = patch_view(page)
            view.wait_for()
            by_keys(view)
            take_tour(view)
            if sorted(hover(view, 20))[-3] > FRAME: raise RuntimeError('hovers take longer')
            out = page.evaluate('document.documentElement.scrollWidth - innerWidth')
            if out > 0: raise RuntimeError(f'the page is {out} pixels wider than the window')
    with open_page(browser, folder/'patches_touch.png', 30, has_touch=True) as (page, _), \
            check('a finger moves the patch that asks'):
        page.goto(url + PAGE)
        view = patch_view(page)
        view.wait_for()
        canvas, caption = view.locator('canvas.attn-main'), view.locator('.attn-caption')
        canvas.scroll_into_view_if_needed()
        box, before = canvas.bounding_box(), caption.text_content()
        page.touchscreen.tap(box['x'] + box['width']*.3, box['y'] + box['height']*.7)
        page.wait_for_function('([e, b]) => e.textContent !== b',
                               arg=[caption.element_handle(), before])
