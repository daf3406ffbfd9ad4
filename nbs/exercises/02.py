"""Exercises of chapter 2, spatial attention: checkers, hints, solutions, plausible wrong answers,
quiz."""
import torch

from attn_course.attention import MaskedSoftmax

# 1: from weights to a map -------------------------------------------------------------------------

def check_map(f):
    attn = torch.arange(12.).view(2, 1, 1, 6)
    got = torch.as_tensor(f(attn, 2, 3))
    if got.shape == (2, 3, 2): return 'Height comes first: (bs, h, w), here (2, 2, 3).'
    if got.shape != (2, 2, 3):
        return f'Maps have the shape (bs, h, w), here (2, 2, 3), yours is {tuple(got.shape)}.'
    if torch.equal(got, attn.view(2, 3, 2).transpose(1, 2)):
        return 'Rows and columns are swapped: places are counted row by row.'
    if not torch.equal(got, attn.view(2, 2, 3)):
        return 'The numbers are at other places: the last axis holds the places row by row.'

def as_map(attn, h, w): return attn[:, 0, 0].unflatten(-1, (h, w))
def swapped(attn, h, w): return attn[:, 0, 0].unflatten(-1, (w, h)).transpose(1, 2)
def with_axes(attn, h, w): return attn.unflatten(-1, (h, w))
def turned(attn, h, w): return attn[:, 0, 0].unflatten(-1, (w, h))


# 2: masked pooling --------------------------------------------------------------------------------

def check_pool(f):
    torch.manual_seed(0)
    x, score, mask = torch.randn(3, 4, 2, 3), torch.randn(3, 1, 2, 3), torch.rand(3, 2, 3) > .4
    mask[0] = True
    mask[2] = False
    got, want = torch.as_tensor(f(x, score, mask)), masked_pool(x, score, mask)
    if got.shape != (3, 4):
        return f'One number a channel, (bs, c), here (3, 4), yours is {tuple(got.shape)}.'
    if got[2].isnan().any():
        return 'The third picture has no place to look at: its softmax is 0/0. Use MaskedSoftmax.'
    if not torch.allclose(got[0], want[0], atol=1e-5):
        return ('Even without a masked place it differs: softmax over all places of a picture, '
                'then the weighted sum.')
    if not torch.allclose(got[1], want[1], atol=1e-5):
        return ('The weights of the open places must sum to 1: mask the scores before the softmax, '
                'with -inf, not with 0.')
    if got[2].abs().sum(): return 'The third picture has no place to look at and should give zeros.'

def masked_pool(x, score, mask):
    attn = MaskedSoftmax()(score.flatten(2), mask.flatten(1)[:, None])
    return (attn @ x.flatten(2).transpose(1, 2))[:, 0]
def after(x, score, mask):
    attn = score.flatten(2).softmax(-1)*mask.flatten(1)[:, None]
    return (attn @ x.flatten(2).transpose(1, 2))[:, 0]
def zero_scores(x, score, mask):
    attn = (score.flatten(2)*mask.flatten(1)[:, None]).softmax(-1)
    return (attn @ x.flatten(2).transpose(1, 2))[:, 0]
def plain(x, score, mask):
    attn = score.flatten(2).masked_fill(~mask.flatten(1)[:, None], -torch.inf).softmax(-1)
    return (attn @ x.flatten(2).transpose(1, 2))[:, 0]


# 3: how much is closed ----------------------------------------------------------------------------

def check_closed(f):
    gate = torch.tensor([[[.8, .45], [.3, .1]], [[.2, .19], [.18, .04]]])
    got = float(f(gate, .5))
    if abs(got - .875) < 1e-6:
        return ('You compare with the threshold itself; first divide by the largest gate of the '
                'same picture.')
    if abs(got - .75) < 1e-6:
        return 'You divide by the largest gate of the whole batch; each picture has its own.'
    if abs(got - .625) < 1e-6: return 'That is the share of open places.'
    if abs(got - 3) < 1e-6: return 'You count the places: divide by their number.'
    if abs(got - .375) > 1e-6:
        return f'Three of the eight places are closed here, .375, you return {got:.3f}.'

def closed_share(gate, threshold):
    return (gate/gate.amax((-2, -1), keepdim=True) < threshold).float().mean().item()
def absolute(gate, threshold): return (gate < threshold).float().mean().item()
def whole_batch(gate, threshold): return (gate/gate.max() < threshold).float().mean().item()
def counted(gate, threshold):
    return (gate/gate.amax((-2, -1), keepdim=True) < threshold).sum().item()


exercises = {
    '02.1': dict(
        stars=1, check=check_map, solution=as_map,
        hints=['There is one head and one query: take the first of each.',
               'unflatten(-1, (h, w)) makes a grid of the last axis, row by row.'],
        wrong=[(swapped, 'Rows and columns are swapped'), (with_axes, '(bs, h, w)'),
               (turned, 'Height comes first')]),
    '02.2': dict(
        stars=2, check=check_pool, solution=masked_pool,
        hints=['Flatten the places: score.flatten(2) is (bs, 1, hw), mask.flatten(1)[:, None] fits '
               'to it.',
               'MaskedSoftmax from chapter 1 takes the mask and defines what an empty row gives.'],
        wrong=[(after, 'before the softmax'), (zero_scores, 'not with 0'), (plain, '0/0')]),
    '02.3': dict(
        stars=3, check=check_closed, solution=closed_share,
        hints=['gate.amax((-2, -1), keepdim=True) is the largest gate of each picture.',
               'The mean of a comparison, as float, is a share.'],
        wrong=[(absolute, 'largest gate of the same picture'),
               (whole_batch, 'each picture has its own'), (counted, 'divide by their number')]),
}

quiz = [
    dict(ask='What does average pooling do, seen as attention?',
         choices=[('It gives every place the same weight.', True,
                   'Each place gets 1/HW, whatever it holds.'),
                  ('It gives the strongest place all the weight.', False,
                   'That is maximum pooling.'),
                  ('It has nothing to do with attention.', False,
                   'It is a weighted mean whose weights are all alike.')]),
    dict(ask='How does a gate differ from attention weights?',
         choices=[('Each of its numbers stands alone; weights must sum to 1.', True,
                   'A sigmoid may open all places or none.'),
                  ('A gate is not learned.', False, 'Its convolution is trained like any other.'),
                  ('A gate works on channels only.', False,
                   'CBAM has one for channels and one for places.')]),
    dict(ask='The map of a layer lies perfectly on the marked digit. Does '
             'the layer raise accuracy?',
         choices=[('One cannot tell from the map.', True,
                   'In this chapter it did not: the plain mean was as good.'),
                  ('Yes, otherwise it would not look there.', False,
                   'It learned to look there, but the network could do without.'),
                  ('No, maps never have to do with accuracy.', False,
                   'Sometimes they do: chapters 3 and 4 show it.')]),
    dict(ask="CBAM's spatial gate has the same number of weights for 64 and for 512 channels. Why?",
         choices=[('It sees only the mean and the maximum over the channels.', True,
                   'Two maps go into one 7x7 convolution, 98 weights.'),
                  ('It shares its weights with the convolution before it.', False,
                   'It has a convolution of its own.'),
                  ('It is computed once for all layers.', False, 'Each layer has its own gate.')]),
    dict(ask='Why does an untrained network stand beside the counts?',
         choices=[('To see what a map is worth that knows nothing.', True,
                   'An untrained map has about a quarter of its mass in each quadrant.'),
                  ('To save training time.', False, 'It costs time, a little.'),
                  ('Because its accuracy might be higher.', False, 'It guesses.')]),
]
