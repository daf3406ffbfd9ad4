"Exercises of chapter 15, faithfulness: checkers, hints, solutions, plausible wrong answers, quiz."
import torch

from attn_course.cam import heatmaps
from attn_course.data import scene_dls
from attn_course.faithful import TENTHS
from attn_course.metrics import area, removal_curve
from attn_course.rollout import marked_vit
from attn_course.trials import checked_maps, colour_maps, outputs_of, share_of

BLANK = 'Not written yet: put your answer in the place of the three dots.'

# 1: insertion by hand ----------------------------------------------------------------------------

def check_insertion(f):
    torch.manual_seed(0)
    picture, blurred, a_map = torch.rand(3, 4, 6), torch.zeros(3, 4, 6), torch.tensor(
        [[3., 9, 1], [7, 2, 5]])
    before, asked = picture.clone(), []
    def score(p):
        asked.append(p.clone())
        return p.sum().item()
    got = f(score, picture, blurred, a_map)
    if got is None: return BLANK
    if not (torch.equal(picture, before) and not blurred.any()):
        return 'The two pictures that were given must stay as they are.'
    if len(got) != 7: return 'A number before the first cell, and one after each: 7 for 6 cells.'
    if hint := wrong_course(asked, before): return hint
    if not torch.allclose(torch.tensor(got), torch.tensor([p.sum().item() for p in asked])):
        return 'Return what score says after each step.'

def wrong_course(asked, whole): # the pictures that were scored, in order
    if not asked: return 'Ask score before the first cell, and after each.'
    if asked[0].any(): return 'It begins with the blurred picture, nothing put back.'
    if not torch.equal(asked[-1], whole): return 'At the end the picture is whole again.'
    first = (asked[1] != 0).any(0).view(2, 2, 3, 2).any(3).any(1)
    if int(first.sum()) != 1: return 'One cell at a time, with all its pixels.'
    if not first[0, 1]: return 'The largest cell comes first.'
    if not (asked[2] != 0).any(0)[2, 0]: return 'The second largest comes second.'

def insertion_by_hand(score, picture, blurred, a_map):
    now, found = blurred.clone(), [score(blurred)]
    h, w = (n//m for n, m in zip(picture.shape[1:], a_map.shape, strict=True))
    for cell in a_map.flatten().argsort(descending=True).tolist():
        row, col = h*(cell//a_map.shape[1]), w*(cell % a_map.shape[1])
        now[:, row:row + h, col:col + w] = picture[:, row:row + h, col:col + w]
        found.append(score(now))
    return found

def smallest(score, picture, blurred, a_map):
    return insertion_by_hand(score, picture, blurred, -a_map)

def in_place(score, picture, blurred, a_map):
    found = insertion_by_hand(score, picture, blurred, a_map)
    blurred.copy_(picture)
    return found

def deletion_instead(score, picture, blurred, a_map):
    return insertion_by_hand(score, blurred, picture, a_map)

def without_start(score, picture, blurred, a_map):
    return insertion_by_hand(score, picture, blurred, a_map)[1:]


# 2: exchange the weights -------------------------------------------------------------------------

def check_exchange(f):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 3, 5, 4).unbind(0)
    own, donor = (q @ k.transpose(1, 2)/2).softmax(-1), [1, 2, 0]
    got = f(q.clone(), k.clone(), v.clone(), list(donor))
    if got is None: return BLANK
    if not isinstance(got, torch.Tensor) or got.shape != (3, 5, 4):
        return 'An answer for each token: (3, 5, 4).'
    if not torch.allclose(got[:, 1:], (own @ v)[:, 1:], atol=1e-5):
        return 'The other tokens keep their own weights: softmax of q · k / √dim, over the keys.'
    if torch.allclose(got, own @ v, atol=1e-5): return 'Token 0 still has its own weights.'
    if torch.allclose(got[:, 0], (own @ v)[donor, 0], atol=1e-5):
        return "Only the weights are the donor's; the values are its own."
    if torch.allclose(got[donor, 0], (own[:, None, 0] @ v[donor])[:, 0], atol=1e-5):
        return 'Picture i takes the weights of picture donor[i], not the other way round.'
    if not torch.allclose(got[:, 0], (own[donor, None, 0] @ v)[:, 0], atol=1e-5):
        return 'Token 0 of picture i: the weights of token 0 in picture donor[i], its own values.'

def exchanged(q, k, v, donor):
    weights = (q @ k.transpose(1, 2)/q.shape[-1]**.5).softmax(-1)
    weights[:, 0] = weights[donor, 0]
    return weights @ v

def whole_answer(q, k, v, donor):
    answers = (q @ k.transpose(1, 2)/q.shape[-1]**.5).softmax(-1) @ v
    answers[:, 0] = answers[donor, 0]
    return answers

def all_rows(q, k, v, donor):
    return (q @ k.transpose(1, 2)/q.shape[-1]**.5).softmax(-1)[donor] @ v

def untouched(q, k, v, donor): return exchanged(q, k, v, list(range(len(q))))
def backwards_donor(q, k, v, donor):
    return exchanged(q, k, v, torch.tensor(donor).argsort().tolist())


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
        stars=2, check=check_insertion, solution=insertion_by_hand,
        hints=['Only two things differ from the deletion by hand: where it begins, and what a step '
               'puts in.',
               'How many pixels high and wide is a cell of the map?'],
        wrong=[(smallest, 'largest cell comes first'), (in_place, 'must stay as they are'),
               (deletion_instead, 'begins with the blurred'), (without_start, 'before the first')]),
    '15.2': dict(
        stars=2, check=check_exchange, solution=exchanged,
        hints=['First all weights as they are, (n, tokens, tokens): which row belongs to token 0?',
               'The sum over values comes last.'],
        wrong=[(untouched, 'still has its own'), (whole_answer, 'the values are its own'),
               (all_rows, 'keep their own weights'), (backwards_donor, 'other way round')]),
    '15.3': dict(
        stars=1, check=check_enough, solution=enough,
        hints=['What do all n patches score?', 'Try k = 0, 1, 2 ... in turn.'],
        wrong=[(more_than, 'at least'), (from_one, 'k may be 0'),
               (backwards, 'most important')]),
    '15.4': dict(
        stars=3, check=check_cheat, solution=cheat,
        hints=['share_of(model, target) is a score; removal_curve(score, xb, maps, TENTHS) gives '
               'curves with it, and area(curves, TENTHS) a number for each picture.',
               'What do you know before you choose? Nobody forbids to use the metric itself.'],
        wrong=[(rollout_again, 'not yet'), (flat_rows, 'finite maps')]),
}

quiz = [
    dict(ask='A deletion curve falls fast. What have you learned?',
         choices=[('That the answer suffers without these pixels, with this fill.', True,
                   'Another fill, another curve.'),
                  ('That the map shows how the network works.', False,
                   'A map of colours did as well as rollout.'),
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
    dict(ask='Rollout looks the same when the classifier begins anew. What does that show?',
         choices=[('It does not depend on the answer that is asked about.', True,
                   'It is made of weights below the classifier.'),
                  ('That the classifier is unimportant.', False, 'The answers are gone.'),
                  ('That rollout is robust.', False, 'It explains an answer nobody gives.')]),
    dict(ask='Two heads look at the same object. One is exchanged, and nothing happens.',
         choices=[('It is not missed; what it does others do as well, or nobody reads it.', True,
                   'Looking is not using.'),
                  ('Then its map is wrong.', False, 'It shows its weights correctly.'),
                  ('Then neither is needed.', False, 'Exchange the other, and see.')]),
]
