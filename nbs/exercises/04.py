"Exercises of chapter 4, self-attention: checkers, hints, solutions, plausible wrong answers, quiz."
import torch

# 1: how many weights ------------------------------------------------------------------------------

def check_numbers(f):
    got = f(8, 6), f(8, 6, 2)
    if got[0] == 48:
        return 'That is the number of places; each of them has a weight for each place.'
    if got == (2304, 576): pass
    elif got[0] == 2304 and got[1] == 144: return 'Only the keys are pooled, not the queries.'
    elif got[0] == 2304 and got[1] == 1152:
        return 'Keys are pooled in both directions: a quarter of them is left for pool=2.'
    else:
        return (f'For 8 by 6 places there are 2304 weights, 576 with pool=2; you return {got[0]} '
                f'and {got[1]}.')

def attention_numbers(h, w, pool=1): return h*w*(h//pool)*(w//pool)
def places(h, w, pool=1): return h*w
def both_pooled(h, w, pool=1): return ((h//pool)*(w//pool))**2
def one_way(h, w, pool=1): return h*w*h*w//pool


# 2: non-local -------------------------------------------------------------------------------------

def check_non_local(f):
    torch.manual_seed(0)
    x, wq, wk, wv = torch.randn(2, 4, 3, 5), torch.randn(2, 4), torch.randn(2, 4), torch.randn(4, 4)
    want, got = non_local(x, wq, wk, wv), f(x, wq, wk, wv)
    if got.shape != want.shape:
        return f'The answers have the shape of x, (2, 4, 3, 5), yours is {tuple(got.shape)}.'
    if torch.allclose(got, want, atol=1e-5): return
    if torch.allclose(got, over_queries(x, wq, wk, wv), atol=1e-5):
        return ('The softmax runs over the queries: the axis that sums to 1 is the axis of the '
                'keys, the last one.')
    if torch.allclose(got, want + x, atol=1e-5):
        return 'Without adding x: the answers alone are asked for.'
    if torch.allclose(got, scaled(x, wq, wk, wv), atol=1e-5):
        return 'The scores are not scaled here: no square root of d.'
    if torch.allclose(got.flatten(2).sort(-1).values, want.flatten(2).sort(-1).values, atol=1e-4):
        return ('The right numbers at the wrong places: transpose back to (bs, c, hw) before you '
                'make a grid.')
    return f'The first number is {want[0, 0, 0, 0]:.4f} here, yours is {got[0, 0, 0, 0]:.4f}.'

def _parts(x, wq, wk, wv):
    t = x.flatten(2).transpose(1, 2)
    return t @ wq.T, t @ wk.T, t @ wv.T
def non_local(x, wq, wk, wv):
    q, k, v = _parts(x, wq, wk, wv)
    return ((q @ k.transpose(1, 2)).softmax(-1) @ v).transpose(1, 2).unflatten(2, x.shape[2:])
def over_queries(x, wq, wk, wv):
    q, k, v = _parts(x, wq, wk, wv)
    attn = (q @ k.transpose(1, 2)).softmax(1).transpose(1, 2)
    return (attn @ v).transpose(1, 2).unflatten(2, x.shape[2:])
def scaled(x, wq, wk, wv):
    q, k, v = _parts(x, wq, wk, wv)
    return ((q @ k.transpose(1, 2)/2**.5).softmax(-1) @ v).transpose(1, 2).unflatten(2, x.shape[2:])
def residual(x, wq, wk, wv): return x + non_local(x, wq, wk, wv)


# 3: how far places look ---------------------------------------------------------------------------

def check_distance(f):
    torch.manual_seed(0)
    attn = (3*torch.randn(6, 6)).softmax(-1)
    got, want = float(f(attn, 2, 3)), mean_distance(attn, 2, 3)
    if abs(got - 6*want) < 1e-4: return 'You add up over the queries; take their mean.'
    if abs(got - mean_distance(attn, 3, 2)) < 1e-5:
        return 'Rows and columns are swapped: places are counted row by row, w in a row.'
    if abs(got - mean_distance(attn.softmax(-1), 2, 3)) < 1e-5:
        return 'The weights are a softmax already.'
    if abs(got - unweighted(attn, 2, 3)) < 1e-5:
        return ('That is the mean over all pairs, whatever the weights say: multiply by attn and '
                'sum over the keys.')
    if abs(got - want) > 1e-4:
        return f'The mean distance is {want:.4f} cells here, you return {got:.4f}.'

def _distances(h, w):
    at = torch.cartesian_prod(torch.arange(h), torch.arange(w)).float()
    return torch.cdist(at, at)
def mean_distance(attn, h, w): return (attn*_distances(h, w)).sum(-1).mean().item()
def unweighted(attn, h, w): return _distances(h, w).mean().item()
def added(attn, h, w): return (attn*_distances(h, w)).sum().item()
def swapped(attn, h, w): return mean_distance(attn, w, h)


exercises = {
    '04.1': dict(
        stars=1, check=check_numbers, solution=attention_numbers,
        hints=['One weight for each pair of a query and a key.',
               'There are h*w queries; pooling leaves (h//pool)*(w//pool) keys.'],
        wrong=[(places, 'number of places'), (both_pooled, 'Only the keys'),
               (one_way, 'both directions')]),
    '04.2': dict(
        stars=2, check=check_non_local, solution=non_local,
        hints=['Make a row of each place: x.flatten(2).transpose(1, 2) is (bs, hw, c).',
               'scaled_dot_product(q, k, v, scale=1.) does the rest; transpose(1, 2) and '
               'unflatten(2, (h, w)) make a grid again.'],
        wrong=[(over_queries, 'axis of the keys'), (scaled, 'not scaled'),
               (residual, 'Without adding x')]),
    '04.3': dict(
        stars=3, check=check_distance, solution=mean_distance,
        hints=['torch.cartesian_prod gives row and column of each place, torch.cdist all distances '
               '(queries, keys).',
               'Multiply by attn, sum over the keys, then take the mean over the queries.'],
        wrong=[(unweighted, 'whatever the weights say'), (added, 'take their mean'),
               (swapped, 'swapped')]),
}

quiz = [
    dict(ask='Why does training pull a mean over places and a linear layer towards a guess?',
         choices=[('Its score is a sum, so same and different score alike on average.', True,
                   'Then the loss is smallest when every picture gets the same score.'),
                  ('The digits are too small.', False, 'The body reads them well.'),
                  ('A mean loses the largest values.', False,
                   'It does, but that is not why: any sum has equal averages.')]),
    dict(ask="In fastai's SelfAttention, what does the convolution called query make?",
         choices=[('The keys.', True,
                   'Its softmax runs over that axis, and the axis that sums to 1 is the axis of '
                   'the keys.'),
                  ('The queries.', False,
                   'Copying it to the queries gives another output, as you have seen.'),
                  ('The values.', False, 'Those come from value.')]),
    dict(ask='gamma is zero. What does the first step of training change?',
         choices=[('gamma alone.', True,
                   'The answer is multiplied by zero, so only gamma gets a gradient; then the rest '
                   'wakes up.'),
                  ('Nothing, for ever.', False,
                   'gamma has a gradient: how would the score change if I listened a little?'),
                  ('All weights alike.', False, 'Those behind the zero get none at first.')]),
    dict(ask='What does the fused path not have?',
         choices=[('The matrix of all weights.', True,
                   'It computes the output block by block; there is no map to look at.'),
                  ('A gradient.', False, 'It has the same gradients as the explicit path.'),
                  ('The softmax.', False, 'It computes the very same softmax, in pieces.')]),
    dict(ask='In the study the maximum beat self-attention. What does that teach?',
         choices=[('To compare with the simplest thing that could work.', True,
                   'The body was trained through a maximum; with another body it might differ.'),
                  ('Self-attention is useless.', False,
                   'It beat the mean and the hidden layer by far, and it says where it looked.'),
                  ('The study was wrong.', False, 'Three seeds agree.')]),
]
