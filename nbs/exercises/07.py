"""Exercises of chapter 7, CAM and Grad-CAM: checkers, hints, solutions, plausible wrong answers,
quiz."""
import torch

from attn_course.metrics import mass_inside, peak_inside

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


# 2: difference of two classes ---------------------------------------------------------------------

def check_difference(f):
    torch.manual_seed(0)
    acts, a, b = torch.rand(2, 3, 4, 5), torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    want, got = (acts*(a - b)).sum(1), f(acts, a, b)
    if got.shape != want.shape:
        return (f'A map has the shape (bs, h, w), here (2, 4, 5), yours is {tuple(got.shape)}: sum '
                'over the channels.')
    if torch.allclose(got, want.relu(), atol=1e-5):
        return 'The negative part is gone: it is where the picture speaks for b, so use no ReLU.'
    if torch.allclose(got, -want, atol=1e-5):
        return 'The sign is turned: positive should mean for a.'
    averaged = torch.einsum('bchw,bc->bhw', acts, (a - b).mean((2, 3)))
    if torch.allclose(got, averaged, atol=1e-5):
        return ('You average the gradients over the places, as Grad-CAM does; HiResCAM multiplies '
                'place by place.')
    if not torch.allclose(got, want, atol=1e-5):
        return (f'Not the HiResCAM of the difference: its first number is {want[0, 0, 0]:.4f} '
                f'here, yours is {got[0, 0, 0]:.4f}.')

def difference_cam(acts, a, b): return (acts*(a - b)).sum(1)
def with_relu(acts, a, b): return difference_cam(acts, a, b).relu()
def averaged(acts, a, b): return torch.einsum('bchw,bc->bhw', acts, (a - b).mean((2, 3)))
def over_batch(acts, a, b): return (acts*(a - b)).sum(0)


# 3: the best layer --------------------------------------------------------------------------------

def layers():
    """Layer 'broad' has its peaks on the object and most of its mass beside it; 'bright' is strong
    and off; 'last' is off."""
    masks = torch.zeros(2, 4, 4).bool()
    masks[:, 0, 0] = True
    broad = torch.full((2, 4, 4), .9)
    broad[:, 0, 0] = 1
    last = torch.zeros(2, 4, 4)
    last[0, 0, 0], last[1, 3, 3] = 1, 1
    bright = torch.zeros(2, 4, 4)
    bright[:, 3, 3] = 100
    return {'bright': (bright, masks), 'broad': (broad, masks), 'last': (last, masks)}

def check_best(f):
    got = f(layers())
    if got == 'last':
        return ("You choose 'last': by the share of the mass it wins (or did you take the last "
                "one?), but the pointing game asks for the peak.")
    if got == 'bright':
        return ("You choose 'bright': compare where the peaks are, not how high (or did you take "
                "the smallest?).")
    if got != 'broad':
        return f"The layer that wins the pointing game is 'broad', you return {got!r}."

def best_layer(table): return max(table, key=lambda n: peak_inside(*table[n]).float().mean().item())
def by_mass(table): return max(table, key=lambda n: mass_inside(*table[n]).mean().item())
def by_height(table): return max(table, key=lambda n: table[n][0].max().item())


exercises = {
    '07.1': dict(
        stars=1, check=check_logit, solution=logit_from_gradcam,
        hints=['Grad-CAM times the number of places is CAM.',
               'The mean of CAM over the places is the logit without its bias.'],
        wrong=[(plain_mean, 'multiply by the number of places'),
               (sum_of_cam, 'its mean over the places')]),
    '07.2': dict(
        stars=2, check=check_difference, solution=difference_cam,
        hints=['The gradient of a difference is the difference of the gradients.',
               'HiResCAM multiplies activations and gradients place by place and adds up the '
               'channels (dimension 1).'],
        wrong=[(with_relu, 'no ReLU'), (averaged, 'place by place'),
               (over_batch, 'sum over the channels')]),
    '07.3': dict(
        stars=3, check=check_best, solution=best_layer,
        hints=['peak_inside(maps, masks) says for each image whether the peak is on the object.',
               'max(table, key=...) returns the name with the largest mean.'],
        wrong=[(by_mass, 'asks for the peak'), (by_height, 'where the peaks are')]),
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
         choices=[('To get one weight a channel, as CAM has.', True,
                   'That is what makes it equal to CAM, up to a factor, on a pooling head.'),
                  ('To save memory.', False, 'The gradient has been computed by then anyway.'),
                  ('Because gradients are noisy.', False,
                   'It does smooth, but HiResCAM shows that averaging can also mislead.')]),
    dict(ask='A map of an untrained network is bright in one place. What does that tell you?',
         choices=[('Nothing about the object: every map is scaled to its own largest value.', True,
                   'That is why an untrained network stands beside every count.'),
                  ('The network has an innate bias for the object.', False,
                   'Its weights are random; count over many pictures and the advantage is gone.'),
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
