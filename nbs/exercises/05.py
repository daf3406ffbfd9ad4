"Exercises of chapter 5, attach: checkers, hints, solutions, plausible wrong answers, quiz."
import numpy as np
import torch
from torch import nn

# 1: the fixed number ------------------------------------------------------------------------------

def check_gain(f):
    got = [f(n) for n in (0, 1, 2, 3)]
    if got == [0, 2, 4, 6]:
        return 'Gates multiply: two gates of 1/2 leave a quarter, three an eighth.'
    if got == [1, .5, .25, .125]: return 'That is what the gates leave; multiply by what undoes it.'
    if got == [2, 2, 2, 2]: return 'One gate needs 2; three of them leave an eighth.'
    if got != [1, 2, 4, 8]:
        return f'For 0, 1, 2 and 3 gates the numbers are 1, 2, 4 and 8, you return {got}.'

def fixed_gain(gates): return 2**gates
def linear(gates): return 2*gates
def what_is_left(gates): return .5**gates
def always_two(gates): return 2


# 2: a gate of one's own ---------------------------------------------------------------------------

class MeanGate(nn.Module):
    "One gate for all channels of a place."
    def __init__(self, channels):
        super().__init__()
        self.score, self.gate = nn.Conv2d(channels, 1, 1), nn.Sigmoid()
    def forward(self, x): return x*self.gate(self.score(x))

class PerChannel(MeanGate):
    "A gate for each channel."
    def __init__(self, channels):
        super().__init__(channels)
        self.score = nn.Conv2d(channels, channels, 1)

class Unnamed(nn.Module):
    "No layer is called gate."
    def __init__(self, channels):
        super().__init__()
        self.score = nn.Conv2d(channels, 1, 1)
    def forward(self, x): return x*self.score(x).sigmoid()

class GateAlone(MeanGate):
    "The gate instead of the features."
    def forward(self, x): return self.gate(self.score(x))

def check_gate(f):
    torch.manual_seed(0)
    layer, x = f(6), torch.randn(2, 6, 4, 5)
    if not isinstance(layer, nn.Module): return 'mean_gate(channels) returns a layer, an nn.Module.'
    with torch.no_grad(): out = layer(x)
    if out.shape == (2, 1, 4, 5):
        return 'You return the gate; the layer returns the features multiplied by it.'
    if out.shape != x.shape:
        return f'The layer keeps the shape, here (2, 6, 4, 5), yours returns {tuple(out.shape)}.'
    if not hasattr(layer, 'gate'):
        return 'The sigmoid should be a submodule called gate, so that it can be watched.'
    ratio = out/x
    if not torch.allclose(ratio, ratio[:, :1].expand_as(ratio), atol=1e-4):
        return ('Each place has one number for all its channels; yours differs from channel to '
                'channel.')
    if ratio.min() < 0 or ratio.max() > 1: return 'A gate lies between 0 and 1.'
    if not any(p.numel() == 6 for p in layer.parameters()):
        return 'A 1x1 convolution from 6 channels to one has six weights.'


# 3: paired intervals ------------------------------------------------------------------------------

def check_interval(f):
    a, b = [.95, .97, .99], [.90, .93, .93]
    got = [float(v) for v in f(a, b)]
    want = paired_interval(a, b)
    if len(got) != 3: return 'Return three numbers: mean, low, high.'
    if np.allclose(got, [-want[0], -want[2], -want[1]], atol=1e-6):
        return 'The sign is turned: the gain is with minus without.'
    if abs(got[0] - want[0]) > 1e-6:
        return f'The mean gain is {want[0]:.3f} here, you return {got[0]:.3f}.'
    if np.allclose(got, biased(a, b), atol=1e-6):
        return 'Divide the squares by n - 1 (ddof=1): the mean was estimated from the same numbers.'
    if np.allclose(got, normal(a, b), atol=1e-4):
        return '1.96 is for many runs; for three the quantile of Student is 4.303.'
    if not np.allclose(got, want, atol=1e-3):
        return (f'The interval is {want[1]:.4f} to {want[2]:.4f} here, you return {got[1]:.4f} to '
                f'{got[2]:.4f}.')

def _interval(gains, t, ddof=1):
    half = t*gains.std(ddof=ddof)/len(gains)**.5
    return gains.mean(), gains.mean() - half, gains.mean() + half
def paired_interval(a, b):
    return _interval(np.asarray(a) - np.asarray(b),
                     {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}[len(a)])
def biased(a, b): return _interval(np.asarray(a) - np.asarray(b), 4.303, 0)
def normal(a, b): return _interval(np.asarray(a) - np.asarray(b), 1.96)
def turned(a, b): return paired_interval(b, a)


exercises = {
    '05.1': dict(
        stars=1, check=check_gain, solution=fixed_gain,
        hints=['What does a feature become after two gates of 1/2?',
               'Each gate leaves a half, so each needs a factor of 2.'],
        wrong=[(linear, 'Gates multiply'), (what_is_left, 'what undoes it'),
               (always_two, 'three of them')]),
    '05.2': dict(
        stars=2, check=check_gate, solution=MeanGate,
        hints=['A subclass of nn.Module with nn.Conv2d(channels, 1, 1) and nn.Sigmoid() will do; '
               'the class itself is the function.',
               'forward returns x*self.gate(self.score(x)).'],
        wrong=[(PerChannel, 'one number for all its channels'), (Unnamed, 'called gate'),
               (GateAlone, 'multiplied by it')]),
    '05.3': dict(
        stars=3, check=check_interval, solution=paired_interval,
        hints=['Subtract first, seed by seed; then it is the interval of one list of numbers.',
               'half = t * standard deviation (ddof=1) / sqrt(n), with t = 4.303 for three seeds.'],
        wrong=[(biased, 'n - 1'), (normal, '4.303'), (turned, 'with minus without')]),
}

quiz = [
    dict(ask='Why did sixteen fresh ECA gates ruin the ImageNet network?',
         choices=[('Each halves its features; the layers behind were not trained on that.', True,
                   'A fresh sigmoid gives about 1/2. Something is left, but it points elsewhere.'),
                  ('They have too many parameters.', False, 'They have a handful each.'),
                  ('They are in the wrong place.', False,
                   'Even in the right place a fresh gate halves the features.')]),
    dict(ask='The last layer of a gate starts at zero. Can it learn?',
         choices=[('Yes: its own gradient is not zero.', True,
                   'Only what lies before it waits for one step.'),
                  ('No, zero weights stay zero.', False,
                   'A weight of zero with a gradient moves like any other.'),
                  ('Only with a high learning rate.', False, 'Any will do.')]),
    dict(ask='Why do new attention layers belong to the parameter group of the head?',
         choices=[('They are untrained, and freezing the body would freeze them at their start.',
                   True, 'A frozen gate stays open for ever.'),
                  ('Because they come last in the network.', False,
                   'They stand in the middle of the body.'),
                  ('Because they are small.', False, 'Size has nothing to do with it.')]),
    dict(ask='With three seeds a gain is +.02 and its interval runs from -.01 to +.05. What may '
             'you say?',
         choices=[('No improvement has been shown; more seeds may show one.', True,
                   'An interval that holds zero is no improvement, and no proof of none.'),
                  ('Attention improves the model by two points.', False,
                   'The runs are also compatible with a loss.'),
                  ('Attention does not help.', False, 'That is not shown either.')]),
    dict(ask='When does it help to compare runs in pairs of the same seed?',
         choices=[('When a seed does the same to both networks.', True,
                   'Only then the difference takes it out; in this study it does not.'),
                  ('Always.', False,
                   'Where the two scatter against each other the paired interval is wider.'),
                  ('When the mean gain is small.', False,
                   'Pairing changes the interval, not the mean.')]),
]
