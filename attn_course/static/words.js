// The browser's half of attn_course.words: pure functions, then one `render`.
// Maps lie in `pixels`: for each word a row of bytes, a byte for each place.

const WORD_TRAITS = ['at', 'sentence', 'pixels'];

// ---- pure functions -------------------------------------------------------------------------

// Where a key takes the word that is shown; null for any other key.
export function nextWord(key, at, n) {
  const to = { ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, Home: 0, End: n - 1 }[key];
  return to === undefined ? null : Math.max(0, Math.min(n - 1, to));
}

export const wordCells = (sentence, bytes, at) => {
  const n = sentence.grid[0]*sentence.grid[1];
  return bytes.subarray(at*n, (at + 1)*n);
};

export const shownWord = word => word === 'xxeos' ? '(end)' : word;

// What is shown, in words.
export function wordText(sentence, at, note) {
  const about = `Word ${at + 1} of ${sentence.words.length}, “${shownWord(sentence.words[at])}” (${percent(sentence.shares[at])})${note ? ` (${note})` : ''}`;
  return `${about}: ${sentence.about[at]}`;
}

// ---- the page -------------------------------------------------------------------------------

const WORD_STYLE = `${BASE}
.attn-words canvas { display: block; width: 100%; border-radius: 6px; image-rendering: pixelated }
.attn-words .attn-picture { flex: 1 1 260px; max-width: 380px; min-width: 0 }
.attn-words .attn-side { flex: 1 1 260px; min-width: 0; display: grid; gap: 10px; align-content: start }
.attn-words .attn-sentence { display: flex; flex-wrap: wrap; gap: 4px }
.attn-words small { color: var(--dim); font-size: 11px; letter-spacing: .02em }
.attn-words button { font: inherit; color: var(--fg); background: var(--bg); border: 1px solid var(--line); border-radius: 5px; padding: 5px 8px; min-height: 32px; cursor: pointer; touch-action: manipulation }
.attn-words .attn-sentence button { font-size: 15px }
.attn-words button[aria-pressed="true"] { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent) }
.attn-words button:disabled { opacity: .6; cursor: default }
.attn-words .attn-others { display: grid; gap: 4px }
.attn-words .attn-colour { width: 150px; border-radius: 6px }
.attn-words .attn-others button { text-align: left; background-image: linear-gradient(var(--line), var(--line)); background-repeat: no-repeat; background-position: 0 100% }`;

function wordNodes() {
  const node = { map: make('canvas', { className: 'attn-map' }), sentence: make('div', { className: 'attn-sentence' }), others: make('div', { className: 'attn-others' }),
    instead: make('small'), colour: make('img', { className: 'attn-colour', alt: 'The picture in colour' }), caption: make('p', { className: 'attn-caption' }) };
  node.map.setAttribute('role', 'img');
  node.sentence.setAttribute('role', 'group');
  node.sentence.setAttribute('aria-label', 'The sentence, word by word');
  node.caption.setAttribute('role', 'status');
  node.caption.setAttribute('aria-live', 'polite');
  const side = make('div', { className: 'attn-side' }, make('small', { textContent: 'Point at a word' }), node.sentence, node.instead, node.others, node.colour);
  node.root = make('div', { className: 'attn-explorer attn-words' }, make('style', { textContent: WORD_STYLE }), make('div', { className: 'attn-picture' }, node.map), side, node.caption);
  return node;
}

function renderWords({ model, el }) {
  const record = model.get('record'), node = wordNodes(), table = toBytes(record.table);
  let base = null, drawn = null, alive = true;

  function show(at) {
    if (at === null || at === model.get('at')) return;
    model.set('at', at);
    model.save_changes();
  }

  function choose(at, word) {
    model.set('choice', [at, word]);
    model.save_changes();
  }

  function wordButton(word, i) {
    const button = make('button', { type: 'button', textContent: shownWord(word) });
    for (const event of ['pointerenter', 'focus', 'click']) button.addEventListener(event, () => show(i));
    return button;
  }

  function otherButton([word, share], at, said) {
    const button = make('button', { type: 'button', textContent: `${shownWord(word)} ${percent(share)}`, disabled: !record.kernel || word === said });
    button.style.backgroundSize = `${100*share}% 3px`;
    button.addEventListener('click', () => choose(at, word));
    return button;
  }

  function draw() {
    if (!alive) return;
    const sentence = model.get('sentence'), at = model.get('at'), said = sentence.words[at];
    const typing = node.root.contains(document.activeElement), fresh = drawn !== sentence;
    if (fresh) node.sentence.replaceChildren(...sentence.words.map(wordButton));
    drawn = sentence;
    [...node.sentence.children].forEach((button, i) => button.setAttribute('aria-pressed', String(i === at)));
    node.instead.textContent = record.kernel ? `Instead of “${shownWord(said)}”: choose, and the sentence goes on from there` : `What else it could have said (choosing one needs a kernel)`;
    node.others.replaceChildren(...sentence.others[at].map(other => otherButton(other, at, said)));
    node.caption.textContent = wordText(sentence, at, record.note);
    node.map.setAttribute('aria-label', node.caption.textContent);
    if (fresh && typing) node.sentence.children[at].focus();
    if (base) paintGrid(node.map, base, wordCells(sentence, toBytes(model.get('pixels')), at), ...sentence.grid, table, record.look);
  }

  node.root.addEventListener('keydown', keepKeys);
  node.sentence.addEventListener('keydown', event => {
    const to = nextWord(event.key, model.get('at'), model.get('sentence').words.length);
    if (to === null || modified(event)) return;
    event.preventDefault();
    show(to);
    node.sentence.children[to].focus();
  });
  for (const name of WORD_TRAITS) model.on(`change:${name}`, draw);
  node.colour.src = record.picture;
  const img = make('img', { src: record.picture });
  img.decode().then(() => { base = greyPicture(img); draw(); });
  el.replaceChildren(node.root);
  draw();
  return () => {
    alive = false;
    for (const name of WORD_TRAITS) model.off(`change:${name}`, draw);
  };
}

const render = renderWords;

// Put a live explorer in place of a still picture.
export const revive = (el, state) => renderWords({ model: offline(state), el });

export default { render };
