"""The word explorer of chapter 14, in JupyterLab and on the site."""
from pathlib import Path

from reader import Checks, open_page

NOTEBOOK, PAGE = '14_caption', '14_caption.html'
LOOKS = {'words_narrow_dark': dict(width=420, color_scheme='dark'), 'words': dict(width=1280)}


def caption_of(
    view, # locator of a word explorer
) -> str: # what it says now
    "The words below the picture."
    return view.locator('.attn-caption').text_content()


def by_pointer_and_keys(
    view, # locator of a word explorer
):
    "Go through the sentence. Raises RuntimeError where nothing changes."
    words, said = view.locator('.attn-sentence button'), set()
    view.scroll_into_view_if_needed()
    for i in range(words.count()):
        words.nth(i).hover()
        said.add(caption_of(view))
    if len(said) < words.count(): raise RuntimeError(f'{words.count()} words, but it says {said}')
    words.nth(0).focus()
    before = caption_of(view)
    for key in ('ArrowRight', 'End', 'Home'):
        view.page.keyboard.press(key)
        if caption_of(view) == before: raise RuntimeError(f'{key} changed nothing: {before!r}')
        before = caption_of(view)


def check_words_in_lab(
    check:Checks, # where steps are counted
    page, # playwright's page, chapter 14 open in JupyterLab and run
):
    "Point at words, then choose another one, and the sentence goes on."
    for cell in page.evaluate('course.explorers()'): page.evaluate('id => course.show(id)', cell)
    view = page.locator('.attn-words').first
    with check('the word explorer answers pointer and keys in JupyterLab'):
        view.wait_for()
        by_pointer_and_keys(view)
    with check('another word is chosen, the sentence goes on from there'):
        sentence = view.locator('.attn-sentence')
        sentence.locator('button').nth(1).hover()
        before = sentence.text_content()
        view.locator('.attn-others button:not(:disabled)').first.press('Enter')
        page.wait_for_function('([e, b]) => e.textContent !== b',
                               arg=[sentence.element_handle(), before])
    print(f'      it says: {sentence.inner_text()!r}'.replace('\\n', ' '))


def check_words_on_site(
    check:Checks, # where steps are counted
    browser, # playwright's browser
    url:str, # of the site
    folder:Path, # where screenshots go
):
    "The chapter's explorer, alive without a kernel; other words say that they need one."
    for name, look in LOOKS.items():
        with open_page(browser, folder/f'{name}.png', 30, **look) as (page, _), \
                check(f'the word explorer is alive on the site, {name}'):
            page.goto(url + PAGE)
            view = page.locator('.attn-words').first
            view.wait_for()
            by_pointer_and_keys(view)
            if view.locator('.attn-others button:not(:disabled)').count():
                raise RuntimeError('other words can be chosen, though there is no kernel')
            view.get_by_text('needs a kernel').wait_for()
            out = page.evaluate('document.documentElement.scrollWidth - innerWidth')
            if out > 0: raise RuntimeError(f'the page is {out} pixels wider than the window')
