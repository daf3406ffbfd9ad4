"Exercises of chapter 11, vision transformers: checkers, hints, solutions, wrong answers, quiz."
import copy

import torch
from torch import nn

from attn_course.capture import capture
from attn_course.vit import ViT

# 1: how many tokens ------------------------------------------------------------------------------

def check_count(f):
    if f(32, 32, 8) is None: return 'Not written yet: replace the three dots by your answer.'
    if f(32, 32, 8) == 16: return 'The class token is a token, too.'
    if f(32, 32, 8) == 5: return 'Patches lie in rows and in columns.'
    if f(32, 32, 8) != 17: return '32 by 32 pixels in patches of 8 make 16 patches, 17 tokens.'
    if f(64, 32, 8) != 33: return 'A picture need not be square: 64 by 32 makes 8 rows of 4.'

def count_tokens(h, w, patch): return 1 + (h//patch)*(w//patch)
def count_patches(h, w, patch): return (h//patch)*(w//patch)
def count_rows(h, w, patch): return 1 + h//patch
def count_square(h, w, patch): return 1 + (h//patch)**2


# 2: the forward ----------------------------------------------------------------------------------

def a_vit(h=16, w=24):
    torch.manual_seed(0)
    vit = ViT((h, w), 8, dim=16, depth=2, heads=2, classes=3).double()
    nn.init.normal_(vit.cls_token)
    nn.init.normal_(vit.places)
    return vit, torch.randn(2, 3, h, w).double()

def check_forward(f):
    vit, x = a_vit()
    called = []
    hook = vit.register_forward_pre_hook(lambda *args: called.append('the model'))
    try:
        with torch.no_grad(): got = f(vit, x)
    finally: hook.remove()
    if called: return 'Do it without calling the model: use its parts, one after the other.'
    with torch.no_grad(): want = vit(x)
    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return f'Three scores per picture are wanted, {tuple(want.shape)}.'
    if torch.allclose(got, want): return None
    with torch.no_grad():
        for wrong, words in ((without_places, 'You forget to say where the patches stand.'),
                             (without_norm, 'There is a last norm before the head.'),
                             (mean_of_all, 'Not the mean: the class token is read, token 0.'),
                             (class_last, 'The class token stands before the patches.')):
            if torch.allclose(got, wrong(vit, x)): return words
    return 'These are not the scores of the model.'

def row_of(vit, x): return vit.embed(x).flatten(2).transpose(1, 2)
def with_class(vit, x): return torch.cat([vit.cls_token.expand(len(x), -1, -1), row_of(vit, x)], 1)

def forward(vit, x):
    return vit.head(vit.norm(vit.blocks(with_class(vit, x) + vit.places))[:, 0])

def by_calling(vit, x): return vit(x)
def without_places(vit, x): return vit.head(vit.norm(vit.blocks(with_class(vit, x)))[:, 0])
def without_norm(vit, x): return vit.head(vit.blocks(with_class(vit, x) + vit.places)[:, 0])

def mean_of_all(vit, x):
    return vit.head(vit.norm(vit.blocks(with_class(vit, x) + vit.places)).mean(1))

def class_last(vit, x):
    row = torch.cat([row_of(vit, x), vit.cls_token.expand(len(x), -1, -1)], 1)
    return vit.head(vit.norm(vit.blocks(row + vit.places))[:, -1])


# 3: the first difference -------------------------------------------------------------------------

def twins():
    "Two networks of the same shapes; the third layer differs a little, the second not at all."
    torch.manual_seed(0)
    a = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 6))
    b = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.LayerNorm(6, eps=1e-2), nn.Linear(6, 6))
    b.load_state_dict(a.state_dict())
    return a, b, torch.randn(4, 6)

def check_first(f):
    a, b, x = twins()
    got = f(a, b, x, ['0', '1', '2', '3'])
    if got == '0': return 'Layer 0 differs by nothing at all: compare the outputs, not the types.'
    if got == '3': return 'You return the last layer that differs; the first is wanted.'
    if got != '2': return f"The first layer with another output is '2', not {got!r}."
    if f(a, a, x, ['0', '1', '2', '3']) is not None: return 'Equal networks differ nowhere: None.'
    more = copy.deepcopy(a)
    more[0].bias.data += .1
    if f(a, more, x, ['0', '1', '2', '3']) != '0': return 'A difference may be below zero, too.'

def acts(model, x, names):
    with torch.no_grad(), capture(model, names) as rec: model(x)
    return rec.acts

def first_difference(a, b, x, names):
    mine, other = acts(a, x, names), acts(b, x, names)
    for name in names:
        if (mine[name] - other[name]).abs().max() > 1e-6: return name

def without_size(a, b, x, names):
    mine, other = acts(a, x, names), acts(b, x, names)
    for name in names:
        if (mine[name] - other[name]).max() > 1e-6: return name

def last_difference(a, b, x, names): return first_difference(a, b, x, names[::-1])
def largest_difference(a, b, x, names):
    mine, other = acts(a, x, names), acts(b, x, names)
    return max(names, key=lambda n: (mine[n] - other[n]).abs().max().item())
def first_of_all(a, b, x, names): return names[0]


# 4: the class token's map ------------------------------------------------------------------------

def check_map(f):
    vit, x = a_vit()
    got, want = f(vit, x, 'blocks.1.attn'), class_map(vit, x, 'blocks.1.attn')
    if not isinstance(got, torch.Tensor): return 'A tensor of maps is wanted, (bs, rows, columns).'
    if got.shape == (2, 3, 2): return 'Rows first: 16 by 24 pixels are 2 rows of 3 patches.'
    if got.shape != want.shape: return f'One map per picture is wanted, {tuple(want.shape)}.'
    if torch.allclose(got, want):
        high, x = a_vit(24, 16)
        same = f(high, x, 'blocks.1.attn').shape == (2, 3, 2)
        return None if same else 'Another picture has another grid: 24 by 16 pixels are 3 by 2.'
    if torch.allclose(got, first_head(vit, x, 'blocks.1.attn')):
        return 'This is the first head only: take the mean of the heads.'
    return 'These are not the rows of the class token, without its weight on itself.'

def recorded(vit, x, block):
    with torch.no_grad(), capture(vit) as rec: vit(x)
    return rec.on_image(block, [0])[:, :, 0]

def class_map(vit, x, block): return recorded(vit, x, block).mean(1)
def first_head(vit, x, block): return recorded(vit, x, block)[:, 0]
def one_grid(vit, x, block): return class_map(vit, x, block).reshape(2, 2, 3)
def turned(vit, x, block): return class_map(vit, x, block).transpose(1, 2)
def of_a_patch(vit, x, block):
    with torch.no_grad(), capture(vit) as rec: vit(x)
    return rec.on_image(block, [1])[:, :, 0].mean(1)


exercises = {
    '11.1': dict(
        stars=1, check=check_count, solution=count_tokens,
        hints=['How many patches fit side by side, and how many below each other?',
               'Who gives the answer at the end, and is no patch?'],
        wrong=[(count_patches, 'class token'), (count_rows, 'in columns'),
               (count_square, 'need not be square')]),
    '11.2': dict(
        stars=2, check=check_forward, solution=forward,
        hints=['Write down the shape after each step. Where must the axis of the tokens be?',
               'The same class token serves every picture of a batch. Which method repeats it?'],
        wrong=[(by_calling, 'without calling'), (without_places, 'where the patches stand'),
               (without_norm, 'last norm'), (mean_of_all, 'class token is read'),
               (class_last, 'before the patches')]),
    '11.3': dict(
        stars=2, check=check_first, solution=first_difference,
        hints=['capture takes a list of names. What do you need from each of the two networks?',
               'What shall come back when the loop has found nothing?'],
        wrong=[(last_difference, 'the last layer'), (largest_difference, 'differ nowhere'),
               (first_of_all, 'differs by nothing'), (without_size, 'below zero')]),
    '11.4': dict(
        stars=3, check=check_map, solution=class_map,
        hints=['Which method of the record puts rows of attention on the picture?',
               'Its result has axes for pictures, heads and queries. Which do you keep?'],
        wrong=[(first_head, 'first head only'), (turned, 'Rows first'), (one_grid, '3 by 2'),
               (of_a_patch, 'not the rows')]),
}

quiz = [
    dict(ask='What is the first layer of a ViT?',
         choices=[('A convolution whose stride is the size of its kernel.', True,
                   'Cutting patches and applying one linear layer to each is exactly that.'),
                  ('Attention over the pixels.', False, 'Pixels never meet attention, patches do.'),
                  ('There is none: patches are tokens.', False,
                   'A patch is a list of numbers until a linear layer makes a token of it.')]),
    dict(ask='You load weights into a network of the same shapes, without an error. Equal?',
         choices=[('Only if the numbers in the code agree, too.', True,
                   'The small number in a layer norm was not in the file.'),
                  ('Yes, the weights are the model.', False,
                   'The chapter found a difference, with every weight in its place.'),
                  ('Yes, or load_state_dict would complain.', False, 'It looks at shapes.')]),
    dict(ask='Why, as is generally held, does a ViT need more pictures than a CNN?',
         choices=[('It has to learn most of what a convolution knows by its form.', True,
                   'Neighbours belong together, and a thing stays the same when it moves.'),
                  ('It has more layers.', False, 'The small ones of this chapter have few.'),
                  ('Attention is slower.', False, 'That costs time per step, not steps.')]),
    dict(ask='Which layer is right for Grad-CAM on a ViT that reads its class token?',
         choices=[('The norm before the attention of the last block.', True,
                   'From there the patches still reach the class token.'),
                  ('The output of the last block.', False,
                   'There the patches have no gradient: nothing reads them any more.'),
                  ('The class token itself.', False, 'It has no place in the picture.')]),
    dict(ask='Swin attends in windows. What does its attention map of one window show?',
         choices=[('Weights among the places of that window only.', True,
                   'Stitched together, places outside a window have weight zero.'),
                  ('Weights over the whole picture.', False, 'It saw only its window.'),
                  ('Nothing, windows have no weights.', False,
                   'They have, one table per window and head.')]),
]
