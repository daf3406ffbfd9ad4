"""Does the package say the right thing where shapes alone would suggest something else?

    python tests/silently_wrong.py                    # all tests
    python tests/silently_wrong.py raw_vmap fault_05  # those whose names begin so

Each test is about one kind of fault and asks at least two networks. What is right is found without
the package: by hand from a network's own projections, from its hooks, by numbers in the place of
features, or by changing the picture. Where something cannot be had, a sentence that helps is right.
"""
import math
import sys
import traceback
import warnings
from contextlib import redirect_stdout
from functools import partial
from io import StringIO

import torch
import torch.nn.functional as F
import transformers
from fastai.learner import Learner
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision import models as tv

from attn_course.all import add_attention, array_dls, capture, explore, heatmaps
from model_maps import HUGGING_FACE, TIMM, from_hugging_face, from_timm, from_torchvision, made

DIM, HEADS, CLASSES = 32, 4, 5
SIZE, GRID = (32, 48), (4, 6) # pictures of our own networks, and their patches of 8 x 8 pixels

# Networks


def split(
    t:Tensor, # (bs, n, DIM)
) -> Tensor: # (bs, heads, n, d)
    "The heads of tokens."
    return t.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def joined(
    t:Tensor, # (bs, heads, n, d)
) -> Tensor: # (bs, n, DIM)
    "What all heads say, side by side."
    return t.transpose(1, 2).flatten(2)


def softmax_of(
    q:Tensor, # (..., queries, d)
    k:Tensor, # (..., keys, d)
) -> Tensor: # (..., queries, keys)
    "Attention weights as everybody defines them."
    return (q @ k.mT/q.shape[-1]**.5).softmax(-1)


class Attention(nn.Module):
    "Self-attention of tokens (bs, n, DIM); subclasses lay out pictures, heads, tokens otherwise."
    def __init__(self):
        super().__init__()
        self.num_heads = HEADS
        self.q, self.k, self.v = (nn.Linear(DIM, DIM) for _ in range(3))

    def heads(self, t): return [split(f(t)) for f in (self.q, self.k, self.v)]

    def by_hand(self, t): # -> (bs, heads, n, n)
        q, k, _ = self.heads(t)
        return softmax_of(q, k)

    def forward(self, t):
        self.weights = self.by_hand(t) # kept: their gradients are right maps
        return joined(self.weights @ split(self.v(t)))


class Net(nn.Module):
    "Patches as tokens, an attention among them with a way past it, a head on their mean."
    def __init__(self, attention, patch=8):
        super().__init__()
        self.conv, self.attention = nn.Conv2d(3, DIM, patch, patch), attention
        self.head = nn.Linear(DIM, CLASSES)

    def tokens(self, x): return self.conv(x).flatten(2).mT # (bs, n, DIM)

    def answer(self, t): return self.head(t.mean(1))

    def forward(self, x):
        t = self.tokens(x)
        return self.answer(t + self.attention(t))


def small_network() -> nn.Module:
    "What stands behind attention in a block, for each token alone."
    return nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, DIM), nn.GELU(), nn.Linear(DIM, DIM))


class Block(nn.Module):
    "Attention, then a small network, both with a way past them."
    def __init__(self, attention):
        super().__init__()
        self.norm, self.attention, self.mlp = nn.LayerNorm(DIM), attention, small_network()

    def forward(self, t):
        t = t + self.attention(self.norm(t))
        return t + self.mlp(t)


class Vit(nn.Module):
    "A transformer; `before` and `behind`: tokens that are no patches, {name: how many}."
    def __init__(self, depth=2, before=(), behind=(), read=slice(None), attention=Attention):
        super().__init__()
        self.before, self.behind, self.read = dict(before), dict(behind), read
        for name, n in (self.before | self.behind).items():
            self.register_parameter(name, nn.Parameter(torch.randn(1, n, DIM)))
        start = sum(self.before.values())
        self.patches = slice(start, start + math.prod(GRID)) # where they stand among the tokens
        self.conv = nn.Conv2d(3, DIM, 8, 8)
        self.blocks = nn.ModuleList(Block(attention()) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, CLASSES)

    def embedded(self, x): return self.conv(x).flatten(2).mT # (bs, n, DIM)

    def tokens(self, x):
        def own(names): return [getattr(self, n).expand(len(x), -1, -1) for n in names]
        return torch.cat([*own(self.before), self.embedded(x), *own(self.behind)], 1)

    def answer(self, t): return self.head(self.norm(t)[:, self.read].mean(1))

    def forward(self, x):
        t = self.tokens(x)
        for block in self.blocks: t = block(t)
        return self.answer(t)


CLASS_FIRST = dict(before={'cls_token': 1}, read=slice(0, 1))


class Trunk(nn.Module):
    "Two convolutions, and a head on the mean of their places."
    def __init__(self):
        super().__init__()
        self.conv, self.body = nn.Conv2d(3, DIM, 8, 8), nn.Conv2d(DIM, DIM, 3, 1, 1)
        self.head = nn.Linear(DIM, CLASSES)

    def forward(self, x): return self.head(self.body(self.conv(x).relu()).relu().mean((2, 3)))


def own(
    make, # function that makes a network
    *parts, # functions that make what it is given
    size=SIZE, # of the pictures
) -> tuple: # (network in eval mode, two pictures)
    "A network of ours, with weights so large that no two rows of attention are alike."
    return made(lambda: make(*(part() for part in parts)), size)


# Windows


def cut(
    t:Tensor, # (bs, 64, c) places of 8 x 8, row by row
) -> Tensor: # (bs*4, 16, c)
    "Windows of 4 x 4 places."
    return t.unflatten(1, (2, 4, 2, 4)).transpose(2, 3).flatten(3, 4).flatten(0, 2)


def uncut(
    t:Tensor, # (bs*4, 16, c)
) -> Tensor: # (bs, 64, c)
    "Windows put back."
    return t.unflatten(0, (-1, 2, 2)).unflatten(3, (4, 4)).transpose(2, 3).flatten(1, 4)


PLACES = cut(torch.arange(64).view(1, -1, 1))[..., 0] # (windows, 16)


class Windowed(nn.Module):
    "Attention in windows."
    def __init__(self, attention):
        super().__init__()
        self.inside = attention()

    def forward(self, t): return uncut(self.inside(cut(t)))


def laid_out(
    weights:Tensor, # (bs*windows, heads, queries, keys)
    places:Tensor, # (windows, tokens) the number of each one's place, -1 for padding
    n:int, # places
) -> Tensor: # (bs, heads, n, n)
    "Attention in windows as rows over the picture."
    bs = len(weights)//len(places)
    maps = weights.new_zeros(bs, weights.shape[1], n + 1, n + 1) # the last is for padding
    for i, w in enumerate(weights):
        at = places[i % len(places)]
        maps[i//len(places)][:, at[:, None], at] = w
    return maps[..., :n, :n]


def window_places(
    model:nn.Module, # any network
    x:Tensor, # its pictures
    names:tuple, # of a block that cuts windows, of its attention, of a norm between them or ''
    first:bool=False, # do channels come before places?
) -> Tensor: # (windows, tokens) the number of each one's place, -1 for padding
    "The block is given the numbers of its places, and attention shows where they went."
    block, attention, norm = (model.get_submodule(name) for name in names)
    found = []
    def number(module, args):
        t = args[0]
        shape = t.shape[2:] if first else t.shape[1:-1]
        n = torch.arange(1., 1 + math.prod(shape)).view(shape)
        return (n[None, None] if first else n[None, ..., None]).expand_as(t), *args[1:]
    def read(module, args): found.append(args[0][:, 0] if first else args[0][..., 0])
    hooks = [block.register_forward_pre_hook(number), attention.register_forward_pre_hook(read)]
    if names[2]: hooks.append(norm.register_forward_hook(lambda module, args, out: args[0]))
    with torch.no_grad(): model(x[:1])
    for hook in hooks: hook.remove()
    return found[0].flatten(1).round().long() - 1

# What is seen of a network without the package


def inputs(
    model:nn.Module, # any network
    x:Tensor, # its pictures
    name:str, # of a module
) -> list: # its first argument, call by call
    "What a module is given."
    found, layer = [], model.get_submodule(name)
    hook = layer.register_forward_pre_hook(lambda module, args: found.append(args[0]))
    with torch.no_grad(): model(x)
    hook.remove()
    return found


def outputs(
    model:nn.Module, # any network
    x:Tensor, # its pictures
    *names:str, # of modules
) -> tuple: # (the last output of each, of the network), with their graph
    "What modules put out."
    found = {}
    def keep(name): return lambda module, args, out: found.__setitem__(name, out)
    hooks = [model.get_submodule(n).register_forward_hook(keep(n)) for n in names]
    out = model(x)
    for hook in hooks: hook.remove()
    return [found[name] for name in names], out


def first_class(
    out:Tensor, # (bs, classes)
) -> Tensor: # (bs,)
    "The score whose maps are asked for."
    return out[:, 1]


def rolled(
    tables:list, # (bs, heads, n, n) block by block
) -> Tensor: # (bs, n, n)
    "Rollout: half of each token stays, half is attended to."
    stays = total = torch.eye(tables[0].shape[-1])
    for table in tables:
        step = table.mean(1) + stays
        total = step/step.sum(-1, keepdim=True) @ total
    return total


def relevant(
    tables:list, # weights times gradients (bs, heads, n, n), none below 0
) -> Tensor: # (bs, n, n)
    "Relevance: what mattered, block by block."
    total = torch.eye(tables[0].shape[-1])
    for table in tables: total = total + table.mean(1) @ total
    return total


def right_maps(
    weights:list, # (bs, heads, n, n) block by block, with their graph
    number:Tensor, # the score, whose gradients are asked for
    read=slice(None), # the tokens that the head reads
    patches=slice(None), # the tokens that are places
    grid:tuple=GRID, # (rows, columns)
) -> dict: # method -> (bs, rows, columns)
    "The maps that follow from attention weights and their gradients."
    grads = torch.autograd.grad(number.sum(), weights, retain_graph=True)
    mattered = [(w*g).relu() for w, g in zip(weights, grads)]
    tables = {'rollout': rolled(weights), 'attention': weights[-1].mean(1),
              'relevance': relevant(mattered), 'gradrollout': rolled(mattered)}
    return {method: table[:, read].mean(1)[:, patches].unflatten(1, grid).detach()
            for method, table in tables.items()}


def right_legrad(
    model:Vit, # whose head reads what the last block puts out
    x:Tensor, # its pictures
) -> Tensor: # (bs, rows, columns)
    "Gradients of what the head says after each block, at the weights of that block."
    states, _ = outputs(model, x, *(f'blocks.{i}' for i in range(len(model.blocks))))
    rows = []
    for block, state in zip(model.blocks, states):
        number = first_class(model.answer(state)).sum()
        grad, = torch.autograd.grad(number, block.attention.weights, retain_graph=True)
        rows.append(grad.relu().mean((1, 2))) # (bs, n)
    return torch.stack(rows).mean(0)[:, model.patches].unflatten(1, GRID)


def right_gradcam(
    model:nn.Module, # any network
    x:Tensor, # its pictures
    name:str, # of a layer that puts out (bs, c, h, w), or tokens (bs, n, c)
    patches=slice(None), # the tokens that are places
    grid:tuple=GRID, # (rows, columns)
) -> Tensor: # (bs, rows, columns)
    "Channels weighted by the mean of their gradients."
    (act,), out = outputs(model, x, name)
    grad, = torch.autograd.grad(first_class(out).sum(), act)
    if act.ndim == 3: act, grad = (t[:, patches].mT.unflatten(2, grid) for t in (act, grad))
    return (act*grad.mean((2, 3), keepdim=True)).sum(1).relu().detach()


def one_changed(
    x:Tensor, # (1, 3, H, W)
    grid:tuple, # (rows, columns)
) -> Tensor: # (rows*columns, 3, H, W)
    "For each place a picture that is another one only there."
    cells = torch.eye(math.prod(grid)).unflatten(1, grid)[:, None] # (n, 1, rows, columns)
    where = F.interpolate(cells, x.shape[2:], mode='nearest')
    return torch.where(where > 0, torch.randn(1, *x.shape[1:]), x)

# How it is judged


def same(
    found:Tensor, # by the package
    right:Tensor, # without it
    what:str='the map', # in words
):
    "Raises `AssertionError` if two tensors differ by more than rounding."
    assert found.shape == right.shape, f'{what} is {tuple(found.shape)}, not {tuple(right.shape)}'
    off = float((found - right).abs().max()/right.abs().max())
    assert off < 1e-3, f'{what} is wrong by {off:.2g} of its largest value'


def value_or_sentence(
    words, # one of them is in a sentence that helps, such as the name of the layer; or a list
    ask, # function
    *args, # that it gets
    **kwargs, # that it gets
): # what it gives; None if it says why it cannot
    "A result, unless it is refused in words that help."
    words = [words] if isinstance(words, str) else words
    try: return ask(*args, **kwargs)
    except (ValueError, RuntimeError) as e:
        if not any(word in str(e) for word in words): raise
    return None


def refused(
    words, # as in `value_or_sentence`
    what:str, # cannot be had, in words
    ask, # function
    *args, # that it gets
    **kwargs, # that it gets
):
    "Raises `AssertionError` for a result where there can be none."
    found = value_or_sentence(words, ask, *args, **kwargs)
    assert found is None, f'{what} is given where there can be none'


def seen(
    model:nn.Module, # any network
    x:Tensor, # its pictures
): # a `Record`
    "All attention of a forward."
    with torch.no_grad(), capture(model) as rec: model(x)
    return rec


def check_maps(
    model:nn.Module, # any network
    x:Tensor, # its pictures
    right:dict, # method -> map
    target=1, # as `heatmaps` takes it
):
    "Raises `AssertionError` for a method whose map is wrong."
    for method, map_ in right.items(): same(heatmaps(model, x, method, target), map_, method)


def weights_of(
    model:nn.Module, # with layers that are `Attention`, and have run
) -> list: # (bs, heads, n, n) layer by layer, with their graph
    "The weights that layers keep."
    return [m.weights for m in model.modules() if isinstance(m, Attention)]


def check_vit(
    model:Vit, # or a network whose attention, tokens and head are named as there
    x:Tensor, # its pictures
    legrad:bool=True, # is there a LeGrad?
):
    "Weights, where they lie, and every method that follows them."
    number = first_class(model(x))
    weights = weights_of(model)
    right = right_maps(weights, number, model.read, model.patches)
    rec = seen(model, x)
    if legrad: right['legrad'] = right_legrad(model, x)
    for name, w in zip(rec.attn, weights, strict=True):
        same(rec.attn[name], w, f'the attention of {name}')
        same(rec.on_image(name).flatten(3), w[..., model.patches], f'the map of {name}')
    check_maps(model, x, right)

# Silently wrong


BEHIND = [dict(behind={'register_tokens': 4}),
          dict(behind={'cls_token': 1}, read=slice(-1, None)),
          dict(before={'cls_token': 1}, behind={'register_tokens': 3}, read=slice(0, 1))]


def fault_01_tokens_behind_the_patches():
    "Registers, a class token or words about objects that stand last are no patches."
    for kwargs in BEHIND:
        model, x = own(partial(Vit, **kwargs))
        check_vit(model, x)
        for name in ('blocks.0', 'blocks.1.norm'):
            found = heatmaps(model, x, 'gradcam', 1, layer=name)
            same(found, right_gradcam(model, x, name, model.patches), name)
        if 'cls_token' not in model.before | model.behind: continue
        with torch.no_grad(), capture(model, rows='cls') as rec: model(x)
        row = model.read.start % weights_of(model)[0].shape[-1]
        same(rec.attn['blocks.0.attention'], weights_of(model)[0][:, :, row:row + 1], 'class row')
    check_yolos()


def check_yolos():
    "In YOLOS a class token comes first, and tokens for objects come last."
    model, x = from_hugging_face(*HUGGING_FACE['YOLOS'])
    model.set_attn_implementation('eager')
    with torch.no_grad(): weights = model(x, output_attentions=True).attentions
    name = 'vit.encoder.layer.0'
    before, after = (inputs(model, t, name)[0] for t in (x[:1], one_changed(x[:1], GRID)))
    tokens = (after - before).abs().sum(2).argmax(1) # the one that changes with each place
    rec = seen(model, x)
    same(rec.on_image(next(iter(rec.attn))).flatten(3), weights[0][..., tokens], 'YOLOS')
    objects = slice(-model.config.num_detection_tokens, None)
    right = rolled(weights)[:, objects].mean(1)[:, tokens].unflatten(1, GRID)
    check_maps(model, x, {'rollout': right}, lambda out: out.logits[..., 1].mean(1))


class HeadsInFront(Attention):
    "Heads in front of the batch, as in the Set Transformer."
    def forward(self, t):
        q, k, v = (torch.cat(f(t).chunk(HEADS, -1)) for f in (self.q, self.k, self.v))
        return torch.cat((softmax_of(q, k) @ v).chunk(HEADS), -1) # of (heads*bs, n, d)


class HeadsPermuted(Attention):
    "Heads in front of the batch by `permute(2, 0, 1, 3).view(-1, n, d)`."
    def forward(self, t):
        q, k, v = (u.transpose(0, 1).flatten(0, 1) for u in self.heads(t)) # (heads*bs, n, d)
        return joined((softmax_of(q, k) @ v).unflatten(0, (HEADS, -1)).transpose(0, 1))


class Columns(Attention):
    "Each column of places alone, columns in front of the batch, as in axial attention."
    def forward(self, t):
        t = t.unflatten(1, GRID).permute(2, 0, 1, 3).flatten(0, 1) # (columns*bs, rows, DIM)
        return super().forward(t).unflatten(0, (GRID[1], -1)).permute(1, 2, 0, 3).flatten(1, 2)


def fault_02_heads_in_front_of_the_batch():
    "Whose weights are the second picture's, if heads or columns come before pictures?"
    for kind in (HeadsInFront, HeadsPermuted, Columns):
        model, _ = own(Net, kind)
        for bs in (2, 3, HEADS):
            x = torch.randn(bs, 3, *SIZE)
            t = model.tokens(x)
            if kind is Columns: t = t.unflatten(1, GRID).transpose(1, 2).flatten(0, 1)
            same(seen(model, x).attn['attention'], model.attention.by_hand(t), f'{kind.__name__}')
            if kind is Columns: continue
            alone = torch.cat([heatmaps(model, one[None], 'relevance', 1) for one in x])
            same(heatmaps(model, x, 'relevance', 1), alone, f'relevance of {bs} pictures')


class TokensInFront(Attention):
    "Tokens in front of the batch, heads folded into it, as in fairseq: (n, bs*heads, d)."
    def forward(self, t):
        q, k, v = (u.flatten(0, 1) for u in self.heads(t)) # (bs*heads, n, d)
        q, k, v = (u.transpose(0, 1).contiguous().transpose(0, 1) for u in (q, k, v))
        out = (softmax_of(q, k) @ v).transpose(0, 1) # (n, bs*heads, d)
        return out.reshape(t.shape[1], len(t), DIM).transpose(0, 1)


class HeadsThenPictures(Attention):
    "Weights (heads, bs, n, n) of tokens (n, bs, heads, d)."
    def forward(self, t):
        q, k, v = (u.permute(2, 0, 1, 3) for u in self.heads(t))
        w = torch.einsum('ibhd,jbhd->hbij', q, k/q.shape[-1]**.5).softmax(-1)
        return torch.einsum('hbij,jbhd->bihd', w, v).flatten(2)


def fault_03_as_many_pictures_as_heads():
    "With four pictures and four heads both ways to read the weights fit."
    for kind in (TokensInFront, HeadsThenPictures):
        model, _ = own(Net, kind)
        x = torch.randn(HEADS, 3, *SIZE)
        right = model.attention.by_hand(model.tokens(x))
        same(seen(model, x).attn['attention'], right, f'{kind.__name__}')
        alone = torch.cat([heatmaps(model, one[None], 'relevance', 1) for one in x])
        same(heatmaps(model, x, 'relevance', 1), alone, f'relevance with {kind.__name__}')


class Looped(Attention):
    "One head after the other."
    def forward(self, t):
        heads = zip(*(u.unbind(1) for u in self.heads(t)))
        return torch.cat([softmax_of(q, k) @ v for q, k, v in heads], -1)


class LoopedWindows(Looped):
    "It cuts the windows itself."
    def forward(self, t): return uncut(super().forward(cut(t)))


def fault_04_windows_shown_as_heads():
    "Four windows and four heads, which run one by one: each map has one head and four windows."
    model, x = own(partial(Net, patch=4), partial(Windowed, Looped), size=(32, 32))
    right = model.attention.inside.by_hand(cut(model.tokens(x)))
    check_looped(model, x, 'attention.inside', right, PLACES)
    model, x = own(partial(Net, patch=4), LoopedWindows, size=(32, 32))
    right = model.attention.by_hand(cut(model.tokens(x)))
    value_or_sentence('which windows', check_looped, model, x, 'attention', right, PLACES)
    model, x = from_timm(*TIMM['efficientvit m'][:1], **TIMM['efficientvit m'][1])
    layer = 'stages.0.blocks.0.mixer.m'
    attn = model.get_submodule(f'{layer}.attn')
    parts = [f'{layer}.attn.{kind}.{i}' for kind in ('qkvs', 'dws') for i in range(attn.num_heads)]
    with torch.no_grad(): outs, _ = outputs(model, x, *parts)
    d, biases = attn.key_dim, attn.get_attention_biases(x.device)
    right = [((q.flatten(2)*attn.scale).mT @ qkv[:, d:2*d].flatten(2) + bias).softmax(-1)
             for qkv, q, bias in zip(outs, outs[attn.num_heads:], biases)]
    places = window_places(model, x, (layer, f'{layer}.attn', ''), first=True)
    check_looped(model, x, f'{layer}.attn', torch.stack(right, 1), places)


def check_looped(
    model:nn.Module, # any network
    x:Tensor, # its pictures
    name:str, # of an attention layer that runs once for each head
    right:Tensor, # (bs*windows, heads, n, n)
    places:Tensor, # (windows, n)
):
    "Each call is a head of all windows."
    rec, n = seen(model, x), int(places.max()) + 1
    for i, call in enumerate([name] + [f'{name}@{i}' for i in range(2, right.shape[1] + 1)]):
        one = right[:, i:i + 1]
        same(rec.attn[call], one, f'the attention of {call}')
        found = value_or_sentence('known grid', rec.on_image, call)
        if found is None: continue
        same(found.flatten(3), laid_out(one, places, n), f'the map of {call}')


RAGGED = dict(img_size=(48, 64), window_size=7, depths=(2,)) # 12 x 16 places, windows of 7 x 7
SWINS = {'swin_tiny_patch4_window7_224': ('layers.0.blocks', 'norm1'),
         'swinv2_tiny_window8_256': ('layers.0.blocks', ''),
         'swinv2_cr_tiny_ns_224': ('stages.0.blocks', '')}


def fault_05_windows_that_do_not_fit():
    "timm's Swin rolls the grid before it is padded; the map is asked for place by place."
    for name, (blocks, norm) in SWINS.items():
        model, x = from_timm(name, **RAGGED)
        rec = seen(model, x)
        for i in range(2): # the second block is shifted
            block = f'{blocks}.{i}'
            places = window_places(model, x, (block, f'{block}.attn', norm and f'{block}.{norm}'))
            right = laid_out(rec.attn[f'{block}.attn'], places, 12*16).unflatten(3, (12, 16))
            same(rec.on_image(f'{block}.attn'), right, f'{block} of {name}')


class Gated(Vit):
    "The head reads the class token; behind a gate it reads the patches, too."
    def __init__(self):
        super().__init__(**CLASS_FIRST)
        self.gate, self.more = nn.Parameter(torch.zeros(1)), nn.Linear(DIM, CLASSES)

    def answer(self, t):
        t = self.norm(t)
        return self.head(t[:, 0]) + self.gate*self.more(t[:, 1:].mean(1))


def set_to(
    parameter:nn.Parameter, # of a network
    value, # a number, or a tensor of its shape
):
    "Write to a parameter as training does."
    with torch.no_grad(): parameter.copy_(torch.as_tensor(value))


def fault_08_weights_that_decide_what_is_read():
    "What is remembered of a network must not outlive a change of its weights."
    model, x = own(Gated)
    for gate, read in ((0., slice(0, 1)), (1., slice(None)), (0., slice(0, 1))):
        set_to(model.gate, gate)
        number = first_class(model(x))
        right = right_maps(weights_of(model), number, read, model.patches)
        check_maps(model, x, right | {'legrad': right_legrad(model, x)})
    set_to(model.gate, 1.)
    fresh = Gated().eval()
    fresh.load_state_dict(model.state_dict())
    used, new = (heatmaps(net, x, 'eigencam', 1).layer for net in (model, fresh))
    assert used == new, f'the layer is still {used}, of a new copy it is {new}'
    check_distilled()


def check_distilled():
    "The second of two heads of a DeiT is switched off, and on again."
    model, x = from_timm('deit_tiny_distilled_patch16_224', img_size=64, depth=2)
    drops = unfused(model)
    head, trained = model.head_dist.weight, model.head_dist.weight.detach().clone()
    for weight, read in ((0*trained, slice(0, 1)), (trained, slice(0, 2))):
        set_to(head, weight)
        weights, out = outputs(model, x, *drops)
        check_maps(model, x, right_maps(weights, first_class(out), read, slice(2, None), (4, 4)))


def unfused(
    model:nn.Module, # of timm
) -> list: # names of the dropouts, which put out the weights
    "Let every attention of timm compute its weights, so that a hook can see them."
    for m in model.modules():
        if hasattr(m, 'fused_attn'): m.fused_attn = False
    return [n for n, _ in model.named_modules() if n.endswith('attn_drop')]


class PlaceAttention(Attention):
    "Self-attention among the places of (bs, c, h, w)."
    def forward(self, x): return super().forward(x.flatten(2).mT).mT.unflatten(2, x.shape[2:])


class AttendingTrunk(Trunk):
    "A convolutional network with self-attention between its layers."
    def __init__(self):
        super().__init__()
        self.attention = PlaceAttention()

    def forward(self, x):
        x = self.conv(x).relu()
        return self.head(self.body(x + self.attention(x)).relu().mean((2, 3)))


def fault_11_channels_are_no_tokens():
    "Attention inside a convolutional network: its tokens are places, however many channels."
    for size in (SIZE, (64, 96)): # 24 and 96 places, 32 channels
        model, x = own(AttendingTrunk, size=size)
        number, grid = first_class(model(x)), (size[0]//8, size[1]//8)
        check_maps(model, x, right_maps(weights_of(model), number, grid=grid))
    model, x = from_torchvision(tv.resnet18, (64, 96))
    with redirect_stdout(StringIO()): add_attention(model, 'self')
    layer = model.get_submodule('layer3.1.attention')
    set_to(layer.gamma, 1.)
    layer.fused = False # so that a hook can see the weights
    weights, out = outputs(model, x, 'layer3.1.attention.softmax')
    layer.fused = True
    check_maps(model, x, right_maps(weights, first_class(out)))
    model, x = from_timm('fastvit_sa12', size=128)
    weights, out = outputs(model, x, *unfused(model))
    check_maps(model, x, right_maps(weights, first_class(out), grid=(4, 4)))


class TorchAttention(nn.Module):
    "PyTorch's own attention, with what else it may see."
    def __init__(self, **kwargs):
        super().__init__()
        self.mha = nn.MultiheadAttention(DIM, HEADS, batch_first=True, **kwargs)
        for p in (self.mha.bias_k, self.mha.bias_v):
            if p is not None: nn.init.normal_(p)

    def by_hand(self, t): return self.mha(t, t, t, average_attn_weights=False)[1]

    def forward(self, t): return self.mha(t, t, t, need_weights=False)[0]


def fault_12_extra_keys_last():
    "Keys that PyTorch adds stand behind the patches, and are nothing of the picture."
    for extra in (['add_bias_kv'], ['add_zero_attn'], ['add_bias_kv', 'add_zero_attn']):
        model, x = own(Net, partial(TorchAttention, **dict.fromkeys(extra, True)))
        right, rec = model.attention.by_hand(model.tokens(x)), seen(model, x)
        same(rec.attn['attention.mha'], right, 'the attention')
        same(rec.on_image('attention.mha').flatten(3), right[..., :24], f'the map with {extra}')
        keys = rec.tokens['attention.mha'][1]
        assert len(keys.suffix) == len(extra) and not keys.prefix, f'{extra} is read as {keys}'
        assert 'pooled' not in keys.suffix, f'a mean of the picture is seen in {extra}: {keys}'
        refused('attention.mha', 'a rollout', heatmaps, model, x, 'rollout', 1)


class Biased(Attention):
    "Attention with relative biases from a module of their own."
    def __init__(self):
        super().__init__()
        self.biases = Biases()

    def by_hand(self, t): # of windows (bs*4, 16, DIM)
        q, k, _ = self.heads(t)
        return (q @ k.mT/q.shape[-1]**.5 + self.biases(t)).softmax(-1)


class Biases(nn.Module):
    "A table (1, heads, n, n), of the same shape as the features of a picture."
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, HEADS, 16, 16))

    def forward(self, t): return self.table.clone()


BASE = dict(embed_dim=128, depths=[1, 1, 2, 1], num_heads=[4, 8, 16, 32]) # as swin-base


def fault_13_relative_biases_are_no_grid():
    "A module that puts out (1, heads, n, n) says nothing about the grid."
    model, x = own(partial(Net, patch=4), partial(Windowed, Biased), size=(32, 32))
    right = model.attention.inside.by_hand(cut(model.tokens(x)))
    found = seen(model, x).on_image('attention.inside')
    same(found, laid_out(right, PLACES, 64).unflatten(3, (8, 8)))
    biases = partial(heatmaps, layer='attention.inside.biases')
    refused('biases', 'a map of biases', biases, model, x[:1], 'eigencam', 1)
    model, x = from_hugging_face(*HUGGING_FACE['Swin'])
    for stage, side in ((0, 16), (1, 8)):
        for i in (0, 1): check_hf_swin(model, x, f'swin.encoder.layers.{stage}.blocks.{i}', side)
    model = transformers.SwinModel(transformers.SwinConfig(**BASE)).eval()
    x = torch.randn(1, 3, 224, 224)
    for stage, side in ((1, 28), (2, 14)):
        check_hf_swin(model, x, f'encoder.layers.{stage}.blocks.0', side)


def check_hf_swin(
    model:nn.Module, # of Hugging Face
    x:Tensor, # its pictures
    block:str, # name
    side:int, # of its grid
):
    "Each window lies where the block puts it."
    names = block, f'{block}.attention', f'{block}.layernorm_before'
    places, rec = window_places(model, x, names), seen(model, x)
    right = laid_out(rec.attn[names[1]], places, side**2).unflatten(3, (side, side))
    same(rec.on_image(names[1]), right, f'the map of {names[1]}')


class Slices(Attention):
    "Queries in slices of six, to save memory."
    def forward(self, t):
        q, k, v = self.heads(t)
        return joined(torch.cat([softmax_of(some, k) @ v for some in q.split(6, 2)], 2))


class Landmarks(Attention):
    "Means of four tokens each stand between queries and keys, as in agent attention."
    def marks(self, q): return q.unflatten(2, (6, 4)).mean(3) # (bs, heads, 6, d)

    def forward(self, t):
        q, k, v = self.heads(t)
        return joined(softmax_of(q, self.marks(q)) @ (softmax_of(self.marks(q), k) @ v))


class Neighbours(Attention):
    "Each place asks the nine around it, cut out by `unfold`."
    def forward(self, t):
        def around(f): # (bs, heads, n, 9, d)
            cells = F.unfold(f(t).mT.unflatten(2, GRID), 3, padding=1)
            return cells.unflatten(1, (HEADS, -1, 9)).permute(0, 1, 4, 3, 2)
        q = split(self.q(t))[..., None, :]
        return joined((softmax_of(q, around(self.k)) @ around(self.v))[..., 0, :])


class Overlapping(Attention):
    "Windows of 4 x 4 among 6 x 6 places; each begins two places after the last."
    window_size = 4

    def forward(self, t):
        cells = F.unfold(t.mT.unflatten(2, (6, 6)), 4, stride=2).unflatten(1, (DIM, 16))
        windows = super().forward(cells.permute(0, 3, 2, 1).flatten(0, 1)) # (bs*4, 16, DIM)
        cells = windows.unflatten(0, (-1, 4)).permute(0, 3, 2, 1).flatten(1, 2)
        return F.fold(cells, (6, 6), 4, stride=2).flatten(2).mT


class Pixels(nn.Module):
    "Patches are weighed for each of their four pixels, without queries, as in MobileViTV2."
    def __init__(self):
        super().__init__()
        self.score, self.k, self.v = nn.Linear(DIM, 1), nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)

    def pixels(self, t): # (bs, 8 x 12 places, DIM) -> (bs, 4, 24, DIM)
        return t.unflatten(1, (4, 2, 6, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3, 4).flatten(1, 2)

    def weighed(self, t): return self.score(self.pixels(t)).softmax(2) # (bs, 4, 24, 1)

    def forward(self, t):
        seen = (self.k(self.pixels(t))*self.weighed(t)).sum(2, keepdim=True) # (bs, 4, 1, DIM)
        out = (self.v(self.pixels(t)).relu()*seen).unflatten(2, (4, 6)).unflatten(1, (2, 2))
        return out.permute(0, 3, 1, 4, 2, 5).flatten(1, 4)


def fault_16_slices_and_landmarks():
    "Six queries of a slice, or six means of four tokens, are no grid of 2 x 3."
    model, x = own(Net, Slices)
    rec, right = seen(model, x), model.attention.by_hand(model.tokens(x)).split(6, 2)
    for name, part in zip(rec.attn, right, strict=True):
        same(rec.attn[name], part, f'the attention of {name}')
        same(rec.on_image(name).flatten(3), part, f'the map of {name}')
        assert rec.tokens[name][0].grid is None, f'{name}: a slice is read as {rec.tokens[name][0]}'
    model, x = own(Net, Landmarks)
    rec = seen(model, x)
    wrong = [t for pair in rec.tokens.values() for t in pair if t.grid not in (None, GRID)]
    assert not wrong, f'means of tokens are read as {wrong[0]}'
    q, k, _ = model.attention.heads(model.tokens(x))
    found = value_or_sentence('known grid', rec.on_image, 'attention') # of the means, which ask
    if found is not None: same(found.flatten(3), softmax_of(model.attention.marks(q), k))


def fault_16_windows_that_overlap():
    "A place that lies in several windows, as in VOLO, has no row of its own; no grid is invented."
    model, x = own(Net, Neighbours)
    refused('known grid', 'a grid of neighbours', seen(model, x).on_image, 'attention')
    check_overlap(*own(Net, Overlapping, size=(48, 48)), 'attention', (6, 6))
    check_overlap(*from_timm('volo_d1_224', img_size=64), 'network.0.0.attn', (8, 8))


def check_overlap(
    model:nn.Module, # any network
    x:Tensor, # its pictures
    name:str, # of an attention whose windows overlap
    grid:tuple, # (rows, columns) of its places
):
    "Nothing is drawn over the picture; at most the grid is known."
    rec = seen(model, x)
    keys = rec.tokens[name][1]
    assert keys.grid in (None, grid), f'{grid} places of {name} are read as {keys}'
    refused('known grid', f'a map of {name}', rec.on_image, name)
    explorer = value_or_sentence('no attention among places', explore, model, x[0])
    shown = explorer.record['layers'] if explorer else []
    if explorer: explorer.close()
    assert name not in [layer['name'] for layer in shown], f'{name} is shown'


def fault_16_pixels_of_patches():
    "Four pixels of a patch are neither heads nor queries side by side."
    model, x = own(partial(Net, patch=4), Pixels)
    check_pixels(model, x, 'attention', model.attention.weighed(model.tokens(x))[..., 0])
    model, x = from_timm('mobilevitv2_050', size=(64, 96))
    name = 'stages.2.1.transformer.0.attn'
    (qkv,), _ = outputs(model, x, f'{name}.qkv_proj')
    check_pixels(model, x, name, qkv[:, 0].softmax(-1))


def check_pixels(
    model:nn.Module, # any network
    x:Tensor, # its pictures
    name:str, # of the attention
    right:Tensor, # (bs, pixels of a patch, patches), 4 x 6 patches of 2 x 2 places
):
    "A map is that of the pixel at the place that is asked for; it has every second place."
    rec = seen(model, x)
    same(rec.attn[name].flatten(), right.flatten(), name)
    assert rec.attn[name].shape[1] == 1, f'{name}: pixels are read as heads'
    maps = right.new_zeros(len(x), 4, 8, 12)
    for p in range(4): maps[:, p, p//2::2, p % 2::2] = right[:, p].unflatten(1, (4, 6))
    for place in (0, 1, 2, 12, 14): # 2 is the first pixel of the second patch, 12 is below 0
        pixel = 2*(place//12 % 2) + place % 2
        found = value_or_sentence(['known grid', 'queries'], rec.on_image, name, [place])
        if found is not None: same(found[:, 0, 0], maps[:, pixel], f'place {place} of {name}')
    value_or_sentence(['known grid', 'queries'], rec.on_image, name)


class Shut(Trunk):
    "A branch that is multiplied by zero."
    def __init__(self):
        super().__init__()
        self.branch, self.gate = nn.Conv2d(DIM, DIM, 3, 1, 1), nn.Parameter(torch.zeros(1))

    def forward(self, x):
        x = self.conv(x).relu()
        return self.head((self.body(x) + self.gate*self.branch(x)).relu().mean((2, 3)))


def fault_18_places_that_cannot_reach_the_score():
    "Where no place moves the score there is no map, not one of zeros, nor of rounding."
    shut, x = own(Shut)
    set_to(shut.gate, 0.)
    cases = [(shut, x, ['branch'], 'conv', slice(None), GRID)]
    after = ['blocks.1', 'norm'] # of the last attention: only the class token is read there
    vit, x = own(partial(Vit, **CLASS_FIRST))
    cases.append((vit, x, after, 'blocks.0', vit.patches, GRID))
    vit, x = from_timm('vit_tiny_patch16_224', img_size=64, depth=2)
    cases.append((vit, x, after, 'blocks.0', slice(1, None), (4, 4)))
    for model, x, dead, alive, patches, grid in cases:
        right = right_gradcam(model, x, alive, patches, grid)
        same(heatmaps(model, x, 'gradcam', 1, layer=alive), right, alive)
        assert heatmaps(model, x, 'hirescam', 1).any(), 'the default layer shows nothing'
        for layer in dead:
            for method in ('gradcam', 'hirescam', 'layercam', 'ablationcam'):
                refused(repr(layer), f'{method} of {layer}', heatmaps, model, x, method, 1, layer)


class Flipped(nn.Module):
    "Test-time augmentation: the mean of a picture and its mirror image."
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x): return (self.net(x) + self.net(x.flip(3)))/2


class Crops(Flipped):
    "Test-time augmentation: three crops, side by side."
    def forward(self, x):
        return sum(self.net(x[..., i:i + x.shape[2]]) for i in (0, 8, 16))


class Siamese(Flipped):
    "The difference of two looks at a picture, one of them moved."
    def forward(self, x): return self.net(x) - self.net(x.roll(16, 3))


class Again(Trunk):
    "A layer that runs twice, one call after the other."
    def forward(self, x):
        x = self.body(self.conv(x).relu()).relu()
        return self.head(self.body(x).relu().mean((2, 3)))


def fault_19_several_calls_of_one_trunk():
    "The map of one call is not shown as if it were the only one."
    for wrapper in (Flipped, Crops, Siamese):
        for net, layer in ((Trunk, 'net.body'), (partial(Vit, **CLASS_FIRST), 'net.blocks.0')):
            if wrapper is Crops and net is not Trunk: continue # it wants another grid
            model, x = own(wrapper, net)
            check_calls(model, x, layer)
    check_calls(*made(lambda: Flipped(tv.resnet18(num_classes=CLASSES)), (64, 96)), 'net.layer3')
    model, x = own(Flipped, Vit)
    block = model.net.blocks[0]
    right = block.attention.by_hand(block.norm(model.net.tokens(x.flip(3))))
    rec = seen(model, x)
    found = value_or_sentence('known grid', rec.on_image, 'net.blocks.0.attention@2')
    if found is not None: same(found, right.unflatten(3, GRID).flip(4), 'of the mirror image')
    model, x = own(Again)
    same(heatmaps(model, x, 'gradcam', 1, layer='body'), right_gradcam(model, x, 'body'), 'a loop')


def check_calls(
    model:nn.Module, # asks a network inside several times
    x:Tensor, # its pictures
    layer:str, # name of one of its layers
):
    "A sentence; or a map whose peak is where the score changes most if the picture is covered."
    for name, method in ((layer, 'gradcam'), (layer, 'eigencam'), (None, 'gradcam')):
        found = value_or_sentence('times in one forward', heatmaps, model, x, method, 1, name)
        if found is None: continue
        for one, map_ in zip(x, found):
            changed = one_changed(one[None], map_.shape)
            with torch.no_grad(): moved = first_class(model(changed) - model(one[None])).abs()
            assert moved.argmax() == map_.argmax(), f'{method} of {name} has its peak elsewhere'


class Sorted(nn.Module):
    "Tokens in the order of their length from here on."
    def chosen(self, t): return t.norm(dim=2).argsort(1)

    def forward(self, t): return t.gather(1, self.chosen(t)[..., None].expand(-1, -1, DIM))


class Pruned(Sorted):
    "The longer half of the tokens goes on."
    def chosen(self, t): return t.norm(dim=2).topk(t.shape[1]//2).indices


class Merged(nn.Module):
    "The four tokens that resemble another most become one with it, as in ToMe."
    def forward(self, t):
        even, odd = t[:, ::2], t[:, 1::2]
        alike, partner = (F.normalize(even, dim=2) @ F.normalize(odd, dim=2).mT).max(2)
        order = alike.argsort(1, descending=True)
        def wide(i): return i[..., None].expand(-1, -1, DIM)
        gone, stay = even.gather(1, wide(order[:, :4])), even.gather(1, wide(order[:, 4:]))
        to = wide(partner.gather(1, order[:, :4]))
        return torch.cat([stay, odd.scatter_reduce(1, to, gone, 'mean')], 1)


class Reordering(Vit):
    "Something that moves tokens runs between two blocks."
    def __init__(self, between):
        super().__init__()
        self.between = between

    def forward(self, x):
        t = self.between(self.blocks[0](self.tokens(x)))
        return self.answer(self.blocks[1](t))


def fault_20_tokens_that_are_sorted_or_merged():
    "After tokens have left their places nobody can draw them, and before it everybody can."
    for kind in (Sorted, Pruned, Merged):
        model, x = own(Reordering, kind)
        found = heatmaps(model, x, 'gradcam', 1)
        assert found.layer.startswith(('conv', 'blocks.0')), f'{kind.__name__}: {found.layer}'
        same(found, right_gradcam(model, x, found.layer), found.layer)
        for layer in ('between', 'blocks.1', 'norm'):
            refused('no grid', layer, heatmaps, model, x, 'gradcam', 1, layer)
        refused('same tokens', 'rollout', heatmaps, model, x, 'rollout', 1)
        refused('known grid', 'attention', seen(model, x).on_image, 'blocks.1.attention')
    model, x = from_timm('hiera_tiny_224', img_size=(128, 128))
    for layer in ('blocks.0', 'blocks.1', 'blocks.3'):
        refused('no grid', layer, heatmaps, model, x, 'gradcam', 1, layer)
    grid = 32, 32
    found = heatmaps(model, x, 'gradcam', 1, layer='patch_embed')
    same(found, right_gradcam(model, x, 'patch_embed', grid=grid), 'patch_embed')

# Seen in part


class Second(nn.Module):
    "Two attentions, of which the second is hard to see."
    def __init__(self, attention):
        super().__init__()
        self.conv, self.first, self.mixer = nn.Conv2d(3, DIM, 8, 8), Attention(), attention
        self.head = nn.Linear(DIM, CLASSES)

    def forward(self, x):
        t = self.conv(x).flatten(2).mT
        t = t + self.first(t)
        return self.head((t + self.mixer(t)).mean(1))


class Fused(Attention):
    "By PyTorch's function."
    def forward(self, t): return joined(F.scaled_dot_product_attention(*self.heads(t)))


def whole(q:Tensor, k:Tensor, v:Tensor) -> Tensor: # (bs, heads, n, d) each
    "Attention in one piece."
    return torch.softmax(q @ k.transpose(-1, -2)*(8**-.5), -1) @ v


def by_parts(q:Tensor, k:Tensor, v:Tensor) -> Tensor: # (bs, heads, n, d) each
    "Attention without the word softmax."
    weights = torch.exp(q @ k.transpose(-1, -2)*(8**-.5))
    return weights @ v/weights.sum(-1, keepdim=True)


class Calls(Attention):
    "A function computes it."
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, t): return joined(self.function(*self.heads(t)))


def partial_traced_and_scripted_attention():
    "What TorchScript computes cannot be seen, and is not left out in silence."
    t = torch.randn(2, 24, DIM)
    hidden = {'traced, fused': torch.jit.trace(Fused().eval(), t),
              'traced, whole': torch.jit.trace(Attention().eval(), t),
              'traced, by parts': torch.jit.trace(Calls(by_parts).eval(), t),
              'function, whole': Calls(torch.jit.script(whole)),
              'function, by parts': Calls(torch.jit.script(by_parts))}
    models = {what: (Second(attention).eval(), torch.randn(2, 3, *SIZE), 'mixer')
              for what, attention in hidden.items()}
    model, x = from_timm('vit_tiny_patch16_224', img_size=64, depth=2)
    t, = inputs(model, x, 'blocks.1.attn')
    model.blocks[1].attn = torch.jit.trace(model.blocks[1].attn, t)
    models['traced, of timm'] = model, x, 'blocks.1.attn'
    unseen = [what for what, (model, x, name) in models.items()
              if value_or_sentence(name, seen, model, x) is not None]
    assert not unseen, f'left out in silence: {"; ".join(unseen)}'


def exp_of(
    s:Tensor, # scores (bs, heads, n, n)
) -> Tensor: # of the same shape
    "The numerator of a softmax, as safe as softmax itself."
    return (s - s.amax(-1, keepdim=True)).exp()


def written(
    s:Tensor, # scores (bs, heads, n, n)
    v:Tensor, # values (bs, heads, n, d)
) -> Tensor: # (bs, heads, n, d)
    "The weights are written into a buffer."
    weights = torch.empty_like(s)
    weights[:] = s.softmax(-1)
    return weights @ v


def over_sum(
    e:Tensor, # (bs, heads, n, n)
) -> Tensor: # rows sum to 1
    "The second part of a softmax."
    return e/e.sum(-1, keepdim=True)


def each_alone(
    s:Tensor, # scores (bs, heads, n, n)
    v:Tensor, # values (bs, heads, n, d)
) -> Tensor: # (bs, heads, n, d)
    "A softmax without an axis, of one square after the other."
    pairs = zip(s.flatten(0, 1), v.flatten(0, 1))
    return torch.stack([F.softmax(a, None) @ b for a, b in pairs]).unflatten(0, s.shape[:2])


WAYS = { # how scores (bs, heads, n, n) and values become an answer, without a softmax to be seen
    'e/(sum + eps)': lambda s, v: (exp_of(s)/(exp_of(s).sum(-1, keepdim=True) + 1e-9)) @ v,
    'e @ v/sum': lambda s, v: (exp_of(s) @ v)/exp_of(s).sum(-1, keepdim=True),
    'logsumexp': lambda s, v: (s - s.logsumexp(-1, keepdim=True)).exp() @ v,
    'normalize': lambda s, v: F.normalize(exp_of(s), p=1, dim=-1) @ v,
    'reciprocal': lambda s, v: (exp_of(s)*exp_of(s).sum(-1, keepdim=True).reciprocal()) @ v,
    'a buffer': written,
    'mean': lambda s, v: (s.softmax(-1)[..., None]*v[:, :, None]).mean(3)*v.shape[2],
    'flatten': lambda s, v: (s.softmax(-1)[..., None]*v[:, :, None]).mT.flatten(4).sum(-1),
    'no axis': each_alone,
    'exp2': lambda s, v: over_sum((s*math.log2(math.e)).exp2()) @ v,
    'power': lambda s, v: over_sum(math.e**s) @ v}


class Way(Attention):
    "Attention as one of `WAYS`."
    def __init__(self, way):
        super().__init__()
        self.way = way

    def forward(self, t):
        q, k, v = self.heads(t)
        return joined(self.way(q @ k.mT/q.shape[-1]**.5, v))


class TimmWay(nn.Module):
    "The same with the projections of an attention of timm."
    def __init__(self, attention, way):
        super().__init__()
        self.parts, self.way = nn.ModuleList([attention.qkv, attention.proj]), way
        self.num_heads, self.scale = attention.num_heads, attention.scale

    def forward(self, t, **kwargs):
        q, k, v = self.parts[0](t).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.parts[1](joined(self.way(q @ k.mT*self.scale, v)))


def partial_softmax_by_parts():
    "Weights that are computed in an unusual way are right, or the error names their layer."
    unseen = []
    timm_model, pictures = from_timm('vit_tiny_patch16_224', img_size=64, depth=2)
    block = timm_model.blocks[1]
    attention, (right,) = block.attn, outputs(timm_model, pictures, unfused(timm_model)[1])[0]
    for what, way in WAYS.items():
        model, x = own(Second, partial(Way, way))
        t, = inputs(model, x, 'mixer')
        with torch.no_grad(): same(model.mixer(t), Attention.forward(model.mixer, t), f'our {what}')
        block.attn = TimmWay(attention, way)
        for net, x, name, w in ((model, x, 'mixer', model.mixer.by_hand(t)),
                                (timm_model, pictures, 'blocks.1.attn', right)):
            rec = value_or_sentence(name, seen, net, x)
            if rec is None: continue
            if name not in rec.attn: unseen.append(what)
            else: same(rec.attn[name], w, what)
    assert not unseen, f'left out in silence: {", ".join(dict.fromkeys(unseen))}'

# Raw errors


class SoftmaxModule(Attention):
    "The softmax is a module, which puts out (bs, heads, n, n), as in vit-pytorch."
    def __init__(self):
        super().__init__()
        self.attend, self.dropout = nn.Softmax(-1), nn.Dropout(.1)

    def by_hand(self, t):
        q, k, _ = self.heads(t)
        return self.dropout(self.attend(q @ k.mT/q.shape[-1]**.5))


class ListOfLists(Vit):
    "`for attn, ff in self.layers`, as vit-pytorch writes every model."
    def __init__(self, attention=Attention, **kwargs):
        super().__init__(depth=0, **kwargs)
        self.layers = nn.ModuleList(nn.ModuleList([attention(), small_network()]) for _ in range(2))

    def pairs(self): return self.layers

    def forward(self, x):
        t = self.tokens(x)
        for attn, ff in self.pairs():
            t = t + attn(t)
            t = t + ff(t)
        return self.answer(t)


class TwoLists(ListOfLists):
    "A list of attentions beside a list of networks."
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attns, self.ffs = (nn.ModuleList(part) for part in zip(*self.layers))
        del self.layers

    def pairs(self): return zip(self.attns, self.ffs)


def raw_lists_of_lists():
    "`for attn, ff in self.layers`: a block is a list, which is never called."
    check_lists(ListOfLists, 'layers.0.0')


def raw_two_lists_side_by_side():
    "A block is nothing at all: its parts stand in two lists."
    check_lists(TwoLists, 'attns.0')


def check_lists(
    kind, # of network
    first:str, # name of its first attention
):
    "Without modules that put out all tokens there is no LeGrad, and all else is there."
    for kwargs in ({}, CLASS_FIRST):
        model, x = own(partial(kind, **kwargs))
        refused(['put out', 'head'], 'legrad', heatmaps, model, x, 'legrad', 1)
        check_explorer(model, x, first)
        check_vit(model, x, legrad=False)


def check_explorer(
    model:nn.Module, # one of ours
    x:Tensor, # its pictures
    first:str, # name of its first attention
):
    "Heads and grid of what is shown."
    explorer = explore(model, x[0])
    layer = explorer.record['layers'][0]
    explorer.close()
    shown = layer['name'], layer['heads'], tuple(layer['grid'])
    assert shown == (first, HEADS, GRID), f'{shown} is shown'


class Unfolding(Vit):
    "Patches by `unfold`, so that nothing before the softmax puts out a grid."
    def __init__(self, **kwargs):
        super().__init__(attention=SoftmaxModule, **kwargs)
        self.conv = nn.Linear(3*8*8, DIM)

    def embedded(self, x): return self.conv(F.unfold(x, 8, stride=8).mT)


def raw_softmax_modules():
    "A module that puts out (bs, heads, n, n) puts out no grid of a picture."
    for kwargs in ({}, CLASS_FIRST):
        model, x = own(partial(Unfolding, **kwargs))
        check_explorer(model, x, 'blocks.0.attention')
        check_vit(model, x)
        of_softmax = partial(heatmaps, layer='blocks.0.attention.attend')
        refused('attention weights', 'a softmax', of_softmax, model, x[:1], 'eigencam', 1)
        model, x = own(partial(ListOfLists, SoftmaxModule, **kwargs))
        check_vit(model, x, legrad=False)


class TokensFirst(Vit):
    "PyTorch's encoder as it is by default: (tokens, bs, DIM)."
    def __init__(self, **kwargs):
        super().__init__(depth=0, **kwargs)
        layer = nn.TransformerEncoderLayer(DIM, HEADS, DIM, 0.)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        t = self.encoder(self.tokens(x).transpose(0, 1))
        return self.answer(t.transpose(0, 1))

    def by_hand(self, x): # -> weights of both layers with their graph, scores
        t, weights = self.tokens(x), []
        for layer in self.encoder.layers:
            parts = layer.self_attn
            q, k, v = map(split, F.linear(t, parts.in_proj_weight, parts.in_proj_bias).chunk(3, -1))
            weights.append(softmax_of(q, k))
            t = layer.norm1(t + parts.out_proj(joined(weights[-1] @ v)))
            t = layer.norm2(t + layer.linear2(layer.linear1(t).relu()))
        return weights, self.answer(t)


class Turned(Vit):
    "A transformer of ours whose blocks are given (tokens, bs, DIM), as in CLIP."
    def forward(self, x):
        t = self.tokens(x).transpose(0, 1)
        for block in self.blocks: t = block(t)
        return self.answer(t.transpose(0, 1))


class TurnedAttention(Attention):
    "Of tokens (n, bs, DIM)."
    def forward(self, t): return super().forward(t.transpose(0, 1)).transpose(0, 1)


def raw_tokens_first():
    "Tokens may come before pictures."
    for kwargs in ({}, CLASS_FIRST):
        model, x = own(partial(TokensFirst, **kwargs))
        weights, out = model.by_hand(x)
        same(model(x), out, 'our encoder')
        check_maps(model, x, right_maps(weights, first_class(out), model.read, model.patches))
        name = 'encoder.layers.1.self_attn'
        same(seen(model, x).on_image(name).flatten(3), weights[1][..., model.patches], name)
        model, x = own(partial(Turned, attention=TurnedAttention, **kwargs))
        check_vit(model, x, legrad=False)
        value_or_sentence('put out all tokens', heatmaps, model, x, 'legrad', 1)


class FlatNet(Net):
    "The head reads all tokens, laid end to end."
    def __init__(self):
        super().__init__(Attention())
        self.head = nn.Linear(24*DIM, CLASSES)

    def answer(self, t): return self.head(t.flatten(1))


class SkipNet(Net):
    "The head reads what the attention was given once more."
    def __init__(self): super().__init__(Attention())

    def forward(self, x): return self.answer(2*self.tokens(x) + self.attention(self.tokens(x)))


class SkipVit(Vit):
    "The head reads the first tokens, too."
    def tokens(self, x):
        self.first = super().tokens(x)
        return self.first

    def answer(self, t): return super().answer(t + self.first)


def raw_flat_heads_and_long_skips():
    "A head may count the tokens, or see more than the last block puts out."
    for kind in (FlatNet, SkipNet):
        model, x = own(kind)
        number = first_class(model(x))
        weights = weights_of(model)
        grad, = torch.autograd.grad(number.sum(), weights, retain_graph=True)
        check_maps(model, x, right_maps(weights, number))
        found = value_or_sentence('head', heatmaps, model, x, 'legrad', 1)
        if found is not None: same(found, grad.relu().mean((1, 2)).unflatten(1, GRID), 'legrad')
    model, x = own(SkipVit)
    check_vit(model, x, legrad=False)
    found = value_or_sentence('head', heatmaps, model, x, 'legrad', 1)
    if found is not None: same(found, right_legrad(model, x), 'legrad with a long skip')


class Checkpointed(Vit):
    "Blocks whose insides are computed again when gradients are asked for."
    def __init__(self, reentrant):
        super().__init__(**CLASS_FIRST)
        self.reentrant = reentrant

    def forward(self, x):
        t = self.tokens(x)
        for block in self.blocks: t = checkpoint(block, t, use_reentrant=self.reentrant)
        return self.answer(t)


def pairs_with_checkpoints() -> list: # of (name, checkpointed network, the same without, pictures)
    "Networks whose insides are computed twice, and the same that compute them once."
    pairs = []
    for reentrant in (False, True):
        model, x = own(partial(Checkpointed, reentrant))
        plain = Vit(**CLASS_FIRST).eval()
        plain.load_state_dict(model.state_dict())
        pairs.append((f'reentrant {reentrant}', model, plain, x))
    (model, x), (plain, _) = (from_timm('vit_tiny_patch16_224', img_size=64, depth=2)
                              for _ in range(2))
    model.set_grad_checkpointing()
    return [*pairs, ('timm', model, plain, x)]


def raw_gradient_checkpointing():
    "To compute a part twice changes no map."
    for name, model, plain, x in pairs_with_checkpoints():
        grid = (4, 4) if name == 'timm' else GRID
        drops = unfused(plain)
        weights, out = outputs(plain, x, *drops)
        right = right_maps(weights or weights_of(plain), first_class(out), slice(0, 1),
                           slice(1, None), grid)
        if name != 'timm': right['legrad'] = right_legrad(plain, x)
        check_maps(model, x, right)
        with capture(model, attn_grads=True) as rec: rec.backward(first_class(model(x)))
        assert len(rec.attn_grads) == 2 and all(g.any() for g in rec.attn_grads.values()), name


def raw_training_with_checkpoints():
    "To compute a part twice changes no gradient of a training inside `capture`."
    for _, model, plain, x in pairs_with_checkpoints(): check_training(model, plain, x)


def check_training(
    model:nn.Module, # checkpointed
    plain:nn.Module, # the same network, not checkpointed
    x:Tensor, # their pictures
):
    "Gradients of a training inside `capture` are those of one without it."
    x = x.clone().requires_grad_() # older checkpoints want something to differentiate by
    with capture(model) as rec: first_class(model(x)).sum().backward()
    first_class(plain(x)).sum().backward()
    assert len(rec.attn) == 2, f'{len(rec.attn)} maps of two layers'
    for (name, p), right in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert (p.grad is None) == (right.grad is None), f'{name} has lost its gradient'
        if p.grad is not None and right.grad.any(): same(p.grad, right.grad, name)


def raw_compiled_models():
    "A compiled network is the network; it stays compiled."
    for make, layer in ((partial(Vit, **CLASS_FIRST), 'blocks.0'), (Trunk, 'body')):
        for method in (True, False):
            model, x = own(make)
            plain, _ = own(make)
            counts = []
            torch.compiler.reset()
            def count(graph, inputs, counts=counts):
                counts.append(graph)
                return graph.forward
            if method: model.compile(backend=count)
            net = model if method else torch.compile(model, backend=count)
            with torch.no_grad(): same(net(x), plain(x), 'the answer')
            before = len(counts)
            check_compiled(net, plain, x, layer)
            assert before, 'nothing was compiled'
            more = len(counts) - before
            assert not more, f'{more} graphs were compiled to look at it'
            with torch.no_grad(): same(net(x), plain(x), 'the answer afterwards')
            assert len(counts) == before, 'it is compiled again afterwards'


def check_compiled(
    net:nn.Module, # compiled
    plain:nn.Module, # the same network
    x:Tensor, # their pictures
    layer:str, # name of one that puts out places
):
    "Maps, layers and names are those of the network as it was written."
    patches = getattr(plain, 'patches', slice(None))
    found = heatmaps(net, x, 'gradcam', 1, layer=layer)
    same(found, right_gradcam(plain, x, layer, patches), layer)
    dls = array_dls(torch.randn(8, 3, *SIZE), torch.arange(8) % CLASSES, bs=2)
    learn = Learner(dls, net, loss_func=F.cross_entropy)
    default = heatmaps(learn, x, 'gradcam', 1)
    assert default.layer == heatmaps(plain, x, 'gradcam', 1).layer, f'{default.layer} is chosen'
    same(default, right_gradcam(plain, x, default.layer, patches), default.layer)
    if not isinstance(plain, Vit): return
    number = first_class(plain(x))
    right = right_maps(weights_of(plain), number, plain.read, plain.patches)
    check_maps(net, x, right | {'legrad': right_legrad(plain, x)})
    assert list(seen(net, x).attn) == ['blocks.0.attention', 'blocks.1.attention']
    check_explorer(net, x, 'blocks.0.attention')


class MappedPictures(Attention):
    "`vmap` over the pictures."
    def forward(self, t):
        def one(t): return softmax_of(self.q(t), self.k(t)) @ self.v(t)
        return torch.vmap(one)(t)


class MappedHeads(Attention):
    "`vmap` over the heads."
    def forward(self, t):
        return joined(torch.vmap(F.scaled_dot_product_attention, 1, 1)(*self.heads(t)))


def raw_vmap():
    "What runs inside `vmap` is kept, or refused in words."
    for kind in (MappedPictures, MappedHeads):
        model, x = own(Net, kind)
        rec = value_or_sentence('vmap', seen, model, x)
        if rec is not None and kind is MappedHeads:
            same(rec.attn['attention'], model.attention.by_hand(model.tokens(x)))
        if rec is not None: assert float(rec.attn['attention'].sum()) > 0
        for method in ('rollout', 'relevance'):
            value_or_sentence('vmap', heatmaps, model, x, method, 1)

# All of them


KINDS = 'fault_', 'partial_', 'raw_'
TESTS = {name: fn for name, fn in globals().items() if name.startswith(KINDS)}


def outcome(
    test, # function without arguments
) -> str: # '' if it passes
    "Why a test fails, in a line."
    torch.manual_seed(0)
    try: test()
    except Exception as e:
        file = test.__code__.co_filename
        place = [f for f in traceback.extract_tb(e.__traceback__) if f.filename == file][-1]
        reason = ' '.join(str(e).split())[:200]
        return f'{type(e).__name__} in {place.name}, line {place.lineno}: {reason}'
    return ''


def main(
    tests=TESTS, # name -> function without arguments
) -> int: # exit status
    "Run the tests, or those whose names begin as the arguments."
    warnings.filterwarnings('ignore')
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    asked = tuple(sys.argv[1:]) or ('',)
    wrong, tests = 0, {name: fn for name, fn in tests.items() if name.startswith(asked)}
    for name, test in tests.items():
        why = outcome(test)
        wrong += bool(why)
        if why: print(f'{name}: {why}', flush=True)
    print(f'{len(tests) - wrong} passed, {wrong} failed')
    return int(bool(wrong) or not tests)


if __name__ == '__main__': sys.exit(main())
