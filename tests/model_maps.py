"""Which maps do models of timm, torchvision and Hugging Face give, and which did they give before?

    python tests/model_maps.py OUT.csv                       # ask every model, for some minutes
    python tests/model_maps.py OUT.csv 'timm vit' 'HF Swin'  # only these
    python tests/model_maps.py --compare BEFORE.csv AFTER.csv
    python tests/model_maps.py                               # does the comparison see what it must?

model_maps.csv holds what they give, model_maps_before.csv what they gave before probes decided
which token is which place. All networks are random and small, and see two random pictures; nothing
is downloaded. A grid of 2 x 2 places is too small to be proven, one of 4 x 4 is not.
A row of the table is one look at one model: what it gave, in short, or why it gave nothing.
"""
import argparse
import csv
import re
import signal
import sys
import time
import warnings
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path

import timm
import torch
import transformers
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torchvision import models as tv
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from attn_course.all import capture, explore, heatmaps

COLUMNS = 'date', 'model', 'look', 'result', 'detail', 'seconds'
LIMIT = 120 # seconds for a look
CLASSES = 5
SCALE = r'(weight|gamma\w*|scale\w*|lambda_?\d)$' # names of parameters that multiply

# Models

TIMM = { # what it stands for: name in timm, and how it is made; `size` if it takes no img_size
    'vit': ('vit_tiny_patch16_224', dict(img_size=64, depth=3)),
    'vit wide': ('vit_tiny_patch16_224', dict(img_size=(64, 96), depth=3)),
    'vit registers': ('vit_small_patch14_reg4_dinov2', dict(img_size=56, depth=2)),
    'vit register mean': ('vit_little_patch16_reg1_gap_256', dict(img_size=64, depth=2)),
    'vit rope': ('vit_base_patch16_rope_reg1_gap_256', dict(img_size=64, depth=2)),
    'siglip': ('vit_base_patch16_siglip_224', dict(img_size=64, depth=2)),
    'siglip mean': ('vit_base_patch16_siglip_gap_224', dict(img_size=(64, 96), depth=2)),
    'naflexvit': ('naflexvit_base_patch16_gap', dict(img_size=64, depth=2)),
    'deit distilled': ('deit_tiny_distilled_patch16_224', dict(img_size=64, depth=3)),
    'eva02': ('eva02_tiny_patch14_224', dict(img_size=56, depth=3)),
    'beit': ('beit_base_patch16_224', dict(img_size=64, depth=2)),
    'cait': ('cait_xxs24_224', dict(img_size=64, depth=2)),
    'xcit': ('xcit_nano_12_p16_224', dict(img_size=64, depth=2)),
    'convit': ('convit_tiny', dict(img_size=64, depth=4, local_up_to_layer=2)),
    'pit': ('pit_ti_224', dict(img_size=64)),
    'tnt': ('tnt_s_patch16_224', dict(img_size=64, depth=2)),
    'swin': ('swin_tiny_patch4_window7_224', dict(img_size=112, depths=(2, 2, 2, 2))),
    'swin ragged': ('swin_tiny_patch4_window7_224', dict(img_size=64, depths=(2, 2))),
    'swin wide': ('swin_tiny_patch4_window7_224', dict(img_size=(112, 224), depths=(2, 2, 2, 2))),
    'swin s3': ('swin_s3_tiny_224', dict(
        img_size=96, depths=(2, 2, 2, 2), window_size=(3, 3, 6, 3))),
    'swin v2': ('swinv2_tiny_window8_256', dict(img_size=128, depths=(2, 2, 2, 2))),
    'swin v2 cr': ('swinv2_cr_tiny_ns_224', dict(img_size=128, depths=(2, 2, 2, 2))),
    'maxvit': ('maxvit_pico_rw_256', dict(img_size=128, depths=(1, 1, 1, 1))),
    'maxxvit': ('maxxvit_rmlp_nano_rw_256', dict(img_size=128, depths=(1, 1, 1, 1))),
    'coatnet': ('coatnet_pico_rw_224', dict(img_size=128, depths=(1, 1, 2, 1))),
    'davit': ('davit_tiny', dict(size=128, depths=(1, 1, 1, 1))),
    'gcvit': ('gcvit_xxtiny', dict(img_size=128)),
    'twins svt': ('twins_svt_small', dict(img_size=128, depths=[2, 2, 2, 2])),
    'twins pcpvt': ('twins_pcpvt_small', dict(img_size=128, depths=[2, 2, 2, 2])),
    'pvt v2': ('pvt_v2_b0', dict(size=(96, 128))),
    'levit': ('levit_128s', dict(img_size=128)),
    'efficientvit m': ('efficientvit_m0', dict(img_size=128)),
    'efficientvit b': ('efficientvit_b0', dict(size=128)),
    'efficientformer': ('efficientformer_l1', dict(size=224)),
    'mobilevit': ('mobilevit_xs', dict(size=128)),
    'mobilevit v2': ('mobilevitv2_050', dict(size=128)),
    'nest': ('nest_tiny', dict(img_size=64)),
    'crossvit': ('crossvit_9_240', dict(size=240)),
    'coat': ('coat_tiny', dict(img_size=64)),
    'coat lite': ('coat_lite_tiny', dict(img_size=64)),
    'hiera': ('hiera_tiny_224', dict(img_size=(128, 128))),
    'mvit v2': ('mvitv2_tiny', dict(img_size=64)),
    'mvit v2 class': ('mvitv2_small_cls', dict(img_size=64)),
    'volo': ('volo_d1_224', dict(img_size=64)),
    'visformer': ('visformer_tiny', dict(img_size=64)),
    'nextvit': ('nextvit_small', dict(size=64)),
    'fastvit': ('fastvit_sa12', dict(size=128)),
    'tiny vit': ('tiny_vit_5m_224', dict(size=128)),
    'edgenext': ('edgenext_xx_small', dict(size=128)),
    'botnet': ('botnet26t_256', dict(img_size=128)),
    'halonet': ('halonet26t', dict(size=256)),
    'convnext': ('convnext_atto', dict(size=(64, 96))),
    'resnet18': ('resnet18', dict(size=(64, 96))),
    'resnet50': ('resnet50', dict(size=64)),
    'resnet clip': ('resnet50_clip', dict(img_size=64)),
    'resnet clip at 128': ('resnet50_clip', dict(img_size=128)),
    'efficientnet': ('efficientnet_b0', dict(size=64)),
    'poolformer': ('poolformer_s12', dict(size=64)),
    'mixer': ('mixer_s32_224', dict(img_size=128)),
    'sequencer': ('sequencer2d_s', dict(img_size=64, layers=(1, 1, 1, 1))),
    'hgnet v2': ('hgnetv2_b0', dict(size=64)),
    'repvit': ('repvit_m0_9', dict(size=64)),
}

SWIN = partial(tv.SwinTransformer, [4, 4], 24, [2, 2], [2, 4], [4, 4])
SWIN_V2 = partial(SWIN, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)
MAXVIT = partial(tv.MaxVit, (64, 64), 16, block_channels=[16, 32], block_layers=[1, 1],
                 head_dim=8, stochastic_depth_prob=.2)
TORCHVISION = { # what it stands for: function of num_classes, size of the pictures
    'vit': (partial(tv.VisionTransformer, 64, 16, 3, 4, 32, 64), 64),
    'swin': (SWIN, (64, 96)),
    'swin v2': (SWIN_V2, 64),
    'maxvit': (partial(MAXVIT, partition_size=2), 64),
    'maxvit as many windows as heads': (partial(MAXVIT, partition_size=4), 64),
    'resnet18': (tv.resnet18, 64),
    'convnext': (tv.convnext_tiny, 64),
    'mobilenet v3': (tv.mobilenet_v3_small, (64, 96)),
    'densenet': (tv.densenet121, 64),
    'fcn': (partial(tv.segmentation.fcn_resnet50, weights_backbone=None), 64),
    'deeplab': (partial(tv.segmentation.deeplabv3_mobilenet_v3_large, weights_backbone=None), 64),
}

TINY = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4)
SMALL = dict(TINY, intermediate_size=64, image_size=64)
DINO = dict(TINY, image_size=56, patch_size=14)
STAGES = dict(hidden_sizes=[8, 16, 32, 32], num_attention_heads=[1, 2, 4, 4], depths=[1, 1, 1, 1])
WINDOWS = dict(image_size=64, embed_dim=12, depths=[2, 2], num_heads=[2, 4], window_size=4)
DECODER = {f'decoder_{key}': n for key, n in SMALL.items() if key != 'image_size'}
RESNET = dict(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=['stage2'])
DETR = {f'{part}_{key}': 4 if 'heads' in key else 32 if 'dim' in key else 2
        for part in ('encoder', 'decoder') for key in ('layers', 'attention_heads', 'ffn_dim')}
HUGGING_FACE = { # what it stands for: its class, and its config
    'ViT': ('ViTForImageClassification', SMALL),
    'ViT eager': ('ViTForImageClassification', dict(SMALL, attn_implementation='eager')),
    'DeiT': ('DeiTForImageClassificationWithTeacher', SMALL),
    'BEiT': ('BeitForImageClassification', SMALL),
    'IJepa': ('IJepaForImageClassification', SMALL),
    'Dinov2': ('Dinov2ForImageClassification', DINO),
    'Dinov2WithRegisters': ('Dinov2WithRegistersForImageClassification', DINO),
    'ViTMAE': ('ViTMAEForPreTraining', SMALL | DECODER),
    'CLIP': ('CLIPVisionModelWithProjection', dict(SMALL, patch_size=16, projection_dim=16)),
    'Siglip': ('SiglipVisionModel', SMALL),
    'Swin': ('SwinForImageClassification', WINDOWS),
    'Swin ragged': ('SwinForImageClassification', dict(WINDOWS, image_size=112, window_size=7)),
    'Swinv2': ('Swinv2ForImageClassification', WINDOWS),
    'SegFormer': ('SegformerForImageClassification', STAGES),
    'SegFormer segments': (
        'SegformerForSemanticSegmentation', dict(STAGES, decoder_hidden_size=16)),
    'SegFormer at 128': ('SegformerForImageClassification', dict(STAGES, image_size=128)),
    'SegFormer segments at 128': (
        'SegformerForSemanticSegmentation', dict(STAGES, decoder_hidden_size=16, image_size=128)),
    'PVT': ('PvtForImageClassification', dict(STAGES, image_size=64)),
    'PVT at 128': ('PvtForImageClassification', dict(STAGES, image_size=128)),
    'CvT': ('CvtForImageClassification', dict(embed_dim=[8, 16, 32], num_heads=[1, 2, 4])),
    'MobileViT': ('MobileViTForImageClassification', dict(
        image_size=64, hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64])),
    'LeViT': ('LevitForImageClassification', dict(
        image_size=128, hidden_sizes=[32, 48, 64], num_attention_heads=[2, 3, 4], depths=[2, 2, 2],
        key_dim=[8, 8, 8])),
    'Hiera': ('HieraForImageClassification', dict(
        image_size=[64, 64], embed_dim=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8])),
    'ConvNext': ('ConvNextForImageClassification', dict(
        image_size=64, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1])),
    'DETR': ('DetrForObjectDetection', dict(
        DETR, d_model=32, num_queries=6, backbone_config=transformers.ResNetConfig(**RESNET))),
    'YOLOS': ('YolosForObjectDetection', dict(
        SMALL, image_size=[64, 96], num_detection_tokens=6)),
}


def scaled(
    model:nn.Module, # any network
):
    "Weights of a size that keeps signals alive; none begins as zeros, as in many heads and norms."
    for m in model.modules():
        if isinstance(m, (nn.Linear, _ConvNd)):
            nn.init.kaiming_normal_(m.weight, nonlinearity='linear')
    for name, p in model.named_parameters():
        if re.search(SCALE, name) and p.abs().max() < .01: nn.init.ones_(p)


def settled(
    model:nn.Module, # any network
    x:Tensor, # its pictures
):
    "Batch norms that have seen the pictures."
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    for m in norms:
        m.momentum = None # a plain mean
        m.reset_running_stats()
        m.train()
    with torch.no_grad(): model(x)
    for m in norms: m.eval()


def made(
    make, # function without arguments
    size, # of the pictures: one number, or (rows, columns)
) -> tuple: # (network in eval mode, two pictures)
    "A network, and what it sees; the same at every call."
    torch.manual_seed(0)
    model = make().eval()
    scaled(model)
    torch.manual_seed(0)
    x = torch.randn(2, 3, *(size if isinstance(size, (tuple, list)) else (size, size)))
    settled(model, x)
    return model, x


def from_timm(
    name:str, # as timm calls it
    size=None, # of the pictures; None: img_size
    **kwargs, # how it is made
) -> tuple: # (network, pictures)
    "A network of timm, and what it sees."
    make = partial(timm.create_model, name, num_classes=CLASSES, **kwargs)
    return made(make, size or kwargs['img_size'])


def from_torchvision(
    make, # function of num_classes
    size, # of the pictures
) -> tuple: # (network, pictures)
    "A network of torchvision, and what it sees."
    return made(partial(make, num_classes=CLASSES), size)


def from_hugging_face(
    name:str, # of a class of transformers
    config:dict, # what differs from its usual config
) -> tuple: # (network, pictures)
    "A network of Hugging Face, and what it sees."
    kind = getattr(transformers, name)
    make = partial(kind, kind.config_class(num_labels=CLASSES, **config))
    return made(make, config.get('image_size', 64))


MODELS = { # name: function that makes a network, and the pictures it sees
    **{f'timm {k}': partial(from_timm, name, **how) for k, (name, how) in TIMM.items()},
    **{f'torchvision {k}': partial(from_torchvision, *how) for k, how in TORCHVISION.items()},
    **{f'HF {k}': partial(from_hugging_face, *how) for k, how in HUGGING_FACE.items()},
}

# Looks: each takes a network and its pictures, and says in short what it gave

SCORES = 'logits', 'image_embeds', 'pooler_output', 'out' # where outputs of several parts hold them


def score(
    out, # of a network: a tensor, or a dictionary of them
) -> Tensor: # (bs,)
    "Class 1, its mean over places or over what was detected."
    found = out if isinstance(out, Tensor) else next(out[key] for key in SCORES if key in out)
    if found.ndim == 4: return found[:, 1].mean((1, 2))
    return found[..., 1].flatten(1).mean(1) if found.ndim == 3 else found[:, 1]


def target_of(
    model:nn.Module, # any network
    x:Tensor, # its pictures
): # a target as `heatmaps` takes it
    "Class 1 where the outputs are (bs, classes), else a function."
    with torch.no_grad(): out = model(x)
    return 1 if isinstance(out, Tensor) and out.ndim == 2 else score


def checksum(
    *maps:Tensor, # of any shape
) -> str: # four digits
    "Their sum along a wave: numbers that change their places change it."
    total = sum((m.double().flatten() @ torch.arange(m.numel()).double().cos()) for m in maps)
    return f'{float(total):.3e}'


def captured(model, x):
    "A `Record` of all attention."
    with torch.no_grad(), capture(model) as rec: model(x)
    return rec


def look_capture(model, x):
    "How many maps there are, on how many the places are known, and what tokens there are."
    pairs = captured(model, x).tokens.values()
    queries, keys = (sum(pair[i].grid is not None for pair in pairs) for i in (0, 1))
    kinds = dict.fromkeys(f'{q}' if q == k else f'{q} -> {k}' for q, k in pairs)
    found = f'{len(pairs)} maps, grids of {queries} queries and {keys} keys'
    return ': '.join([found, '; '.join(kinds)] if kinds else [found])


def look_on_image(model, x):
    "How many maps can be laid over the picture."
    rec, found, refused = captured(model, x), [], 'there is no map'
    for name in rec.attn:
        try: found.append(rec.on_image(name))
        except ValueError as e: refused = e
    if not found: raise ValueError(f'none of {len(rec.attn)}: {refused}')
    return f'{len(found)} of {len(rec.attn)} {checksum(*found)}'


def look_heatmap(model, x, method):
    "Layer (if there is one), shape and checksum of a heatmap."
    found = heatmaps(model, x, method, target_of(model, x))
    return f'{found.layer or ""} {tuple(found.shape)} {checksum(found)}'.strip()


def look_explore(model, x):
    "How many layers an explorer shows, and heads and grid of the first."
    explorer = explore(model, x[0])
    layers = explorer.record['layers']
    explorer.close()
    rows, columns = layers[0]['grid']
    return f'{len(layers)} layers, the first: {layers[0]["heads"]} heads, {rows} x {columns}'


METHODS = 'gradcam', 'eigencam', 'rollout', 'relevance', 'legrad', 'attention', 'gradrollout'
LOOKS = {'capture': look_capture, 'on_image': look_on_image,
         **{method: partial(look_heatmap, method=method) for method in METHODS},
         'explore': look_explore}

# The table


@contextmanager
def limited(
    seconds:int, # after which it ends
): # gives nothing
    "Raises `TimeoutError` in what takes too long."
    def stop(number, frame): raise TimeoutError(f'more than {seconds} s')
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try: yield
    finally: signal.alarm(0)


def said(
    error:Exception, # that was raised
) -> str: # one line
    "Class and beginning of an error."
    return f'{type(error).__name__}: {" ".join(str(error).split())[:120]}'


def asked(
    look, # function: network, pictures -> str
    make, # function that makes both
) -> tuple: # ('ok' or 'refused', detail, seconds)
    "What a look at a new network gives; the seconds count its making."
    start = time.perf_counter()
    try:
        with limited(LIMIT):
            model, x = make()
            torch.manual_seed(0)
            result = 'ok', look(model, x)
    except Exception as e: result = 'refused', said(e)
    return *result, round(time.perf_counter() - start, 1)


def write_table(
    path:str, # of a CSV file
    names:list, # of models
):
    "Look at models one by one, and write each row as it comes."
    today = date.today().isoformat()
    with open(path, 'w', newline='') as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(COLUMNS)
        for name in names:
            results = {look: asked(fn, MODELS[name]) for look, fn in LOOKS.items()}
            rows.writerows((today, name, look, *found) for look, found in results.items())
            file.flush()
            print(progress(name, results), flush=True)


def progress(
    name:str, # of a model
    results:dict, # look -> (result, detail, seconds)
) -> str: # one line
    "What became of a model."
    refused = [look for look, (result, *_) in results.items() if result != 'ok']
    seconds = sum(s for *_, s in results.values())
    without = f', without {", ".join(refused)}' if refused else ''
    return f'{name}: {len(results) - len(refused)} of {len(results)}, {seconds:.1f} s{without}'

# Two tables


def read_table(
    path:str, # of a CSV file
) -> dict: # (look, model) -> (result, detail)
    "A table as it was written."
    with open(path, newline='') as file:
        return {(r['look'], r['model']): (r['result'], r['detail']) for r in csv.DictReader(file)}


ABSENT = 'absent', 'not asked'


def differences(
    before:dict, # as `read_table` gives it
    after:dict, # likewise
    look:str, # one of `LOOKS`
) -> dict: # 'lost', 'won', 'changed' -> sentences
    "What a look gave before and now."
    found = {'lost': [], 'won': [], 'changed': []}
    for name in dict.fromkeys(model for kind, model in [*before, *after] if kind == look):
        (was, old), (now, new) = (table.get((look, name), ABSENT) for table in (before, after))
        if was == 'ok' != now: found['lost'].append(f'{name}: {new} (was: {old})')
        elif was != 'ok' == now: found['won'].append(f'{name}: {new} (was: {old})')
        elif old != new: found['changed'].append(f'{name}: {old} -> {new}')
    return found


def compare(
    before:dict, # as `read_table` gives it
    after:dict, # likewise
) -> bool: # is anything lost?
    "Print the differences of two tables, look by look."
    lost = False
    for look in LOOKS:
        works = [sum(key[0] == look and result == 'ok' for key, (result, _) in table.items())
                 for table in (before, after)]
        found = differences(before, after, look)
        print(f'{look}: {works[0]} worked before, {works[1]} work now')
        for kind, lines in found.items():
            for line in lines: print(f'  {kind}: {line}')
        lost |= bool(found['lost'])
    return lost


BEFORE = {'same': ('ok', '1'), 'worse': ('ok', '2'), 'better': ('refused', 'no'),
          'other': ('ok', '3'), 'gone': ('ok', '4')}
AFTER = {'same': ('ok', '1'), 'worse': ('refused', 'no'), 'better': ('ok', '2'),
         'other': ('ok', '5'), 'new': ('ok', '6')}
SEEN = {'lost': ['worse: no (was: 2)', 'gone: not asked (was: 4)'],
        'won': ['better: 2 (was: no)', 'new: 6 (was: not asked)'], 'changed': ['other: 3 -> 5']}


def check_comparison() -> bool: # is anything overlooked?
    "Does the comparison see what was planted?"
    tables = [{('capture', name): row for name, row in table.items()} for table in (BEFORE, AFTER)]
    wrong = differences(*tables, 'capture') != SEEN or any(differences(*tables, 'explore').values())
    print(f'{1 - wrong} passed, {int(wrong)} failed')
    return wrong


def main() -> int: # exit status
    "Write a table, compare two, or check the comparison."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', nargs='?', type=Path, help='the table to write, a CSV file')
    parser.add_argument('models', nargs='*', metavar='model', help='none: all')
    parser.add_argument('--compare', nargs=2, metavar=('BEFORE', 'AFTER'), help='two such tables')
    args = parser.parse_args()
    if unknown := [name for name in args.models if name not in MODELS]:
        parser.error(f'unknown: {", ".join(unknown)}; there are {", ".join(MODELS)}')
    if args.compare: return int(compare(*map(read_table, args.compare)))
    if args.out is None: return int(check_comparison())
    warnings.filterwarnings('ignore')
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    write_table(args.out, args.models or MODELS)
    return 0


if __name__ == '__main__': sys.exit(main())
