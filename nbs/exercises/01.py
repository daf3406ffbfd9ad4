"Exercises of chapter 1, attention: checkers, hints, solutions, plausible wrong answers, quiz."
import torch

from attn_course.attention import scaled_dot_product

# 1: a causal mask ---------------------------------------------------------------------------------

def check_causal(f):
    got = torch.as_tensor(f(4))
    if got.shape != (4, 4):
        return ('The mask has a row a query and a column a key, (4, 4), yours is '
                f'{tuple(got.shape)}.')
    if got.dtype != torch.bool:
        return (f'Booleans are wanted, yours are {got.dtype}: a float mask would be added to the '
                'scores.')
    want = torch.ones(4, 4).tril().bool()
    if torch.equal(got, want.T):
        return 'Turned around: row i is the query, and it may look back, not ahead.'
    if torch.equal(got, want & ~torch.eye(4).bool()):
        return 'A word may also look at itself; your first word can look at nothing.'
    if torch.equal(got, ~want): return 'The other way round: True says where a query may look.'
    if not torch.equal(got, want):
        return f'Row 1 should be True, True, False, False, yours is {got[1].tolist()}.'

def causal_mask(n): return torch.ones(n, n).tril().bool()
def ahead(n): return torch.ones(n, n).triu().bool()
def strict(n): return torch.ones(n, n).tril(-1).bool()
def as_floats(n): return torch.ones(n, n).tril()


# 2: only the best keys ----------------------------------------------------------------------------

def check_top(f):
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 5, 8), torch.randn(2, 7, 8), torch.randn(2, 7, 3)
    want = top_k_attention(q, k, v, 3)
    got = f(q, k, v, 3)
    if not isinstance(got, tuple) or len(got) != 2:
        return 'Return two things, the output and the weights.'
    out, attn = got
    if attn.shape != want[1].shape:
        return ('Weights have the shape (..., queries, keys), here (2, 5, 7), yours '
                f'{tuple(attn.shape)}.')
    if (attn > 0).sum(-1).ne(3).any():
        return ('Not every query looks at exactly 3 keys: choose the best along the axis of the '
                'keys, the last one.')
    if not torch.allclose(attn.sum(-1), torch.ones(2, 5), atol=1e-5):
        return 'The weights that are left do not sum to 1: mask the scores before the softmax.'
    if not torch.allclose(attn, want[1], atol=1e-5):
        return ('The right keys with the wrong weights: is each score divided by the square root '
                'of d?')
    if not torch.allclose(out, want[0], atol=1e-5):
        return 'The weights are right; the output is weights times values.'

def top_k_attention(q, k, v, n):
    scores = q @ k.transpose(-2, -1)
    nothing, top = torch.zeros_like(scores, dtype=torch.bool), scores.topk(n, dim=-1).indices
    best = nothing.scatter(-1, top, True)
    return scaled_dot_product(q, k, v, best)
def not_normalised(q, k, v, n):
    attn = scaled_dot_product(q, k, v)[1]
    attn = attn*(attn >= attn.topk(n, dim=-1).values[..., -1:])
    return attn @ v, attn
def along_queries(q, k, v, n):
    scores = q @ k.transpose(-2, -1)
    nothing, top = torch.zeros_like(scores, dtype=torch.bool), scores.topk(n, dim=-2).indices
    best = nothing.scatter(-2, top, True)
    return scaled_dot_product(q, k, v, best)
def unscaled(q, k, v, n):
    scores = q @ k.transpose(-2, -1)
    least = scores.topk(n, dim=-1).values[..., -1:]
    attn = scores.masked_fill(scores < least, -torch.inf).softmax(-1)
    return attn @ v, attn


# 3: who contributes -------------------------------------------------------------------------------

def check_contribution(f):
    torch.manual_seed(0)
    attn, v = torch.randn(4, 6).softmax(-1), torch.randn(6, 3)
    want, got = contribution(attn, v), torch.as_tensor(f(attn, v))
    if got.shape != want.shape:
        return f'A share for each query and key, (4, 6), yours is {tuple(got.shape)}.'
    if torch.allclose(got, attn, atol=1e-5):
        return 'These are the weights alone: multiply each by the length of its value.'
    if not torch.allclose(got.sum(-1), torch.ones(4), atol=1e-5):
        return 'The shares of a query should sum to 1 over its keys.'
    signed = attn*v.sum(-1)/(attn*v.sum(-1)).sum(-1, keepdim=True)
    if torch.allclose(got, signed, atol=1e-4):
        return 'You add the numbers of a value; positive and negative ones cancel. Take its length.'
    if not torch.allclose(got, want, atol=1e-5):
        return f'The first share is {want[0, 0]:.4f} here, yours is {got[0, 0]:.4f}.'

def contribution(attn, v):
    length = attn*v.norm(dim=-1)
    return length/length.sum(-1, keepdim=True)
def weights_alone(attn, v): return attn
def unshared(attn, v): return attn*v.norm(dim=-1)
def signed_sum(attn, v): return attn*v.sum(-1)/(attn*v.sum(-1)).sum(-1, keepdim=True)


exercises = {
    '01.1': dict(
        stars=1, check=check_causal, solution=causal_mask,
        hints=['Row i has True in the columns 0 to i.',
               'torch.tril keeps the lower left triangle of a matrix, the diagonal included.'],
        wrong=[(ahead, 'look back, not ahead'), (strict, 'look at itself'),
               (as_floats, 'Booleans are wanted')]),
    '01.2': dict(
        stars=2, check=check_top, solution=top_k_attention,
        hints=['Find the best keys of each query with scores.topk(n, dim=-1).',
               'A mask of them: torch.zeros_like(scores, dtype=torch.bool).scatter(-1, indices, '
               'True); give it to scaled_dot_product.'],
        wrong=[(not_normalised, 'before the softmax'), (along_queries, 'the axis of the keys'),
               (unscaled, 'square root of d')]),
    '01.3': dict(
        stars=3, check=check_contribution, solution=contribution,
        hints=['The length of a vector is v.norm(dim=-1).',
               'attn * lengths is the length of each weighted value; divide each row by its sum.'],
        wrong=[(weights_alone, 'the weights alone'), (unshared, 'sum to 1'),
               (signed_sum, 'cancel')]),
}

quiz = [
    dict(ask='Why can a network not learn with the nearest key?',
         choices=[('Its answer is constant between keys, so the gradient is zero.', True,
                   'A step is flat almost everywhere; nothing says in which direction to move the '
                   'query.'),
                  ('Finding the nearest key is too slow.', False,
                   'It costs as much as attention does.'),
                  ('It needs too many keys.', False,
                   'The number of keys is not the problem; the steps between them are.')]),
    dict(ask='What does dividing by √d prevent?',
         choices=[('That wide layers start with nearly all the weight on one key.', True,
                   'Dot products grow with the width, and a softmax of large numbers is all or '
                   'nothing.'),
                  ('That the weights sum to more than 1.', False, 'A softmax always sums to 1.'),
                  ('An overflow of the exponential.', False,
                   'The softmax subtracts the largest score first; it does not overflow.')]),
    dict(ask='A query may look at no key at all. What does scaled_dot_product return for it?',
         choices=[('Zeros.', True,
                   "The softmax of nothing is 0/0; we define it as zero, as PyTorch's fused "
                   "attention does."),
                  ('NaN.', False,
                   'That is what a plain softmax would give, and it would spread through the whole '
                   'network.'),
                  ('The mean of all values.', False,
                   'That would be looking at everything, which the mask forbids.')]),
    dict(ask='The temperature goes to zero. What becomes of the lookup?',
         choices=[('The nearest key takes all the weight.', True,
                   'Differences between scores grow without limit.'),
                  ('Every key gets the same weight.', False,
                   'That is what happens when it is very hot.'),
                  ('The output becomes zero.', False, 'The weights still sum to 1.')]),
    dict(ask='Key A has the weight .6, key B .1. Which of them matters more for the output?',
         choices=[('One cannot say: it depends on their values too.', True,
                   'The output is the sum of weight times value.'),
                  ('A, six times as much.', False, 'Only if both values have the same length.'),
                  ('B, because rare keys matter most.', False, 'Nothing in attention says so.')]),
]
