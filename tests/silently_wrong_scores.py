"""Are scores, shares, pictures and words those that were asked for?

    python tests/silently_wrong_scores.py                 # all tests
    python tests/silently_wrong_scores.py raw_ fault_22   # those whose names begin so

As in `silently_wrong.py`, each test is about one kind of fault, and asks at least two members of
it; what is right is found without the package.
"""
import copy
import math
import random
import re
import sys
import tempfile
import threading
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache, partial
from io import StringIO
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from fastai.interpret import Interpretation
from fastai.layers import SelfAttention, SimpleSelfAttention
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat, FocalLossFlat, MSELossFlat
from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    ImageBlock,
    L,
    MultiCategoryBlock,
    RegressionBlock,
    Resize,
    vision_learner,
    xresnet18,
)
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import models as tv
from torchvision import transforms as T

from attn_course.all import (
    END,
    START,
    add_attention,
    array_dls,
    attention_places,
    beam_search,
    caption_learner,
    capture,
    describe_map,
    explore,
    faithfulness,
    heatmaps,
    mass,
    pointing,
    removal,
    say,
    scene_dls,
    see,
    segment_score,
    show_heatmap,
    word_maps,
)
from attn_course.blocks import with_attention, without_heads
from attn_course.caption import AdditiveLook, Captioner, Decoder
from attn_course.metrics import fill_linear, mass_inside, peak_inside
from attn_course.prepare import sight_overlays
from attn_course.trials import Trial, reinitialised, share_of
from model_maps import (
    HUGGING_FACE,
    TORCHVISION,
    from_hugging_face,
    from_timm,
    from_torchvision,
    made,
)
from silently_wrong import (
    CLASS_FIRST,
    CLASSES,
    DIM,
    GRID,
    SIZE,
    Attention,
    Trunk,
    Vit,
    first_class,
    joined,
    main,
    outputs,
    own,
    refused,
    right_gradcam,
    right_legrad,
    right_maps,
    rolled,
    same,
    split,
    unfused,
    value_or_sentence,
    weights_of,
)

NAMES = ['ant', 'bee', 'cat', 'dog', 'elk']

drawn_small = partial(show_heatmap, size=.5)

# Networks, pictures and learners


def plain(
    classes:int=CLASSES, # columns of its output
) -> nn.Module:
    "A small convolutional network."
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8, classes))


def speaking(
    columns:int, # of its output
) -> nn.Module: # in eval mode
    "A transformer of ours whose scores lie near each other, so that no share is 0 or 1."
    model, _ = own(partial(Vit, **CLASS_FIRST))
    model.head = nn.Linear(DIM, columns)
    return model


TEMPORARY = tempfile.TemporaryDirectory()


@lru_cache
def files() -> list: # of paths
    "Ten pictures of 48 x 32 pixels, whose names begin with their class."
    paths = [Path(TEMPORARY.name)/f'{NAMES[i % 5]}_{i}.png' for i in range(10)]
    for i, path in enumerate(paths):
        cells = np.random.default_rng(i).integers(0, 256, (*GRID, 3), np.uint8)
        Image.fromarray(cells.repeat(8, 0).repeat(8, 1)).save(path)
    return paths


def class_of(
    path:Path,
) -> str:
    "Which class a file shows."
    return path.name.split('_')[0]


def tensor_of(
    img:Image.Image,
) -> Tensor: # (3, h, w) in 0..1
    "A picture as a network gets it."
    return torch.tensor(np.asarray(img, np.float32)/255).permute(2, 0, 1)


@lru_cache
def pictures() -> Tensor: # (10, 3, 32, 48) in 0..1
    "All pictures as a network gets them."
    return torch.stack([tensor_of(Image.open(path)) for path in files()])


def picture_learner(
    net:nn.Module, # whose pictures are SIZE
    loss, # loss function
    targets=CategoryBlock, # a `TransformBlock` of fastai
    label=class_of, # function from a path to a label
    **kwargs, # what else a `DataBlock` takes
) -> Learner:
    "A learner of our files; it trains and validates on all of them."
    def all_twice(items): return list(range(len(items))), list(range(len(items)))
    block = DataBlock((ImageBlock, targets), get_y=label, splitter=all_twice, **kwargs)
    dls = block.dataloaders(files(), bs=5, num_workers=0)
    return Learner(dls, net, loss_func=loss)

# Faithfulness


def maps_of(
    seed:int,
    grid:tuple=GRID, # (rows, columns)
): # function: model, pictures, classes -> (n, rows, columns)
    "Maps that know nothing, the same for a picture at the same place of a batch."
    def maps(model, xb, target):
        return torch.rand(len(xb), *grid, generator=torch.Generator().manual_seed(seed))
    return maps


def right_deletion(
    share, # function: pictures -> (n,)
    x:Tensor, # (n, 3, H, W)
    maps:Tensor, # (n, rows, columns)
) -> float:
    "Mean area under the share while the pixels with the largest values become the mean colour."
    big = F.interpolate(maps[:, None].double(), x.shape[2:], mode='nearest').flatten(1)
    order, curve = big.argsort(dim=1, descending=True, stable=True), []
    with torch.no_grad():
        for tenth in range(11):
            gone = torch.zeros(big.shape).bool()
            gone.scatter_(1, order[:, :round(tenth/10*big.shape[1])], True)
            mean = x.mean((2, 3), keepdim=True)
            curve.append(share(torch.where(gone.view(len(x), 1, *x.shape[2:]), mean, x)))
    curve = torch.stack(curve)
    return float(((curve[1:] + curve[:-1])/2).mean())


def softmax_share(
    net:nn.Module, # in eval mode
    classes, # (n,)
): # function: pictures -> (n,)
    "The share of a class of each picture."
    return lambda x: net(x).softmax(1)[torch.arange(len(x)), classes]


def near(
    found, # a number, by the package
    right, # without it
    what:str, # in words
    most:float=1e-3, # that they may differ
):
    "Raises `AssertionError` if two numbers differ."
    assert abs(float(found) - float(right)) < most, f'{what} is {found}, not {right}'


def two_networks() -> list: # of (network, pictures)
    "One of ours, one of torchvision."
    return [made(plain, SIZE), from_torchvision(tv.resnet18, SIZE)]


def bell(
    grid:tuple, # (rows, columns)
) -> Tensor: # (rows, columns)
    "The middle: a bell as wide as a quarter of the picture."
    y, x = torch.meshgrid(*((torch.arange(n) + .5)/n - .5 for n in grid), indexing='ij')
    return torch.exp(-(x**2 + y**2)/(2*.25**2))


def check_row(
    table, # as `faithfulness` gives it
    row:str, # its name
    right:float, # its deletion
):
    "Raises `AssertionError` for a row that is missing or that holds another's value."
    assert row in table.index, f'no row is named {row!r}, there are {list(table.index)}'
    near(table.loc[row, ('deletion', 'mean')], right, f'the deletion of {row!r}')


def fault_06_two_functions_of_one_name():
    "Each function has a row and its own values."
    for net, x in two_networks():
        classes = net(x).argmax(1)
        right = [right_deletion(softmax_share(net, classes), x, maps_of(i)(net, x, 0))
                 for i in range(2)]
        functions = [lambda m, xb, t, i=i: maps_of(i)(m, xb, t) for i in range(2)]
        for methods in (functions, [partial(fn) for fn in functions], [maps_of(0), maps_of(1)]):
            table = faithfulness(net, x, methods, ['deletion'], controls=False)
            assert len(table) == 2, f'two functions have the rows {list(table.index)}'
            for row, value in zip(table.index, right): check_row(table, row, value)
        def gradcam(model, xb, target): return maps_of(1)(model, xb, target)
        table = faithfulness(net, x, ['eigencam', gradcam, 'gradcam'], ['deletion'], layer='0'
                             if isinstance(net, nn.Sequential) else 'layer3', controls=False)
        assert len(table) == 3, f'three methods have the rows {list(table.index)}'
        check_row(table, 'gradcam', right[1])


def fault_06_functions_named_as_controls():
    "A function that is named as a control has its own values, and the control keeps its own."
    for net, x in two_networks():
        classes = net(x).argmax(1)
        share = softmax_share(net, classes)
        middle = right_deletion(share, x, bell(GRID).expand(len(x), -1, -1))
        for name in ('centre', 'random', 'untrained', 'colour'):
            method = maps_of(3)
            method.__name__ = name
            table = faithfulness(net, x, [method], ['deletion', 'sensitivity'])
            assert len(table) == 5, f'one method and four controls are {list(table.index)}'
            check_row(table, name, right_deletion(share, x, maps_of(3)(net, x, 0)))
            near(table.loc[name, ('sensitivity', 'mean')], 0, f'the sensitivity of {name}')
            values = table['deletion', 'mean'].iloc[1:]
            found = values[[row for row in values.index if 'centre' in row]]
            assert len(found) == 1, f'the middle is one control among {list(values.index)}'
            near(found.iloc[0], middle, 'the deletion of the middle')

# A copy that has forgotten


class Normed(nn.Module):
    "A convolution whose weight is made of other numbers, and one number that is a gain."
    def __init__(self, norm):
        super().__init__()
        self.conv, self.gain = norm(nn.Conv2d(3, DIM, 8, 8)), nn.Parameter(torch.tensor([.7]))
        self.attention, self.head = SelfAttention(DIM), nn.Linear(DIM, CLASSES)
        self.attention.gamma.data.fill_(.7)

    def forward(self, x):
        return self.head((self.gain*self.attention(self.conv(x))).mean((2, 3)))


NORMS = {'nothing': lambda layer: layer, 'spectral norm': nn.utils.parametrizations.spectral_norm,
         'weight norm': nn.utils.parametrizations.weight_norm,
         'older spectral norm': nn.utils.spectral_norm, 'older weight norm': nn.utils.weight_norm}
ATTEND = SelfAttention, SimpleSelfAttention # of fastai: their layers have the older spectral norm


def alike(
    a:Tensor, b:Tensor, # of one shape
) -> float: # the cosine, -1..1
    "Do two weights point the same way?"
    return float(F.cosine_similarity(a.flatten(), b.flatten(), 0))


def effective(
    net:nn.Module, # has run
) -> dict: # name -> weight
    "The weights with which layers multiply."
    return {name: m.weight.detach().clone() for name, m in net.named_modules()
            if isinstance(m, (nn.Conv2d, nn.Conv1d, nn.Linear))}


def check_forgotten(
    net:nn.Module, # in eval mode
    x:Tensor, # its pictures
    spectral, # function: name of a layer -> has it a spectral norm?
):
    "All weights are other ones and as large as their norm says; the network is as it was."
    kept = {name: t.detach().clone() for name, t in net.state_dict().items()}
    new, again, other = (reinitialised(net, xb=x, seed=seed) for seed in (0, 0, 1))
    with torch.no_grad(): outs = [copy(x) for copy in (new, again, other)]
    assert torch.equal(outs[0], outs[1]), 'the same seed makes another copy'
    assert not torch.allclose(outs[0], outs[2]), 'another seed makes the same copy'
    for name, weight in effective(new).items():
        cosine = alike(weight, effective(net)[name])
        assert abs(cosine) < .9, f'{name} still points where it did, cosine {cosine:.3f}'
        if not spectral(name): continue
        size = float(torch.linalg.matrix_norm(weight.flatten(1), 2))
        near(size, 1, f'the spectral norm of {name}', .05)
    for (name, p), q in zip(new.named_parameters(), net.parameters(), strict=True):
        if p.numel() == 1: assert float(p) != float(q), f'{name} is still {float(q):.3g}'
    for name, t in net.state_dict().items():
        assert torch.equal(t, kept[name]), f'{name} of the model itself was changed'


def fault_07_a_copy_that_has_not_forgotten():
    "Weights behind a norm and gains of one number are forgotten, too."
    for kind, norm in NORMS.items():
        net, x = own(partial(Normed, norm))
        with torch.no_grad(): net(x)
        check_forgotten(net, x, lambda name: 'attention' in name or
                        'spectral' in kind and name == 'conv')
    check_forgotten(*fastai_net())


def fault_07_a_copy_after_a_forward_with_a_graph():
    "What a forward has left in a network stands in no copy's way."
    for kind in ('nothing', 'older spectral norm', 'older weight norm'):
        net, x = own(partial(Normed, NORMS[kind]))
        net(x)
        check_forgotten(net, x, lambda name: 'attention' in name)
    net, x, spectral = fastai_net()
    net(x)
    check_forgotten(net, x, spectral)


def fastai_net() -> tuple: # as `check_forgotten` takes it
    "A network of fastai with self-attention."
    net = xresnet18(n_out=CLASSES, sa=True).eval() # of fastai, with self-attention
    attends = {n: m for n, m in net.named_modules() if isinstance(m, ATTEND)}
    for layer in attends.values(): layer.gamma.data.fill_(.7)
    assert attends, 'fastai has no attention here'
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad(): net(x)
    return net, x, lambda name: any(name.startswith(f'{one}.') for one in attends)


def fault_07_an_untrained_control():
    "Whoever makes the maps of the control is given a network that has forgotten."
    for kind in ('spectral norm', 'older spectral norm', 'older weight norm'):
        net, x = own(partial(Normed, NORMS[kind]))
        net(x)
        asked = []
        def method(model, xb, target, asked=asked):
            asked.append(model)
            return model.conv(xb).mean(1).detach()
        faithfulness(net, x, [method], ['deletion'], target=torch.tensor([0, 1]))
        blank, = {m for m in asked if m is not net}
        for name, weight in effective(net).items():
            cosine = alike(weight, effective(blank)[name])
            assert abs(cosine) < .9, f'{name} of the control is the trained one: {cosine:.3f}'


# Attention that never runs


class Idle(nn.Module):
    "Two rows of layers, of which one never runs."
    def __init__(self):
        super().__init__()
        self.used, self.idle = (nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16),
                                              nn.ReLU()) for _ in range(2))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(16, CLASSES)

    def forward(self, x): return self.head(self.pool(self.used(x)).flatten(1))


def check_moves(
    learn:Learner, # perhaps with attention
    *args, **kwargs, # what `add_attention` gets besides
) -> bool: # is it there?
    "What is said to be there runs, and its weights move in training; or a sentence says no."
    learn = value_or_sentence(['never run', 'No place'], add_attention, learn, *args,
                              verbose=False, **kwargs)
    if learn is None: return False
    ran, places = set(), attention_places(learn)
    before = {name: [p.detach().clone() for p in m.parameters()] for name, m in places.items()}
    for name, m in places.items(): m.register_forward_hook(lambda *_, name=name: ran.add(name))
    with learn.no_bar(), learn.no_logging(): learn.fit(2, .1)
    assert places and len(ran) == len(places), f'{set(places) - ran} never ran'
    for name, m in places.items():
        moved = any(not torch.equal(p, q) for p, q in zip(m.parameters(), before[name]))
        assert moved, f'the attention behind {name} did not move'
    return True


def fault_09_attention_that_never_runs():
    "It is put where something runs, and trains there, or it is refused."
    for attention in ('cbam', 'se', 'self'):
        torch.manual_seed(0)
        learn = picture_learner(Idle(), nn.CrossEntropyLoss())
        assert check_moves(learn, attention), f'{attention} has a place, and is refused'
    learn = picture_learner(Idle(), nn.CrossEntropyLoss())
    refused('never runs', 'attention in an idle branch', add_attention, learn, 'se', 'idle.*')
    assert check_moves(learn, 'se', 'used.*'), 'a place that runs is refused'
    refused('never runs', 'attention in an idle branch', add_attention, Idle(), 'se', 'idle.2')
    dls = picture_learner(Idle(), nn.CrossEntropyLoss()).dls
    for where in (None, 'model.stages.3', 'model.head.last_conv'):
        torch.manual_seed(0)
        learn = vision_learner(dls, 'hgnetv2_b0', pretrained=False, normalize=False,
                               loss_func=nn.CrossEntropyLoss())
        there = check_moves(learn, 'cbam', where)
        assert there or where != 'model.stages.3', 'a stage that runs is refused'

# Shares


class Reading:
    "How scores of a kind of learner are to be read."
    def __init__(self, loss, columns, shares, targets=None, names=NAMES, last=None):
        self.loss, self.columns, self.shares, self.names = loss, columns, shares, names
        self.targets = targets or (CategoryBlock, class_of)
        self.last = last # a layer behind the scores

    def model(self):
        net = speaking(self.columns)
        return nn.Sequential(net, self.last) if self.last else net

    def learner(self):
        learn = picture_learner(self.model(), self.loss, *self.targets)
        learn.model.eval()
        return learn


def several_labels(path:Path) -> list: # of str
    "Which classes a file shows."
    return [class_of(path), NAMES[path.stat().st_size % 5]]


def one_of_two(path:Path) -> str:
    "Does a file show a late class?"
    return 'no' if class_of(path) < 'cat' else 'yes'


def binary(out:Tensor, y:Tensor) -> Tensor: # (bs, 1), (bs,)
    "A loss as people write it."
    return F.binary_cross_entropy_with_logits(out[:, 0], y.float())


def rows_softmax(outs:Tensor) -> Tensor: # (bs, classes)
    "Shares that sum to 1."
    return outs.softmax(1)


LABELS, TWO = (MultiCategoryBlock, several_labels), (CategoryBlock, one_of_two)
READINGS = {
    'several labels': Reading(BCEWithLogitsLossFlat(), 5, torch.sigmoid, LABELS),
    "several labels, PyTorch's loss": Reading(nn.BCEWithLogitsLoss(), 5, torch.sigmoid, LABELS),
    'one output': Reading(BCEWithLogitsLossFlat(), 1, torch.sigmoid, TWO, ['yes']),
    'one output, own loss': Reading(binary, 1, torch.sigmoid, TWO, ['yes']),
    'log probabilities': Reading(nn.NLLLoss(), 5, torch.exp, last=nn.LogSoftmax(1)),
    'log probabilities, function': Reading(F.nll_loss, 5, torch.exp, last=nn.LogSoftmax(1)),
    'classes': Reading(nn.CrossEntropyLoss(weight=torch.arange(1., 6)), 5, rows_softmax),
    'classes, focal': Reading(FocalLossFlat(), 5, rows_softmax),
    'classes, function': Reading(F.cross_entropy, 5, rows_softmax),
}


def fault_10_shares():
    "A share is what the loss makes of a score; the score of a network with one output is a number."
    for what, reading in READINGS.items():
        learn = reading.learner()
        with torch.no_grad(): right = reading.shares(learn.model(pictures()))
        check_shares(what, learn, right, reading.shares)
    net = speaking(1)
    with torch.no_grad(): right = net(pictures())
    check_shares('a number', net, right, lambda outs: outs)


def check_shares(
    what:str, # kind of model, in words
    model, # a learner or a model
    right:Tensor, # (10, columns) shares, or numbers
    shares, # function: scores -> shares
):
    "In `share_of` and in `faithfulness`."
    net, n = getattr(model, 'model', model), len(right)
    for target in torch.arange(n) % right.shape[1], torch.zeros(n).long():
        found = share_of(model, target)(pictures(), torch.arange(n))
        same(found, right[torch.arange(n), target], f'the share of {what}')
        def share(x, t=target): return shares(net(x))[torch.arange(n), t]
        value = right_deletion(share, pictures(), maps_of(0)(net, pictures(), target))
        shared = hasattr(model, 'dls') and right.shape[1] == 1 # the second of two classes
        table = faithfulness(model, pictures(), [maps_of(0)], ['deletion'],
                             target=target + 1 if shared else target, controls=False)
        near(table['deletion', 'mean'].iloc[0], value, f'the deletion of {what}')


def last_number(
    title:str, # of a heatmap
) -> float:
    "The share in a title."
    return float(title.split()[-1].rstrip('?'))


def fault_10_shares_in_titles():
    "Titles of heatmaps and answers of an explorer tell the same share."
    for what, reading in READINGS.items():
        learn = reading.learner()
        with torch.no_grad(): right = reading.shares(learn.model(pictures()[:1]))[0]
        figure = drawn_small(learn, files()[0], list(reading.names), 'rollout')
        for title, name, p in zip(figure.maps, reading.names, right, strict=True):
            assert f'"{name}"' in title, f'{title} asks for another class than {name}'
            near(last_number(title), p, f'the share in {title!r} of {what}', .006)
        explorer = explore(learn, files()[0], ahead=False)
        said = dict(explorer.answers[''])
        explorer.close()
        for name, p in zip(reading.names, right): near(said[name], p, f'{name} of {what}')
    net = speaking(1)
    figure = drawn_small(net, files()[0], 0, 'rollout', prepare=tensor_of)
    title, = figure.maps
    with torch.no_grad(): near(last_number(title), net(pictures()[:1]), title, .006)
    explorer = explore(net, pictures()[0], ahead=False)
    assert not explorer.answers, f'a number is no share: {explorer.answers}'
    explorer.close()

def soft(out:Tensor, y:Tensor) -> Tensor: # (bs, classes) each
    "Cross-entropy with shares as targets."
    return -(y*out.log_softmax(1)).sum(1).mean()


def one_hot(path:Path) -> list: # of floats
    "Which class a file shows, as shares."
    return [float(name == class_of(path)) for name in NAMES]


UNUSUAL = {
    'shares as targets': Reading(soft, 5, rows_softmax, (RegressionBlock, one_hot)),
    'classes of no weight': Reading(nn.CrossEntropyLoss(weight=torch.tensor([0., 0, 1, 1, 1])), 5,
                                    rows_softmax)}


def fault_10_unusual_losses():
    "A loss with shares as targets, or one that does not count some classes, reads scores, too."
    for what, reading in UNUSUAL.items():
        learn = reading.learner()
        with torch.no_grad(): right = reading.shares(learn.model(pictures()))
        titles = list(drawn_small(learn, files()[0], list(range(5)), 'rollout').maps)
        for title, p in zip(titles, right[0], strict=True):
            assert '.' in title, f'{title!r} tells no share of {what}'
            near(last_number(title), p, f'the share in {title!r} of {what}', .006)
        check_shares(what, learn, right, reading.shares)

# Maps of nothing, and nothing left of a picture


def fault_14_nothing_is_left():
    "Where all pixels are gone their mean colour is left, and other pictures of the batch stay."
    for size in ((32, 48), (224, 224)):
        x = torch.randn(3, 3, *size) + 1
        gone = torch.rand(3, *size) < .5
        gone[1] = True
        for tolerance in (1e-3, 1e-6):
            found = fill_linear(x, gone, noise=0., tolerance=tolerance)
            mean = x[1].mean((1, 2), keepdim=True).expand(-1, *size)
            same(found[1], mean, 'what is left of nothing')
        alone = fill_linear(x[:1], gone[:1], noise=0., tolerance=tolerance)
        same(found[:1], alone, 'the picture beside it')
    for net, x in two_networks():
        share = softmax_share(net, torch.tensor([0, 1]))
        trial = Trial(x, maps_of(0)(net, x, 0), share_of(net, torch.tensor([0, 1])), None, None)
        trial.whole = trial.score(x, torch.arange(2))
        with torch.no_grad(): right = share(x.mean((2, 3), keepdim=True).expand_as(x))
        for largest in (True, False):
            torch.manual_seed(0)
            found = removal(trial, largest, 'linear')[:, -1]
            assert (found - right).abs().max() < .05, f'{found} is left, not {right}'


def fault_14_maps_of_zeros():
    "A map without a peak points nowhere, and its weight lies nowhere."
    x, masks = torch.randn(3, 3, *SIZE), torch.zeros(3, *SIZE).bool()
    masks[:, :16, :24] = True # the upper left, where a search for the largest begins
    for value in (0., 2.):
        maps = torch.full((3, *GRID), value)
        maps[2, 0, 0] += 1
        trial = Trial(x, maps, None, None, None, masks)
        assert pointing(trial).tolist() == [0, 0, 1], f'{pointing(trial)} for maps of {value}'
        assert peak_inside(maps, masks).tolist() == [False, False, True]
    nothing = torch.zeros(3, *GRID)
    nothing[2, 0, 0] = 1
    trial = Trial(x, nothing, None, None, None, masks)
    assert mass(trial).tolist() == mass_inside(nothing, masks).tolist() == [0, 0, 1]

# Whoever changes weights, whoever watches


def flipped(w:Tensor) -> Tensor: # (bs, heads, queries, keys)
    "Weights for other keys; rows still sum to 1."
    return w.flip(-1)


def heads_off(w:Tensor) -> Tensor: # (bs, heads, queries, keys)
    "Without the heads 0 and 2."
    on = torch.ones(w.shape[1])
    on[[0, 2]] = 0
    return w*on[:, None, None]


def attending(
    mha:nn.MultiheadAttention,
    change, # function of weights, or None
    found:list, # its weights go in here
): # function in the place of its forward
    "PyTorch's attention by hand."
    def forward(q, k, v, **kwargs):
        parts = F.linear(q, mha.in_proj_weight, mha.in_proj_bias).chunk(3, -1)
        q, k, v = (t.unflatten(-1, (mha.num_heads, -1)).transpose(1, 2) for t in parts)
        weights = (q @ k.mT/q.shape[-1]**.5).softmax(-1)
        found.append(change(weights) if change else weights)
        return mha.out_proj((found[-1] @ v).transpose(1, 2).flatten(2)), None
    return forward


def torchvision_changed(
    change, # function of weights, for the first block
) -> tuple: # (model, pictures, name of the first attention, right weights, right scores)
    "A ViT of torchvision, and what it says with other weights."
    model, x = from_torchvision(*TORCHVISION['vit'])
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)}
    found = []
    for i, m in enumerate(layers.values()):
        m.forward = attending(m, None if i else change, found)
    with torch.no_grad(): out = model(x)
    for m in layers.values(): del m.forward
    return model, x, list(layers)[0], found, out


def timm_changed(change) -> tuple: # as `torchvision_changed`
    "A ViT of timm, and what it says with other weights."
    model, x = from_timm('vit_tiny_patch16_224', img_size=64, depth=3)
    other, _ = from_timm('vit_tiny_patch16_224', img_size=64, depth=3)
    drops, found = [other.get_submodule(name) for name in unfused(other)], []
    drops[0].register_forward_hook(lambda module, args, out: change(out))
    for m in drops: m.register_forward_hook(lambda module, args, out: found.append(out))
    with torch.no_grad(): out = other(x)
    return model, x, 'blocks.0.attn', found, out


def in_both_orders(
    watch, # function without arguments: a context manager
    change, # the same
    model:nn.Module, # any network
    x:Tensor, # its pictures
): # pairs (what `watch` gives, scores)
    "Whoever watches comes first, then whoever changes."
    with torch.no_grad(), watch() as rec, change(): out = model(x)
    yield rec, out
    with torch.no_grad(), change(), watch() as rec: out = model(x)
    yield rec, out


def check_changed(
    model:nn.Module, # any network
    x:Tensor, # its pictures
    change, # function without arguments: a context manager
    right:list, # weights layer by layer
    out:Tensor, # scores
):
    "The record shows the weights with which values were multiplied."
    for rows in (None, 'cls'):
        kwargs = dict(rows=rows) if rows else {}
        for rec, scores in in_both_orders(partial(capture, model, **kwargs), change, model, x):
            same(scores, out, 'the scores')
            for name, w in zip(rec.attn, right, strict=True):
                same(rec.attn[name], w[:, :, :1] if rows else w, f'what {name} multiplied')


def fault_15_weights_that_others_change():
    "In both orders the record shows what multiplied the values."
    for make in (timm_changed, torchvision_changed):
        model, x, name, right, out = make(flipped)
        check_changed(model, x, lambda: with_attention(model, {name: flipped}), right, out)
        model, x, name, right, out = make(heads_off)
        check_changed(model, x, lambda: without_heads(model, {name: [0, 2]}), right, out)


def fault_15_maps_of_changed_weights():
    "A heatmap inside the `with` follows the weights that are used there."
    for make in (timm_changed, torchvision_changed):
        model, x, name, right, _ = make(flipped)
        side = math.isqrt(right[0].shape[-1] - 1)
        rollout = rolled(right)[:, 0, 1:].unflatten(1, (side, side))
        with with_attention(model, {name: flipped}):
            same(heatmaps(model, x, 'rollout', 1), rollout, 'rollout')
            found = heatmaps(model, x, 'attention', 1)
        same(found, right[-1].mean(1)[:, 0, 1:].unflatten(1, (side, side)), 'attention')
        with capture(model) as rec, torch.no_grad(): model(x)
        off = float((rec.attn[name] - right[0]).abs().max())
        assert off > .01, 'the change outlives its `with`'

# Captions


class TwiceLooking(nn.Module):
    "A look that attends twice: what was seen first asks again."
    def __init__(self, hidden, dim, heads=4):
        super().__init__()
        self.query, self.found = nn.Linear(hidden, dim), []
        self.first = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.second = nn.MultiheadAttention(dim, heads, batch_first=True)

    def asked(self, layer, q, places):
        out, weights = layer(q, places, places, average_attn_weights=False)
        self.found.append(weights.detach())
        return out

    def forward(self, state, places):
        q = self.query(state)[:, None]
        return self.asked(self.second, self.asked(self.first, q, places) + q, places)[:, 0], None


class SameLooking(TwiceLooking):
    "One layer attends twice."
    def __init__(self, hidden, dim):
        super().__init__(hidden, dim)
        self.second = self.first


class ByHandLooking(TwiceLooking):
    "Softmax in the look itself."
    def asked(self, layer, q, places):
        weights = (q @ places.mT).softmax(-1)
        self.found.append(weights[:, None].detach())
        return weights @ places


def captioner(
    look:nn.Module, # for a state of 16 and places of DIM
) -> Captioner: # in eval mode
    "A small captioner for pictures of 16 x 24 pixels."
    decoder = Decoder(12, look, DIM, 16)
    encoder = nn.Sequential(nn.Conv2d(3, DIM, 4, 4), nn.ReLU())
    return Captioner(encoder, decoder, 5).eval()


def check_looks(
    look:nn.Module, # that attends twice for each word
):
    "Each word has the maps of its own look, side by side."
    x, captions = torch.randn(2, 3, 16, 24), torch.randint(3, 12, (2, 8))
    model = captioner(look)
    maps, _ = word_maps(model, x, captions)
    look.found.clear()
    with torch.no_grad(): model(x, captions)
    words = [torch.cat(look.found[2*i:2*i + 2], 1)[:, :, 0] for i in range(7)]
    right = torch.stack(words, 1).unflatten(3, GRID) # (bs, words, heads, h, w)
    assert maps.shape == right.shape, f'maps are {tuple(maps.shape)}, not {tuple(right.shape)}'
    for head in right.unbind(2): # in whatever order heads stand
        off = (maps - head[:, :, None]).abs().amax((0, 1, 3, 4)).min()
        assert off < 1e-5, f'no head of the maps is one that looked, by {off:.2g}'


def fault_16_two_attentions_in_one_look():
    "Two layers, one layer twice, or a softmax twice: a word has the maps of both."
    for kind in (TwiceLooking, SameLooking, ByHandLooking): check_looks(kind(16, DIM))


class Asking(TwiceLooking):
    "Places attend among themselves before the look."
    def forward(self, state, places):
        places = self.second(places, places, places, need_weights=False)[0]
        return self.asked(self.first, self.query(state)[:, None], places)[:, 0], None


def fault_16_places_that_attend_among_themselves():
    "They are no look of a word: its maps are those of what the word asked, or a sentence says no."
    for heads in (4, 2):
        look, x, captions = Asking(16, DIM, heads), torch.randn(2, 3, 16, 24), torch.arange(3, 9)
        model, captions = captioner(look), captions.expand(2, -1)
        found = value_or_sentence('look', word_maps, model, x, captions)
        if found is None: continue
        look.found.clear()
        with torch.no_grad(): model(x, captions)
        right = torch.stack([w[:, :, 0] for w in look.found], 1).unflatten(3, GRID)
        same(found[0], right, 'the maps of words')


def fault_16_two_attentions_of_other_heads():
    "They may have another number of heads."
    for heads in (2, 1): check_looks(TwiceLooking(16, DIM, heads))


# Threads


class Dropping(Vit):
    "A transformer with dropout."
    def __init__(self):
        super().__init__(**CLASS_FIRST)
        for block in self.blocks: block.mlp.add_module('drop', nn.Dropout(.5))


class Meeting:
    "Two threads: the second comes while the first is inside a forward, and stays the longer."
    def __init__(self):
        self.first_in, self.second_in, self.first_out = (threading.Event() for _ in range(3))

    def wait(self, *args): # inside a forward, or as a pre-hook of a model
        if threading.current_thread().name == 'first':
            self.first_in.set()
            self.second_in.wait(20)
        elif threading.current_thread().name == 'second':
            self.second_in.set()
            self.first_out.wait(20)

    def run(self, first, second): # functions without arguments -> what they give
        given, wrong = {}, []
        def one(name, fn):
            try:
                if name == 'second': self.first_in.wait(20)
                given[name] = fn()
            except Exception as e: wrong.append(e)
            if name == 'first': self.first_out.set()
        threads = [threading.Thread(target=one, args=part, name=part[0])
                   for part in (('first', first), ('second', second))]
        for t in threads: t.start()
        for t in threads: t.join(60)
        if wrong: raise wrong[0]
        return given['first'], given['second']


def switches() -> dict: # what a look at a network turns for a while
    "PyTorch's fast path and the stance of its compiler."
    return dict(fast=torch.backends.mha.get_fastpath_enabled(),
                stance=torch._dynamo.eval_frame._stance.stance)


def modes(
    *models:nn.Module,
) -> list: # of bool
    "Which modules are in train mode, and which are fused?"
    return [(m.training, getattr(m, 'fused', None)) for model in models for m in model.modules()]


@contextmanager
def waiting(
    models:set, # networks
    wait, # function
):
    "Forwards that wait before they begin."
    kinds = {m: type(m) for m in models}
    def forward(self, *args, **kwargs):
        wait()
        return kinds[self].forward(self, *args, **kwargs)
    for m, kind in kinds.items(): m.__class__ = type(kind.__name__, (kind,), dict(forward=forward))
    yield
    for m, kind in kinds.items(): m.__class__ = kind


@contextmanager
def waiting_hooks(models:set, wait): # as `waiting`
    "Networks that wait before they hear the hooks that were put on them."
    hooks = [m.register_forward_pre_hook(wait) for m in models]
    yield
    for hook in hooks: hook.remove()


def check_meeting(
    models:tuple, # two networks, or twice the same
    first, second, # functions of a network
    right:tuple, # what they give alone
    waits=waiting, # or `waiting_hooks`
):
    "Each thread gets what it gets alone, and all is as before."
    before, meeting = (switches(), modes(*models)), Meeting()
    with waits(set(models), meeting.wait):
        try: found = meeting.run(partial(first, models[0]), partial(second, models[1]))
        finally:
            after = switches(), modes(*models)
            torch.compiler.set_stance('default') # for those who come later
            torch.backends.mha.set_fastpath_enabled(True)
    for a, b in zip(found, right): same(a, b, 'the map of a thread')
    assert after[0] == before[0], f'{after[0]} afterwards, {before[0]} before'
    assert after[1] == before[1], 'modes or fused paths are other ones afterwards'


def fault_17_two_threads_and_two_models():
    "Fast path, compiler, fused paths and modes are as before when both are through."
    x = torch.randn(2, 3, 64, 64)
    def attention(model):
        with torch.no_grad(), capture(model) as rec: model(x)
        return list(rec.attn.values())[-1]
    models = [from_timm('vit_tiny_patch16_224', img_size=64, depth=2)[0].train() for _ in range(2)]
    models[1].blocks[0].eval()
    map_of = partial(heatmaps, xb=x, method='relevance', target=1)
    for fn in (attention, map_of):
        for model in models: torch.manual_seed(0)
        check_meeting(models, fn, fn, [fn(model) for model in models])
    models = [from_torchvision(tv.resnet18, 64)[0] for _ in range(2)]
    for model in models:
        add_attention(model, 'self', verbose=False)
        model.layer3[1].attention.gamma.data.fill_(1.)
    map_of = partial(heatmaps, xb=x, method='gradcam', target=1, layer='layer3.1')
    check_meeting(models, map_of, map_of, [map_of(model) for model in models])


def trained_in_part() -> list: # of (network, pictures)
    "Networks with dropout, in train mode but for a block."
    timm_model = partial(from_timm, 'vit_tiny_patch16_224', img_size=64, depth=2, drop_rate=.5,
                         proj_drop_rate=.5)
    return [make() for make in (partial(own, Dropping), timm_model)]


def check_one_model(
    waits=waiting, # or `waiting_hooks`
):
    "Maps are those of eval mode, and train mode comes back."
    for model, x in trained_in_part():
        relevance = partial(heatmaps, xb=x, method='relevance', target=1)
        gradcam = partial(heatmaps, xb=x.flip(3), method='gradcam', target=2)
        right = relevance(model), gradcam(model)
        model.train()
        model.blocks[0].eval()
        check_meeting((model, model), relevance, gradcam, right, waits)
        check_meeting((model, model), gradcam, relevance, right[::-1], waits)


def fault_17_two_threads_and_one_model():
    "Two threads ask one model at the same time."
    check_one_model()


def fault_17_hooks_of_a_thread_that_goes():
    "A thread goes while another is about to call its hooks."
    check_one_model(waiting_hooks)

# Losses of plain PyTorch, and regression


def number_of(path:Path) -> float:
    "How large something is that a file shows."
    return float(NAMES.index(class_of(path)))


def points_of(path:Path) -> list: # of float
    "Where two points lie."
    return [number_of(path), 1., 2., 3.]


PLAIN = {'classes': READINGS['classes'], 'classes, function': READINGS['classes, function'],
         'log probabilities': READINGS['log probabilities'],
         'log probabilities, function': READINGS['log probabilities, function'],
         'several labels': READINGS["several labels, PyTorch's loss"]}


def right_words(
    reading:Reading, # how scores are read
    shares:Tensor, # (n, columns)
    paths:list, # of files
) -> list: # of str
    "What is true of a picture and what was said, in words."
    if reading.targets is LABELS:
        true = [';'.join(n for n in NAMES if n in several_labels(path)) for path in paths]
        said = [';'.join(n for n, p in zip(NAMES, row) if p > .5) or 'none' for row in shares]
    else: true, said = [class_of(p) for p in paths], [NAMES[i] for i in shares.argmax(1)]
    return [t if t == s else f'{t}, read as {s}' for t, s in zip(true, said)]


def fault_21_plain_losses_in_top_losses():
    "The words of the worst pictures tell names and shares."
    for what, reading in PLAIN.items():
        learn = reading.learner()
        with torch.no_grad(): shares = reading.shares(learn.model(pictures()))
        words = right_words(reading, shares, files())
        with learn.no_bar(): interp = Interpretation.from_learner(learn)
        with redirect_stdout(StringIO()):
            figure = interp.plot_top_losses(
                10, heatmap=True, method='rollout', size=.5)
        assert '[' not in figure.alt, f'a list in the words of {what}: {figure.alt}'
        for word, row in zip(words, shares):
            asked = f'why "{NAMES[row.argmax()]}"? ' + f'{row.max():.2f}'.lstrip('0')
            shown = [part for part in figure.alt.split('; ')
                     if f' {word}, loss ' in f' {part}' and asked in part]
            assert shown, f'{word!r} and {asked!r} are not told of {what}: {figure.alt}'


def fault_21_plain_losses_in_results():
    "`show_results` tells names, too."
    for reading in PLAIN.values():
        learn = reading.learner()
        with torch.no_grad(): shares = reading.shares(learn.model(pictures()))
        with redirect_stdout(StringIO()), learn.no_bar():
            figure = learn.show_results(
                heatmap=True, method='rollout', shuffle=False, size=.5)
        for word in right_words(reading, shares[:5], files()[:5]):
            assert word in figure.alt and '[' not in figure.alt, f'{word!r} is not in {figure.alt}'


REGRESSIONS = [(nn.MSELoss(), 1), (F.mse_loss, 1), (nn.L1Loss(), 4), (MSELossFlat(), 1),
               (nn.SmoothL1Loss(), 4), (MSELossFlat(), 4)]


def fault_21_regression():
    "A number is told as a number, and no class is asked for."
    for loss, columns in REGRESSIONS:
        label = number_of if columns == 1 else points_of
        learn = picture_learner(speaking(columns), loss, RegressionBlock, label)
        learn.model.eval()
        with torch.no_grad(): right = learn.model(pictures()[:1])[0]
        figure = drawn_small(learn, files()[0], list(range(columns)), 'rollout')
        for i, (title, number) in enumerate(zip(figure.maps, right, strict=True)):
            near(last_number(title), number, title, .006*max(1, abs(float(number))))
            assert 'class' not in title and '"' not in title, f'{title} for a regression'
            assert columns == 1 or str(i) in title, f'which number does {title} mean?'
        explorer = explore(learn, files()[0], ahead=False)
        assert not explorer.answers, f'numbers are no shares: {explorer.answers}'
        explorer.close()
        with learn.no_bar(): interp = Interpretation.from_learner(learn)
        found = value_or_sentence('target= function', interp.plot_top_losses, 2, heatmap=True,
                                  size=.5)
        assert found is None or 'class' not in found.alt, f'{found and found.alt}'

# Pictures as they are seen


class Bright(nn.Module):
    "The mean of cells of 8 x 8 pixels, and twice the mean of all: its map is the picture."
    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.Conv2d(3, 1, 8, 8), nn.Linear(1, 2)
        with torch.no_grad():
            self.cells.weight.fill_(1/192), self.cells.bias.zero_()
            self.head.weight.copy_(torch.tensor([[2.], [-1.]])), self.head.bias.zero_()

    def forward(self, x): return self.head(self.cells(x).mean((2, 3)))


def spotted(
    width:int, height:int, # in pixels
    spot:tuple, # (x, y) of the upper left pixel of a bright square
    side:int=8, # of the square
) -> np.ndarray: # uint8 (height, width, 3)
    "A dark picture, a little brighter to the right and below, with one bright square."
    y, x = np.mgrid[:height, :width]
    grey = 20 + 20*x/width + 15*y/height
    grey[spot[1]:spot[1] + side, spot[0]:spot[0] + side] = 255
    return np.repeat(grey[..., None], 3, 2).round().astype(np.uint8)


def brightest(
    picture, # (h, w, 3), or (h, w)
) -> tuple: # (x, y), in 0..1
    "Where the middle of the brightest square lies."
    grey = np.asarray(picture, np.float32)
    grey = grey if grey.ndim == 2 else grey.mean(-1)
    y, x = np.nonzero(grey > .8*grey.max())
    return (x.mean() + .5)/grey.shape[1], (y.mean() + .5)/grey.shape[0]


def spot_learner(
    paths:list, # of files
    **kwargs, # what a `DataBlock` takes
) -> Learner:
    "A learner whose map is the brightness of a picture."
    def all_twice(items): return list(range(len(items))), list(range(len(items)))
    block = DataBlock((ImageBlock, CategoryBlock), get_y=lambda p: 'ab'[len(p.name) % 2],
                      splitter=all_twice, **kwargs)
    dls = block.dataloaders([*paths, *files()[:2]], bs=1, num_workers=0)
    return Learner(dls, Bright(), loss_func=nn.CrossEntropyLoss())


UNTURNED = { # orientation -> function from an upright picture to the stored one
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[:, ::-1]}


def check_turned(
    model, # a learner, or a model
    path:Path, # of a picture
    upright:np.ndarray, # what a person sees in it
    prepare=None, # for a model
):
    "Box, drawing and words are those of the upright picture."
    sight = see(model, path, prepare)
    rgb = sight.upright(sight.rgb)
    off = np.abs(rgb.astype(int) - upright).mean()
    assert off < 6, f'{path.name} is drawn turned: {off:.0f} apart'
    w, h = sight.rgb.shape[1::-1] # as it is stored
    assert np.allclose(sight.box, (0, 0, w, h), atol=1), f'the part of {path.name}: {sight.box}'
    figure = drawn_small(model, path, 0, prepare=prepare)
    (m,), where = figure.maps.values(), brightest(upright)
    found = brightest(sight.upright_map(np.asarray(m)))
    assert np.allclose(found, where, atol=.13), f'the map of {path.name} at {found}, not {where}'
    original, drawn = sight_overlays(sight, [np.asarray(m)], len(upright))
    assert np.allclose(brightest(original), where, atol=.05), f'{path.name} is drawn turned'
    colour = (drawn.max(-1).astype(int) - drawn.min(-1)) # where a map is drawn
    assert np.allclose(brightest(colour), where, atol=.13), f'the map of {path.name} is turned'
    assert 'the peak lies upper right' in figure.alt, figure.alt


def check_other_forms(model, path:Path, upright:np.ndarray, prepare=None): # as `check_turned`
    "Bytes of a file, and a picture that is open, are as the file."
    for other in (path.read_bytes(), Image.open(path)):
        sight = see(model, other, prepare)
        off = np.abs(sight.upright(sight.rgb).astype(int) - upright).mean()
        assert off < 6, f'{path.name} as {type(other).__name__} is drawn turned: {off:.0f} apart'


def fault_22_pictures_with_an_orientation():
    "TIFF and JPEG with any orientation, for a learner and for a model with `prepare`."
    upright = spotted(96, 64, (80, 8))
    folder = Path(TEMPORARY.name)
    for kind in ('tiff', 'jpg'):
        paths = [folder/f'turned_{o}.{kind}' for o in UNTURNED]
        for (o, unturn), path in zip(UNTURNED.items(), paths):
            exif = Image.Exif()
            exif[0x0112] = o
            Image.fromarray(np.ascontiguousarray(unturn(upright))).save(path, exif=exif)
        learn = spot_learner(paths)
        for path in paths:
            check_turned(learn, path, upright)
            check_turned(Bright(), path, upright, tensor_of)
        for path in paths:
            check_other_forms(learn, path, upright)
            check_other_forms(Bright(), path, upright, tensor_of)


LEFT_RIGHT = Image.Transpose.FLIP_LEFT_RIGHT
RNG = torch.Generator().manual_seed(0)


def resized(img:Image.Image) -> Tensor: # (3, 64, 48)
    "A picture of another size, as a network gets it."
    return tensor_of(img.resize((48, 64)))


def by_torch(img:Image.Image) -> Tensor:
    "Flipped now and then."
    return resized(img if torch.rand(1) < .5 else img.transpose(LEFT_RIGHT))


def by_python(img:Image.Image) -> Tensor:
    "Flipped now and then by Python's numbers."
    return resized(img if random.random() < .5 else img.transpose(LEFT_RIGHT))


def by_numpy(img:Image.Image) -> Tensor:
    "A part, chosen by numpy's numbers."
    x, y = np.random.randint(0, 40), np.random.randint(0, 24)
    return resized(img.crop((x, y, x + 72, y + 48)))


def by_its_own(img:Image.Image) -> Tensor:
    "Flipped now and then by numbers of its own."
    flip = torch.rand(1, generator=RNG) < .5
    return resized(img.transpose(LEFT_RIGHT) if flip else img)


def crop_by_its_own(img:Image.Image) -> Tensor:
    "A part, chosen by numbers of its own."
    x, y = (int(torch.randint(0, n, (1,), generator=RNG)) for n in (40, 24))
    return resized(img.crop((x, y, x + 72, y + 48)))


RANDOM = [by_torch, by_python, by_numpy, by_its_own, crop_by_its_own,
          T.Compose([T.RandomHorizontalFlip(), T.Resize((64, 48)), T.ToTensor()]),
          T.Compose([T.RandomResizedCrop((64, 48), (.5, 1)), T.ToTensor()]),
          T.Compose([T.RandomAffine(30, (.1, .1)), T.Resize((64, 48)), T.ToTensor()])]


def fault_23_random_pipelines():
    "The drawing shows the picture as the model saw it, however it was flipped or cut."
    for prepare in RANDOM:
        for seed in range(6):
            picture = Image.fromarray(spotted(112, 72, (44 + 8*seed % 24, 28)))
            torch.manual_seed(seed), random.seed(seed), np.random.seed(seed)
            sight = see(Bright(), picture, prepare)
            seen, drawn = sight.xb[0].permute(1, 2, 0).numpy(), np.asarray(sight.rgb)
            (x, y), (u, v), (x0, y0, x1, y1) = brightest(seen), brightest(drawn), sight.box
            found = (x0 + x*(x1 - x0))/drawn.shape[1], (y0 + y*(y1 - y0))/drawn.shape[0]
            assert np.allclose(found, (u, v), atol=.03), \
                f'{prepare}: a spot at {(u, v)} is drawn at {found}'
            figure = drawn_small(Bright(), picture, 0, prepare=prepare) if seed < 2 else sight
            assert figure.box, 'nothing is said of the part that was seen'


def padded(img:Image.Image) -> Tensor: # (3, 64, 64)
    "With a margin above and below."
    return tensor_of(ImageOps.expand(img.resize((64, 32)), (0, 16), 0))


def padded_at_left(img:Image.Image) -> Tensor: # (3, 64, 64)
    "With a margin at the left."
    return tensor_of(ImageOps.expand(img.resize((32, 64)), (32, 0, 0, 0), 0))


def check_padded(
    figure, # as `show_heatmap` gives it
    part:tuple, # slices of the map that lie on the picture
    place:str, # of its peak
):
    "The words count no padding."
    m, = figure.maps.values()
    on_picture = np.sort(np.asarray(m)[part].clip(0).ravel())[::-1]
    enough = int((np.cumsum(on_picture) < on_picture.sum()/2 - 1e-6).sum()) + 1
    assert f'the peak lies {place}' in figure.alt, f'{place} is not in {figure.alt!r}'
    said = int(re.search(r'(\d+)%', figure.alt)[1])/100
    near(said, enough/len(on_picture), 'the share of the picture', 1/len(on_picture) + .005)


def fault_24_words_for_padded_pictures():
    "Place and percentage are those of the picture."
    folder, rows = Path(TEMPORARY.name), (slice(2, 6), slice(None))
    cols = slice(None), slice(4, 8)
    wide, tall = folder/'wide.png', folder/'tall.png'
    for path, shape in ((wide, (64, 32, (8, 0))), (tall, (32, 64, (8, 56)))):
        Image.fromarray(spotted(*shape)).save(path)
    for net, path, prepare, part, place in (
        (Bright(), wide, padded, rows, 'upper left'),
        (Bright(), tall, padded_at_left, cols, 'lower left'),
    ): check_padded(drawn_small(net, path, 0, prepare=prepare), part, place)
    learn = spot_learner([wide, tall], item_tfms=Resize(64, 'pad', 'zeros'))
    check_padded(drawn_small(learn, wide, 0), rows, 'upper left')
    check_padded(drawn_small(learn, tall, 0), (slice(None), slice(2, 6)), 'lower left')


def fault_25_masks_of_one_channel():
    "The score of the only class is its mean where it is above zero."
    for logits in (torch.full((2, 1, 8, 8), -5.), torch.randn(2, 1, 8, 8) - 1):
        logits[:, :, 2:4, 2:6] = 5.
        right = torch.stack([one[one > 0].mean() for one in logits])
        for target in (0, torch.tensor([0, 0])):
            same(segment_score(target)(logits), right, 'the score of a mask')
    nothing = -torch.rand(2, 1, 8, 8)
    same(segment_score(0)(nothing), nothing.mean((1, 2, 3)), 'the score of an empty mask')

# Side effects


def side_effect_random_states():
    "Metrics and methods that draw numbers leave the random states as they were."
    def method(model, xb, target):
        return torch.rand(len(xb), 3, 4) + random.random() + np.random.rand()
    for net, x in two_networks():
        for metrics, methods in (['road'], [maps_of(0)]), (['deletion'], [method]), \
                (['road', 'insertion', 'sensitivity'], [method]):
            before = torch.get_rng_state(), random.getstate(), np.random.get_state()
            faithfulness(net, x, methods, metrics)
            assert torch.equal(before[0], torch.get_rng_state()), f'{metrics}: the state of torch'
            assert before[1] == random.getstate(), f'{metrics}: the state of Python'
            assert (before[2][1] == np.random.get_state()[1]).all(), f'{metrics}: that of numpy'

# Raw errors


EVERY = 'gradcam', 'hirescam', 'layercam', 'gradcam++', 'eigencam', 'scorecam', 'ablationcam'


def close(
    found:Tensor, right:Tensor, # maps
    most:float, # share of the largest value
    what:str, # in words
):
    "As `same`, for models that compute less precisely."
    assert found.shape == right.shape, f'{what} is {tuple(found.shape)}, not {tuple(right.shape)}'
    off = float((found.double() - right.double()).abs().max()/right.abs().max())
    assert off < most, f'{what} is wrong by {off:.2g} of its largest value'


PRECISIONS = (torch.half, .05), (torch.bfloat16, .3), (torch.double, 1e-3)


def raw_half_and_double():
    "A model of another precision takes float pictures and gives the maps of the same model."
    for dtype, most in PRECISIONS:
        net, x = own(Trunk)
        right = {method: heatmaps(net, x, method, 1, layer='body') for method in EVERY}
        right['gradcam'] = right_gradcam(net, x, 'body')
        share, other = faithfulness(net, x, ['gradcam'], layer='body'), net.to(dtype)
        for method, map_ in right.items():
            close(heatmaps(other, x, method, 1, layer='body'), map_, most, f'{method} in {dtype}')
        found = faithfulness(other, x, ['gradcam'], layer='body')
        off = (found - share).abs().loc[['gradcam', 'centre', 'random', 'colour']].to_numpy().max()
        assert off < most, f'faithfulness in {dtype} is off by {off:.2g}'
        model, x = own(partial(Vit, **CLASS_FIRST))
        out = model(x)
        right = right_maps(weights_of(model), first_class(out), model.read, model.patches)
        right['legrad'] = right_legrad(model, x)
        explorer = explore(model, x[0], ahead=False)
        before = dict(explorer.answers[''])
        explorer.close()
        model.to(dtype)
        for method, map_ in right.items():
            close(heatmaps(model, x, method, 1), map_, most, f'{method} in {dtype}')
        explorer = explore(model, x[0], ahead=False)
        assert len(explorer.record['layers']) == 2
        for name, p in explorer.answers['']: near(p, before[name], f'{name} in {dtype}', most)
        explorer.close()


def raw_half_of_timm():
    "So do models of timm."
    for dtype, most in PRECISIONS:
        model, x = from_timm('vit_tiny_patch16_224', img_size=64, depth=2)
        methods = 'gradcam', 'eigencam', 'rollout', 'relevance', 'legrad'
        right = {method: heatmaps(model, x, method, 1, layer='blocks.0') for method in methods}
        right['gradcam'] = right_gradcam(model, x, 'blocks.0', slice(1, None), (4, 4))
        model.to(dtype)
        for method, map_ in right.items():
            found = heatmaps(model, x, method, 1, layer='blocks.0')
            close(found, map_, most, f'{method} in {dtype}')
        explore(model, x[0]).close()


class Inferring(Vit):
    "A transformer whose forward runs in inference mode."
    def __init__(self): super().__init__(**CLASS_FIRST)

    @torch.inference_mode()
    def forward(self, x): return super().forward(x)


def check_in_inference_mode(
    ask, # function without arguments: a map
    right:Tensor, # the map
    what:str, # in words
):
    "The right map, or a sentence."
    with torch.inference_mode(): found = value_or_sentence(['inference', 'gradient'], ask)
    if found is not None: same(found, right, f'{what} in inference mode')


def raw_inference_mode():
    "In inference mode there is the right map, or a sentence about it."
    model, x = own(partial(Vit, **CLASS_FIRST))
    number = first_class(model(x))
    right = right_maps(weights_of(model), number, model.read, model.patches)
    with torch.inference_mode(): inside = x.clone()
    inferring, _ = own(Inferring)
    for method, map_ in right.items():
        for net, x_ in ((model, x), (model, inside), (inferring, x)):
            ask = partial(heatmaps, net, x_, method, 1)
            check_in_inference_mode(ask, map_, method)
            found = value_or_sentence(['inference', 'gradient'], ask)
            if found is not None: same(found, map_, f'{method} of a picture made elsewhere')
    check_records_in_inference_mode()
    for net, x in two_networks():
        layer = '0' if isinstance(net, nn.Sequential) else 'layer3'
        right = right_gradcam(net, x, layer)
        assert right.any()
        check_in_inference_mode(partial(heatmaps, net, x, 'gradcam', 1, layer), right, 'gradcam')
        eigen = partial(heatmaps, net, x, 'eigencam', 1, layer)
        check_in_inference_mode(eigen, eigen(), 'eigencam')


def check_records_in_inference_mode():
    "A record that is to hold gradients says that there are none, or holds the right ones."
    for net, x in two_networks():
        layer = '0' if isinstance(net, nn.Sequential) else 'layer4'
        (act,), out = outputs(net, x, layer)
        right, = torch.autograd.grad(first_class(out).sum(), act)
        def ask(net=net, x=x, layer=layer):
            with torch.inference_mode(), capture(net, layer, grads=True) as rec:
                rec.backward(first_class(net(x)))
            return rec.grads[layer].clone()
        found = value_or_sentence(['inference', 'gradient'], ask)
        if found is not None: same(found, right, 'the gradients')


class Finder(Trunk):
    "A detector: for each picture, boxes and scores above a limit, as many as there are."
    def __init__(self, limit=.2):
        super().__init__()
        self.limit = limit

    def forward(self, x):
        found = self.body(self.conv(x).relu()).relu().mean(1).flatten(1)
        kept = [row[row > self.limit] for row in found]
        return [dict(boxes=torch.zeros(len(row), 4), scores=row) for row in kept]


def all_scores(out:list) -> Tensor: # of a detector -> (bs,)
    "How sure it is of all it found."
    return torch.stack([one['scores'].sum() for one in out])


def right_scorecam(
    net:nn.Module, # any network
    x:Tensor, # its pictures
    layer:str, # name
    score, # function of outputs -> (bs,)
) -> Tensor: # (bs, h, w)
    "Channels weighted by the softmax of the scores that are seen through them."
    maps = []
    with torch.no_grad():
        for one in x[:, None]:
            (act,), _ = outputs(net, one, layer)
            masks = F.interpolate(act[0][:, None], x.shape[2:], mode='bilinear')
            low, high = (f(masks, dim=(2, 3), keepdim=True) for f in (torch.amin, torch.amax))
            masks = (masks - low)/torch.where(high > low, high - low, 1)
            scores = torch.cat([score(net(one*mask)) for mask in masks])
            maps.append((act[0]*scores.softmax(0)[:, None, None]).sum(0).relu())
    return torch.stack(maps)


def raw_score_cam_on_detectors():
    "Methods that try variants give the map of a detector's score, or a sentence."
    words = ['variants', 'outputs']
    net, x = own(Finder)
    right = right_scorecam(net, x, 'conv', all_scores)
    found = value_or_sentence(words, heatmaps, net, x, 'scorecam', all_scores, layer='conv')
    if found is not None: same(found, right, 'scorecam of a detector')
    refused(['target='], 'a class of a detector', heatmaps, net, x, 'scorecam', 1, layer='conv')
    torch.manual_seed(0)
    make = tv.detection.ssdlite320_mobilenet_v3_large
    net = make(weights=None, weights_backbone=None, num_classes=3, score_thresh=0.,
               detections_per_img=5).eval()
    layer, x = 'backbone.features.0.0.0', torch.rand(1, 3, 320, 320)
    found = value_or_sentence(words, heatmaps, net, x, 'scorecam', all_scores, layer=layer)
    if found is None: return
    same(found, right_scorecam(net, x, layer, all_scores), 'scorecam of a detector of torchvision')


def raw_ablation_cam_on_detectors():
    "So does a method that takes channels away; its reason is not that a layer is unfit."
    for make, limit in ((Finder, .2), (partial(Finder, 0.), 0.)):
        net, x = own(make)
        assert net.limit == limit
        found = value_or_sentence(['variants', 'outputs'], heatmaps, net, x, 'ablationcam',
                                  all_scores, layer='conv')
        if found is None: continue
        right = right_ablation(net, x, 'conv', all_scores)
        same(found, right, 'ablationcam of a detector')


class Cut(torch.autograd.Function):
    "A copy of a tensor, whose gradient is said not to be there."
    @staticmethod
    def forward(ctx, t): return t.clone()

    @staticmethod
    def backward(ctx, g): return None


class CutTrunk(Trunk):
    "The head reads both layers, the first behind a cut."
    def forward(self, x):
        first = self.conv(x).relu()
        return self.head((self.body(first.detach()).relu() + Cut.apply(first)).mean((2, 3)))


class CutAttention(Attention):
    "Gradients do not reach the weights."
    def forward(self, t):
        self.weights = self.by_hand(t)
        return joined(Cut.apply(self.weights) @ split(self.v(t)))


def raw_undefined_gradients():
    "Where a network says that there is no gradient, there is no map, or one without it."
    words = ['gradient', 'depend']
    net, x = own(CutTrunk)
    refused(words, 'a map of what has no gradient', heatmaps, net, x, 'gradcam', 1, layer='conv')
    same(heatmaps(net, x, 'gradcam', 1, layer='body'), right_gradcam(net, x, 'body'), 'gradcam')
    found = value_or_sentence(words, heatmaps, net, x, 'gradcam', 1)
    if found is not None: same(found, right_gradcam(net, x, found.layer), found.layer)
    model, x = own(partial(Vit, attention=CutAttention, **CLASS_FIRST))
    for method in ('relevance', 'gradrollout', 'legrad'):
        found = value_or_sentence(words, heatmaps, model, x, method, 1)
        assert found is None or torch.isfinite(found).all(), f'{method} is {found}'
    model(x)
    right = rolled([w.detach() for w in weights_of(model)])[:, 0, 1:].unflatten(1, GRID)
    same(heatmaps(model, x, 'rollout', 1), right, 'rollout')
    timm_model, x = from_timm('vit_tiny_patch16_224', img_size=64, depth=2)
    timm_model.blocks[1].norm1.register_forward_hook(lambda m, args, out: Cut.apply(out))
    for method in ('relevance', 'gradcam'):
        found = value_or_sentence(words, heatmaps, timm_model, x, method, 1)
        assert found is None or torch.isfinite(found).all(), f'{method} is {found}'


def deletion_of(
    *args, **kwargs, # as `faithfulness` takes them
) -> float: # of the first row
    "The mean of what is asked for."
    table = faithfulness(*args, **{'controls': False, 'metrics': ['deletion'], **kwargs})
    return table['deletion', 'mean'].iloc[0]


def raw_targets_of_faithfulness():
    "A class is given in many ways; one that is not there is named in a sentence."
    for net, x in two_networks():
        pred = net(x).argmax(1)
        given = [(1, [1, 1]), ('pred', pred), (None, pred), ([3, 0], [3, 0]), ((3, 0), [3, 0]),
                 (np.array([3, 0]), [3, 0]), (np.int64(2), [2, 2]), (torch.tensor(2), [2, 2]),
                 (torch.tensor([3, 0]), [3, 0]), (torch.tensor([3, 0]).int(), [3, 0])]
        for target, classes in given:
            share = softmax_share(net, torch.as_tensor(classes))
            right = right_deletion(share, x, maps_of(0)(net, x, 0))
            near(deletion_of(net, x, [maps_of(0)], target=target), right, f'target={target!r}')
        for target in (5, [0, 5], -1, torch.tensor([0, 9])):
            refused('does not exist', f'target={target}', deletion_of, net, x, [maps_of(0)],
                    target=target)
        for target in ([0, 1, 2], 1.5, True, 'cat', 'targ', torch.tensor([.5, 1.])):
            refused(['target', 'class', 'labels'], f'target={target}', deletion_of, net, x,
                    [maps_of(0)], target=target)


def raw_names_and_lists_of_faithfulness():
    "A name stands for a list of one, a module for its name; pictures may be an array."
    for net, x in two_networks():
        name = '0' if isinstance(net, nn.Sequential) else 'layer3'
        right = deletion_of(net, x, ['gradcam'], target=torch.tensor([1, 2]), layer=name)
        layer = net.get_submodule(name)
        for method, pictures_, layer_ in (('gradcam', x, name), (('gradcam',), x, layer),
                                          ('gradcam', x.numpy(), layer), (['gradcam'], [x], layer),
                                          (['gradcam'], [x[:1], x[1:]], [layer])):
            found = deletion_of(net, pictures_, method, target=torch.tensor([1, 2]), layer=layer_)
            near(found, right, f'{method} at {type(layer_).__name__}', 1e-6)
        found = deletion_of(net, x, ['gradcam'], target=torch.tensor([1, 2]), layer=name,
                            metrics='deletion')
        near(found, right, 'one metric', 1e-6)
        whole = faithfulness(net, x, maps_of(0), ('deletion', 'insertion'), layer=layer)
        assert list(whole.index) == ['maps', 'untrained', 'random', 'centre', 'colour']
        for metrics in ('nothing', [], ()):
            refused('etrics', f'metrics={metrics}', faithfulness, net, x, ['gradcam'], metrics)
        refused('method', 'no method', faithfulness, net, x, [])
        refused(["'no'", 'no'], 'no layer', faithfulness, net, x, ['gradcam'], layer='no')
        refused('tensor', 'whole numbers', faithfulness, net, x.byte(), ['gradcam'])
        refused('tensor', 'one picture', faithfulness, net, x[0], ['gradcam'])


def raw_faithfulness_of_hugging_face():
    "Scores in `logits` are scores."
    for kind in ('ViT', 'SegFormer'):
        model, x = from_hugging_face(*HUGGING_FACE[kind])
        def share(pictures_, net=model): return net(pictures_).logits.softmax(1)[:, 2]
        right = right_deletion(share, x, maps_of(0)(model, x, 0))
        near(deletion_of(model, x, [maps_of(0)], target=2), right, f'the deletion of {kind}')
        faithfulness(model, x, ['rollout' if kind == 'ViT' else 'gradcam'], ['deletion'], target=2)


def raw_faithfulness_of_learners():
    "Names of classes, lists of files, a folder, and the labels of a DataLoader."
    learn = READINGS['classes'].learner()
    net, x, method = learn.model, pictures(), [maps_of(0)]
    true = torch.tensor([NAMES.index(class_of(path)) for path in files()])
    def right(classes, x=x):
        return right_deletion(softmax_share(net, classes), x, maps_of(0)(net, x, 0))
    cat, labels = right(torch.full((10,), 2)), right(true)
    near(deletion_of(learn, x, method, target='cat'), cat, 'the deletion of cats')
    given = [files(), L(files()), [str(path) for path in files()], tuple(files())]
    for paths in given:
        near(deletion_of(learn, paths, method, target='cat'), cat, 'the deletion of files')
        near(deletion_of(learn, paths, method, target='targ'), labels, 'the deletion of labels')
    for dl in (learn.dls.valid, DataLoader(TensorDataset(x, true), 4)):
        near(deletion_of(learn, dl, method, target='targ'), labels, 'the deletion of a DataLoader')
        near(deletion_of(learn, dl, method, target='cat'), cat, 'the deletion of a DataLoader')
    near(deletion_of(net, DataLoader(TensorDataset(x, true), 4), method, target='targ'), labels,
         'the deletion of a model')
    names = [NAMES[i] for i in true]
    near(deletion_of(learn, x, method, target=names), labels, 'the deletion of names')
    refused('cat', 'an unknown name', deletion_of, learn, x, method, target='cats')
    refused('labels', 'labels of nobody', deletion_of, learn, x, method, target='targ')
    refused('bare model', 'files', deletion_of, net, files(), method)
    with tempfile.TemporaryDirectory() as folder:
        for path in files()[::-1]: (Path(folder)/path.name).write_bytes(path.read_bytes())
        order = torch.tensor([files().index(path) for path in sorted(files())])
        found = deletion_of(learn, folder, method, target='targ')
        near(found, right(true[order], x[order]), 'the deletion of a folder')

# Awkward uses


def interpretation(
    learn:Learner,
) -> Interpretation:
    "What a learner says of its pictures."
    with learn.no_bar(): return Interpretation.from_learner(learn)


def told(
    interp:Interpretation,
    *args, **kwargs, # as `plot_top_losses` takes them
) -> str: # the words
    "The words of the worst pictures."
    with redirect_stdout(StringIO()):
        return interp.plot_top_losses(*args, heatmap=True, method='rollout', size=.5, **kwargs).alt


def awkward_numbers_of_losses():
    "More pictures than there are: all of them; none, or fewer: a sentence."
    learn, x = READINGS['classes'].learner(), pictures()
    learn.loss_func, y = F.cross_entropy, torch.arange(10) % 5
    arrays = Learner(array_dls(x, y, valid=(x, y), bs=4), learn.model, F.cross_entropy)
    losses = F.cross_entropy(learn.model(x), y, reduction='none').tolist()
    losses.sort(reverse=True)
    for interp in (interpretation(learn), interpretation(arrays)):
        for k, n in ((1, 1), (3, 3), (11, 10), (500, 10), ([0, 2], [0, 2])):
            shown = re.findall(r'loss (\d+\.\d+)', told(interp, k))
            right = losses[:n] if isinstance(n, int) else [losses[i] for i in n]
            assert shown == [f'{v:.2f}' for v in right], f'k={k}: {shown}, not {right}'
        smallest = re.findall(r'loss (\d+\.\d+)', told(interp, 3, largest=False))
        assert smallest == [f'{v:.2f}' for v in losses[:-4:-1]], f'the smallest losses: {smallest}'
        for k in (0, -1, -11, [10], [-1], []): refused('k is a number', f'k={k}', told, interp, k)


def awkward_targets():
    "Arrays, tensors of one number and truths."
    for net, x in two_networks():
        layer = '0' if isinstance(net, nn.Sequential) else 'layer3'
        (act,), out = outputs(net, x, layer)
        for target, classes in ((np.array([2, 0]), [2, 0]), (torch.tensor(2), [2, 2]),
                                (np.int64(1), [1, 1]), (torch.tensor([1, 2]).int(), [1, 2])):
            score = out[torch.arange(2), torch.tensor(classes)].sum()
            grad, = torch.autograd.grad(score, act, retain_graph=True)
            right = (act*grad.mean((2, 3), keepdim=True)).sum(1).relu().detach()
            same(heatmaps(net, x, 'gradcam', target, layer=layer), right, f'target {target!r}')
        for truth in (True, False):
            refused('class', 'a truth', heatmaps, net, x, 'gradcam', truth)
    learn = READINGS['classes'].learner()
    for target, names in ((np.array([2, 0]), ['cat', 'ant']), (torch.tensor(2), ['cat']),
                          (torch.tensor([2, 0]), ['cat', 'ant']), (np.int64(0), ['ant']),
                          (np.array(2), ['cat']), ([torch.tensor(2), 'ant'], ['cat', 'ant'])):
        titles = list(drawn_small(learn, files()[0], target, 'rollout').maps)
        asked = [title.split('"')[1] for title in titles]
        assert asked == names, f'target {target!r} asks for {asked}'
    refused('class', 'a truth', drawn_small, learn, files()[0], True)
    interp = interpretation(learn)
    for target in (np.array([2]), torch.tensor(2), np.int64(2), [np.int64(2)]):
        assert told(interp, 2, target=target).count('why "cat"') == 2, f'target {target!r}'
    assert told(interp, 1, target=np.array([2, 0])).count('why ') >= 1
    refused('class', 'a truth', told, interp, 2, target=True)


def awkward_lists_of_methods():
    "A list of one is one; of two it is refused in words."
    learn = READINGS['classes'].learner()
    right = drawn_small(learn, files()[0], 2, 'rollout')
    for method in (['rollout'], ('rollout',)):
        found = drawn_small(learn, files()[0], 2, method)
        for a, b in zip(found.maps.values(), right.maps.values(), strict=True): same(a, b)
        assert found.alt == right.alt, found.alt
    for kwargs in (dict(method=['gradcam', 'rollout']), dict(layer=['blocks.0', 'blocks.1'])):
        refused('one method', f'{kwargs}', drawn_small, learn, files()[0], 2, **kwargs)
    right = drawn_small(learn, files()[0], 2, 'gradcam', layer='blocks.0')
    found = drawn_small(learn, files()[0], 2, ['gradcam'], layer=[learn.model.blocks[0]])
    for a, b in zip(found.maps.values(), right.maps.values(), strict=True): same(a, b)


def right_ablation(
    net:nn.Module, # any network
    x:Tensor, # its pictures
    layer:str, # name
    score=first_class, # function of outputs -> (bs,)
) -> Tensor: # (bs, h, w)
    "Channels weighted by the share of the score that is lost without them."
    with torch.no_grad():
        (act,), out = outputs(net, x, layer)
        whole, lost = score(out), []
        for i in range(act.shape[1]):
            def off(module, args, out, i=i): return out.index_fill(1, torch.tensor([i]), 0)
            hook = net.get_submodule(layer).register_forward_hook(off)
            lost.append((whole - score(net(x)))/whole.abs())
            hook.remove()
        return (act*torch.stack(lost, 1)[..., None, None]).sum(1).relu()


def awkward_precision_of_a_target():
    "A model in float64 and a target function that answers in float32."
    for net, x in [own(Trunk), from_torchvision(tv.resnet18, SIZE)]:
        net, x, layer = net.double(), x[:1], 'body' if isinstance(net, Trunk) else 'layer1'
        right = right_ablation(net, x.double(), layer)
        for x_ in (x, x.double()):
            found = heatmaps(net, x_, 'ablationcam', lambda out: out[:, 1].float(), layer=layer)
            close(found, right, .02, 'ablationcam')
            found = heatmaps(net, x_, 'gradcam', lambda out: out[:, 1].float(), layer=layer)
            close(found, right_gradcam(net, x.double(), layer), 1e-3, 'gradcam')
    def score(out): return out[:, 1].float()
    found = heatmaps(net, x[:1], 'scorecam', score, layer='layer1')
    close(found, right_scorecam(net, x[:1].double(), 'layer1', first_class), 1e-3, 'scorecam')


def awkward_kinds_of_pictures():
    "Bytes, an item of a dataset, an array of large whole numbers: the same picture."
    learn = READINGS['classes'].learner()
    right = drawn_small(learn, files()[0], 2, 'rollout')
    pixels = np.asarray(Image.open(files()[0]))
    for picture in (files()[0].read_bytes(), learn.dls.valid_ds[0], pixels, pixels.astype(np.int64),
                    torch.tensor(pixels), torch.tensor(pixels).long(), str(files()[0]),
                    pixels.astype(np.uint16), Image.open(files()[0])):
        found = drawn_small(learn, picture, 2, 'rollout')
        for a, b in zip(found.maps.values(), right.maps.values(), strict=True): same(a, b)
        assert found.alt == right.alt and found.box == right.box, f'{type(picture)}: {found.alt}'
        found = drawn_small(learn.model, picture, 2, 'rollout', prepare=tensor_of)
        for a, b in zip(found.maps.values(), right.maps.values(), strict=True): same(a, b)


def awkward_folders_and_lists():
    "Each picture has its figure."
    learn = READINGS['classes'].learner()
    some = files()[:3]
    right = [drawn_small(learn, path, 2, 'rollout').alt for path in some]
    opened = [Image.open(path) for path in some]
    for listed in (some, L(some), [str(path) for path in some], opened):
        found = [figure.alt for figure in drawn_small(learn, listed, 2, 'rollout')]
        assert found == right, f'{found}, not {right}'
    with tempfile.TemporaryDirectory() as folder:
        try: raise ValueError(f'{drawn_small(learn, folder)} is there')
        except FileNotFoundError as e: assert folder in str(e)
        for path in some: (Path(folder)/path.name).write_bytes(path.read_bytes())
        for kind in (str, Path):
            found = drawn_small(learn, kind(folder), 2, 'rollout')
            assert [figure.alt for figure in found] == [alt for _, alt in sorted(zip(some, right))]
            found = drawn_small(learn.model, kind(folder), 2, 'rollout', prepare=tensor_of)
            assert len(found) == 3, f'{len(found)} figures of three files'


def awkward_tuples_of_pictures():
    "A tuple of pictures is as a list of them; an item of a dataset is one picture."
    learn = READINGS['classes'].learner()
    some = files()[:3]
    right = [drawn_small(learn, path, 2, 'rollout').alt for path in some]
    for listed in (tuple(some), tuple(map(str, some)), tuple(Image.open(path) for path in some)):
        found = drawn_small(learn, listed, 2, 'rollout')
        assert isinstance(found, (list, L)), f'of {len(listed)} pictures one is drawn'
        assert [figure.alt for figure in found] == right, f'{found}, not {right}'


def awkward_options_of_others():
    "matplotlib's options are refused, and the sentence names ours; an unknown one lists them."
    learn, figure = READINGS['classes'].learner(), None
    for option, ours in (('figsize', 'size='), ('cmap', 'colours='), ('ax', '.rgb'),
                         ('title', 'target='), ('colour', 'colours')):
        try: figure = drawn_small(learn, files()[0], 2, 'rollout', **{option: (4, 4)})
        except TypeError as e: assert ours in str(e) and repr(option) in str(e), str(e)
        assert figure is None, f'{option} is taken, and nothing is said'


class Flagged(Trunk):
    "A flag adds a later stage, or leaves out the last one."
    more = False

    def __init__(self):
        super().__init__()
        self.later = nn.Conv2d(DIM, DIM, 3, 1, 1)

    def forward(self, x):
        x = self.body(self.conv(x).relu()).relu()
        if self.more: x = self.later(x)
        return self.head(x.mean((2, 3)))


class FlaggedResNet(tv.ResNet):
    "torchvision's, with a flag that leaves out its last stage."
    more = True

    def __init__(self, num_classes):
        super().__init__(tv.resnet.BasicBlock, [1, 1, 1, 1], num_classes)
        self.fc = nn.Identity()
        self.wide = nn.Conv2d(256, 512, 1)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))))
        x = self.layer4(x) if self.more else self.wide(x)
        return x.mean((2, 3)) @ self.columns

    @property
    def columns(self): return torch.linspace(-1, 1, 512*CLASSES).view(512, CLASSES).sin()


def awkward_flags():
    "The layer that is chosen by default follows a model that runs otherwise."
    flagged, x = own(Flagged)
    resnet, y = made(partial(FlaggedResNet, CLASSES), (64, 96))
    for net, x, layers in ((flagged, x, {False: 'body', True: 'later'}),
                           (resnet, y, {True: 'layer4', False: 'wide'})):
        for more in (net.more, not net.more, net.more):
            net.more = more
            found = heatmaps(net, x, 'gradcam', 1)
            assert found.layer.startswith(layers[more]), f'{found.layer}, not {layers[more]}'
            same(found, right_gradcam(net, x, found.layer), found.layer)


def check_sight(
    sight, # as `see` gives it
    what:str, # in words
):
    "Pixels that a model saw are those of the original at the same place."
    x = sight.xb[0].mean(0).numpy()
    x = 255*x if x.max() <= 1 else x
    rgb, (x0, y0, x1, y1) = sight.rgb.mean(-1), sight.box
    rows, cols = (np.arange(n) + .5 for n in x.shape)
    at_y = (y0 + rows/x.shape[0]*(y1 - y0)).astype(int)
    at_x = (x0 + cols/x.shape[1]*(x1 - x0)).astype(int)
    ok_y, ok_x = ((at >= 0) & (at < n) for at, n in zip((at_y, at_x), rgb.shape))
    seen, drawn = x[ok_y][:, ok_x], rgb[at_y[ok_y]][:, at_x[ok_x]]
    off = np.corrcoef(seen.ravel(), drawn.ravel())[0, 1]
    assert off > .75, f'{what}: what was seen and what is drawn are alike by {off:.2f}'


def awkward_reflected_margins():
    "fastai's default fills a margin with the picture's mirror image, which is no picture."
    folder = Path(TEMPORARY.name)
    wide, tall = folder/'mirror_wide.png', folder/'mirror_tall.png'
    for path, shape in ((wide, (96, 48, (8, 8))), (tall, (48, 96, (8, 80)))):
        Image.fromarray(spotted(*shape)).save(path)
    for mode in ('reflection', 'border', 'zeros'):
        learn = spot_learner([wide, tall], item_tfms=Resize(64, 'pad', mode))
        for path, place in ((wide, 'upper left'), (tall, 'lower left')):
            sight = see(learn, path)
            check_sight(sight, f'{mode} of {path.name}')
            figure = drawn_small(learn, path, 0)
            if mode != 'zeros' and sight.rgb.shape[0] == sight.rgb.shape[1]: continue # as seen
            box = (0, -24, 96, 72) if path is wide else (-24, 0, 72, 96)
            assert np.allclose(sight.box, box, atol=1.5), f'{mode}: {path.name} at {sight.box}'
            assert f'the peak lies {place}' in figure.alt, f'{mode}: {figure.alt}'


def awkward_checkpoints():
    "A checkpoint from before, loaded in part, brings all weights it has; one from after, too."
    row = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
                        nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    for make, size in ((partial(copy.deepcopy, row), SIZE),
                       (partial(tv.resnet18, num_classes=5), 64),
                       (partial(timm.create_model, 'resnet10t', num_classes=5), 64)):
        plain_net, x = made(make, size)
        right = plain_net(x).detach()
        for attention in ('se', 'cbam', 'self'):
            torch.manual_seed(1)
            net = add_attention(make().eval(), attention, verbose=False)
            found = net.load_state_dict(plain_net.state_dict(), strict=False)
            assert not found.unexpected_keys, f'left out: {found.unexpected_keys[:3]}'
            lost = [k for k in found.missing_keys if 'attention' not in k]
            assert not lost, f'{lost[:3]} are not filled'
            same(net(x).detach(), right, f'the answer of a checkpoint with {attention}')
            for p in net.parameters(): p.data.add_(.01*torch.randn_like(p))
            other = add_attention(make().eval(), attention, verbose=False)
            other.load_state_dict(net.state_dict())
            same(other(x).detach(), net(x).detach(), 'the answer of its own checkpoint')


def awkward_arrays_in_top_losses():
    "Pictures that are no files: `array_dls` and its names, and the order of the losses."
    net, y = speaking(CLASSES), torch.arange(10) % 5
    for vocab in (NAMES, None):
        dls = array_dls(pictures(), y, valid=(pictures(), y), bs=3, vocab=vocab)
        learn = Learner(dls, net, loss_func=nn.CrossEntropyLoss())
        with torch.no_grad(): out = net(pictures())
        losses = F.cross_entropy(out, y, reduction='none')
        words = told(interpretation(learn), 4)
        for i in losses.topk(4).indices.tolist():
            names = vocab or list('01234')
            true, said = names[y[i]], names[out[i].argmax()]
            word = (true if true == said else f'{true}, read as {said}') + f', loss {losses[i]:.2f}'
            assert word in words, f'{word!r} is not in {words!r}'


def awkward_beginnings_of_captions():
    "A beginning that is too long is refused; one that just fits is not cut."
    torch.manual_seed(0)
    model, x = captioner(AdditiveLook(16, DIM)), torch.randn(1, 3, 16, 24) # of 5 words
    for beam in (1, 3):
        for begin in ([4], [4, 5, 6], [4, 5, 6, 7, 8]):
            for words, logp in say(model, x, beam, begin):
                assert words[:len(begin)] == begin, f'{words} does not begin with {begin}'
                said = torch.tensor([[START, *words]])
                with torch.no_grad(): scores = model(x, said)[0].log_softmax(-1)[0]
                near(logp, scores[torch.arange(len(words)), said[0, 1:]].sum(), 'its logarithm')
        for begin in ([4]*6, [4]*50): refused('at most 5', 'too long', say, model, x, beam, begin)
        refused('end', 'a beginning with an end', say, model, x, beam, [4, END, 5])
    dls = scene_dls(8, task='caption', bs=2, valid_pct=.5)
    learn = caption_learner(dls, hidden=16)
    picture = dls.valid_ds.items[0]
    length, word = learn.model.length, list(dls.vocab)[5]
    said = learn.predict(picture, begin=[word]*length)
    assert said.words == [word]*length, f'{said.words} for {length} times {word}'
    refused(f'at most {length}', 'too long', learn.predict, picture, begin=[word]*(length + 1))


def some_words(
    seed:int,
) -> Tensor: # (words, words) logarithms: which word follows which; many never do
    "A language."
    rng = torch.Generator().manual_seed(seed)
    scores, never = torch.randn(6, 6, generator=rng), torch.rand(6, 6, generator=rng) < .5
    never[:, 4] = False # something can always be said
    return scores.masked_fill(never, -torch.inf).log_softmax(1)


def every_sentence(
    logs:Tensor, # as `some_words` gives it
    length:int, # most words
    words=(), # at the beginning
    total=0., # their logarithm
): # pairs (words, logarithm of their probability)
    "All that can be said."
    if len(words) == length or words[-1:] == (END,):
        yield list(words), total
        return
    for word, p in enumerate(logs[words[-1] if words else START].tolist()):
        if p > -math.inf: yield from every_sentence(logs, length, (*words, word), total + p)


def awkward_sentences_that_cannot_be_said():
    "Every sentence has a probability, and is found as by a search of all."
    state = torch.zeros(1, 1),
    def silent(words, state): return torch.full((len(words), 6), -torch.inf), state
    refused('probability 0', 'a sentence', beam_search, silent, state, 2, 3)
    for seed in range(6):
        logs = some_words(seed)
        def step(words, state, logs=logs): return logs[words], state
        right = sorted(every_sentence(logs, 3), key=lambda found: -found[1])
        found = beam_search(step, state, 300, 3)
        assert all(p > -math.inf for _, p in found), f'a sentence that cannot be said: {found[-1]}'
        assert len(found) == len(right), f'{len(found)} sentences of {len(right)}'
        for (_, p), (_, q) in zip(found, right): near(p, q, 'a logarithm', 1e-4)
        for word in logs[START].isneginf().nonzero()[:, 0].tolist():
            refused('probability 0', f'{word}', beam_search, step, state, 2, 3, [word])


def stages() -> nn.Module:
    "Convolutions at two sizes."
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, DIM, 3, 2, 1), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(DIM, CLASSES))


def check_heatmap_explorer(
    explorer, # of a network without attention
    net:nn.Module, # the network
    x:Tensor, # (1, 3, H, W) its picture
    names:list, # of its classes
):
    "It asks for the likeliest classes, in several ways and at several layers."
    assert type(explorer).__name__ == 'HeatmapExplorer', f'{explorer!r}'
    keys, best = [part['key'] for part in explorer.record['maps']], net(x)[0].topk(4).indices
    asked = list(dict.fromkeys(key[0].split('"')[1] for key in keys))
    assert asked == [names[i] for i in best], f'{asked} are asked for'
    assert len({key[1] for key in keys}) > 1 and len({key[2] for key in keys}) > 1, f'{keys[:4]}'
    assert len(keys) == len({tuple(key) for key in keys}), 'a map is there twice'
    for key in [key for key in keys if key[1] == 'gradcam' and asked[0] in key[0]]:
        (act,), out = outputs(net, x, key[2])
        grad, = torch.autograd.grad(out[0, best[0]], act)
        right = (act*grad.mean((2, 3), keepdim=True)).sum(1).relu()[0].detach()
        explorer.selected = tuple(key)
        words = describe_map(right.numpy(), 'map').removeprefix('map: ').split(',')[0]
        assert words in explorer.caption, f'{words!r} is not in {explorer.caption!r}'
    assert explorer.html()
    explorer.close()


def awkward_explorers_without_attention():
    "`explore` opens heatmaps of the likeliest classes."
    for net, x in [made(stages, SIZE), from_torchvision(tv.resnet18, (64, 96)),
                   from_timm('convnext_atto', size=(64, 96))]:
        numbered = [f'class {i}' for i in range(CLASSES)]
        check_heatmap_explorer(explore(net, x[0]), net, x[:1], numbered)
        check_heatmap_explorer(explore(net, x[0], names=NAMES), net, x[:1], NAMES)
    learn = picture_learner(made(stages, SIZE)[0], nn.CrossEntropyLoss())
    explorer = explore(learn, files()[0])
    check_heatmap_explorer(explorer, learn.model.eval(), pictures()[:1], NAMES)

# All of them


KINDS = 'fault_', 'side_effect_', 'raw_', 'awkward_'
TESTS = {name: fn for name, fn in globals().items() if name.startswith(KINDS)}


if __name__ == '__main__': sys.exit(main(TESTS))
