"""Write README.md, and its pictures, from nbs/index.ipynb: `write_readme.py [--check]`."""
import argparse
import base64
import html
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT/'nbs'/'index.ipynb'
NOTE = '<!-- Written from nbs/index.ipynb by `make readme`: change the notebook, not this file. -->'


def fence(
    text:str, # code or output
    lang:str='', # 'python' or nothing
) -> str: # markdown
    "`text` as a block of code."
    return f'```{lang}\n{text.strip()}\n```'


def code_text(
    source:str, # of a code cell
) -> str: # markdown, empty for a hidden cell
    "The code without its directives."
    lines = source.splitlines()
    hidden = any(re.match(r'#\s*\|\s*(hide|echo:\s*false)', line) for line in lines)
    code = '\n'.join(line for line in lines if not re.match(r'#\s*\|', line))
    return '' if hidden or not code.strip() else fence(code, 'python')


def output_text(
    out:dict, # an output of a cell
    pictures:dict, # path under the root to bytes; a picture in `out` is added
) -> str: # markdown, empty when there is nothing to show
    "A picture with its alt text, or what was printed."
    data = {k: ''.join(v) for k, v in out.get('data', {}).items() if not isinstance(v, dict)}
    kind = next((k for k in ('image/png', 'image/jpeg') if k in data), None)
    if kind:
        alt = re.search(r'\balt="([^"]*)"', data.get('text/html', ''))
        ending = kind.removeprefix('image/').replace('jpeg', 'jpg')
        path = f'nbs/images/index_{len(pictures) + 1}.{ending}'
        pictures[path] = base64.b64decode(data[kind])
        return f"![{html.unescape(alt[1]) if alt else ''}]({path})"
    text = ''.join(out.get('text', data.get('text/plain', '')))
    return data.get('text/markdown') or (fence(text) if text.strip() else '')


def files() -> dict: # path under the root to bytes
    "README.md and its pictures as they should be."
    parts, pictures = [NOTE], {}
    for cell in json.loads(INDEX.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code': parts.append(source.strip())
        else: parts += [code_text(source)] + [output_text(o, pictures) for o in cell['outputs']]
    text = '\n\n'.join(p for p in parts if p)
    text = re.sub(r'\]\((?!\w+:|nbs/|#)([^)]+\.ipynb)', r'](nbs/\1', text)
    return {'README.md': text.encode() + b'\n'} | pictures


def main():
    "Write the files, or with `--check` only say whether they are what they should be."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true',
                        help='change nothing, exit with 1 when a file differs')
    check = parser.parse_args().check
    for name, content in files().items():
        path = ROOT/name
        if path.is_file() and path.read_bytes() == content: continue
        if check: sys.exit(f'{name} is not what nbs/index.ipynb gives: run `make readme`')
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        print(name)


if __name__ == '__main__': main()
