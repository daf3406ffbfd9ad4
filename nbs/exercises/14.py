"Exercises of chapter 14, captions: checkers, hints, solutions, plausible wrong answers, quiz."
import torch

BLANK = 'Not written yet: put your answer in the place of the three dots.'

# 1: greedy ---------------------------------------------------------------------------------------

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


# 2: read the true words, some looks blind --------------------------------------------------------

def a_network():
    torch.manual_seed(0)
    places, words, mix = torch.rand(4, 3), torch.randn(9, 3), torch.randn(3, 9)
    def look(state): return (places @ state).softmax(0)
    def step(word, state, seen):
        state = torch.tanh(.5*state + words[word] + 3*seen)
        return (state + seen) @ mix, state
    return look, step, places

def by_hand(look, step, places, state, caption, blind):
    rows = []
    for t in range(len(caption) - 1):
        weights = torch.ones(len(places))/len(places) if t in blind else look(state)
        scores, state = step(caption[t], state, weights @ places)
        rows.append(scores)
    return torch.stack(rows)

def check_blind(f):
    parts, state, caption = a_network(), torch.zeros(3), [1, 5, 3, 7, 2]
    def run(g, blind): return g(*parts, state.clone(), caption, blind)
    got = run(f, [])
    if got is None: return BLANK
    if not isinstance(got, torch.Tensor) or got.shape != (4, 9):
        return 'Scores for each word that follows: (len(caption) - 1, words), here (4, 9).'
    if torch.allclose(got, run(own_words, []), atol=1e-5):
        return 'It reads the true words, whatever it would have said.'
    if torch.allclose(got, run(same_state, []), atol=1e-5):
        return 'Each step goes on from the state of the last.'
    for blind, hint in (([], 'Step t reads word t of the caption and sees weights @ places.'),
            ([1], 'A blind look sees the mean of all places; all other looks stay as they are.'),
            ([1, 2], 'Several looks may be blind: `blind` is a list of their numbers.')):
        if not torch.allclose(run(f, blind), run(by_hand, blind), atol=1e-5): return hint

def walk(step, state, caption, see): # reads the true words; see(number of a step, state)
    found = []
    for t, word in enumerate(caption[:-1]):
        scores, state = step(word, state, see(t, state))
        found.append(scores)
    return torch.stack(found)

def blind_scores(look, step, places, state, caption, blind):
    def see(t, state): return places.mean(0) if t in blind else look(state) @ places
    return walk(step, state, caption, see)

def dark(look, step, places, state, caption, blind): # sees nothing instead of the mean
    def see(t, state): return torch.zeros(3) if t in blind else look(state) @ places
    return walk(step, state, caption, see)

def own_words(look, step, places, state, caption, blind):
    found, word = [], caption[0]
    for t in range(len(caption) - 1):
        seen = places.mean(0) if t in blind else look(state) @ places
        scores, state = step(word, state, seen)
        word = scores.argmax().item()
        found.append(scores)
    return torch.stack(found)

def same_state(look, step, places, state, caption, blind):
    seen = look(state) @ places
    return torch.stack([step(word, state, seen)[0] for word in caption[:-1]])

def one_blind(look, step, places, state, caption, blind):
    return blind_scores(look, step, places, state, caption, blind[-1:])


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


# 4: shares by part -------------------------------------------------------------------------------

PARTS = {'red': 'colour', 'blue': 'colour', 'star': 'thing', 'heart': 'thing', 'above': 'relation'}

def check_parts(f):
    true = ['a red star above a blue heart', 'a blue star above red heart']
    got = f(['a red star above blue heart', 'a red star'], true, PARTS)
    if got is None: return BLANK
    if not isinstance(got, dict): return 'Return a dictionary from part to share.'
    if set(got) != {'colour 1', 'thing 1', 'relation 1', 'colour 2', 'thing 2'}:
        return "The keys: 'colour 1', 'thing 1', 'relation 1', 'colour 2', 'thing 2'; no others."
    if abs(got['colour 2'] - 1) < 1e-6:
        return 'A part that was never said is wrong: the second sentence has no second colour.'
    for part, share, hint in (
            ('colour 1', .5, 'Compare the first colour with the first colour.'),
            ('colour 2', .5, 'The second colour is the second one whatever stands before it.'),
            ('thing 1', 1., 'The first thing is right in both.'),
            ('thing 2', .5, 'The second thing is right in the first sentence only.'),
            ('relation 1', .5, 'The relation is right in the first sentence only.')):
        if abs(got[part] - share) > 1e-6: return hint

def parts_of(sentence, kinds):
    found, many = {}, {}
    for word in sentence.split():
        if word not in kinds: continue
        kind = kinds[word]
        many[kind] = many.get(kind, 0) + 1
        found[f'{kind} {many[kind]}'] = word
    return found

def share_by_part(said, true, kinds):
    hits = {}
    for a, b in zip(said, true, strict=True):
        mine = parts_of(a, kinds)
        for part, word in parts_of(b, kinds).items():
            hits.setdefault(part, []).append(mine.get(part) == word)
    return {part: sum(found)/len(found) for part, found in hits.items()}

def forgiving(said, true, kinds):
    hits = {}
    for a, b in zip(said, true, strict=True):
        mine = parts_of(a, kinds)
        for part, word in parts_of(b, kinds).items():
            if part in mine: hits.setdefault(part, []).append(mine[part] == word)
    return {part: sum(found)/len(found) for part, found in hits.items()}

def by_position(said, true, kinds):
    hits = {}
    for a, b in zip(said, true, strict=True):
        for part, word in parts_of(b, kinds).items():
            at = b.split().index(word)
            hits.setdefault(part, []).append(a.split()[at:at + 1] == [word])
    return {part: sum(found)/len(found) for part, found in hits.items()}

def without_numbers(said, true, kinds):
    return {part.split()[0]: share for part, share in share_by_part(said, true, kinds).items()}


exercises = {
    '14.1': dict(
        stars=1, check=check_speak, solution=speak,
        hints=['Two things end the loop: which?', 'What does the next step read?'],
        wrong=[(never_stops, 'it must stop'), (without_end, 'belongs to what is said'),
               (always_start, 'reads the word said last')]),
    '14.2': dict(
        stars=2, check=check_blind, solution=blind_scores,
        hints=['What differs from exercise 1: what a step reads, and what it sees.',
               'Which weights would a look have that cannot tell one place from another?'],
        wrong=[(own_words, 'reads the true words'), (same_state, 'state of the last'),
               (dark, 'mean of all places'), (one_blind, 'Several looks')]),
    '14.3': dict(
        stars=2, check=check_clipped, solution=clipped,
        hints=['How often may a word be right at most?',
               'Go through the different words that were said, not through all of them.'],
        wrong=[(unclipped, 'have no partner'), (by_truth, 'number of words said'),
               (as_sets, 'both count')]),
    '14.4': dict(
        stars=3, check=check_parts, solution=share_by_part,
        hints=['Make a dictionary of each sentence first: part -> word.',
               'The truth says which parts there are; the network may have left one out.'],
        wrong=[(forgiving, 'never said is wrong'), (by_position, 'whatever stands before'),
               (without_numbers, 'no others')]),
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
         choices=[('That it looks there. Whether a word needs it, only a test can show.', True,
                   'And only where the word could be another: after "left" always comes "of".'),
                  ('That "of" depends on the object.', False, 'Blinded, it says "of" as surely.'),
                  ('That the map is wrong.', False, 'The map shows the weights as they are.')]),
    dict(ask='BLEU is high and few captions are exact. How can that be?',
         choices=[('Most words and pairs of words are right; one relation is not.', True,
                   'A score that forgives makes this mistake look small.'),
                  ('BLEU is broken.', False, 'It counts what it was made to count.'),
                  ('Captions are too short.', False, 'Long ones have the same problem.')]),
    dict(ask='What does a beam of 5 keep?',
         choices=[('The five likeliest beginnings, and drops all others at each step.', True,
                   'So the likeliest sentence may still be lost.'),
                  ('The five likeliest words.', False, 'Whole beginnings compete.'),
                  ('Five sentences of different looks.', False, 'Looks are not compared.')]),
    dict(ask='Blind before the second "a", and it still says "a" in every scene with an "a".',
         choices=[('Try scenes where no "a" belongs: perhaps "a" is what it says by default.', True,
                   'With scissors it needs the look, and goes wrong without it.'),
                  ('So this look is for nothing.', False, 'We chose scenes that cannot fail.'),
                  ('So "a" needs no picture.', False, 'Whether one belongs there does.')]),
]
