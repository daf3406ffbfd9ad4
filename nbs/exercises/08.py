"Exercises of chapter 8, interpret: checkers, hints, solutions, plausible wrong answers, quiz."
import torch

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


# 2: the worst, with their maps --------------------------------------------------------------------

def check_worst(f):
    losses = torch.tensor([.5, 3., 1.])
    pictures = torch.arange(3)[:, None, None, None].expand(3, 2, 2, 3)
    maps = torch.tensor([[[1., 2], [0, 0]], [[0, 4], [-8, 1]], [[-1, -2], [-3, -4]]])
    got = f(losses, pictures, maps, 2)
    if not isinstance(got, (list, tuple)) or len(got) != 2 or any(len(row) != 3 for row in got):
        return 'Return a list of k tuples (loss, picture, map), here two.'
    order = [int(picture.float().mean()) for _, picture, _ in got]
    if order == [0, 2]: return 'These are the smallest losses: the worst comes first.'
    if order != [1, 2]: return f'The worst are pictures 1 and 2, in this order, yours are {order}.'
    if [round(float(loss), 3) for loss, *_ in got] != [3, 1]:
        return 'The first entry of each tuple is the loss of that picture.'
    first, second = (torch.as_tensor(m).float() for *_, m in got)
    if torch.allclose(first, torch.tensor([[0, 1], [0, .25]])):
        return 'A map without positive values becomes zeros.' if second.any() else None
    if first.min() < 0: return 'Values below zero become zero before the map is scaled.'
    return 'Divide each map by its own largest value, after values below zero became zero.'

def worst_with_maps(losses, pictures, maps, k):
    found = []
    for i in losses.argsort(descending=True)[:k]:
        m = maps[i].relu()
        found.append((float(losses[i]), pictures[i], m/m.max().clamp(min=1e-12)))
    return found

def smallest_first(losses, pictures, maps, k):
    return worst_with_maps(-losses, pictures, maps, k)

def without_relu(losses, pictures, maps, k):
    rows = losses.argsort(descending=True)[:k]
    return [(float(losses[i]), pictures[i], maps[i]/maps[i].max()) for i in rows]

def one_scale(losses, pictures, maps, k):
    rows = losses.argsort(descending=True)[:k]
    return [(float(losses[i]), pictures[i], maps[i].relu()/maps.abs().max()) for i in rows]


# 3: does it rely on a place? ----------------------------------------------------------------------

class Corner(torch.nn.Module):
    "Class 1 where the upper left pixel is bright."
    def forward(self, x):
        bright = x[:, 0, 0, 0]
        return torch.stack([.5 - bright, bright - .5], 1)

class Toy:
    "What a learner has: a model."
    model = Corner()

def check_reliance(f):
    x = torch.zeros(3, 1, 2, 2)
    x[:2, :, 0, 0] = 1
    dl = [(x[:2], None), (x[2:], None)]
    def corner(b): return b*torch.tensor([[0., 1], [1, 1]])
    def opposite(b): return b*torch.tensor([[1., 1], [1, 0]])
    got, control = float(f(Toy, dl, corner)), float(f(Toy, dl, opposite))
    if got == 2: return 'You count the changed predictions: divide by the number of pictures.'
    if abs(got - 1/3) < 1e-6: return 'You return the share of predictions that stayed.'
    if got == .5: return 'Each picture counts once: batches have different sizes.'
    if abs(got - 2/3) > 1e-6: return f'Two of three predictions change here, you return {got:.3f}.'
    if control != 0: return f'The opposite corner changes nothing here, you return {control:.3f}.'

def reliance(learn, dl, change):
    changed, total = 0, 0
    model = learn.model.eval()
    with torch.no_grad():
        for batch in dl:
            x = batch[0]
            changed += (model(x).argmax(1) != model(change(x)).argmax(1)).sum().item()
            total += len(x)
    return changed/total

def counted(learn, dl, change):
    return reliance(learn, dl, change)*sum(len(batch[0]) for batch in dl)

def kept(learn, dl, change): return 1 - reliance(learn, dl, change)

def mean_of_batches(learn, dl, change):
    shares = [reliance(learn, [batch], change) for batch in dl]
    return sum(shares)/len(shares)


exercises = {
    '08.1': dict(
        stars=1, check=check_wrong, solution=wrong_and_sure,
        hints=['Of each row you need two things: how sure it is, and of what.',
               'Two conditions must hold at once. At which positions do they?'],
        wrong=[(only_sure, 'keep only wrong'), (only_wrong, 'not sure'),
               (true_class, 'of the predicted class')]),
    '08.2': dict(
        stars=2, check=check_worst, solution=worst_with_maps,
        hints=['Find the positions of the worst first; pictures and maps follow them.',
               'What does division by the largest value do to a map of negative numbers?'],
        wrong=[(smallest_first, 'smallest losses'), (without_relu, 'below zero become zero'),
               (one_scale, 'its own largest value')]),
    '08.3': dict(
        stars=3, check=check_reliance, solution=reliance,
        hints=['A prediction changes when its class does, not when its score does.',
               'The last batch is smaller. What must be counted before you divide?'],
        wrong=[(counted, 'divide by the number'), (kept, 'that stayed'),
               (mean_of_batches, 'counts once')]),
}

quiz = [
    dict(ask='A learner crops the centre of a photo. You stretch its 7x7 map over the whole photo. '
             'What is wrong?',
         choices=[('Most cells lie in the wrong place.', True,
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
         choices=[('Which places speak for the one class rather than the other.', True,
                   'Red for the prediction, blue for the truth.'),
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
