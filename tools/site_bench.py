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


def close_together(
    times:dict, # package -> times as much as ours
) -> list: # of (names, times), those within a tenth together
    "Packages that would be drawn over each other."
    groups = []
    for name, t in sorted(times.items(), key=lambda pair: pair[1]):
        if groups and t < 1.1*groups[-1][1]: groups[-1][0].append(name)
        else: groups.append(([name], t))
    return groups


def speed_chart(
    rows:list, # of bench_speed.csv
) -> AltFigure:
    "For each job, how many times as much as ours the peers need."
    jobs = list(dict.fromkeys(r['job'] for r in rows))
    fig, axes = blank_figure(size=(7, .7 + .5*len(jobs)))
    ax, said = axes[0, 0], []
    for y, job in enumerate(jobs):
        found = {r['package']: float(r['median']) for r in rows if r['job'] == job}
        times = {name: v/found['ours'] for name, v in found.items() if name != 'ours'}
        ax.plot(1, y, 'D', ms=7, color=BLUE)
        for names, t in close_together(times):
            ax.plot(t, y, 'o', ms=6, color=GREY)
            text = f'{", ".join(names)} {t:.1f}'
            side, up = -1 if t > 30 else 1, 11 if t < 1.2 else 0 # over the line, ours
            ax.annotate(text, (t, y), (8*side, up), textcoords='offset points', va='center',
                        ha='right' if t > 30 else 'left', fontsize=9, color=INK)
            said.append(f'{job}: {text}')
    ax.set_xscale('log')
    ax.set_xlim(.7, 300)
    ax.set_xticks([1, 10, 100], ['1', '10', '100'])
    ax.axvline(1, color=BLUE, lw=1, zorder=0)
    ax.set_yticks(range(len(jobs)), jobs, color=INK)
    ax.set_ylim(len(jobs) - .5, -.8)
    ax.set_xlabel('times as much as ours; left of the line the peer needs less')
    return AltFigure(fig, f'Times as much as ours. {"; ".join(said)}.')


def trust_chart(
    rows:list, # of bench_trust.csv
) -> AltFigure:
    "In how many of five situations all is as it was; checks that nobody failed are left out."
    checks = [c for c in rows[0] if c not in NOT_CHECKS]
    checks = [c for c in checks if any(r[c] == 'changed' for r in rows)]
    keys = list(dict.fromkeys((r['package'], r['ending']) for r in rows))
    mine = {k: [r for r in rows if (r['package'], r['ending']) == k] for k in keys}
    def row(key):
        maps = sum(r['result'] == 'maps' for r in mine[key]) if key[1] == 'works' else np.nan
        return [maps, *(sum(r[c] == 'as it was' for r in mine[key]) for c in checks)]
    values, names = [row(k) for k in keys], [f'{p}: {ENDINGS[ending]}' for p, ending in keys]
    said = '; '.join(f'{n} {sum(v[1:])} of {5*len(checks)}'
                     for n, v in zip(names, values, strict=True))
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
    'runs it as it is changes its batch-norm statistics (*buffers*). Grad mode, random state and '
    "PyTorch's fast path were as before with every package.")
