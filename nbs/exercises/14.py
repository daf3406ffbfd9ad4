"Exercises of chapter 14, captions: checkers, hints, solutions, plausible wrong answers, quiz."
import torch

BLANK = 'Not written yet: put your answer in the place of the three dots.'

# 1: the weights of one look ----------------------------------------------------------------------

def a_look():
    torch.manual_seed(0)
    shapes = (3, 5), (3, 7, 4), (5, 6), (4, 6), (6,)
    return [torch.randn(*shape) for shape in shapes]

def scores_by_hand(state, places, U, W, w):
    scores = torch.empty(3, 7)
    for b in range(3):
        for i in range(7): scores[b, i] = w @ torch.tanh(state[b] @ U + places[b, i] @ W)
    return scores

def check_look(f):
    given = a_look()
    got = f(*[t.clone() for t in given])
    if got is None: return BLANK
    if not isinstance(got, torch.Tensor) or got.shape != (3, 7):
        return f'A weight per picture and place: (3, 7), not {tuple(getattr(got, "shape", ()))}.'
    if not torch.allclose(got.sum(1), torch.ones(3), atol=1e-5):
        return 'The weights of one picture sum to 1 over its places.'
    if torch.allclose(got, no_state(*given), atol=1e-5):
        return 'Such weights are the same for every state: it drops out without tanh.'
    if not torch.allclose(got, scores_by_hand(*given).softmax(1), atol=1e-5):
        return 'The score of place i is w · tanh(state U + place_i W), then softmax over places.'

def look(state, places, U, W, w):
    return (torch.tanh((state @ U)[:, None] + places @ W) @ w).softmax(1)

def no_state(state, places, U, W, w): return (places @ W @ w).softmax(1)
def no_tanh(state, places, U, W, w): return (((state @ U)[:, None] + places @ W) @ w).softmax(1)
def times_two(state, places, U, W, w): return look(state, places, U, W, 2*w)
def over_pictures(state, places, U, W, w):
    return (torch.tanh((state @ U)[:, None] + places @ W) @ w).softmax(0)


# 2: greedy ---------------------------------------------------------------------------------------

def a_step(stops=True):
    asked = []
    def step(word, state):
        asked.append((word, state))
        scores = torch.zeros(9)
        scores[[5, 3, 2 if stops else 4, 6, 6, 6][min(state, 5)]] = 1.
        return scores, state + 1
    return step, asked

def check_speak(f):
    step, asked = a_step()
    got = f(step, 0, 10)
    if got is None: return BLANK
    if not isinstance(got, list): return 'Return a list of numbers.'
    if hint := wrong_words([int(i) for i in got]): return hint
    if [word for word, _ in asked] != [1, 5, 3]:
        return 'Each step reads the word said last; the first reads word 1, the start.'
    if [state for _, state in asked] != [0, 1, 2]: return 'Hand each step the state of the last.'
    if len(f(a_step(stops=False)[0], 0, 4)) != 4: return 'After `length` words it must stop, too.'

def wrong_words(said):
    if said[:1] == [1]: return 'The start is no word that is said: leave it out.'
    if said == [5, 3]: return 'The end belongs to what is said.'
    if len(said) > 3: return 'After word 2, the end, it must stop.'
    if said != [5, 3, 2]: return 'Take the word with the largest score at each step.'

def speak(step, state, length):
    word, said = 1, []
    while word != 2 and len(said) < length:
        scores, state = step(word, state)
        word = scores.argmax().item()
        said.append(word)
    return said

def never_stops(step, state, length):
    word, said = 1, []
    for _ in range(length):
        scores, state = step(word, state)
        word = scores.argmax().item()
        said.append(word)
    return said

def without_end(step, state, length): return [w for w in speak(step, state, length) if w != 2]
def always_start(step, state, length):
    said = []
    while 2 not in said and len(said) < length:
        scores, state = step(1, state)
        said.append(scores.argmax().item())
    return said


# 3: clipped precision ----------------------------------------------------------------------------

def check_clipped(f):
    got = f('a red star', 'a red star')
    if got is None: return BLANK
    if abs(f('a a a', 'a red star') - 1/3) > 1e-6:
        return 'The second and third "a" have no partner: a word counts as often as it occurs.'
    if abs(f('a star', 'a red star') - 1) > 1e-6:
        return 'Divide by the number of words said: both of these are right.'
    if abs(f('a red star left of a blue star', 'a blue star') - 3/8) > 1e-6:
        return 'Five of these eight words have no partner; "a" and "star" occur once in the truth.'
    if abs(f('a a', 'a red a blue') - 1) > 1e-6: return 'The truth has "a" twice: both count.'
    if abs(got - 1) > 1e-6: return 'A perfect caption has 1.'

def clipped(said, true):
    said, true = said.split(), true.split()
    return sum(min(said.count(w), true.count(w)) for w in set(said))/len(said)

def unclipped(said, true): return sum(w in true.split() for w in said.split())/len(said.split())
def by_truth(said, true): return clipped(said, true)*len(said.split())/len(true.split())
def as_sets(said, true):
    return len(set(said.split()) & set(true.split()))/len(said.split())


# 4: shares by position ---------------------------------------------------------------------------

def check_positions(f):
    got = f(['a red star', 'a blue'], ['a red sun', 'a red star'])
    if got is None: return BLANK
    if not isinstance(got, dict): return 'Return a dictionary from position to share.'
    if sorted(got) != [0, 1, 2]: return 'Positions 0, 1 and 2, as far as the shorter sentence goes.'
    if abs(got[0] - 1) > 1e-6 or abs(got[1] - .5) > 1e-6:
        return 'The share of sentences whose word at this position is right.'
    if abs(got[2]) > 1e-6: return 'At position 2 one sentence has a word, and it is wrong.'

def checked_share(said, true):
    hits = {}
    for a, b in zip(said, true, strict=True):
        for i, (mine, theirs) in enumerate(zip(a.split(), b.split())): # noqa: B905, one may end
            hits.setdefault(i, []).append(mine == theirs)
    return {i: sum(found)/len(found) for i, found in hits.items()}

def as_list(said, true): return list(checked_share(said, true).values())
def of_all(said, true):
    return dict.fromkeys(checked_share(said, true), 1.)


exercises = {
    '14.1': dict(
        stars=2, check=check_look, solution=look,
        hints=['Bring state U to the shape (bs, 1, m), so that it is added to every place.',
               'A vector on the right of @ sums over the last axis; the softmax runs over axis 1.'],
        wrong=[(no_state, 'same for every state'), (no_tanh, 'drops out without tanh'),
               (over_pictures, 'sum to 1 over its places'), (times_two, 'score of place i')]),
    '14.2': dict(
        stars=2, check=check_speak, solution=speak,
        hints=['Two things end the loop: which?', 'What does the next step read?'],
        wrong=[(never_stops, 'it must stop'), (without_end, 'belongs to what is said'),
               (always_start, 'reads the word said last')]),
    '14.3': dict(
        stars=2, check=check_clipped, solution=clipped,
        hints=['Go through the different words that were said, not through all of them.',
               'How often may a word be right at most?'],
        wrong=[(unclipped, 'have no partner'), (by_truth, 'number of words said'),
               (as_sets, 'both count')]),
    '14.4': dict(
        stars=3, check=check_positions, solution=checked_share,
        hints=['zip ends with the shorter of two sentences.',
               'Collect True and False for each position, then take the mean.'],
        wrong=[(as_list, 'dictionary'), (of_all, 'share of sentences')]),
}

quiz = [
    dict(ask='Where does the look for the first word come from?',
         choices=[('From a state that is made of the mean of all places.', True,
                   'No word has been said yet; the state begins with the picture as a whole.'),
                  ('From the first word.', False, 'The look comes before it.'),
                  ('From the middle of the picture.', False, 'Nothing puts it there.')]),
    dict(ask='Why can exact captions be counted with the true words given?',
         choices=[('If every word is right after true words, greedy says exactly these.', True,
                   'And where one is wrong, greedy fails at the same place.'),
                  ('They cannot; it is only an estimate.', False, 'The two shares are the same.'),
                  ('Because the loss is the same.', False, 'The loss is not.')]),
    dict(ask='The network looks at an object while it says "of". What follows?',
         choices=[('That it looks there. Blind this look and see whether a word suffers.', True,
                   'In this chapter none did.'),
                  ('That "of" depends on the object.', False, 'Blinded, it says "of" as surely.'),
                  ('That the map is wrong.', False, 'The map shows the weights as they are.')]),
    dict(ask='BLEU is high and few captions are exact. How can that be?',
         choices=[('Most words and pairs of words are right; one colour is not.', True,
                   'A score that forgives hides the mistake that matters.'),
                  ('BLEU is broken.', False, 'It counts what it was made to count.'),
                  ('Captions are too short.', False, 'Long ones have the same problem.')]),
    dict(ask='What does a beam of 5 keep?',
         choices=[('The five likeliest beginnings, and drops all others at each step.', True,
                   'So the likeliest sentence may still be lost.'),
                  ('The five likeliest words.', False, 'Whole beginnings compete.'),
                  ('Five sentences of different looks.', False, 'Looks are not compared.')]),
]
