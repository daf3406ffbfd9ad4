"Exercises of chapter 6, hooks: checkers, hints, solutions, plausible wrong answers, quiz."
from contextlib import contextmanager

import torch
from torch import nn

from attn_course.capture import capture

# 1: count hooks ----------------------------------------------------------------------------------

def hooked_net():
    "Two forward hooks and a pre-hook on submodules, two forward hooks on the root."
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU()))
    net[0].register_forward_hook(lambda *_: None)
    net[1][0].register_forward_hook(lambda *_: None)
    net[0].register_forward_pre_hook(lambda *_: None)
    for _ in range(2): net.register_forward_hook(lambda *_: None)
    return net

def check_count(f):
    got = f(hooked_net())
    if got is None: return 'Not written yet: put your answer in the place of the three dots.'
    if got == 2: return 'Three hooks hang on submodules: walk over model.modules().'
    if got == 3: return 'You miss the hooks on the model itself, the root of the tree.'
    if got == 4: return 'You count the forward hooks; there is a forward pre-hook as well.'
    if got != 5: return f'The test model has 5 hooks, you count {got}.'

def count_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
def count_top_only(model): return len(model._forward_hooks) + len(model._forward_pre_hooks)
def count_below(model):
    return count_hooks(model) - len(model._forward_hooks) - len(model._forward_pre_hooks)
def count_forward_only(model): return sum(len(m._forward_hooks) for m in model.modules())


# 2: watch ----------------------------------------------------------------------------------------

class Refuses(nn.Module):
    "A module that takes no hook."
    def register_forward_hook(self, *args, **kwargs): raise RuntimeError('no hook here')

def left_over(net):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())

def recorded(f):
    "What the context manager keeps of a network that works in place, and hooks left afterwards."
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(2, 1, 1))
    nn.init.constant_(net[0].weight, -1)
    nn.init.zeros_(net[0].bias)
    with f([net[0], net[2]]) as outputs: net(torch.ones(1, 1, 2, 2))
    return outputs, left_over(net)

def hooks_after_failure(f, layers, net):
    try:
        with f(layers): net(torch.ones(1, 3, 2, 2)) # three channels instead of one
    except RuntimeError: pass
    return left_over(net)

def check_watch(f):
    outputs, left = recorded(f)
    if len(outputs) != 2: return f'Two layers ran, {len(outputs)} outputs were kept.'
    if left: return 'Hooks are left on the layers: remove them at the end.'
    if outputs[0].requires_grad: return 'The outputs still carry their graph: detach them.'
    if outputs[0].max() > -.5: return 'The next layer works in place: keep a copy of each output.'
    net = nn.Sequential(nn.Conv2d(1, 2, 1))
    if hooks_after_failure(f, [net[0]], net):
        return 'After an exception in the forward the hooks are still on: remove them in finally.'
    if hooks_after_failure(f, [net[0], Refuses()], net):
        return 'When the second hook cannot be attached the first stays on: attach inside try.'

@contextmanager
def watch(layers):
    outputs, handles = [], []
    def note(layer, args, out): outputs.append(out.detach().clone())
    try:
        for layer in layers: handles.append(layer.register_forward_hook(note))
        yield outputs
    finally:
        for handle in handles: handle.remove()

@contextmanager
def without_copy(layers):
    outputs = []
    def note(layer, args, out): outputs.append(out.detach())
    handles = [layer.register_forward_hook(note) for layer in layers]
    try: yield outputs
    finally:
        for handle in handles: handle.remove()

@contextmanager
def without_finally(layers):
    outputs = []
    def note(layer, args, out): outputs.append(out.detach().clone())
    handles = [layer.register_forward_hook(note) for layer in layers]
    yield outputs
    for handle in handles: handle.remove()

@contextmanager
def attached_before(layers):
    outputs = []
    def note(layer, args, out): outputs.append(out.detach().clone())
    handles = [layer.register_forward_hook(note) for layer in layers]
    try: yield outputs
    finally:
        for handle in handles: handle.remove()


# 3: gradient at a layer ---------------------------------------------------------------------------

def inplace_net():
    "A convolution that puts out -1 and 2, a ReLU that works in place, and a sum for each class."
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3))
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([-1., 2]).view(2, 1, 1, 1)
        net[0].bias[:] = 0
        net[3].weight[:] = torch.arange(1., 4)[:, None]
    return net

def with_switch(result): return result, torch.is_grad_enabled()

def check_gradient(f):
    net, xb = inplace_net(), torch.ones(2, 1, 2, 2)
    try:
        with torch.no_grad(): (acts, gradient), switched = with_switch(f(net, net[0], xb, 1))
    except RuntimeError as e:
        return f'With gradients switched off by the caller it ends with: {str(e)[:60]}'
    if switched: return 'Gradients are left switched on: put the switch back.'
    if left_over(net): return 'A hook is left on the layer: remove it in finally.'
    if any(p.grad is not None for p in net.parameters()):
        return 'A parameter got a .grad: ask torch.autograd.grad for what you want alone.'
    if acts.shape != (2, 2, 2, 2) or gradient.shape != acts.shape:
        return f'Both have the shape of the output, (2, 2, 2, 2); yours {tuple(acts.shape)}.'
    return what_is_wrong(acts, gradient)

def what_is_wrong(acts, gradient):
    if acts.requires_grad or gradient.requires_grad: return 'What you return still has a graph.'
    if acts.min() > -.5: return 'The ReLU has overwritten what you kept: keep a copy.'
    want = torch.tensor([0., 2]).view(1, 2, 1, 1).expand(2, 2, 2, 2)
    if not torch.allclose(gradient, want): return 'The gradient is not that of the class 1.'

def cut_at(layer):
    "A hook that goes on from a leaf: where the leaf is kept, and the hook's handle."
    kept = {}
    def hook(layer, args, out):
        kept['leaf'] = out.detach().clone().requires_grad_()
        return kept['leaf'].clone()
    return kept, layer.register_forward_hook(hook)

def gradient_at(model, layer, xb, target):
    kept, handle = cut_at(layer)
    try:
        with torch.enable_grad(): score = model(xb)[:, target].sum()
    finally: handle.remove()
    gradient, = torch.autograd.grad(score, kept['leaf'])
    return kept['leaf'].detach(), gradient

def without_switch(model, layer, xb, target):
    kept, handle = cut_at(layer)
    score = model(xb)[:, target].sum()
    handle.remove()
    return kept['leaf'].detach(), torch.autograd.grad(score, kept['leaf'])[0]

def with_retained(model, layer, xb, target):
    kept = []
    handle = layer.register_forward_hook(lambda layer, args, out: kept.append(out))
    with torch.enable_grad(): score = model(xb)[:, target].sum()
    handle.remove()
    return kept[0].detach(), torch.autograd.grad(score, kept[0])[0]

def with_backward(model, layer, xb, target):
    kept, handle = cut_at(layer)
    with torch.enable_grad(): model(xb)[:, target].sum().backward()
    handle.remove()
    return kept['leaf'].detach(), kept['leaf'].grad

def hook_left(model, layer, xb, target):
    layer.register_forward_hook(lambda *_: None)
    return gradient_at(model, layer, xb, target)

def of_all_classes(model, layer, xb, target):
    return gradient_at(model, layer, xb, slice(None))


# 4: silent channels ------------------------------------------------------------------------------

def half_dead():
    "A 1x1 convolution with 4 channels: two dead, one alive in one image only, one alive in both."
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU())
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([1., 0, 0, 1]).view(4, 1, 1, 1)
        net[0].bias[:] = torch.tensor([0., 0, -1, -1.5])
    return net, torch.tensor([1., 2.]).view(2, 1, 1, 1).expand(2, 1, 3, 3)

def check_silent(f):
    got = f(*half_dead(), '[01]')
    if not isinstance(got, dict) or set(got) != {'0', '1'}:
        return 'Return a dictionary with an entry for each layer that matches, here 0 and 1.'
    share = float(got['1'])
    if share == 2: return 'You count the channels: divide by how many there are.'
    if share == .75: return 'A channel must be silent in every picture: look at all of them.'
    if share == .625: return 'Reduce over the pictures as well as over the places.'
    if share != .5: return f'Two of four channels are silent in layer 1, you return {share}.'

def silent(model, xb, pattern):
    with torch.no_grad(), capture(model, pattern) as rec: model(xb)
    return {n: (a.amax((0, 2, 3)) <= 0).float().mean().item() for n, a in rec.acts.items()}

def first_picture(model, xb, pattern): return silent(model, xb[:1], pattern)

def per_picture(model, xb, pattern):
    with torch.no_grad(), capture(model, pattern) as rec: model(xb)
    return {n: (a.amax((2, 3)) <= 0).float().mean().item() for n, a in rec.acts.items()}

def counted(model, xb, pattern):
    with torch.no_grad(), capture(model, pattern) as rec: model(xb)
    return {n: (a.amax((0, 2, 3)) <= 0).sum().item() for n, a in rec.acts.items()}


exercises = {
    '06.1': dict(
        stars=1, check=check_count, solution=count_hooks,
        hints=['A model is a tree. Which method of nn.Module walks over all of it, the root too?',
               'A hook that runs before the forward is not kept where those after it are.'],
        wrong=[(count_top_only, 'walk over model.modules()'), (count_below, 'root of the tree'),
               (count_forward_only, 'pre-hook')]),
    '06.2': dict(
        stars=2, check=check_watch, solution=watch,
        hints=['Compare with record_output of this chapter: what is one there must be a list here.',
               'What if the third hook cannot be attached? Who then knows of the first two?'],
        wrong=[(without_copy, 'keep a copy'), (without_finally, 'remove them in finally'),
               (attached_before, 'attach inside try')]),
    '06.3': dict(
        stars=2, check=check_gradient, solution=gradient_at,
        hints=['What does the hook hand on, and what does it keep? Look at the diagram again.',
               'torch.enable_grad() is a with block. Which call has to stand inside?'],
        wrong=[(without_switch, 'switched off by the caller'), (with_retained, 'keep a copy'),
               (with_backward, 'got a .grad'), (hook_left, 'hook is left'),
               (of_all_classes, 'not that of the class 1')]),
    '06.4': dict(
        stars=3, check=check_silent, solution=silent,
        hints=['Which single number of a channel decides whether it was ever above zero?',
               'One picture is enough to wake a channel: over which axes do you look?'],
        wrong=[(first_picture, 'look at all of them'), (per_picture, 'Reduce over the pictures'),
               (counted, 'divide by how many')]),
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
         choices=[('Nothing below it is walked.', True,
                   'The gradient at the layer needs only what comes after it.'),
                  ('The gradient at the layer would be wrong otherwise.', False,
                   'Where nothing works in place it is the same number; the cost differs.'),
                  ('Hooks do not work with gradients.', False,
                   'They do, as the by-hand version shows.')]),
    dict(ask='A hook on an attention layer ran, and its second output is None. Why?',
         choices=[('The caller asked with need_weights=False, so the weights were never returned.',
                   True, 'Ask for them in a pre-hook.'),
                  ('The layer has no attention.', False,
                   'It has; it was only not asked to return its weights.'),
                  ('The hook ran before the weights were ready.', False,
                   'It runs after the layer; the weights were not part of what it returned.')]),
    dict(ask='One row of captured weights sums to .6, another to 1.4. The likeliest cause?',
         choices=[('The layer is in train mode and dropout has removed entries.', True,
                   'What is left is scaled up. Call eval(), or read rec.info(name).'),
                  ('Softmax rounds.', False, 'Rounding errors are near 1e-7, not .4.'),
                  ('Attention rows need not sum to 1.', False,
                   'A softmax row does; something came after it.')]),
]
