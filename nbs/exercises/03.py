"""Exercises of chapter 3, channel attention: checkers, hints, solutions, plausible wrong answers,
quiz."""
import torch

# 1: squeeze ---------------------------------------------------------------------------------------

def check_squeeze(f):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    got, want = torch.as_tensor(f(x)), squeeze(x)
    if got.shape == (2, 6):
        return ('Means and maxima stand one behind the other; stack them on an axis of their own: '
                '(bs, 2, c).')
    if got.shape != want.shape:
        return (f'The shape is (bs, 2, c), here (2, 2, 3), yours is {tuple(got.shape)}: over the '
                'places, not over the channels.')
    if torch.equal(got, want.flip(1)): return 'First the means, then the maxima.'
    if not torch.allclose(got, want): return 'Mean and maximum of each channel over all its places.'

def squeeze(x): return torch.stack([x.mean((2, 3)), x.amax((2, 3))], 1)
def over_channels(x): return torch.stack([x.mean(1), x.amax(1)], 1)
def joined(x): return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
def turned(x): return squeeze(x).flip(1)


# 2: effective SE ----------------------------------------------------------------------------------

def check_effective(f):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, 4, 5), 40*torch.randn(3, 3), 8*torch.randn(3)
    got, want = torch.as_tensor(f(x, weight, bias)), effective_se(x, weight, bias)
    if got.shape != want.shape:
        return ('It returns the gated features, the shape of x, (2, 3, 4, 5), yours is '
                f'{tuple(got.shape)}.')
    z = x.mean((2, 3)) @ weight.T + bias
    if torch.allclose(got, x*z.sigmoid()[..., None, None], atol=1e-5):
        return 'That is the usual sigmoid; the hard one is clip(z/6 + 1/2, 0, 1).'
    if torch.allclose(got, x*(z/6 + .5)[..., None, None], atol=1e-5):
        return 'The clip is missing: a gate stays in 0..1.'
    turned = x.mean((2, 3)) @ weight + bias
    if torch.allclose(got, x*(turned/6 + .5).clamp(0, 1)[..., None, None], atol=1e-5):
        return ('The weight is turned: row i of it makes channel i of the gate, so multiply by its '
                'transpose.')
    if not torch.allclose(got, want, atol=1e-5):
        return f'The first number is {want[0, 0, 0, 0]:.4f} here, yours is {got[0, 0, 0, 0]:.4f}.'

def effective_se(x, weight, bias):
    z = x.mean((2, 3)) @ weight.T + bias
    return x*(z/6 + .5).clamp(0, 1)[..., None, None]
def soft(x, weight, bias): return x*(x.mean((2, 3)) @ weight.T + bias).sigmoid()[..., None, None]
def open_end(x, weight, bias): return x*((x.mean((2, 3)) @ weight.T + bias)/6 + .5)[..., None, None]
def transposed(x, weight, bias): return effective_se(x, weight.T, bias)


# 3: which channels react --------------------------------------------------------------------------

def check_reaction(f):
    torch.manual_seed(0)
    groups = torch.tensor([0, 0, 0, 1, 1, 2])
    gates = torch.rand(6, 3)
    gates[:, 0] = groups/2. # decided by the group alone
    gates[:, 1] = torch.tensor([.1, .5, .9, .2, .8, .5]) # the same mean in every group
    got, want = torch.as_tensor(f(gates, groups)), reaction(gates, groups)
    if got.shape != (3,):
        return f'One number a channel, (c,), here (3,), yours is {tuple(got.shape)}.'
    if torch.allclose(got, 1 - want, atol=1e-4):
        return 'That is the share within the groups: one minus it.'
    if got.isfinite().all() and abs(got[0] - 1) > 1e-4 and torch.allclose(got*6/5, want, atol=1e-4):
        return 'The whole variance is divided by n - 1; divide by n (correction=0).'
    if abs(got[0] - 1) > 1e-4:
        return ('Channel 0 is decided by the group alone, so its share is 1, yours is '
                f'{got[0]:.3f}: weight each group mean by the size of its group.')
    if not torch.allclose(got, want, atol=1e-4):
        return (f'The shares are {[round(v, 3) for v in want.tolist()]} here, yours are '
                f'{[round(v, 3) for v in got.tolist()]}.')

def reaction(gates, groups):
    mean = gates.mean(0)
    between = 0
    for g in groups.unique():
        share = (groups == g).float().mean()
        between = between + share*(gates[groups == g].mean(0) - mean)**2
    return between/gates.var(0, correction=0)
def within(gates, groups): return 1 - reaction(gates, groups)
def unweighted(gates, groups):
    means = torch.stack([gates[groups == g].mean(0) for g in groups.unique()])
    return means.var(0, correction=0)/gates.var(0, correction=0)
def corrected(gates, groups): return reaction(gates, groups)*gates.var(0, correction=0)/gates.var(0)


exercises = {
    '03.1': dict(
        stars=1, check=check_squeeze, solution=squeeze,
        hints=['The places are the axes 2 and 3.',
               'torch.stack([a, b], 1) puts two (bs, c) on an axis of their own.'],
        wrong=[(over_channels, 'not over the channels'), (joined, 'an axis of their own'),
               (turned, 'First the means')]),
    '03.2': dict(
        stars=2, check=check_effective, solution=effective_se,
        hints=['A 1x1 convolution of the means is a linear layer: means @ weight.T + bias.',
               'The gate (bs, c) needs two more axes to multiply (bs, c, h, w): gate[..., None, '
               'None].'],
        wrong=[(soft, 'the usual sigmoid'), (open_end, 'clip is missing'),
               (transposed, 'transpose')]),
    '03.3': dict(
        stars=3, check=check_reaction, solution=reaction,
        hints=['The mean of each group: gates[groups == g].mean(0).',
               'Weight the squared distance of each group mean to the whole mean by the share of '
               'pictures in the group.'],
        wrong=[(within, 'within the groups'), (unweighted, 'weight each group mean'),
               (corrected, 'n - 1')]),
}

quiz = [
    dict(ask='What does "squeeze" throw away?',
         choices=[('Where in the picture a feature was.', True,
                   'Each channel becomes one number, its mean over all places.'),
                  ('Which channel a feature was in.', False, 'That is all it keeps.'),
                  ('Small values.', False, 'They count in the mean like all others.')]),
    dict(ask='Why is it hard for plain convolutions to choose the channel by the frame?',
         choices=[('Its weights are the same for every picture.', True,
                   'Choosing means multiplying one feature by another, which a gate does.'),
                  ('It sees only 3x3 places.', False, 'Several of them see the whole picture.'),
                  ('It has too few weights.', False,
                   'SE adds a few per cent of weights, and helps.')]),
    dict(ask='ECA has three weights where SE has hundreds. What does it give up?',
         choices=[('A channel can be compared with its neighbours only.', True,
                   'And channels have no order but the one training gives them.'),
                  ('Its gate is no longer between 0 and 1.', False, 'It has the same sigmoid.'),
                  ('It works for one number of channels only.', False,
                   'It works for any; only the kernel size depends on it.')]),
    dict(ask='A gate is .05 for one channel in one picture. What do you know?',
         choices=[('Nothing yet: the next layer may multiply by twenty.', True,
                   'Compare it over many pictures.'),
                  ('The channel is unimportant.', False,
                   'Shrink all gates and enlarge the next weights: the scores stay.'),
                  ('The channel is empty in this picture.', False,
                   'The gate multiplies the features, it does not measure them.')]),
    dict(ask='What does CBAM add to SE?',
         choices=[('The maximum of each channel, and a spatial gate.', True,
                   'First what, then where.'),
                  ('A residual connection.', False, 'That belongs to the block around it.'),
                  ('A softmax over the channels.', False,
                   'Its gates are sigmoids, each by itself.')]),
]
