"Exercises of chapter 10, multi-head: checkers, hints, solutions, plausible wrong answers, quiz."
import torch
import torchvision

from attn_course.capture import capture
from attn_course.multihead import RelativeBias

# 1: a head that looks left -----------------------------------------------------------------------

def check_left(f):
    bias = f(3, 4)
    if bias is None: return 'Not written yet: put your answer in the place of the three dots.'
    if type(bias).__name__ != 'RelativeBias': # the chapter's own or the package's
        return 'Return a RelativeBias, with its table changed.'
    if tuple(bias.table.shape) != (1, 5, 7): return 'For 3 by 4 places the table is (1, 5, 7).'
    for h, w in ((3, 4), (2, 5)):
        weights = f(h, w)()[0].detach().softmax(-1).view(h, w, h, w)
        for row in reversed(range(h)): # from the border some looks find nothing
            for column in range(1, w):
                got = weights[row, column]
                if got[row, column - 1] < .99: return where_it_looks(got, row, column)

def where_it_looks(weights, row, column):
    best = divmod(int(weights.argmax()), weights.shape[1])
    if weights.max() < .5: return 'The weights are spread: which number makes one score win?'
    if best == (row, column): return 'Every place looks at itself: that is the middle of the table.'
    if best == (row, column + 1): return 'It looks right: the table goes from left to right.'
    if best[1] == column: return 'It looks up or down: rows are the first axis of the grid.'
    return f'From row {row}, column {column} it looks at row {best[0]}, column {best[1]}.'

def with_number(h, w, down, right, number=100.):
    bias = RelativeBias(h, w, heads=1)
    bias.table.data[0, h - 1 + down, w - 1 + right] = number
    return bias

def look_left(h, w): return with_number(h, w, 0, -1)
def look_right(h, w): return with_number(h, w, 0, 1)
def look_up(h, w): return with_number(h, w, -1, 0)
def look_at_itself(h, w): return with_number(h, w, 0, 0)
def look_a_little(h, w): return with_number(h, w, 0, -1, 1.)


# 2: multi-head attention -------------------------------------------------------------------------

def given(heads=2):
    "Tokens and the weights of PyTorch's layer, in double precision."
    torch.manual_seed(0)
    layer = torch.nn.MultiheadAttention(8, heads, bias=False, batch_first=True).double()
    parts = [w.detach() for w in layer.in_proj_weight.chunk(3)]
    return torch.randn(2, 5, 8).double(), *parts, layer.out_proj.weight.detach(), layer

def check_multi_head(f):
    *parts, layer = given()
    x = parts[0]
    got = f(*parts, 2)
    if not (isinstance(got, tuple) and len(got) == 2): return 'Return two: answer and tables.'
    want, tables = layer(x, x, x, average_attn_weights=False)
    if got[1].shape != tables.shape: return f'The tables are {tuple(tables.shape)}, one per head.'
    if not torch.allclose(got[1], tables): return what_is_wrong(got[1], parts)
    if got[0].shape != want.shape: return f'The answer is {tuple(want.shape)}, as the tokens are.'
    if not torch.allclose(got[0], want):
        return 'The tables are right, the answer is not: bring the tokens back to the second axis.'

def what_is_wrong(tables, parts):
    if not torch.allclose(tables.sum(-1), torch.ones_like(tables.sum(-1))):
        return 'The weights of one query add up to 1: softmax over the keys, the last axis.'
    if torch.allclose(tables, viewed(*parts, 2)[1]):
        return 'The tokens are torn apart: cut the last axis, then transpose.'
    if torch.allclose(tables, turned_matrices(*parts, 2)[1]):
        return 'nn.Linear holds its matrix as (out, in): multiply by its transpose.'
    return 'The tables differ: is the scale that of one head, 1/sqrt(dim/heads)?'

def cut_right(t, heads): return t.unflatten(-1, (heads, -1)).transpose(1, 2)
def cut_by_view(t, heads): return t.reshape(t.shape[0], heads, t.shape[1], -1)
def join_right(t): return t.transpose(1, 2).flatten(2)
def join_by_view(t): return t.reshape(t.shape[0], t.shape[2], -1)

def attention(parts, cut=cut_right, join=join_right, wide=False, dim=-1):
    "Multi-head attention, right by default; each option makes a mistake of it."
    x, wq, wk, wv, wo, heads = parts
    q, k, v = (cut(x @ w.T, heads) for w in (wq, wk, wv))
    width = (x if wide else q).shape[-1]
    tables = (q @ k.transpose(-1, -2)/width**.5).softmax(dim)
    return join(tables @ v) @ wo.T, tables

def multi_head(*parts): return attention(parts)
def viewed(*parts): return attention(parts, cut=cut_by_view, join=join_by_view)
def over_queries(*parts): return attention(parts, dim=-2)
def full_scale(*parts): return attention(parts, wide=True)
def turned_matrices(x, *ws): return attention([x, *(w.T for w in ws[:4]), ws[4]])
def not_brought_back(*parts): return attention(parts, join=join_by_view)


# 3: reach ----------------------------------------------------------------------------------------

def distances(h, w):
    row, col = torch.meshgrid(torch.arange(h), torch.arange(w), indexing='ij')
    at = torch.stack([row.flatten(), col.flatten()], 1).double()
    return torch.cdist(at, at)

def check_reach(f):
    torch.manual_seed(0)
    attn = torch.randn(3, 12, 12).double().softmax(-1)
    got, want = f(attn, 3, 4), reach(attn, 3, 4)
    if not isinstance(got, torch.Tensor) or got.shape != (3,):
        return 'One number per head is wanted, a tensor of shape (3,).'
    if torch.allclose(got, want): return None
    if torch.allclose(got, not_weighted(attn, 3, 4)):
        return 'Each distance counts as much as the weight that falls on it.'
    if torch.allclose(got, summed(attn, 3, 4)): return 'Take the mean over queries, not the sum.'
    if torch.allclose(got, turned_grid(attn, 3, 4)): return 'h rows and w columns, row by row.'
    if torch.allclose(got, by_blocks(attn, 3, 4)):
        return 'Straight lines: one down and one right is 1.41 away, not 2.'
    return 'These are not the mean distances from query to key.'

def reach(attn, h, w): return (attn*distances(h, w).to(attn)).sum(-1).mean(-1)
def not_weighted(attn, h, w): return distances(h, w).to(attn).mean().expand(len(attn))
def summed(attn, h, w): return (attn*distances(h, w).to(attn)).sum((-1, -2))
def by_blocks(attn, h, w):
    at = torch.stack([torch.arange(h*w)//w, torch.arange(h*w) % w], 1).double()
    return (attn*torch.cdist(at, at, p=1).to(attn)).sum(-1).mean(-1)
def turned_grid(attn, h, w): return reach(attn, w, h)


# 4: the heads of any model -----------------------------------------------------------------------

def small_vit():
    "torchvision's, with a head that is not zero, in double precision."
    torch.manual_seed(1)
    vit = torchvision.models.VisionTransformer(32, 8, 2, 4, 16, 32, num_classes=5).eval().double()
    torch.nn.init.normal_(vit.heads.head.weight)
    return vit, torch.randn(3, 3, 32, 32).double()

def check_importance(f):
    vit, xb = small_vit()
    got, want = f(vit, xb, 2), head_importance(vit, xb, 2)
    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return f'One number per layer and head is wanted, {tuple(want.shape)} for this model.'
    if torch.allclose(got, want): return None
    if torch.allclose(got, without_absolute(vit, xb, 2)):
        return 'Plus and minus cancel: take the absolute value per picture before the mean.'
    if torch.allclose(got, only_gradient(vit, xb, 2)):
        return 'A gradient alone says little of a weight that is 0: multiply it with the weight.'
    return 'These are not the means over the pictures of |sum of weight times gradient|.'

def pieces(model, xb, target):
    "Weight times gradient, summed over queries and keys: a list of (pictures, heads)."
    with capture(model, attn_grads=True) as rec: rec.backward(model(xb)[:, target])
    return [(rec.attn[n]*rec.attn_grads[n]).sum((-1, -2)) for n in rec.attn]

def head_importance(model, xb, target):
    return torch.stack([part.abs().mean(0) for part in pieces(model, xb, target)])

def without_absolute(model, xb, target):
    return torch.stack([part.mean(0) for part in pieces(model, xb, target)])

def only_gradient(model, xb, target):
    with capture(model, attn_grads=True) as rec: rec.backward(model(xb)[:, target])
    return torch.stack([g.sum((-1, -2)).abs().mean(0) for g in rec.attn_grads.values()])


exercises = {
    '10.1': dict(
        stars=1, check=check_left, solution=look_left,
        hints=['Which offset has the neighbour on the left: how many rows down, how many right?',
               'Softmax turns a difference of 5 into 148 to 1. How large must one number be?'],
        wrong=[(look_right, 'looks right'), (look_up, 'up or down'),
               (look_at_itself, 'at itself'), (look_a_little, 'are spread')]),
    '10.2': dict(
        stars=2, check=check_multi_head, solution=multi_head,
        hints=['Write the shapes behind each line. Which axis must be the last but one before @?',
               'At the end you need (bs, tokens, dim) again. In which order do the steps back go?'],
        wrong=[(viewed, 'torn apart'), (over_queries, 'over the keys'),
               (turned_matrices, 'its transpose'), (full_scale, 'scale that of one'),
               (not_brought_back, 'bring the tokens back')]),
    '10.3': dict(
        stars=2, check=check_reach, solution=reach,
        hints=['Make a table first that has the distance of every query from every key.',
               'A mean over keys in which the weights add up to 1: what must be summed?'],
        wrong=[(not_weighted, 'counts as much as the weight'), (summed, 'not the sum'),
               (turned_grid, 'h rows'), (by_blocks, 'Straight lines')]),
    '10.4': dict(
        stars=3, check=check_importance, solution=head_importance,
        hints=['Which two dictionaries of the record have the same keys?',
               'A head may help one picture and hurt another. When do the two cancel?'],
        wrong=[(without_absolute, 'Plus and minus cancel'), (only_gradient, 'multiply it')]),
}

quiz = [
    dict(ask='What can two heads of width 4 do that one head of width 8 cannot?',
         choices=[('Return two different averages.', True,
                   'One table of weights gives one average, however wide the values are.'),
                  ('Compare queries and keys more precisely.', False,
                   'Each compares by fewer numbers; precision is what is paid.'),
                  ('Train with fewer parameters.', False, 'They have exactly as many.')]),
    dict(ask='x is (2, 5, 8). Someone writes x.view(2, 2, 5, 4) to get two heads. What happens?',
         choices=[('No error, and the tokens are torn apart.', True,
                   'The shape is right, the numbers are in the wrong places.'),
                  ('PyTorch raises.', False, 'The number of elements fits, so it does not.'),
                  ('It works, view and transpose are the same here.', False,
                   'They agree only when there is one head or one token.')]),
    dict(ask='You shuffle the patches before attention without positions. Its answers?',
         choices=[('They are shuffled in the same way; their mean stays.', True,
                   'To attention, tokens are a bag.'),
                  ('They change completely.', False, 'Nothing in the formula knows the order.'),
                  ('They stay exactly the same, in the old order.', False,
                   'Each answer goes with its query, so the order follows the shuffle.')]),
    dict(ask='With rotary positions, on what does a score depend, for the same query and key?',
         choices=[('On the offset between their places.', True,
                   'Both are turned; only the difference of the angles is left.'),
                  ('On both places.', False, 'That is so for codes added to the tokens.'),
                  ('On the distance only.', False, 'Two down and two up are different offsets.')]),
    dict(ask='You switch off one head and the accuracy hardly moves. What may you conclude?',
         choices=[('This network, as it is, can do without that one head.', True,
                   'Other heads may do the same work, so two at once may hurt.'),
                  ('The head has learned nothing.', False,
                   'It may do what another does as well.'),
                  ('The network needs no attention.', False,
                   'Switch off all heads of a layer and see.')]),
]
