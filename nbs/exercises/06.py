"Exercises of chapter 6, capture: checkers, hints, solutions, plausible wrong answers, quiz."
import torch
from torch import nn

from attn_course.capture import capture, find_layers

# 1: count hooks ----------------------------------------------------------------------------------

def hooked_net():
    "Two forward hooks and one pre-hook, all on submodules."
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU()))
    net[0].register_forward_hook(lambda *_: None)
    net[1][0].register_forward_hook(lambda *_: None)
    net[0].register_forward_pre_hook(lambda *_: None)
    return net

def check_count(f):
    got = f(hooked_net())
    if got == 0:
        return ('Three hooks hang on the submodules of the test model, you count 0: walk over '
                'model.modules().')
    if got == 2: return 'You count the forward hooks; there is a forward pre-hook as well.'
    if got != 3: return f'The test model has 3 hooks, you count {got}.'

def count_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
def count_top_only(model): return len(model._forward_hooks) + len(model._forward_pre_hooks)
def count_forward_only(model): return sum(len(m._forward_hooks) for m in model.modules())


# 2: dead channels --------------------------------------------------------------------------------

def half_dead():
    "A 1x1 convolution with 4 channels: two dead, one alive in one image only, one alive in both."
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU())
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([1., 0, 0, 1]).view(4, 1, 1, 1)
        net[0].bias[:] = torch.tensor([0., 0, -1, -1.5])
    return net, torch.tensor([1., 2.]).view(2, 1, 1, 1).expand(2, 1, 3, 3)

def check_dead(f):
    got = f(*half_dead(), '1')
    if got == 3:
        return ('You count a channel as dead that is alive in the second image: it must be dead '
                'for every image.')
    if got in (5, 2.5): return 'You count each image on its own: reduce over the batch as well.'
    if got != 2: return f'The test layer has 2 dead channels, you count {got}.'

def dead_channels(model, xb, layer):
    with torch.no_grad(), capture(model, layer) as rec: model(xb)
    return int((rec.acts[layer].amax((0, 2, 3)) <= 0).sum())

def dead_in_first_image(model, xb, layer): return dead_channels(model, xb[:1], layer)

def dead_per_image(model, xb, layer):
    with torch.no_grad(), capture(model, layer) as rec: model(xb)
    return int((rec.acts[layer].amax((2, 3)) <= 0).sum())


# 3: does the gradient predict? -------------------------------------------------------------------

def linear_net(scale):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(),
                        nn.Linear(64, 5)).double()
    with torch.no_grad(): net[3].weight *= scale
    return net, torch.randn(1, 3, 8, 8, dtype=torch.double), '0', 2

def check_error(f):
    torch.manual_seed(0)
    smooth = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5)).double()
    x = torch.randn(1, 3, 8, 8, dtype=torch.double)
    linear, curved = f(*linear_net(1)), f(smooth, x, '0', 2)
    if not isinstance(linear, float): return f'Return one number, not {type(linear).__name__}.'
    if not linear < 1e-6:
        return (f'On a linear network the gradient is exact, yet your error is {linear:.3g}: '
                'compare signed changes.')
    smooth[3].weight.data *= 1e6
    if f(smooth, x, '0', 2) > 1e3*max(curved, 1e-6):
        return 'Your error grows with the scale of the scores: divide by the predicted change.'
    if curved == 0:
        return ('On a curved network the prediction cannot be exact: is the step added to the '
                'layer at all?')

def gradient_error(model, xb, layer, target, size=1e-3, relative=True, signed=True):
    with capture(model, layer, grads=True) as rec:
        before = model(xb)[:, target].sum()
        rec.backward(before)
    step = size*torch.randn_like(rec.acts[layer])
    def moves(layer, args, out): return out + step
    handle = find_layers(model, layer)[layer].register_forward_hook(moves)
    try: moved = model(xb)[:, target].sum() - before
    finally: handle.remove()
    predicted = (rec.grads[layer]*step).sum() if signed else (rec.grads[layer]*step).abs().sum()
    error = (moved - predicted).detach().abs()
    return float(error/predicted.abs() if relative else error)

def absolute_error(*args): return gradient_error(*args, relative=False)
def unsigned_error(*args): return gradient_error(*args, signed=False)


exercises = {
    '06.1': dict(
        stars=1, check=check_count, solution=count_hooks,
        hints=['model.modules() gives the model and all its submodules.',
               'Each module keeps its hooks in _forward_hooks and _forward_pre_hooks.'],
        wrong=[(count_top_only, 'walk over model.modules()'), (count_forward_only, 'pre-hook')]),
    '06.2': dict(
        stars=2, check=check_dead, solution=dead_channels,
        hints=['Capture the layer, then look at rec.acts[layer], of shape (bs, channels, h, w).',
               'A channel is dead when its largest value over images, rows and columns is not '
               'above 0.'],
        wrong=[(dead_in_first_image, 'every image'), (dead_per_image, 'over the batch')]),
    '06.3': dict(
        stars=3, check=check_error, solution=gradient_error,
        hints=['A forward hook that returns a tensor replaces the output: return out + step.',
               'The predicted change is (rec.grads[layer]*step).sum(), with its sign.'],
        wrong=[(absolute_error, 'divide by the predicted change'),
               (unsigned_error, 'signed changes')]),
}

quiz = [
    dict(ask='You run a cell that adds a forward hook, twice, and never remove it. What happens at '
             'the next forward?',
         choices=[('The hook function runs twice.', True,
                   'Each registration is a hook of its own.'),
                  ('The second registration replaces the first.', False,
                   'PyTorch keeps both; only handle.remove() takes one off.'),
                  ('PyTorch raises.', False, 'It cannot know that you meant only one.')]),
    dict(ask='A hook on a convolution shows no negative value. The next layer is '
             'ReLU(inplace=True). What do you conclude?',
         choices=[('Nothing yet: the ReLU may have overwritten the tensor.', True,
                   'The hook holds a reference; clone it.'),
                  ('The convolution has learned positive filters.', False,
                   'Possible, but the in-place ReLU explains it without that.'),
                  ('Hooks run after the whole network.', False,
                   'They run right after their layer; the tensor changed later.')]),
    dict(ask='Why does capture start the graph at the layer?',
         choices=[('Nothing below it is stored or walked, and no parameter gets a .grad.', True,
                   'The gradient at the layer needs only what comes after it.'),
                  ('The gradient at the layer would be wrong otherwise.', False,
                   'It is the same number; only the cost and the side effects differ.'),
                  ('Hooks do not work with gradients.', False,
                   'They do, as the by-hand version shows.')]),
    dict(ask='A hook on an attention layer ran, and its second output is None. Why?',
         choices=[('The caller asked with need_weights=False, so the weights were never returned.',
                   True, 'Ask for them in a pre-hook.'),
                  ('The layer has no attention.', False,
                   'It has; the fused kernel just never builds the matrix.'),
                  ('The hook came too late.', False,
                   'The output is complete when the hook runs; the weights are not part of it.')]),
    dict(ask='The rows of a captured attention matrix sum to .6. What is the likeliest cause?',
         choices=[('The layer is in train mode and dropout has removed entries.', True,
                   'Call eval(), or read rec.info(name).'),
                  ('Softmax rounds.', False, 'Rounding errors are near 1e-7, not .4.'),
                  ('Attention rows need not sum to 1.', False,
                   'A softmax row does; something came after it.')]),
]
