"Exercises of chapter 8, interpret: checkers, hints, solutions, plausible wrong answers, quiz."
import torch

from attn_course.metrics import mass_inside, peak_inside

# 1: wrong and sure --------------------------------------------------------------------------------

def check_wrong(f):
    probs = torch.tensor([[.875, .125], [.25, .75], [.0625, .9375], [.375, .625]])
    targs = torch.tensor([0, 0, 0, 0])
    got = torch.as_tensor(f(probs, targs, .75))
    if got.ndim != 1: return f'Return one index an image, shape (n,), not {tuple(got.shape)}.'
    got = got.tolist()
    if got == [2]:
        return ('A probability of at least `least` may also be equal to it: image 1 has exactly '
                'that.')
    if got == [0, 1, 2]: return 'Image 0 is right: keep only wrong predictions.'
    if got == [1, 2, 3]:
        return 'Image 3 is wrong but not sure: its best probability is .625, below .75.'
    if got == []: return 'Take the probability of the predicted class, not of the true one.'
    if sorted(got) != [1, 2]: return f'Images 1 and 2 are wrong and sure, you return {got}.'

def wrong_and_sure(probs, targs, least):
    top, pred = probs.max(1)
    return ((pred != targs) & (top >= least)).nonzero()[:, 0]

def only_sure(probs, targs, least): return (probs.max(1).values >= least).nonzero()[:, 0]
def only_wrong(probs, targs, least): return (probs.argmax(1) != targs).nonzero()[:, 0]
def true_class(probs, targs, least):
    return ((probs.argmax(1) != targs) & (probs[torch.arange(len(targs)),
                                                targs] >= least)).nonzero()[:, 0]


# 2: how much it relies on the tag -----------------------------------------------------------------

def check_reliance(f):
    got = float(f(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 2, 1, 2])))
    if got == 2: return 'You count the changes: divide by the number of images.'
    if got == .5 and float(f(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 1]))) == 1:
        return 'You return the share that stayed.'
    if abs(float(f(torch.tensor([0, 1, 1]), torch.tensor([1, 1, 1]))) - 1/3) > 1e-6 or got != .5:
        return (f'Half of the four predictions changed, and one of the three; you return {got:.3f} '
                'for the four.')

def tag_reliance(a, b): return (a != b).float().mean().item()
def count_changes(a, b): return (a != b).sum().item()
def share_kept(a, b): return (a == b).float().mean().item()


# 3: most suspicious first -------------------------------------------------------------------------

def check_suspicious(f):
    masks = torch.zeros(3, 4, 4).bool()
    masks[:, :2, :2] = True
    maps = torch.zeros(3, 4, 4)
    maps[0, 0, 0], maps[0, 3, 3] = 1, 1.1 # half of it inside, its peak outside
    maps[1, 0, 0], maps[1, 2:, 2:] = 2, 1 # peak inside, most of it outside
    maps[2, 0, 0], maps[2, 3, 0] = 5, -50 # all that is positive lies inside
    got = [int(i) for i in f(maps, masks)]
    if got == [2, 0, 1]: return 'The order is turned: the most suspicious image comes first.'
    if got[0] == 0:
        return 'You go by the peak; image 1 has its peak inside and most of its weight outside.'
    if got != [1, 0, 2]: return f'The order is 1, 0, 2 here, you return {got}.'

def suspicious(maps, masks): return mass_inside(maps, masks).argsort()
def turned(maps, masks): return mass_inside(maps, masks).argsort(descending=True)
def by_peak(maps, masks): return peak_inside(maps, masks).int().argsort(stable=True)


exercises = {
    '08.1': dict(
        stars=1, check=check_wrong, solution=wrong_and_sure,
        hints=['probs.max(1) gives the largest probability and its class.',
               'Combine two conditions with & and ask for nonzero().'],
        wrong=[(only_sure, 'keep only wrong'), (only_wrong, 'not sure'),
               (true_class, 'of the predicted class')]),
    '08.2': dict(
        stars=2, check=check_reliance, solution=tag_reliance,
        hints=['Compare the two tensors with !=.',
               'The mean of a comparison, as float, is a share.'],
        wrong=[(count_changes, 'divide by the number'), (share_kept, 'share that stayed')]),
    '08.3': dict(
        stars=3, check=check_suspicious, solution=suspicious,
        hints=['mass_inside(maps, masks) is the share inside.',
               'argsort() puts the smallest first.'],
        wrong=[(turned, 'order is turned'), (by_peak, 'go by the peak')]),
}

quiz = [
    dict(ask='A learner crops the centre of a photo. You stretch its 7x7 map over the whole photo. '
             'What is wrong?',
         choices=[('Every cell lies in the wrong place.', True,
                   'The map covers only the part that the network saw.'),
                  ('Nothing, a map has no size.', False,
                   'It has no size, but it has a place: the part that was seen.'),
                  ('The map becomes blurred.', False, 'That too, but the places are wrong.')]),
    dict(ask='Validation accuracy is 1.000. What do you know?',
         choices=[('The model is right on pictures made like these.', True,
                   'Also if they share a shortcut with the training set.'),
                  ('It recognises the objects.', False, 'The tag experiment refutes exactly this.'),
                  ('It is overfitted.', False,
                   'Overfitting would show on the validation set; a shared shortcut does not.')]),
    dict(ask='You suspect that a model uses a tag in the corner. What proves it?',
         choices=[('Predictions change when only the tag changes.', True,
                   'An intervention shows what the model uses.'),
                  ('The heatmap is bright in the corner.', False,
                   'That is the suspicion. Maps can mislead.'),
                  ('The tag can be predicted from the label.', False,
                   'It shows the shortcut exists, not that the model takes it.')]),
    dict(ask='What does the map for the difference of prediction and target show?',
         choices=[('Which places tipped the balance between the two.', True,
                   'Red for the prediction, blue for the target.'),
                  ('Where the model is uncertain.', False,
                   'A place can speak strongly for both; the difference is then small.'),
                  ('The average of both maps.', False,
                   'It is the map of the difference of the scores.')]),
    dict(ask='Why look at the smallest losses too?',
         choices=[('They show what the model leans on when it is sure.', True,
                   'A shortcut makes it sure, so it hides among the best.'),
                  ('They hold the labelling errors.', False, 'Those are among the largest losses.'),
                  ('They train the model further.', False, 'Looking trains nobody but you.')]),
]
