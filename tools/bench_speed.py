"""How long the same maps take, and what they keep: ours and the peers', in one run.

Run by `make bench` in its own environment. Rounds are interleaved, on one thread, in processor
time; each number is a median of the rounds, with the smallest and the largest beside it.
"""
import csv
import sys
import time
from datetime import date
from functools import partial
from importlib.metadata import version
from statistics import median

import numpy as np
import torch

import attn_course.rollout  # noqa: F401, registers its methods
from attn_course.cam import heatmaps
from attn_course.capture import capture
from attn_course.metrics import FILLS, removal_curve
from attn_course.trials import share_of
from bench_nets import cnn, pictures, timm_vit, torchvision_vit
from setup_env import ROOT

OUT = ROOT/'nbs'/'results'/'bench_speed.csv'
COLUMNS = 'job', 'package', 'unit', 'median', 'low', 'high', 'note', 'versions', 'date'
PACKAGES = {'ours': 'attn_course', 'grad-cam': 'grad-cam', 'captum': 'captum',
            'torchcam': 'torchcam', 'timm': 'timm'}
LAYERS = ['layer2', 'layer3', 'layer4']
SIX = 'gradcam', 'hirescam', 'layercam', 'xgradcam', 'gradcam++', 'eigencam'
CLASSES = [1, 2, 3, 4, 5]


def timed(
    jobs:dict, # name -> function without arguments
    rounds:int, # how often each runs, after one run that does not count
) -> dict: # name -> seconds of processor time, one per round
    "Run the jobs in turn."
    for job in jobs.values(): job()
    found = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            found[name].append(time.process_time() - start)
    return found


def kept_bytes(
    job, # function without arguments
) -> int: # bytes of tensors that were kept for a way back, each memory once
    "What autograd stores while a job runs, without weights."
    seen = {}
    def pack(t):
        if not isinstance(t, torch.nn.Parameter):
            seen[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t): job()
    return sum(seen.values())


def scaled(
    maps:torch.Tensor, # (n, h, w)
) -> torch.Tensor: # each from 0 to 1
    "Maps as peers give them."
    low, high = (f(maps.flatten(1), 1)[:, None, None] for f in (torch.amin, torch.amax))
    return (maps - low)/(high - low + 1e-7)


# Grad-CAM and its family

def peers_gradcam(net, x):
    "Grad-CAM of a batch as each package's documentation has it."
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget as Target
    from torchcam.methods import GradCAM as TorchGradCAM
    def grad_cam():
        with GradCAM(model=net, target_layers=[net.layer4]) as cam:
            return cam(input_tensor=x, targets=[Target(1)]*len(x))
    def torchcam():
        with TorchGradCAM(net, 'layer4') as cam: return cam([1]*len(x), net(x))[0]
    def captum():
        return LayerGradCam(net, net.layer4).attribute(x, target=1, relu_attributions=True)
    return {'grad-cam': grad_cam, 'torchcam': torchcam, 'captum': captum}


def gradcam_job(net):
    "Grad-CAM of 16 pictures."
    x = pictures(16)
    def plain():
        with torch.no_grad(): return net(x)
    jobs = {'plain': plain, 'ours': lambda: heatmaps(net, x, 'gradcam', 1, 'layer4'),
            **peers_gradcam(net, x)}
    mine = heatmaps(net, x, 'gradcam', 1, 'layer4')
    apart = {'torchcam': (jobs['torchcam']().cpu() - scaled(mine)).abs().max().item(),
             'captum': (jobs['captum']()[:, 0].detach() - mine).abs().max().item()}
    big = torch.nn.functional.interpolate(scaled(mine)[:, None], (224, 224), mode='bilinear')[:, 0]
    apart['grad-cam'] = np.abs(jobs['grad-cam']() - big.numpy()).mean().item()
    return jobs, {k: f'maps differ by {v:.0e}' for k, v in apart.items()}


def large_job(net):
    "Six methods, five classes, three layers, four pictures: one call, or one after the other."
    import pytorch_grad_cam as peer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget as Target
    x = pictures(4)
    kinds = [peer.GradCAM, peer.HiResCAM, peer.LayerCAM, peer.XGradCAM, peer.GradCAMPlusPlus,
             peer.EigenCAM]
    def grad_cam():
        for kind in kinds:
            for name in LAYERS:
                with kind(model=net, target_layers=[getattr(net, name)]) as cam:
                    for c in CLASSES: cam(input_tensor=x, targets=[Target(c)]*len(x))
    def ours(): return heatmaps(net, x, list(SIX), CLASSES, LAYERS)
    return {'ours': ours, 'grad-cam': grad_cam}, {}


def torchcam_job(net):
    "Four methods, five classes, three layers, four pictures."
    import torchcam.methods as peer
    x = pictures(4)
    kinds = [peer.GradCAM, peer.LayerCAM, peer.XGradCAM, peer.GradCAMpp]
    def torchcam():
        for kind in kinds:
            with kind(net, LAYERS) as cam:
                out = net(x)
                for c in CLASSES: cam([c]*len(x), out, retain_graph=True)
    four = ['gradcam', 'layercam', 'xgradcam', 'gradcam++']
    return {'ours': lambda: heatmaps(net, x, four, CLASSES, LAYERS), 'torchcam': torchcam}, {}


def eigen_job(net):
    "EigenCAM of 16 pictures at layer3."
    from pytorch_grad_cam import EigenCAM
    x = pictures(16)
    def grad_cam():
        with EigenCAM(model=net, target_layers=[net.layer3]) as cam:
            return cam(input_tensor=x, targets=None)
    return {'ours': lambda: heatmaps(net, x, 'eigencam', layer='layer3'), 'grad-cam': grad_cam}, {}


def ablation_job(net):
    "Ablation-CAM of one picture."
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget as Target
    x = pictures(1)
    def grad_cam():
        with AblationCAM(model=net, target_layers=[net.layer4]) as cam:
            cam.batch_size = 32
            return cam(input_tensor=x, targets=[Target(1)])
    return {'ours': lambda: heatmaps(net, x, 'ablationcam', 1, 'layer4'), 'grad-cam': grad_cam}, {}


# Attention and metrics

def capture_job(net):
    "All attention of ViT-S/16, four pictures, against the fused forward."
    from timm.utils import AttentionExtract
    x, unfused = pictures(4), timm_vit(fused=False)
    extract = AttentionExtract(unfused, method='fx')
    def plain():
        with torch.no_grad(): return net(x)
    def ours():
        with torch.no_grad(), capture(net) as rec: net(x)
        return list(rec.attn.values())
    def timm():
        with torch.no_grad(): return list(extract(x).values())
    apart = max((a - b).abs().max().item() for a, b in zip(ours(), timm(), strict=True))
    note = f'needs fused attention switched off; maps differ by {apart:.0e}'
    return {'plain': plain, 'ours': ours, 'timm': timm}, {'timm': note}


def legrad_job(net):
    "LeGrad of torchvision's ViT, all twelve blocks, four pictures."
    from torchcam.methods import LeGrad
    x = pictures(4)
    def plain():
        with torch.no_grad(): return net(x)
    def torchcam():
        with LeGrad(net, list(net.encoder.layers)) as cam: return cam([1]*len(x), net(x))[0]
    jobs = {'plain': plain, 'ours': lambda: heatmaps(net, x, 'legrad', 1), 'torchcam': torchcam}
    return jobs, {'torchcam': 'shows the head the mean of the tokens, ours those it reads'}


def road_job(net):
    "ROAD: 40 % taken away from four pictures, with the linear guess."
    from pytorch_grad_cam.metrics.road import ROADMostRelevantFirst
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget as Target
    x = pictures(4)
    with torch.no_grad(): target = net(x).argmax(1)
    maps = scaled(heatmaps(net, x, 'gradcam', target, 'layer4'))
    big = torch.nn.functional.interpolate(maps[:, None], (224, 224), mode='bilinear')[:, 0]
    score = share_of(net, target)
    def ours(): return removal_curve(score, x, big, [.4], True, FILLS['linear'])
    def grad_cam():
        return ROADMostRelevantFirst(percentile=40)(
            x, big.numpy(), [Target(c) for c in target.tolist()], net)
    return {'ours': ours, 'grad-cam': grad_cam}, {}


def deletion_job(net):
    "Deletion and insertion of 16 pictures in ten steps."
    from torchcam.methods import GradCAM
    from torchcam.metrics import DeletionInsertionMetric
    x = pictures(16)
    with torch.no_grad(): target = net(x).argmax(1)
    score, tenths = share_of(net, target), [i/10 for i in range(11)]
    def ours():
        maps = heatmaps(net, x, 'gradcam', target, 'layer4')
        for largest in (True, False): removal_curve(score, x, maps, tenths, largest)
    cam = GradCAM(net, 'layer4')
    def torchcam():
        metric = DeletionInsertionMetric(cam, partial(torch.softmax, dim=-1), steps=10)
        metric.update(x, target.tolist())
        return metric.summary()
    return {'ours': ours, 'torchcam': torchcam}, {}


JOBS = { # function, its network, rounds, relative to the plain forward?
    'Grad-CAM, 16 pictures': (gradcam_job, cnn, 7),
    '6 methods x 5 classes x 3 layers': (large_job, cnn, 3),
    '4 methods x 5 classes x 3 layers': (torchcam_job, cnn, 5),
    'EigenCAM, 16 pictures': (eigen_job, cnn, 3),
    'Ablation-CAM, 1 picture': (ablation_job, cnn, 3),
    'attention of ViT-S/16': (capture_job, timm_vit, 7),
    'LeGrad of a ViT, 4 pictures': (legrad_job, torchvision_vit, 5),
    'ROAD, 4 pictures': (road_job, cnn, 3),
    'deletion and insertion, 16 pictures': (deletion_job, cnn, 3),
}


def rows_of(
    title:str, # a key of `JOBS`
): # yields rows of `COLUMNS`
    "Measure a job; in forwards where a plain one was measured beside it, else in seconds."
    make, network, rounds = JOBS[title]
    jobs, notes = make(network())
    found = timed(jobs, rounds)
    unit = median(found['plain']) if 'plain' in found else 1
    for name, seconds in found.items():
        numbers = [round(f(seconds)/unit, 4) for f in (median, min, max)]
        yield title, name, 'forwards' if 'plain' in found else 'seconds', *numbers, \
            notes.get(name, '')
    if title.startswith('Grad-CAM'):
        for name, job in jobs.items():
            if name != 'plain':
                mib = round(kept_bytes(job)/2**20, 2)
                yield 'kept for the way back, 16 pictures', name, 'MiB', mib, mib, mib, ''


def main() -> int: # exit status
    "Measure every job, say what was found, write the table."
    torch.set_num_threads(1)
    versions = ' '.join(f'{n}={version(n)}' for n in (*PACKAGES.values(), 'torch'))
    rows = []
    for title in JOBS:
        try: found = list(rows_of(title))
        except Exception as e: # a peer that fails is a result
            found = [(title, 'error', '', '', '', '', f'{type(e).__name__}: {e}'[:120])]
        rows += [(*row, versions, date.today().isoformat()) for row in found]
        for row in found: print(*row, sep=' | ', flush=True)
    with open(OUT, 'w', newline='', encoding='utf-8') as f:
        csv.writer(f, lineterminator='\n').writerows([COLUMNS, *rows])
    return 0


if __name__ == '__main__': sys.exit(main())
