"Exercises of chapter 13, the explorer: checkers, hints, solutions, plausible wrong answers, quiz."
import torch
from torch import nn

from attn_course.vit import ViT

# 1: the place of a token -------------------------------------------------------------------------

def check_place(f):
    if f(0, 0, 8) is None: return 'Not written yet: put your answer in the place of the three dots.'
    if f(0, 0, 8) == 0: return 'Token 0 is the class token; patches come after it.'
    if f(0, 0, 8) != 1: return 'The first patch is token 1.'
    if f(2, 5, 8) == 1 + 5*8 + 2: return 'Row by row: a step down is as many tokens as columns.'
    if f(2, 5, 8) != 22: return 'Row 2, column 5, counted from 0, of 8 columns is token 22.'
    if f(2, 5, 8, 5) != 26: return 'Five tokens may stand before the patches, not only one.'

def token_at(row, column, columns, prefix=1): return prefix + row*columns + column
def without_prefix(row, column, columns, prefix=1): return row*columns + column
def by_columns(row, column, columns, prefix=1): return prefix + column*columns + row
def one_only(row, column, columns, prefix=1): return 1 + row*columns + column


# 2: rows of weights as bytes ---------------------------------------------------------------------

def rows_to_pack():
    torch.manual_seed(0)
    rows = torch.rand(3, 7)**4
    rows[1] *= 1e-3 # a row of small weights
    rows[2] = 0
    return rows

def check_pack(f):
    rows = rows_to_pack()
    got = f(rows.clone())
    if not (isinstance(got, tuple) and len(got) == 2): return 'Return two: bytes and scales.'
    cells, scales = got
    if not isinstance(cells, torch.Tensor) or cells.dtype != torch.uint8:
        return 'The first is a tensor of bytes, torch.uint8.'
    if cells.shape != rows.shape or scales.shape != (3,):
        return f'Bytes have the shape {tuple(rows.shape)} of the rows, scales are one per row.'
    if not torch.isfinite(scales).all(): return 'A row of zeros has the scale 0, and no division.'
    if int(cells[2].max()) != 0: return 'A row of zeros is a row of bytes 0.'
    back = cells/255*scales[:, None]
    if int(cells[1].max()) < 200: return 'Each row in units of its own largest: small rows, too.'
    step = rows.amax(1, keepdim=True)/255
    if ((back - rows).abs() > step*.51).any(): return 'Half a step off at most: round, do not cut.'

def pack(rows):
    most = rows.amax(1)
    return (255*rows/torch.where(most > 0, most, 1)[:, None]).round().byte(), most

def one_scale(rows): return (255*rows/rows.max()).round().byte(), rows.max().expand(len(rows))
def cut_off(rows):
    most = rows.amax(1)
    return (255*rows/torch.where(most > 0, most, 1)[:, None]).byte(), most

def not_a_number(rows):
    most = rows.amax(1)
    return (255*rows/most[:, None]).nan_to_num().round().byte(), most/most*most


# 3: who resembles it -----------------------------------------------------------------------------

def some_tokens():
    torch.manual_seed(1)
    tokens = torch.randn(10, 6) + 5 # all of them share a large mean
    tokens[7] = 3*(tokens[2] - 5) + 5 # the same direction, longer
    tokens[5] = .3*(tokens[2] - 5) + 5 # and shorter
    tokens[4] = 4*torch.randn(6) + 2*tokens[2] - 5 # long, and only about that direction
    tokens[8] = 10 - tokens[2] # the opposite
    return tokens

def check_like(f):
    tokens = some_tokens()
    got, want = f(tokens, 2, 3), most_like(tokens, 2, 3)
    if got is None: return 'Not written yet: put your answer in the place of the three dots.'
    got = [int(i) for i in got]
    if len(got) != 3: return 'k tokens are wanted.'
    if 0 in got: return 'Token 0 is the class token, no patch: leave it out.'
    if 2 in got: return 'Every token resembles itself: leave it out.'
    if got == want: return None
    if got == by_product(tokens, 2, 3): return 'Directions only: divide by the lengths.'
    if got == with_mean(tokens, 2, 3): return 'All tokens share a mean: take it away first.'
    return 'These are not the patches whose directions are nearest, nearest first.'

def likest(scores, token, k, leave=(0,)):
    order = scores.argsort(descending=True).tolist()
    return [i for i in order if i != token and i not in leave][:k]

def apart(tokens): return tokens - tokens.mean(0)
def unit(tokens): return nn.functional.normalize(tokens, dim=1)
def most_like(tokens, token, k):
    directions = unit(apart(tokens))
    return likest(directions @ directions[token], token, k)

def by_product(tokens, token, k): return likest(apart(tokens) @ apart(tokens)[token], token, k)
def with_mean(tokens, token, k): return likest(unit(tokens) @ unit(tokens)[token], token, k)
def with_class(tokens, token, k):
    directions = unit(apart(tokens))
    return [0, *likest(directions @ directions[token], token, k)][:k]

def with_itself(tokens, token, k): return [token, *most_like(tokens, token, k)][:k]


# 4: what a head is worth -------------------------------------------------------------------------

def a_vit():
    torch.manual_seed(2)
    vit = ViT((16, 16), 8, dim=16, depth=2, heads=2, classes=3).eval()
    nn.init.normal_(vit.cls_token)
    for block in vit.blocks: nn.init.normal_(block.attn.out.weight)
    nn.init.normal_(vit.head.weight)
    xb = torch.randn(40, 3, 16, 16)
    with torch.no_grad(): return vit, xb, vit(xb).argmax(1)

def check_effects(f):
    vit, xb, labels = a_vit()
    got = f(vit, xb, labels, zeros)
    if got is None: return 'Not written yet: put your answer in the place of the three dots.'
    if tuple(getattr(got, 'shape', ())) != (2, 2): return 'A tensor (blocks, heads) is wanted.'
    if any(m._forward_hooks or m._forward_pre_hooks for m in vit.modules()):
        return 'Remove each hook after its run.'
    for wrong, hint in ((what_is_left, 'Lost, not left: take the difference.'),
                        (all_at_once, 'One head at a time: the others are on again.')):
        if torch.allclose(got, wrong(vit, xb, labels, zeros)): return hint
    for new in (zeros, another):
        if not torch.allclose(f(vit, xb, labels, new), head_effects(vit, xb, labels, new)):
            return 'Accuracy as it is, minus accuracy with new(brought) in one head, all tokens.'

def zeros(brought): return torch.zeros_like(brought)
def another(brought): return brought.roll(1, 0)

def accuracy(vit, xb, labels):
    with torch.no_grad(): return (vit(xb).argmax(1) == labels).float().mean()

def put(vit, block, head, new): # a handle
    def hook(out, args):
        brought = args[0].unflatten(-1, (2, -1)).clone()
        brought[:, :, head] = new(brought)[:, :, head]
        return (brought.flatten(-2),)
    return vit.blocks[block].attn.out.register_forward_pre_hook(hook)

def what_is_left(vit, xb, labels, new):
    left = torch.zeros(2, 2)
    for block in range(2):
        for head in range(2):
            handle = put(vit, block, head, new)
            left[block, head] = accuracy(vit, xb, labels)
            handle.remove()
    return left

def head_effects(vit, xb, labels, new):
    return accuracy(vit, xb, labels) - what_is_left(vit, xb, labels, new)

def all_at_once(vit, xb, labels, new):
    lost, whole, handles = torch.zeros(2, 2), accuracy(vit, xb, labels), []
    for block in range(2):
        for head in range(2):
            handles.append(put(vit, block, head, new))
            lost[block, head] = whole - accuracy(vit, xb, labels)
    for handle in handles: handle.remove()
    return lost

def always_zeros(vit, xb, labels, new): return head_effects(vit, xb, labels, zeros)
def left_on(vit, xb, labels, new):
    lost = head_effects(vit, xb, labels, new)
    put(vit, 0, 0, new)
    return lost


exercises = {
    '13.1': dict(
        stars=1, check=check_place, solution=token_at,
        hints=['How many patches stand in the rows above?', 'What comes before the first patch?'],
        wrong=[(without_prefix, 'class token'), (by_columns, 'Row by row'),
               (one_only, 'Five tokens')]),
    '13.2': dict(
        stars=2, check=check_pack, solution=pack,
        hints=['What must a row be divided by, so that its largest number becomes 255?',
               'Two traps: a row of zeros, and numbers between two bytes.'],
        wrong=[(one_scale, 'its own largest'), (cut_off, 'round, do not cut'),
               (not_a_number, 'no division')]),
    '13.3': dict(
        stars=2, check=check_like, solution=most_like,
        hints=['What do all tokens have in common, and what does it do to every cosine?',
               'argsort puts the smallest first. Which two tokens do not count?'],
        wrong=[(by_product, 'divide by the lengths'), (with_mean, 'share a mean'),
               (with_class, 'class token'), (with_itself, 'resembles itself')]),
    '13.4': dict(
        stars=3, check=check_effects, solution=head_effects,
        hints=['block.attn.out reads what the heads bring, side by side: a forward pre-hook can '
               'change it.', 'How many runs of the network do you need altogether?'],
        wrong=[(what_is_left, 'Lost, not left'), (all_at_once, 'One head at a time'),
               (always_zeros, 'with new(brought)'), (left_on, 'Remove each hook')]),
}

quiz = [
    dict(ask='A network has 12 layers of 6 heads and 197 tokens. How many maps is that?',
         choices=[('12 times 6 times 197: one per layer, head and token that asks.', True,
                   'More than fourteen thousand, for one picture.'),
                  ('72.', False, 'That is the number of tables; each has a row per token.'),
                  ('12.', False, 'Each layer has as many tables as heads.')]),
    dict(ask='Why does each row travel in units of its own largest weight?',
         choices=[('So that small weights keep their differences in one byte.', True,
                   'With one scale for all, small weights would all become zeros.'),
                  ('Because rows sum to 1.', False, 'They would do so in any unit.'),
                  ('To make all heads comparable.', False,
                   'It does the opposite: the scale travels beside it.')]),
    dict(ask='A head looks at the marked object. What do you know?',
         choices=[('Where it looks. Whether it is needed, only a test can show.', True,
                   'In this chapter each of them alone was hardly missed, and together they were.'),
                  ('That the answer comes from it.', False, 'Take it away, and see.'),
                  ('That it was trained to find rings.', False,
                   'A map shows where it looks, not what for.')]),
    dict(ask='You switch off one head and nothing happens. It does nothing?',
         choices=[('Others may stand in for it.', True,
                   'Switch off several at once before you say so.'),
                  ('Yes.', False, 'One at a time shows what is missed, not what is done.'),
                  ('The test is broken.', False,
                   'It may be; but heads do stand in for each other.')]),
    dict(ask='What does the logit lens say of a patch?',
         choices=[('What the classifier would say, if it read this token.', True,
                   'It was trained to read another one: take it as a hint.'),
                  ('What the network sees there.', False, 'It is the classifier that speaks.'),
                  ('Which class the object there has.', False,
                   'Only if tokens speak the language of the classifier.')]),
    dict(ask='Zeros in the place of what a head brings: most answers are gone. So what?',
         choices=[('That later blocks rely on something there; perhaps on a constant.', True,
                   "Put the mean over many scenes there, or another scene's, before you say more."),
                  ('That the head finds what the answer needs.', False,
                   'In block 1 one constant vector for all patches of all scenes did as well.'),
                  ('Nothing.', False, 'Something is relied on. What, is the next question.')]),
]
