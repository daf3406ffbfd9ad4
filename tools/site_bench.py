"""The page of the site that shows what `make bench` has measured."""
import csv
from pathlib import Path

import numpy as np

from attn_course.plot import BLUE, GREY, INK, AltFigure, blank_figure, plot_table
from attn_course.render import to_webp
from setup_env import ROOT

SPEED, TRUST = (ROOT/'nbs'/'results'/f'bench_{name}.csv' for name in ('speed', 'trust'))
NOT_CHECKS = 'package', 'ending', 'situation', 'result', 'versions', 'date'
ENDINGS = {'works': 'all goes well', 'raises': 'the network raises', 'interrupted': 'interrupted'}


def read(
    path:Path, # of a table
) -> list: # a dictionary for each row
    "The rows of a table."
    with open(path, newline='', encoding='utf-8') as f: return list(csv.DictReader(f))


def speed_chart(
    rows:list, # of bench_speed.csv
) -> AltFigure:
    "For each job, how many times as much as ours the peers need."
    jobs = list(dict.fromkeys(r['job'] for r in rows))
    fig, axes = blank_figure(size=(8, .7 + .55*len(jobs)))
    ax, said = axes[0, 0], []
    for y, job in enumerate(jobs):
        found = {r['package']: float(r['median']) for r in rows if r['job'] == job}
        for name, value in found.items():
            times = value/found['ours']
            ax.plot(times, y, 'o', ms=7, color=BLUE if name == 'ours' else GREY)
            if name == 'ours': continue
            ax.annotate(f'{name} {times:.1f}', (times, y), (0, 7), textcoords='offset points',
                        ha='center', fontsize=8, color=INK)
            said.append(f'{job}: {name} {times:.1f}')
    ax.set_xscale('log')
    ax.axvline(1, color=BLUE, lw=1, zorder=0)
    ax.set_yticks(range(len(jobs)), jobs, color=INK)
    ax.set_ylim(len(jobs) - .5, -.8)
    ax.set_xlabel('times as much as ours (logarithmic; left of the line the peer needs less)')
    return AltFigure(fig, f'Times as much as ours. {"; ".join(said)}.')


def trust_chart(
    rows:list, # of bench_trust.csv
) -> AltFigure:
    "In how many of five situations all is as it was, for each package, ending and check."
    checks = [c for c in rows[0] if c not in NOT_CHECKS]
    keys = list(dict.fromkeys((r['package'], r['ending']) for r in rows))
    def count(key, check): return sum(
        r[check] == 'as it was' for r in rows if (r['package'], r['ending']) == key)
    def worked(key): return sum(
        r['result'] == 'maps' for r in rows if (r['package'], r['ending']) == key)
    values = [[worked(k) if k[1] == 'works' else np.nan, *(count(k, c) for c in checks)]
              for k in keys]
    names = [f'{package}: {ENDINGS[ending]}' for package, ending in keys]
    clean = {k: sum(v[1:]) for k, v in zip(keys, values, strict=True)}
    said = '; '.join(f'{n} {clean[k]:.0f} of {5*len(checks)}'
                     for k, n in zip(keys, names, strict=True))
    return plot_table(values, names, ['maps', *checks], f'As it was before the call: {said}.',
                      digits=0)


def speed_lines(
    rows:list, # of bench_speed.csv
) -> list: # lines of MyST
    "All numbers as a table."
    head = '| job | package | median | smallest to largest | unit | |'
    lines = [head, '|---|---|---|---|---|---|']
    return lines + [
        f'| {r["job"]} | {r["package"]} | {r["median"]} | {r["low"]} to {r["high"]} '
        f'| {r["unit"]} | {r["note"]} |' for r in rows]


def bench_page(
    folder:Path, # of the pages that Sphinx reads
) -> bool: # was there something to show?
    "Write the page and its pictures."
    if not (SPEED.exists() and TRUST.exists()): return False
    speed, trust = read(SPEED), read(TRUST)
    good = [r for r in speed if r['package'] not in ('error', 'plain')]
    lines = ['# Proof against peers', '', 'What `make bench` measured on '
             f'{speed[0]["date"]}, on one thread of one machine, with random weights: '
             f'{speed[0]["versions"]}.', '']
    parts = (('speed', 'How long, and how much is kept', speed_chart(good), SPEED_WORDS),
             ('trust', 'What a call leaves behind', trust_chart(trust), TRUST_WORDS))
    for name, heading, figure, words in parts:
        (folder/'static'/f'bench_{name}.webp').write_bytes(to_webp(figure.rgb, 90))
        lines += [f'## {heading}', '', words, '', f':::{{figure}} static/bench_{name}.webp',
                  f':alt: {figure.alt}', ':width: 100%', ':::', '']
    lines += ['## All numbers', '', *speed_lines(speed)]
    (folder/'proof.md').write_text('\n'.join(lines), encoding='utf-8')
    return True


SPEED_WORDS = (
    'Each package makes the same maps of the same pictures, as its documentation says; rounds are '
    'interleaved, times are processor time, medians. One Grad-CAM costs the same everywhere but in '
    'grad-cam; what differs is what one forward can serve, and what is kept for the way back.')
TRUST_WORDS = (
    'A Grad-CAM of a network whose layers are in mixed modes and hold gradients, in five '
    'situations: plain, frozen, under `no_grad`, under `inference_mode`, with fastai tensors. The '
    'column *maps* counts in how many there is a result; each other column in how many that part '
    'of the state is as it was before. One layer of the network is in train mode: a package that '
    'runs it as it is changes its batch-norm statistics (*buffers*).')
