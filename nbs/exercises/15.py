"Exercises of chapter 15, faithfulness: checkers, hints, solutions, plausible wrong answers, quiz."
import torch

from attn_course.cam import heatmaps
from attn_course.data import scene_dls
from attn_course.faithful import TENTHS
from attn_course.metrics import area, removal_curve
from attn_course.rollout import marked_vit
from attn_course.trials import checked_maps, colour_maps, outputs_of, share_of

BLANK = 'Not written yet: put your answer in the place of the three dots.'

# 1: cover the largest cells ----------------------------------------------------------------------

def check_covered(f):
    torch.manual_seed(0)
    picture, a_map = torch.rand(3, 4, 6), torch.tensor([[3., 9, 1], [7, 2, 5]])
    before = picture.clone()
    got = f(picture, a_map, 2)
    if got is None: return BLANK
    if not torch.equal(picture, before): return 'The picture that was given must stay as it is.'
    if not isinstance(got, torch.Tensor) or got.shape != (3, 4, 6):
        return 'Return a picture of the same shape.'
    changed = (got != before).any(0)
    cells = changed.view(2, 2, 3, 2).any(3).any(1)
    if int(cells.sum()) != 2: return 'Two cells of two by two pixels each are to be covered.'
    if cells[1, 1] or cells[0, 2]: return 'The largest cells go, not the smallest.'
    if not (cells[0, 1] and cells[1, 0]): return 'The largest cells are those with 9 and 7.'
    if not torch.allclose(got[:, 0, 2], before.mean((1, 2)), atol=1e-5):
        return "In their place stands the whole picture's mean colour, channel by channel."

def covered(picture, a_map, k):
    gone = torch.zeros(a_map.numel(), dtype=torch.bool)
    gone[a_map.flatten().argsort(descending=True)[:k]] = True
    h, w = (n//m for n, m in zip(picture.shape[1:], a_map.shape, strict=True))
    gone = gone.view(a_map.shape).repeat_interleave(h, 0).repeat_interleave(w, 1)
    return torch.where(gone, picture.mean((1, 2))[:, None, None], picture)

def smallest(picture, a_map, k): return covered(picture, -a_map, k)
def in_place(picture, a_map, k):
    picture.copy_(covered(picture, a_map, k))
    return picture

def one_grey(picture, a_map, k):
    new = covered(picture, a_map, k)
    return torch.where(new == picture, picture, picture.mean())


# 2: the bootstrap --------------------------------------------------------------------------------

def check_interval(f):
    torch.manual_seed(0)
    values = torch.randn(400) + 3
    got = f(values, 2000)
    if got is None: return BLANK
    if not (isinstance(got, tuple) and len(got) == 2): return 'Return two numbers: low and high.'
    low, high = (float(v) for v in got)
    half = 1.96*values.std().item()/20
    if high <= low: return 'The lower end comes first.'
    if high - low > 4*half: return 'Quantiles of the means, not of the values themselves.'
    if high - low < .5*half: return 'Draw with repetition, as many as there are values.'
    middle = (low + high)/2
    if abs(middle - values.mean().item()) > .3*half: return 'The interval lies around the mean.'
    if abs((high - low)/2 - half) > .15*half: return 'The ends are the 2.5 % and 97.5 % quantiles.'

def interval(values, draws):
    means = values[torch.randint(len(values), (draws, len(values)))].mean(1)
    return means.quantile(.025).item(), means.quantile(.975).item()

def of_values(values, draws): return values.quantile(.025).item(), values.quantile(.975).item()
def without_repetition(values, draws):
    means = torch.stack([values[torch.randperm(len(values))].mean() for _ in range(50)])
    return means.quantile(.025).item() - 1e-6, means.quantile(.975).item() + 1e-6

def too_narrow(values, draws):
    means = values[torch.randint(len(values), (draws, len(values)))].mean(1)
    return means.quantile(.16).item(), means.quantile(.84).item()


# 3: enough ---------------------------------------------------------------------------------------

def check_enough(f):
    worth = [1., 5, 2, 0, 8]
    def score(kept): return sum(worth[i] for i in kept)
    got = f(score, 5, [4, 1, 2, 0, 3])
    if got is None: return BLANK
    if got == 2: return 'Half of what all of them score is enough: "at least" half.'
    if got != 1: return 'How many of the most important patches, from the first on, are needed?'
    if f(score, 5, [3, 0, 2, 1, 4]) != 4: return 'Go along the order that is given.'
    if f(lambda kept: 1., 5, [0, 1, 2, 3, 4]) != 0:
        return 'Perhaps no patch at all is needed: k may be 0.'

def enough(score, n, order):
    whole = score(set(range(n)))
    return next(k for k in range(n + 1) if score(set(order[:k])) >= whole/2)

def more_than(score, n, order):
    whole = score(set(range(n)))
    return next((k for k in range(n + 1) if score(set(order[:k])) > whole/2), n)

def from_one(score, n, order):
    whole = score(set(range(n)))
    return next(k for k in range(1, n + 1) if score(set(order[:k])) >= whole/2)

def backwards(score, n, order): return enough(score, n, order[::-1])


# 4: a method that wins ---------------------------------------------------------------------------

def deletion_of(model, xb, target, maps):
    score = share_of(model, target)
    return area(removal_curve(score, xb, maps, TENTHS), TENTHS).mean().item()

def check_cheat(f):
    dls = scene_dls(30, 'colour', valid_pct=20/30, seed=4, bs=20, objects=(2, 3), mark=True)
    model, xb = marked_vit(), dls.valid.one_batch()[0].as_subclass(torch.Tensor)
    target = outputs_of(model, xb).argmax(1)
    maps = f(model, xb.clone(), target)
    if maps is None: return BLANK
    try: maps = checked_maps('Your method', maps, 20)
    except ValueError as e: return str(e)
    mine = deletion_of(model, xb, target, maps)
    theirs = deletion_of(model, xb, target, heatmaps(model, xb, 'relevance', target))
    if mine >= theirs:
        return f'Its deletion is {mine:.3f}, that of relevance {theirs:.3f}: not yet.'

def cheat(model, xb, target):
    score = share_of(model, target)
    maps = [heatmaps(model, xb, name, target) for name in ('relevance', 'gradrollout', 'legrad')]
    maps = torch.stack([*maps, colour_maps(xb, (8, 8))])
    heights = torch.stack([area(removal_curve(score, xb, m, TENTHS), TENTHS) for m in maps])
    return maps[heights.argmin(0), torch.arange(len(xb))]

def rollout_again(model, xb, target): return heatmaps(model, xb, 'rollout', target)
def flat_rows(model, xb, target): return torch.ones(len(xb), 64)


exercises = {
    '15.1': dict(
        stars=1, check=check_covered, solution=covered,
        hints=['argsort(descending=True) gives the order of the flattened cells.',
               'repeat_interleave, once per axis, makes pixels of cells; torch.where fills them.'],
        wrong=[(smallest, 'not the smallest'), (in_place, 'must stay as it is'),
               (one_grey, 'channel by channel')]),
    '15.2': dict(
        stars=2, check=check_interval, solution=interval,
        hints=['torch.randint can draw all indices at once, (draws, n).',
               'One mean per draw, then quantiles of these means.'],
        wrong=[(of_values, 'not of the values'), (without_repetition, 'with repetition'),
               (too_narrow, '2.5 %')]),
    '15.3': dict(
        stars=2, check=check_enough, solution=enough,
        hints=['What do all n patches score?', 'Try k = 0, 1, 2 ... in turn.'],
        wrong=[(more_than, 'at least'), (from_one, 'k may be 0'),
               (backwards, 'most important')]),
    '15.4': dict(
        stars=3, check=check_cheat, solution=cheat,
        hints=['Nobody forbids to use the metric itself.',
               'Several maps per picture: which of them has the lowest deletion?'],
        wrong=[(rollout_again, 'not yet'), (flat_rows, 'finite maps')]),
}

quiz = [
    dict(ask='A deletion curve falls fast. What have you learned?',
         choices=[('That the answer suffers without these pixels, with this fill.', True,
                   'Another fill, another curve.'),
                  ('That the map shows how the network works.', False,
                   'A map of colours fell as fast as rollout.'),
                  ('That the network is good.', False, 'It may fall fast and be wrong.')]),
    dict(ask='Why does a table of methods need a map that looks at no network?',
         choices=[('To see what the metric rewards besides the network.', True,
                   'Here: finding coloured things at all.'),
                  ('To make the methods look better.', False, 'It often makes them look worse.'),
                  ('As decoration.', False, 'It changed the conclusion.')]),
    dict(ask='A map has the best sensitivity of all. Is it good?',
         choices=[('Not by itself: a map that never changes has it, too.', True,
                   'The centre does not move for any noise.'),
                  ('Yes, it is stable.', False, 'So is a stopped clock.'),
                  ('No, it should move.', False, 'Not with noise that changes no answer.')]),
    dict(ask='Rollout looks the same when the head begins anew. What does that show?',
         choices=[('It does not depend on the answer that is asked about.', True,
                   'It is made of weights alone; the head is not among them.'),
                  ('That the head is unimportant.', False, 'The answers are gone.'),
                  ('That rollout is robust.', False, 'It explains an answer nobody gives.')]),
    dict(ask='Two heads look at the same object. One is exchanged, and nothing happens.',
         choices=[('It is not missed; what it does others do as well, or nobody reads it.', True,
                   'Looking is not using.'),
                  ('Then its map is wrong.', False, 'It shows its weights correctly.'),
                  ('Then neither is needed.', False, 'Exchange the other, and see.')]),
]
