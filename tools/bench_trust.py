"""What a call leaves behind, ours and the peers': the trust matrix of `make bench`.

Each package makes a Grad-CAM as its documentation has it, in five situations, and each call ends
in one of three ways: it works, the network raises on its way, or someone interrupts it. Afterwards
everything is compared with how it was.
"""
import csv
import random
import sys
from contextlib import contextmanager, nullcontext
from datetime import date
from importlib.metadata import version

import torch
from torch import nn

from attn_course.cam import heatmaps
from bench_nets import cnn, pictures
from bench_speed import peers_gradcam
from setup_env import ROOT

OUT = ROOT/'nbs'/'results'/'bench_trust.csv'
ENDINGS = {'works': None, 'raises': RuntimeError, 'interrupted': KeyboardInterrupt}
SITUATIONS = 'plain', 'frozen', 'no_grad', 'inference_mode', 'fastai tensors'
CHECKS = 'modes', 'requires_grad', '.grad', 'hooks', 'buffers', 'grad mode', 'random', 'fast path'
COLUMNS = 'package', 'ending', 'situation', 'result', *CHECKS, 'versions', 'date'


class Stumbles(nn.Module):
    "A pooling layer that raises what it is told."
    def __init__(self, pool):
        super().__init__()
        self.pool, self.error = pool, None

    def forward(self, x):
        if self.error: raise self.error('on the way')
        return self.pool(x)


def prepared(
    situation:str, # one of `SITUATIONS`
): # (network, pictures)
    "A network in mixed modes, some of its gradients there already."
    net = cnn()
    net.avgpool = Stumbles(net.avgpool)
    net.layer1.train()
    for p in list(net.parameters())[:6]: p.grad = torch.ones_like(p)
    if situation == 'frozen': net.requires_grad_(False)
    x = pictures(2)
    if situation == 'fastai tensors':
        from fastai.torch_core import TensorImage
        x = TensorImage(x)
    return net, x


def hook_count(
    m:nn.Module, # one module
) -> int: # hooks of all kinds
    "How many hooks hang on a module."
    return sum(len(getattr(m, name)) for name in (
        '_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks'))


def state_of(
    net:nn.Module, # whose state is read
) -> dict: # name of a check -> something that can be compared
    "All that a call must leave alone."
    grads = [None if p.grad is None else p.grad.sum().item() for p in net.parameters()]
    return {
        'modes': [m.training for m in net.modules()],
        'requires_grad': [p.requires_grad for p in net.parameters()],
        '.grad': grads,
        'hooks': [hook_count(m) for m in net.modules()],
        'buffers': [b.double().sum().item() for b in net.buffers()],
        'grad mode': (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        'random': (torch.get_rng_state().sum().item(), random.getstate()[1][:8]),
        'fast path': torch.backends.mha.get_fastpath_enabled()}


@contextmanager
def surroundings(
    situation:str, # one of `SITUATIONS`
): # gives nothing
    "The caller's grad mode."
    modes = {'no_grad': torch.no_grad, 'inference_mode': torch.inference_mode}
    with modes.get(situation, nullcontext)(): yield


def tried(
    package:str, # 'ours' or one of the peers
    ending:str, # one of `ENDINGS`
    situation:str, # one of `SITUATIONS`
) -> dict: # name of a column -> what was found
    "Call, and compare what was with what is."
    net, x = prepared(situation)
    jobs = {'ours': lambda: heatmaps(net, x, 'gradcam', 1, 'layer4'), **peers_gradcam(net, x)}
    net.avgpool.error = ENDINGS[ending]
    with surroundings(situation):
        before = state_of(net)
        try:
            jobs[package]()
            result = 'maps'
        except (Exception, KeyboardInterrupt) as e: result = f'{type(e).__name__}: {e}'[:80]
        after = state_of(net)
    same = {check: 'as it was' if before[check] == after[check] else 'changed' for check in CHECKS}
    return dict(package=package, ending=ending, situation=situation, result=result, **same)


def main() -> int: # exit status
    "Try every package in every situation, with every ending; write the table."
    torch.set_num_threads(1)
    names = 'attn_course', 'grad-cam', 'captum', 'torchcam', 'torch'
    versions, rows = ' '.join(f'{n}={version(n)}' for n in names), []
    for package in ('ours', 'grad-cam', 'captum', 'torchcam'):
        for ending in ENDINGS:
            for situation in SITUATIONS:
                row = tried(package, ending, situation)
                changed = [c for c in CHECKS if row[c] == 'changed']
                print(package, ending, situation, row['result'], changed, sep=' | ', flush=True)
                rows.append(row | dict(versions=versions, date=date.today().isoformat()))
    with open(OUT, 'w', newline='', encoding='utf-8') as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    return 0


if __name__ == '__main__': sys.exit(main())
