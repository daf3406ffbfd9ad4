"""Exercises of chapter 7, CAM and Grad-CAM: checkers, hints, solutions, plausible wrong answers,
quiz."""
import torch

# 1: from Grad-CAM to the logit --------------------------------------------------------------------

def check_logit(f):
    torch.manual_seed(0)
    acts, weights = torch.rand(3, 4, 5), torch.randn(3)
    gradcam = torch.einsum('chw,c->hw', acts, weights/20)
    got, want = torch.as_tensor(f(gradcam)), (acts.mean((1, 2))*weights).sum()
    if got.ndim: return f'The logit is one number, you return the shape {tuple(got.shape)}.'
    if torch.isclose(got, gradcam.mean(), atol=1e-5):
        return 'That is the mean of Grad-CAM: first multiply by the number of places to get CAM.'
    if torch.isclose(got, want*20, atol=1e-4):
        return 'You add up CAM; the logit is its mean over the places.'
    if not torch.isclose(got, want, atol=1e-4):
        return f'The logit without bias is {want:.4f} here, you return {got:.4f}.'

def logit_from_gradcam(m): return (m*m.numel()).mean()
def plain_mean(m): return m.mean()
def sum_of_cam(m): return (m*m.numel()).sum()


# 2: Grad-CAM itself -------------------------------------------------------------------------------

def halves():
    "A body and a head, in double precision."
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU())
    head = torch.nn.Sequential(torch.nn.AdaptiveMaxPool2d(2), torch.nn.Flatten(),
                               torch.nn.Linear(12, 4))
    return body.double(), head.double(), torch.randn(2, 1, 6, 7).double()

def parts(body, head, xb, target):
    "Activations, and the gradient of the score there."
    acts = body(xb).detach().requires_grad_()
    grads, = torch.autograd.grad(head(acts)[:, target].sum(), acts)
    return acts.detach(), grads

def weighted(acts, weights): return torch.einsum('bchw,bc->bhw', acts, weights)

def plausible_mistakes(acts, grads):
    "What a map may be instead of Grad-CAM, and what to say then."
    return [
        (weighted(acts, grads.mean((2, 3))), 'The negative part is left: Grad-CAM takes the relu.'),
        (weighted(acts, grads.sum((2, 3))).relu(),
         'A weight is the mean of the gradient, not its sum.'),
        ((acts*grads).sum(1).relu(), 'Average the gradient over the places before you multiply.'),
        ((acts*grads).sum(1), 'Average the gradient over the places before you multiply.')]

def check_gradcam(f):
    body, head, xb = halves()
    acts, grads = parts(body, head, xb, 2)
    want, got = weighted(acts, grads.mean((2, 3))).relu(), f(body, head, xb, 2)
    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return f'A map per image is wanted, (bs, h, w), here {tuple(want.shape)}.'
    if any(p.grad is not None for m in (body, head) for p in m.parameters()):
        return "A parameter's .grad has changed: use torch.autograd.grad instead of backward()."
    if torch.allclose(got, want, atol=1e-9): return None
    for wrong, words in plausible_mistakes(acts, grads):
        if torch.allclose(got, wrong, atol=1e-9): return words
    return f'Not Grad-CAM: its largest value is {want.max():.4f} here, yours {got.max():.4f}.'

def my_grad_cam(body, head, xb, target):
    acts, grads = parts(body, head, xb, target)
    return weighted(acts, grads.mean((2, 3))).relu()

def without_relu(body, head, xb, target):
    acts, grads = parts(body, head, xb, target)
    return weighted(acts, grads.mean((2, 3)))

def place_by_place(body, head, xb, target):
    acts, grads = parts(body, head, xb, target)
    return (acts*grads).sum(1)

def by_backward(body, head, xb, target):
    acts = body(xb)
    acts.retain_grad()
    head(acts)[:, target].sum().backward()
    return weighted(acts, acts.grad.mean((2, 3))).relu().detach()


# 3: a method of one's own -------------------------------------------------------------------------

def check_supporting(f):
    torch.manual_seed(0)
    acts, grads = torch.rand(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    want, got = supporting_cam(acts, grads), f(acts, grads)
    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return f'A map per image is wanted, (bs, h, w), here {tuple(want.shape)}.'
    if torch.allclose(got, want, atol=1e-6): return None
    if torch.allclose(got, grad_cam(acts, grads), atol=1e-6):
        return 'That is Grad-CAM: what is below zero in the gradient still counts.'
    if torch.allclose(got, mean_first(acts, grads), atol=1e-6):
        return 'Cut off below zero place by place, before the mean.'
    if torch.allclose(got, own_place(acts, grads), atol=1e-6):
        return 'That is LayerCAM: a channel has one weight here, the mean over its places.'
    return f'The largest value is {want.max():.4f} here, yours {got.max():.4f}.'

def supporting_cam(acts, grads): return weighted(acts, grads.relu().mean((2, 3))).relu()
def grad_cam(acts, grads): return weighted(acts, grads.mean((2, 3))).relu()
def mean_first(acts, grads): return weighted(acts, grads.mean((2, 3)).relu()).relu()
def own_place(acts, grads): return (acts*grads.relu()).sum(1).relu()


# 4: how far apart ---------------------------------------------------------------------------------

def check_apart(f):
    a, b = torch.zeros(3, 4), torch.zeros(3, 4)
    a[0, 0], b[2, 3] = 5, 1
    got, same = float(f(a, b)), float(f(a, a*2))
    if same != 0: return 'Two maps with the same peak are 0 apart.'
    if abs(got - 13**.5) < 1e-6: return "Divide by the picture's diagonal, here 5 cells."
    if abs(got - 1) < 1e-6:
        return 'Corner cells of a 3 by 4 map: their centres are less than a diagonal apart.'
    if abs(got - 13**.5/5) > 1e-6:
        return (f'From (0, 0) to (2, 3) it is {13**.5/5:.3f} of the diagonal of 3 by 4 cells, '
                f'yours {got:.3f}.')

def peaks(a, b): return [divmod(int(m.argmax()), a.shape[1]) for m in (a, b)]

def apart(a, b):
    (r, c), (s, d) = peaks(a, b)
    return ((r - s)**2 + (c - d)**2)**.5/(a.shape[0]**2 + a.shape[1]**2)**.5

def in_cells(a, b):
    (r, c), (s, d) = peaks(a, b)
    return ((r - s)**2 + (c - d)**2)**.5

def between_corners(a, b):
    (r, c), (s, d) = peaks(a, b)
    return ((r - s)**2 + (c - d)**2)**.5/((a.shape[0] - 1)**2 + (a.shape[1] - 1)**2)**.5


exercises = {
    '07.1': dict(
        stars=1, check=check_logit, solution=logit_from_gradcam,
        hints=['The CAM of the 2-by-2 example was [[7, 0], [0, 9]]. What was done to it here?',
               'CAM gives the logit by its mean. Which two factors then cancel?'],
        wrong=[(plain_mean, 'multiply by the number of places'),
               (sum_of_cam, 'its mean over the places')]),
    '07.2': dict(
        stars=2, check=check_gradcam, solution=my_grad_cam,
        hints=['Three steps: run, differentiate, weight. Which tensor must be part of the graph?',
               'grad wants one number, you have a score per image. May you add them up? Does the '
               'picture of one image change the score of another?'],
        wrong=[(without_relu, 'takes the relu'), (place_by_place, 'before you multiply'),
               (by_backward, '.grad has changed')]),
    '07.3': dict(
        stars=2, check=check_supporting, solution=supporting_cam,
        hints=['What differs from Grad-CAM is one operation, and the moment when it happens.',
               'For gradients 3 and -1 at two places: is the weight 1, 1.5 or 2?'],
        wrong=[(grad_cam, 'still counts'), (mean_first, 'before the mean'),
               (own_place, 'That is LayerCAM')]),
    '07.4': dict(
        stars=3, check=check_apart, solution=apart,
        hints=['argmax counts through the rows. What do division by the width and its remainder '
               'tell?',
               'Try it on paper: opposite corners of 3 by 4 cells are 2 rows and 3 columns '
               'apart.'],
        wrong=[(in_cells, 'Divide by'), (between_corners, 'less than a diagonal')]),
}

quiz = [
    dict(ask='For which head is the textbook CAM exact?',
         choices=[('Mean over the places, then one linear layer.', True,
                   'Then the two sums may change places, and the mean of the map plus the bias is '
                   'the logit.'),
                  ('Any head, as long as the network is trained.', False,
                   "fastai's default head breaks it: a maximum and a hidden "
                   "layer come in between."),
                  ('Only heads without a bias.', False,
                   'The bias is one number for all places; it just has to be added.')]),
    dict(ask='Why does Grad-CAM average the gradient over the places?',
         choices=[('To get one weight per channel, as CAM has.', True,
                   'That is what makes it equal to CAM, up to a factor, on a pooling head.'),
                  ('To save memory.', False, 'The gradient has been computed by then anyway.'),
                  ('Because gradients are noisy.', False,
                   'It does smooth, but HiResCAM shows that averaging can also mislead.')]),
    dict(ask='A map of an untrained network is bright in one place. What does that tell you?',
         choices=[('Not that it knows the object, even if the bright place lies on it.', True,
                   'Random filters answer to contrast, and things have contrast. Count how often '
                   'the map points at the wrong object.'),
                  ('That it knows the object a little.', False,
                   'It points at the wrong object as often: it knows none of them.'),
                  ('The method is broken.', False,
                   'It answers correctly which places carried a meaningless score.')]),
    dict(ask='Why do the scenes of this chapter hold two objects?',
         choices=[('With one object, a map that only finds colour would win too.', True,
                   'The other object is the test: a map about a class must leave it dark.'),
                  ('The network trains better.', False, 'One object is easier to learn.'),
                  ('CAM needs at least two classes.', False,
                   'It needs a class, however many objects there are.')]),
    dict(ask='EigenCAM gives a beautiful map of the object. May you call it the explanation of the '
             'class?',
         choices=[('No: it never asked about a class.', True,
                   'It shows the strongest pattern of the activations, the same for every class.'),
                  ('Yes, if the prediction is right.', False,
                   'The map would be the same for a wrong prediction.'),
                  ('Yes, because it needs no gradient.', False,
                   'Needing less does not make it say more.')]),
]
