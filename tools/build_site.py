"""Write the course as a site, to _site/html: `make site`. Notebooks are shown as stored."""
import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nbdev.config import get_config

from course import Course, Notebook, text
from setup_env import ROOT
from site_api import module_page, words
from site_bench import bench_page
from site_pages import page

SITE, BUILT = ROOT/'site', ROOT/'_site'
SOURCE, PAGES = BUILT/'source', BUILT/'html'
LOADING = {'script': 'src', 'img': 'src', 'iframe': 'src', 'source': 'src', 'link': 'href'}


# What Sphinx reads

def stage(
    course:Course, # all its notebooks
):
    "Write the pages that Sphinx reads: notebooks, an API page for each module, what `site/` holds."
    shutil.rmtree(BUILT, ignore_errors=True)
    shutil.copytree(SITE, SOURCE, ignore=shutil.ignore_patterns('__pycache__'))
    repo = repository()
    ordered = sorted(course.nbs, key=lambda nb: (nb.rank[0] != 2, nb.rank))
    for nb in ordered:
        write(SOURCE/f'{page_name(nb)}.ipynb', json.dumps(page(nb, repo), ensure_ascii=False))
    modules = [nb for nb in ordered if nb.module]
    for nb in modules: write(SOURCE/'api'/f'{nb.module}.md', module_page(nb, title(nb), repo))
    write(SOURCE/'api'/'index.md', api_index(modules))
    write_front(ordered, ['proof']*bench_page(SOURCE))


def page_name(
    nb:Notebook, # one of the course
) -> str: # of its page, such as 'workbench/00_render'
    "The notebook's own name; the front page is another one than the index, which tells the set-up."
    name = nb.path.relative_to(nb.root/'nbs').with_suffix('').as_posix()
    return 'setup' if name == 'index' else name


def repository() -> str: # an address without slash at the end
    "Where the files of the course are shown."
    cfg = get_config(path=ROOT)
    return f'{cfg.git_url}/blob/{cfg.branch}'


def write(
    path:Path, # of a file
    source:str, # its text
):
    "Write a file and the folders above it."
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding='utf-8')


def title(
    nb:Notebook, # one of the course
) -> str: # its first heading
    "What the notebook is called."
    prose = '\n'.join(c.src for c in nb.cells if not c.is_code)
    return re.search(r'^# (.+)$', prose, re.M)[1].strip()


def api_index(
    modules:list, # notebooks that export a module, in reading order
) -> str: # MyST
    "All modules with the question that each answers."
    lines = ['# What the package offers', '']
    for nb in modules:
        about = words(import_module(f'attn_course.{nb.module}'))
        lines.append(f'- [attn_course.{nb.module}]({nb.module}.md): {about}')
    return '\n'.join([*lines, '', *toctree('Modules', [nb.module for nb in modules], hidden=True)])


def toctree(
    caption:str, # over the list
    docs:list, # names of pages
    hidden:bool=False, # only in the navigation?
) -> list: # lines of MyST
    "A part of the navigation."
    options = [f':caption: {caption}', ':maxdepth: 1'] + [':hidden:']*hidden
    return ['```{toctree}', *options, '', *docs, '```', '']


def write_front(
    ordered:list, # all notebooks in reading order
    more:list, # further pages of the package
):
    "The front page: what site/index.md says, the picture of the index, and the navigation."
    names = {nb: page_name(nb) for nb in ordered}
    parts = {'The course': [n for nb, n in names.items() if nb.is_chapter or n == '00_start'],
             'The package': ['Open the course <setup>', 'api/index', *more],
             'Workbench': [n for n in names.values() if n.startswith('workbench/')]}
    lines = [line for part, docs in parts.items() for line in toctree(part, docs, hidden=True)]
    front = (SITE/'index.md').read_text(encoding='utf-8')
    write(SOURCE/'index.md', front + '\n' + '\n'.join(lines))
    index = next(nb for nb, n in names.items() if n == 'setup')
    found = [o['data']['image/jpeg'] for c in index.code for o in c.outputs
             if 'image/jpeg' in o.get('data', {})]
    (SOURCE/'static'/'first.jpg').write_bytes(base64.b64decode(text(found[0])))


# What Sphinx wrote

class Links(HTMLParser):
    "Reads a page: the places it has, where it links to, what it loads."
    def __init__(self):
        super().__init__()
        self.places, self.links, self.loads = {''}, [], []

    def handle_starttag(self, tag, attrs):
        "Called for every tag."
        attrs = dict(attrs)
        self.places |= {attrs[k] for k in ('id', 'name') if attrs.get(k)}
        if tag == 'a' and attrs.get('href'): self.links.append(attrs['href'])
        is_loaded = tag != 'link' or 'stylesheet' in attrs.get('rel', '')
        if tag in LOADING and is_loaded: self.loads.append(attrs.get(LOADING[tag]) or '')


def read_pages(
    folder:Path, # of a site
) -> dict: # path to `Links`
    "What stands in each page."
    found = {}
    for path in sorted(p for p in folder.rglob('*.html') if '_static' not in p.parts):
        found[path] = Links()
        found[path].feed(path.read_text(encoding='utf-8'))
    return found


def broken(
    pages:dict, # path to `Links`
) -> list: # sentences
    "Every link that leads nowhere, and everything that is loaded from another host."
    bad = []
    for path, page_links in pages.items():
        for url in page_links.links + page_links.loads:
            target = urlsplit(url)
            if target.scheme or target.netloc: continue
            file = (path.parent/unquote(target.path)).resolve() if target.path else path
            if not file.exists(): bad.append(f'{path.name}: {url} leads nowhere')
            elif file in pages and unquote(target.fragment) not in pages[file].places:
                bad.append(f'{path.name}: {url} names no place of {file.name}')
        hosts = [u for u in page_links.loads if urlsplit(u).netloc]
        bad += [f'{path.name} loads {u} from another host' for u in hosts]
    return bad


def main() -> int: # exit status
    "Build the site and check it."
    course = Course()
    if course.invalid: sys.exit('\n'.join(f'{name} {why}' for name, why in course.invalid))
    stage(course)
    sphinx = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-b', 'html']
    if subprocess.run([*sphinx, str(SOURCE), str(PAGES)]).returncode: return 1
    pages = read_pages(PAGES)
    bad = broken(pages)
    print(*bad, sep='\n', end='\n'*bool(bad), file=sys.stderr)
    print(f'{len(pages)} pages: open {(PAGES/"index.html").relative_to(ROOT)}')
    return int(bool(bad))


if __name__ == '__main__': sys.exit(main())
