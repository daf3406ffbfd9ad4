"""Does the site notice what is wrong, and leave out what it must? Each case is planted."""
import sys
import tempfile
from pathlib import Path

from build_site import broken, read_pages
from course import Notebook
from mutate_plants import notebook, write_course
from site_pages import page

GOOD = '<a href="b.html#place">b</a><img src="c.png"><a href="https://example.org/x">elsewhere</a>'
OTHER = '<p id="place">here</p><link rel="canonical" href="https://example.org">'
FAULTS = { # what is planted in place of a part of GOOD: what must be said
    ('b.html#place', 'd.html'): 'leads nowhere',
    ('b.html#place', 'b.html#lost'): 'names no place of b.html',
    ('c.png', 'lost.png'): 'leads nowhere',
    ('c.png', 'https://example.org/c.png'): 'from another host',
    ('<img src="c.png">', '<script src="//cdn.example.org/x.js"></script>'): 'from another host',
    ('<img', '<link rel="stylesheet" href="https://example.org/x.css"><img'): 'from another host',
}
CELLS = ['#| default_exp small', '#| export\ndef shown(x): return x', '1 + 1', 'assert shown(1)']


def said(
    text:str, # of a page
) -> list: # sentences
    "What the check says of a site of two pages."
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        (site/'a.html').write_text(text)
        (site/'b.html').write_text(OTHER)
        (site/'c.png').touch()
        return broken(read_pages(site))


def links(): # yields sentences about what went wrong
    "Plant every fault in a page without any."
    if found := said(GOOD): yield f'a good page is refused: {found}'
    for (old, new), words in FAULTS.items():
        assert GOOD.count(old) == 1, old
        found = said(GOOD.replace(old, new))
        if len(found) != 1 or words not in found[0]: yield f'{new} should be "{words}", is {found}'


def pages(): # yields sentences about what went wrong
    "A notebook with a set-up, an export and tests, as the site shows it."
    raw = notebook(CELLS)
    raw['cells'][2:2] = [prose('notes', '[a](other.ipynb) and [b](LICENSE)')]
    raw['cells'][-1:-1] = [prose('tests', '## Tests')]
    raw['cells'][1]['metadata'] = {'jupyter': {'source_hidden': True}}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        write_course(root, {'attn_course/small.py': '', 'nbs/01_small.ipynb': raw})
        shown = page(Notebook(root/'nbs'/'01_small.ipynb', root), 'https://example.org')['cells']
    sources = [cell['source'] for cell in shown]
    want = ['def shown(x): return x', '[a](other.ipynb) and [b](https://example.org/LICENSE)',
            '1 + 1']
    if sources[:-1] != want: yield f'the page shows {sources[:-1]}'
    if shown[0]['metadata'] != {'tags': ['hide-input']}: yield 'what is folded is not folded'
    if '[`shown`](#small.shown)' not in sources[-1]: yield f'no link to shown: {sources[-1]}'


def prose(
    name:str, # id of the cell
    source:str, # markdown
) -> dict: # a cell as JSON
    "A cell of prose."
    return {'cell_type': 'markdown', 'id': name, 'metadata': {}, 'source': source}


def main() -> int: # exit status
    "Try every fault and the page."
    wrong = [*links(), *pages()]
    for line in wrong: print(line)
    print(f'{len(FAULTS) + 4 - len(wrong)} passed, {len(wrong)} failed')
    return int(bool(wrong))


if __name__ == '__main__': sys.exit(main())
