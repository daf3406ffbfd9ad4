"""Are scores, shares, pictures and words those that were asked for?

    python tests/silently_wrong_scores.py                 # all tests
    python tests/silently_wrong_scores.py raw_ fault_22   # those whose names begin so

As in `silently_wrong.py`, each test is about one kind of fault, and asks at least two members of
it; what is right is found without the package.
"""
import sys
import tempfile
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fastai.layers import SelfAttention, SimpleSelfAttention
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat
from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    ImageBlock,
    MultiCategoryBlock,
    vision_learner,
    xresnet18,
)
from PIL import Image
from torch import Tensor, nn
from torchvision import models as tv

from attn_course.all import (
    add_attention,
    attention_places,
    explore,
    faithfulness,
    mass,
    pointing,
    removal,
    show_heatmap,
)
from attn_course.metrics import fill_linear, mass_inside, peak_inside
from attn_course.trials import Trial, reinitialised, share_of
from model_maps import from_timm, from_torchvision, made
from silently_wrong import CLASS_FIRST, CLASSES, DIM, GRID, SIZE, Trunk, Vit, main, own, refused, same, value_or_sentence

NAMES = ['ant', 'bee', 'cat', 'dog', 'elk']

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


def class_of(path): return path.name.split('_')[0] # of a file


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
    net:nn.Module, # in eval mode, has run with a graph
    x:Tensor, # its pictures
    spectral, # function: name of a layer -> has it a spectral norm?
):
    "All weights are other ones and as large as their norm says; the network is as it was."
    kept = {name: t.detach().clone() for name, t in net.state_dict().items()}
    before = net(x).detach()
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
    same(net(x).detach(), before, 'the answer of the model itself')


def fault_07_a_copy_that_has_not_forgotten():
    "Weights behind a norm and gains of one number are forgotten, too."
    for kind, norm in NORMS.items():
        net, x = own(partial(Normed, norm))
        net(x)
        check_forgotten(net, x, lambda name: 'attention' in name or
                        'spectral' in kind and name == 'conv')
    net = xresnet18(n_out=CLASSES, sa=True).eval() # of fastai, with self-attention
    attends = {n: m for n, m in net.named_modules() if isinstance(m, ATTEND)}
    for layer in attends.values(): layer.gamma.data.fill_(.7)
    assert attends, 'fastai has no attention here'
    x = torch.randn(2, 3, 32, 32)
    net(x)
    check_forgotten(net, x, lambda name: any(name.startswith(f'{one}.') for one in attends))


def fault_07_an_untrained_control():
    "Whoever makes the maps of the control is given a network that has forgotten."
    for kind in ('spectral norm', 'older spectral norm', 'older weight norm'):
        net, x = own(partial(Normed, NORMS[kind]))
        net(x)
        asked = []
        def method(model, xb, target, asked=asked):
            asked.append(model)
            return model.conv(xb).mean(1).detach()
        faithfulness(net, x, method, ['deletion'], target=torch.tensor([0, 1]))
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
):
    "What is said to be there runs, and its weights move in training; or a sentence says no."
    learn = value_or_sentence(['never runs', 'No place'], add_attention, learn, *args,
                              verbose=False, **kwargs)
    if learn is None: return
    ran, places = set(), attention_places(learn)
    before = {name: [p.detach().clone() for p in m.parameters()] for name, m in places.items()}
    for name, m in places.items(): m.register_forward_hook(lambda *_, name=name: ran.add(name))
    with learn.no_bar(), learn.no_logging(): learn.fit(2, .1)
    assert places and len(ran) == len(places), f'{set(places) - ran} never ran'
    for name, m in places.items():
        moved = any(not torch.equal(p, q) for p, q in zip(m.parameters(), before[name]))
        assert moved, f'the attention behind {name} did not move'


def fault_09_attention_that_never_runs():
    "It is put where something runs, and trains there, or it is refused."
    for attention in ('cbam', 'se', 'self'):
        torch.manual_seed(0)
        check_moves(picture_learner(Idle(), nn.CrossEntropyLoss()), attention)
    learn = picture_learner(Idle(), nn.CrossEntropyLoss())
    refused('never runs', 'attention in an idle branch', add_attention, learn, 'se', 'idle.*')
    check_moves(learn, 'se', 'used.*')
    refused('never runs', 'attention in an idle branch', add_attention, Idle(), 'se', 'idle.2')
    dls = picture_learner(Idle(), nn.CrossEntropyLoss()).dls
    for attention in ('cbam', 'self'):
        torch.manual_seed(0)
        learn = vision_learner(dls, 'hgnetv2_b0', pretrained=False, normalize=False,
                               loss_func=nn.CrossEntropyLoss())
        check_moves(learn, attention)

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


def several_labels(path): return [class_of(path), NAMES[path.stat().st_size % 5]] # of a file


def one_of_two(path): return 'no' if class_of(path) < 'cat' else 'yes' # of a file


def binary(out, y): # a loss as people write it
    return F.binary_cross_entropy_with_logits(out[:, 0], y.float())


def rows_softmax(outs): return outs.softmax(1)


LABELS, TWO = (MultiCategoryBlock, several_labels), (CategoryBlock, one_of_two)
READINGS = {
    'several labels': Reading(BCEWithLogitsLossFlat(), 5, torch.sigmoid, LABELS),
    "several labels, PyTorch's loss": Reading(nn.BCEWithLogitsLoss(), 5, torch.sigmoid, LABELS),
    'one output': Reading(BCEWithLogitsLossFlat(), 1, torch.sigmoid, TWO, ['yes']),
    'one output, own loss': Reading(binary, 1, torch.sigmoid, TWO, ['yes']),
    'log probabilities': Reading(nn.NLLLoss(), 5, torch.exp, last=nn.LogSoftmax(1)),
    'log probabilities, function': Reading(F.nll_loss, 5, torch.exp, last=nn.LogSoftmax(1)),
    'classes': Reading(nn.CrossEntropyLoss(), 5, rows_softmax),
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
        table = faithfulness(model, pictures(), [maps_of(0)], ['deletion'], target=target,
                             controls=False)
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
        figure = show_heatmap(learn, files()[0], list(range(len(right))), 'rollout')
        for title, name, p in zip(figure.maps, reading.names, right, strict=True):
            assert f'"{name}"' in title, f'{title} asks for another class than {name}'
            near(last_number(title), p, f'the share in {title!r} of {what}', .006)
        explorer = explore(learn, files()[0])
        said = dict(explorer.answers[''])
        explorer.close()
        for name, p in zip(reading.names, right): near(said[name], p, f'{name} of {what}')
    net = speaking(1)
    figure = show_heatmap(net, files()[0], 0, 'rollout', prepare=tensor_of)
    title, = figure.maps
    with torch.no_grad(): near(last_number(title), net(pictures()[:1]), title, .006)
    explorer = explore(net, pictures()[0])
    assert not explorer.answers, f'a number is no share: {explorer.answers}'
    explorer.close()

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

# All of them


KINDS = 'fault_', 'side_effect_', 'raw_', 'awkward_'
TESTS = {name: fn for name, fn in globals().items() if name.startswith(KINDS)}


if __name__ == '__main__': sys.exit(main(TESTS))
