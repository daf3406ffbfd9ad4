"""Does the package say the right thing where its shapes would let it guess something else?

    python tests/silently_wrong.py                    # all tests
    python tests/silently_wrong.py raw_vmap fault_05  # those whose names begin so

Each test is about one kind of fault and asks at least two networks. What is right is found without
the package: by hand from a network's own projections, from its hooks, or by changing the picture.
"""
import sys
import traceback
import warnings

import torch
import transformers
from model_maps import from_hugging_face, from_timm, made
from torch import Tensor, nn

from attn_course.all import capture, heatmaps

DIM, HEADS, CLASSES = 32, 4, 5
SIZE = 32, 48 # of the pictures of our own networks: 4 x 6 patches of 8 x 8 pixels

# Networks: one attention that can be asked by hand what its weights are, laid out in many ways


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
    "Self-attention of tokens (bs, n, DIM); subclasses lay out pictures and heads in other ways."
    def __init__(self):
        super().__init__()
        self.num_heads = HEADS
        self.q, self.k, self.v = (nn.Linear(DIM, DIM) for _ in range(3))

    def by_hand(self, t): # -> (bs, heads, n, n)
        return softmax_of(split(self.q(t)), split(self.k(t)))

    def forward(self, t): return joined(self.by_hand(t) @ split(self.v(t)))


class Net(nn.Module):
    "Patches as tokens, an attention among them, a head on their mean."
    def __init__(self, attention, patch=8):
        super().__init__()
        self.conv, self.attention = nn.Conv2d(3, DIM, patch, patch), attention
        self.head = nn.Linear(DIM, CLASSES)

    def tokens(self, x): return self.conv(x).flatten(2).mT # (bs, n, DIM)

    def forward(self, x):
        t = self.tokens(x)
        return self.head((t + self.attention(t)).mean(1))


class Block(nn.Module):
    "Attention, then a small network for each token, both beside a way past them."
    def __init__(self, attention):
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(DIM), attention, nn.LayerNorm(DIM)
        self.mlp = nn.Sequential(nn.Linear(DIM, DIM), nn.GELU(), nn.Linear(DIM, DIM))

    def forward(self, t):
        t = t + self.attention(self.norm1(t))
        return t + self.mlp(self.norm2(t))


class Vit(nn.Module):
    "A transformer with tokens before and behind the patches, as {name of the parameter: how many}."
    def __init__(self, depth=2, before=(), behind=(), read=slice(None)):
        super().__init__()
        self.conv, self.read = nn.Conv2d(3, DIM, 8, 8), read
        self.before, self.behind = dict(before), dict(behind)
        for name, n in (self.before | self.behind).items():
            self.register_parameter(name, nn.Parameter(torch.randn(1, n, DIM)))
        self.blocks = nn.ModuleList(Block(Attention()) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, CLASSES)

    def tokens(self, x):
        def own(names): return [getattr(self, n).expand(len(x), -1, -1) for n in names]
        return torch.cat([*own(self.before), self.conv(x).flatten(2).mT, *own(self.behind)], 1)

    def answer(self, t): return self.head(self.norm(t)[:, self.read].mean(1))

    def forward(self, x):
        t = self.tokens(x)
        for block in self.blocks: t = block(t)
        return self.answer(t)


def own(
    make, # function that makes a network
    size=SIZE, # of the pictures
) -> tuple: # (network in eval mode, two pictures)
    "A network of ours, its weights large enough that no two rows of attention are alike."
    return made(make, size)

# What is right


def same(
    found:Tensor, # by the package
    right:Tensor, # without it
    what:str='the map', # in words
):
    "Raises `AssertionError` if two tensors differ by more than rounding."
    assert found.shape == right.shape, f'{what} is {tuple(found.shape)}, not {tuple(right.shape)}'
    off = float((found - right).abs().max()/right.abs().max())
    assert off < 1e-4, f'{what} is wrong by {off:.2g} of the largest value'


def value_or_sentence(
    ask, # function without arguments
    *words:str, # of which the sentence has one, such as the name of the layer
): # what it gives, None if it says why it cannot
    "A result, unless it is refused in words that help."
    try: return ask()
    except (ValueError, RuntimeError) as e:
        if any(word in str(e) for word in words): return None
        raise


def seen(
    model:nn.Module, # any network
    x:Tensor, # its pictures
): # a `Record`
    "All attention of a forward."
    with torch.no_grad(), capture(model) as rec: model(x)
    return rec


def inputs(
    model:nn.Module, # any network
    x:Tensor, # its pictures
    name:str, # of a module
) -> list: # its first argument, call by call
    "What a module is given."
    found = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda m, args: found.append(args[0]))
    with torch.no_grad(): model(x)
    hook.remove()
    return found
