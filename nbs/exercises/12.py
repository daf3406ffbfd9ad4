"Exercises of chapter 12, rollout: checkers, hints, solutions, plausible wrong answers, quiz."
from itertools import product

import torch
from torch import nn

from attn_course.cam import heatmaps
from attn_course.rollout import relevance
from attn_course.vit import ViT

# 1: how many ways --------------------------------------------------------------------------------

def check_ways(f):
    if f(2, 5) is None: return 'Not written yet: put your answer in the place of the three dots.'
    if f(1, 5) == 5: return 'With one block there is one way: the class token takes from the patch.'
    if f(1, 5) != 1: return f'With one block there is one way, not {f(1, 5)}.'
    if f(2, 5) == 4: return 'The patch itself and the class token are go-betweens, too.'
    if f(2, 5) != 5: return 'With two blocks there is one way per go-between: 5 of 5 tokens.'
    if f(4, 5) != 125: return 'With four blocks and 5 tokens there are 125: each step has a choice.'

def count_ways(blocks, tokens): return tokens**(blocks - 1)
def one_step_too_many(blocks, tokens): return tokens**blocks
def never_itself(blocks, tokens): return (tokens - 1)**(blocks - 1)
def added_up(blocks, tokens): return max(1, tokens*(blocks - 1))


# 2: one row of relevance -------------------------------------------------------------------------

def some_tables(n=5, blocks=3):
    torch.manual_seed(0)
    attn = [torch.rand(2, 3, n, n).double().softmax(-1) for _ in range(blocks)]
    return attn, [torch.randn(2, 3, n, n).double() for _ in range(blocks)]

def check_row(f):
    attn, grads = some_tables()
    got, want = f(attn, grads, 0), relevance(attn, grads)[:, 0]
    if not isinstance(got, torch.Tensor): return 'A tensor (bs, n) is wanted: one row per picture.'
    if got.shape != want.shape: return f'One row per picture is wanted, {tuple(want.shape)}.'
    for wrong, words in ((from_the_first, 'Go back: begin with the last block.'),
                         (both_signs, 'Only what speaks for the score counts: the positive part.'),
                         (without_itself, 'What a token was stays: add, do not replace.'),
                         (column_instead, 'This is a column: where it went, not what it has.')):
        if torch.allclose(got, wrong(attn, grads, 0)): return words
    if not torch.allclose(got, want): return 'This is not that row of relevance.'
    if not torch.allclose(f(attn, grads, 2), relevance(attn, grads)[:, 2]):
        return 'Right for token 0: it may be another one that the head reads.'

def walked(pairs, n, token, part=torch.relu, keep=1):
    row = torch.eye(n).double()[token].expand(2, 1, n)
    for a, g in pairs: row = keep*row + row @ part(a*g).mean(1)
    return row[:, 0]

def backwards(attn, grads): return list(zip(attn, grads))[::-1]
def relevance_row(attn, grads, token):
    return walked(backwards(attn, grads), len(attn[0][0, 0]), token)

def from_the_first(attn, grads, token): return walked(zip(attn, grads), len(attn[0][0, 0]), token)
def both_signs(attn, grads, token):
    return walked(backwards(attn, grads), len(attn[0][0, 0]), token, part=lambda t: t)
def without_itself(attn, grads, token):
    return walked(backwards(attn, grads), len(attn[0][0, 0]), token, keep=0)
def column_instead(attn, grads, token): return relevance(attn, grads)[:, :, token]
def only_the_first(attn, grads, token): return relevance_row(attn, grads, 0)


# 3: the widest way -------------------------------------------------------------------------------

def check_widest(f):
    attn, _ = some_tables(n=4)
    got = f(attn)
    if not isinstance(got, torch.Tensor): return 'A tensor (bs, n, n) is wanted.'
    if got.shape != (2, 4, 4): return f'A table per picture is wanted, {(2, 4, 4)}.'
    if not torch.allclose(got.diagonal(dim1=1, dim2=2), torch.ones(2, 4).double()):
        return 'To stay costs nothing: the diagonal is 1 in every step, and so it is in the end.'
    want = every_way(attn)
    if torch.allclose(got, want): return None
    for wrong, words in ((by_products, 'The smallest weight of a way counts, not the product.'),
                         (last_step, 'These are the weights of the last block alone.'),
                         (widest_back, 'The order: the last block is the last step of a way.')):
        if torch.allclose(got, wrong(attn)): return words
    return 'Not yet: of all ways the one whose smallest weight is largest, and that weight.'

def steps_of(attn):
    steps = [table.mean(1).clone() for table in attn]
    for step in steps: step.diagonal(dim1=1, dim2=2).fill_(1)
    return steps

def every_way(attn):
    "The definition: all ways, one by one."
    steps, n = steps_of(attn), attn[0].shape[-1]
    best = torch.zeros(2, n, n).double()
    for way in product(range(n), repeat=len(steps) + 1): # where a token was, from first to last
        links = [step[:, way[i + 1], way[i]] for i, step in enumerate(steps)]
        weakest = torch.stack(links).amin(0)
        best[:, way[-1], way[0]] = torch.maximum(best[:, way[-1], way[0]], weakest)
    return best

def joined(steps, join):
    best = steps[0]
    for step in steps[1:]: best = join(step[..., None], best[:, None]).amax(2)
    return best

def widest(attn): return joined(steps_of(attn), torch.minimum)
def by_products(attn): return joined(steps_of(attn), torch.mul)
def widest_back(attn): return joined(steps_of(attn)[::-1], torch.minimum)
def last_step(attn): return steps_of(attn)[-1]
def as_it_is(attn): return joined([table.mean(1) for table in attn], torch.minimum)


# 4: two questions, two maps ----------------------------------------------------------------------

def a_vit():
    torch.manual_seed(0)
    vit = ViT((16, 24), 8, dim=16, depth=2, heads=2, classes=3).eval()
    nn.init.normal_(vit.cls_token)
    nn.init.normal_(vit.head.weight)
    return vit, torch.randn(4, 3, 16, 24)

def check_difference(f):
    vit, xb = a_vit()
    got, want = f(vit, xb, 'relevance', 0, 1), difference(vit, xb, 'relevance', 0, 1)
    if not isinstance(got, torch.Tensor): return 'A tensor is wanted, one number per picture.'
    if got.shape != (4,): return 'One number per picture is wanted, (4,).'
    if torch.allclose(f(vit, xb, 'rollout', 0, 1), torch.zeros(4), atol=1e-6):
        if torch.allclose(got, want, atol=1e-5): return None
        if torch.allclose(got, 2*want, atol=1e-5):
            return 'Half of it: maps without a common place give 1.'
        if torch.allclose(got, of_raw_maps(vit, xb, 'relevance', 0, 1), atol=1e-5):
            return 'Divide each map by its own sum first: their scales differ from class to class.'
        if torch.allclose(got, with_sign(vit, xb, 'relevance', 0, 1), atol=1e-5):
            return 'Differences cancel out: take their absolute values.'
        return 'These are not the differences between the maps of the two classes.'
    return 'rollout asks for no class: its two maps are the same.'

def two_maps(model, xb, method, a, b): return heatmaps(model, xb, method, target=[a, b]).values()
def shares(model, xb, method, a, b):
    return (m/m.sum((1, 2), keepdim=True) for m in two_maps(model, xb, method, a, b))

def difference(model, xb, method, a, b):
    one, two = shares(model, xb, method, a, b)
    return (one - two).abs().sum((1, 2))/2

def not_halved(model, xb, method, a, b): return 2*difference(model, xb, method, a, b)
def of_raw_maps(model, xb, method, a, b):
    one, two = two_maps(model, xb, method, a, b)
    return (one - two).abs().sum((1, 2))/2

def with_sign(model, xb, method, a, b):
    one, two = shares(model, xb, method, a, b)
    return (one - two).sum((1, 2))/2


exercises = {
    '12.1': dict(
        stars=1, check=check_ways, solution=count_ways,
        hints=['With one block: from whom can the class token take? How many ways is that?',
               'Each further block adds one go-between. How many choices has each of them?'],
        wrong=[(one_step_too_many, 'there is one way'), (never_itself, 'go-betweens, too'),
               (added_up, 'each step has a choice')]),
    '12.2': dict(
        stars=2, check=check_row, solution=relevance_row,
        hints=['The row of one token of R + M R: which row of M meets all of R?',
               'Begin with a row that is 1 at the token and 0 elsewhere.'],
        wrong=[(from_the_first, 'begin with the last'), (both_signs, 'positive part'),
               (without_itself, 'add, do not replace'), (column_instead, 'This is a column'),
               (only_the_first, 'another one that the head reads')]),
    '12.3': dict(
        stars=2, check=check_widest, solution=widest,
        hints=['A product of matrices multiplies and adds up. What takes the place of each here?',
               'With one more axis for the go-between, torch.minimum does all of them at once.'],
        wrong=[(by_products, 'not the product'), (last_step, 'last block alone'),
               (widest_back, 'The order'), (as_it_is, 'diagonal is 1')]),
    '12.4': dict(
        stars=3, check=check_difference, solution=difference,
        hints=['heatmaps takes a list of targets, and then returns a dictionary of maps.',
               'Two maps of shares, (bs, rows, columns). Over which axes do you add up?'],
        wrong=[(not_halved, 'Half of it'), (of_raw_maps, 'its own sum'),
               (with_sign, 'cancel out')]),
}

quiz = [
    dict(ask='What does the product of the tables of two blocks hold?',
         choices=[('What each token has from each, by way of all go-betweens.', True,
                   'A sum over go-betweens of products is a product of matrices.'),
                  ('The mean of the two tables.', False, 'A mean knows of no go-between.'),
                  ('The table of a network with one block more.', False,
                   'Two blocks are multiplied, none is added.')]),
    dict(ask='Why does rollout add the identity to each table?',
         choices=[('A block adds to a token what attention brings: the token stays, too.', True,
                   'That it stays by one half is an assumption.'),
                  ('So that the rows sum to 1.', False, 'They did so before.'),
                  ('To make the product invertible.', False, 'Nobody inverts it.')]),
    dict(ask='You ask rollout "why red?" and then "why blue?". What differs?',
         choices=[('Nothing: it looks at weights, not at a score.', True,
                   'Only maps with a gradient know what was asked.'),
                  ('The place of the peak.', False, 'The tables are the same for both questions.'),
                  ('Only the scale.', False, 'Not even that.')]),
    dict(ask='A weight is large, and the value it stands on is zero. Weight times gradient?',
         choices=[('Zero.', True, 'A gradient at a weight is what its value brings to the score.'),
                  ('Large.', False, 'The weight is; its gradient is not.'),
                  ('Undefined.', False, 'A product with zero is zero.')]),
    dict(ask='A map hits the marked object in nine scenes of ten. What have you shown?',
         choices=[('That it points there; with controls, that this is no accident.', True,
                   'Whether the answer depends on it, only a change in the network can show.'),
                  ('That the network decides by this object.', False,
                   'It may: the map does not prove it.'),
                  ('That attention is explanation.', False, 'One map, one task, one network.')]),
]
