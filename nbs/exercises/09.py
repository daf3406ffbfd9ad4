"Exercises of chapter 9, U-Net: checkers, hints, solutions, plausible wrong answers, quiz."
import torch
import torch.nn.functional as F

# 1: Dice ------------------------------------------------------------------------------------------

def check_dice(f):
    pred, targ = torch.tensor([[0, 1, 1], [2, 1, 0]]), torch.tensor([[0, 1, 0], [1, 1, 0]])
    got = float(f(pred, targ, 1))
    if abs(got - .5) < 1e-6:
        return ('That is overlap over union, the Jaccard index; Dice divides twice the overlap by '
                'the sum of both areas.')
    if abs(got - 1/3) < 1e-6: return 'Twice the overlap is missing.'
    if abs(got - 2/3) > 1e-6:
        return ('Class 1 overlaps on 2 pixels and both areas are 3, so Dice is .667; you return '
                f'{got:.3f}.')
    try: empty = float(f(pred, targ, 3))
    except ZeroDivisionError:
        return 'Neither mask holds class 3: return 1 then, and do not divide by zero.'
    if empty != 1: return f'Neither mask holds class 3: return 1 then, not {empty}.'

def dice(pred, targ, k):
    p, t = pred == k, targ == k
    area = (p.sum() + t.sum()).item()
    return 2*(p & t).sum().item()/area if area else 1.
def jaccard(pred, targ, k):
    return ((pred == k) & (targ == k)).sum().item()/max(((pred == k) | (targ == k)).sum().item(), 1)
def once(pred, targ, k):
    return ((pred == k) & (targ == k)).sum().item()/((pred == k).sum() + (targ == k).sum()).item()
def no_empty(pred, targ, k):
    return 2*((pred == k) & (targ == k)).sum().item()/((pred == k).sum() + (targ == k).sum()).item()


# 2: gate a shortcut -------------------------------------------------------------------------------

def check_shortcut(f):
    torch.manual_seed(0)
    x, alpha = torch.randn(2, 3, 7, 10), torch.rand(2, 1, 4, 5)
    want = gate_shortcut(x, alpha)
    try: got = f(x, alpha)
    except RuntimeError:
        return ('It fails for a shortcut of 7 by 10 and coefficients of 4 by 5: enlarge them to '
                'the size of x, x.shape[2:].')
    if got.shape != want.shape:
        return f'The shortcut keeps its shape, (2, 3, 7, 10), yours is {tuple(got.shape)}.'
    if torch.allclose(got, nearest(x, alpha), atol=1e-5):
        return 'The coefficients are repeated in blocks; enlarge them bilinearly.'
    if torch.allclose(got, x + F.interpolate(alpha, x.shape[2:], mode='bilinear'), atol=1e-5):
        return 'A gate multiplies.'
    if not torch.allclose(got, want, atol=1e-5):
        return f'The first number is {want[0, 0, 0, 0]:.4f} here, yours is {got[0, 0, 0, 0]:.4f}.'

def gate_shortcut(x, alpha): return x*F.interpolate(alpha, x.shape[2:], mode='bilinear')
def nearest(x, alpha): return x*F.interpolate(alpha, x.shape[2:])
def doubled(x, alpha): return x*F.interpolate(alpha, scale_factor=2, mode='bilinear')
def added(x, alpha): return x + F.interpolate(alpha, x.shape[2:], mode='bilinear')


# 3: where gates open ------------------------------------------------------------------------------

def check_opening(f):
    torch.manual_seed(0)
    alpha, mask = torch.rand(2, 3, 3), torch.zeros(2, 6, 6).bool()
    mask[0, :2], mask[1, 3:, 4:] = True, True
    want, got = opening(alpha, mask), float(f(alpha, mask))
    if abs(got - 1/want) < 1e-4: return 'Turned around: the object above, the rest below the line.'
    if abs(got - against_all(alpha, mask)) < 1e-5:
        return 'Divide by the mean on the other pixels, not on all.'
    if abs(got - summed(alpha, mask)) < 1e-4: return 'Sums grow with the area: compare means.'
    if abs(got - want) > 1e-4: return f'The ratio is {want:.4f} here, you return {got:.4f}.'

def _big(alpha, mask): return F.interpolate(alpha[:, None], mask.shape[1:], mode='bilinear')[:, 0]
def opening(alpha, mask):
    return (_big(alpha, mask)[mask].mean()/_big(alpha, mask)[~mask].mean()).item()
def turned(alpha, mask): return 1/opening(alpha, mask)
def against_all(alpha, mask):
    return (_big(alpha, mask)[mask].mean()/_big(alpha, mask).mean()).item()
def summed(alpha, mask):
    return (_big(alpha, mask)[mask].sum()/_big(alpha, mask)[~mask].sum()).item()


exercises = {
    '09.1': dict(
        stars=1, check=check_dice, solution=dice,
        hints=['pred == k and targ == k are the two areas; & is where they overlap.',
               'If both areas are empty there is nothing to miss: 1.'],
        wrong=[(jaccard, 'Jaccard'), (once, 'Twice the overlap'), (no_empty, 'divide by zero')]),
    '09.2': dict(
        stars=2, check=check_shortcut, solution=gate_shortcut,
        hints=['F.interpolate(alpha, size, mode="bilinear") enlarges to any size.',
               'x.shape[2:] is the size; the one channel is repeated by broadcasting.'],
        wrong=[(nearest, 'bilinearly'), (doubled, 'the size of x'), (added, 'multiplies')]),
    '09.3': dict(
        stars=3, check=check_opening, solution=opening,
        hints=['F.interpolate wants a channel axis: alpha[:, None], and [:, 0] afterwards.',
               'big[mask] takes the True pixels, big[~mask] the others.'],
        wrong=[(turned, 'Turned around'), (against_all, 'not on all'), (summed, 'compare means')]),
}

quiz = [
    dict(ask="What does a U-Net's shortcut bring to the decoder?",
         choices=[('The fine places that the encoder lost on its way down.', True,
                   'The bottom of the U knows what there is, hardly where its edge runs.'),
                  ('The names of the classes.', False, 'Those come from the last layer.'),
                  ('A copy of the mask.', False, 'The mask is what is predicted.')]),
    dict(ask="Why does no hook find a map in fastai's self-attention layer?",
         choices=[('It stays in a local variable of forward.', True,
                   'No submodule puts it out; capture watches the product instead.'),
                  ('gamma is zero.', False, 'The map is computed even then.'),
                  ('The layer is never called.', False, 'It is called at every forward.')]),
    dict(ask='A fresh attention gate is put on a trained shortcut. Why does nothing change?',
         choices=[('It stands at 1/2 everywhere, and its output is doubled.', True,
                   'Its last layer is zero, so the sigmoid gives exactly 1/2.'),
                  ('It is switched off until training starts.', False,
                   'It works from the first forward on.'),
                  ('Gates never change a trained network.', False,
                   'A gate with random weights would.')]),
    dict(ask='What is the score for a heatmap of one class of a segmentation?',
         choices=[('The mean logit of the class over the pixels predicted as that class.', True,
                   'It turns many numbers into the one that a gradient needs.'),
                  ('The largest logit of the picture.', False,
                   'That may belong to any class, at any pixel.'),
                  ('The Dice of the class.', False,
                   'Dice needs the truth; a heatmap asks the network alone.')]),
    dict(ask='How do you find out whether a shortcut is needed?',
         choices=[('Close it and measure Dice.', True,
                   'An intervention tells what a level cannot.'),
                  ('Read the mean of its gate.', False,
                   'The next layer may multiply by any number.'),
                  ('Look whether its map is sharp.', False,
                   'A sharp map may carry what another shortcut brings too.')]),
]
