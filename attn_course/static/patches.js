// The browser's half of attn_course.explorer: pure functions, then one `render`.
// Attention lies in `pixels`: for each layer, head and query a row of bytes, then a scale for each row.

const TRAITS = ['layer', 'head', 'query', 'beside', 'off', 'step', 'answers'];

// ---- pure functions -------------------------------------------------------------------------

// The weights of one query, a number for each token; head -1 is the mean of all heads.
export function rowOf(layer, bytes, scales, head, query) {
  const n = layer.tokens, heads = head < 0 ? [...Array(layer.heads).keys()] : [head], row = new Float32Array(n);
  for (const h of heads) {
    const nth = h*n + query, from = layer.start + nth*n, scale = scales[layer.scales + nth]/255/heads.length;
    for (let k = 0; k < n; k++) row[k] += bytes[from + k]*scale;
  }
  return row;
}

// A table that all heads share: rollout, or how much tokens resemble each other.
export const tableRow = (start, n, bytes, query) => Float32Array.from(bytes.subarray(start + query*n, start + (query + 1)*n), b => b/255);

export const patches = (row, layer) => row.subarray(layer.prefix.length);

// Where a token lies, [row, column] from zero; null for one before the patches.
export function position(layer, query) {
  const nth = query - layer.prefix.length;
  return nth < 0 ? null : [Math.floor(nth/layer.grid[1]), nth % layer.grid[1]];
}

export const tokenAt = (layer, [row, col]) => layer.prefix.length + row*layer.grid[1] + col;

export function tokenName(layer, query) {
  const at = position(layer, query);
  return at ? `the patch in row ${at[0] + 1}, column ${at[1] + 1}` : `the ${layer.prefix[query]} token`;
}

const middle = layer => tokenAt(layer, layer.grid.map(n => Math.floor(n/2)));

// The same place among the tokens of another layer.
export function carried(query, from, to) {
  const at = position(from, query);
  if (at) return tokenAt(to, at.map((v, i) => Math.floor((v + .5)/from.grid[i]*to.grid[i])));
  const same = to.prefix.indexOf(from.prefix[query]);
  return same < 0 ? middle(to) : same;
}

// Where a key takes the query: arrows to a neighbour, Home to the first token; null for any other key.
export function stepped(key, query, layer) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
  if (key === 'Home') return 0;
  if (!step) return null;
  const at = position(layer, query);
  return at ? tokenAt(layer, at.map((v, i) => Math.max(0, Math.min(layer.grid[i] - 1, v + step[i])))) : middle(layer);
}

// Where a key takes layer and head in the table of all of them; null for any other key.
export function chosen(key, layer, head, layers) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
  if (!step) return null;
  const next = Math.max(0, Math.min(layers.length - 1, layer + step[0]));
  return [next, Math.max(-1, Math.min(layers[next].heads - 1, head + step[1]))];
}

// What a row of weights says: where the peak is, and what goes to tokens that are no patches.
export function peakText(row, layer, places) {
  const cells = patches(row, layer), best = cells.indexOf(Math.max(...cells)), at = position(layer, best + layer.prefix.length);
  const own = layer.prefix.map((name, i) => `${percent(row[i])} to the ${name} token`).slice(0, 2);
  const where = `among patches most to row ${at[0] + 1}, column ${at[1] + 1}, ${place(...at, ...layer.grid, places)} (${percent(cells[best])})`;
  return [where, ...own].join(', ');
}

// What the classifier would say of a token after a layer; empty where there is no lens.
export function lensText(lens, layer, query, tokens) {
  if (!lens) return '';
  const nth = layer*tokens + query;
  return `After it the classifier would say ${lens.names[lens.top[nth]]} (${percent(lens.share[nth]/100)}).`;
}

export function captionOf(record, s, row) {
  const layer = record.layers[s.layer], head = s.head < 0 ? `the mean of ${layer.heads} heads` : `head ${s.head + 1}`;
  const about = `${capital(tokenName(layer, s.query))} in layer ${layer.number}, ${head}${record.note ? ` (${record.note})` : ''}: ${peakText(row, layer, record.places)}.`;
  return [about, lensText(record.lens, s.layer, s.query, layer.tokens), answerText(s.answers, s.off, record.layers)].filter(Boolean).join(' ');
}

// How the answer moves without what is switched off.
export function answerText(answers, off, layers) {
  if (!off) return '';
  const [nth, head] = off.split('.').map(n => Number(n) + 1), layer = layers[nth - 1].number, what = head ? `head ${head} of layer ${layer}` : `all heads of layer ${layer}`;
  const now = answers[off], before = answers[''];
  if (!now) return `Without ${what}: this needs a kernel that runs the network.`;
  return `Without ${what}: ${now[0][0]} ${percent(now[0][1])}; with it ${before[0][0]} ${percent(before[0][1])}.`;
}

// The answers with and without, name by name: [name, before, now].
export function bars(answers, off) {
  const before = answers[''] || [], now = answers[off] || before;
  const names = [...new Set([...before, ...now].map(([name]) => name))].slice(0, 6);
  const share = (list, name) => (list.find(([n]) => n === name) || [name, 0])[1];
  return names.map(name => [name, share(before, name), share(now, name)]);
}

// All layers and heads for one query as one small picture: a layer per row, its mean in the first column.
export function sheet(record, bytes, scales, query, from, table, look) {
  const layers = record.layers, most = Math.max(...layers.map(l => l.heads)) + 1;
  const h = Math.max(...layers.map(l => l.grid[0])) + 1, w = Math.max(...layers.map(l => l.grid[1])) + 1;
  const picture = { width: most*w + 1, height: layers.length*h + 1, w, h };
  picture.data = new Uint8ClampedArray(4*picture.width*picture.height);
  layers.forEach((layer, i) => {
    const q = carried(query, layers[from], layer);
    for (let head = -1; head < layer.heads; head++) {
      const cells = patches(rowOf(layer, bytes, scales, head, q), layer);
      tinted(cells, table, { ...look, alpha: 1, full: 0 }, picture.data, (i*h + 1)*picture.width + (head + 1)*w + 1, picture.width, layer.grid[1]);
    }
  });
  return picture;
}

// ---- the page -------------------------------------------------------------------------------

const PATCH_STYLE = `${BASE}
.attn-patches { max-width: 1040px; gap: 12px 20px }
.attn-patches canvas { display: block; width: 100%; border-radius: 4px; image-rendering: pixelated }
.attn-patches canvas:is(.attn-main, .attn-sheet) { cursor: crosshair; touch-action: manipulation }
.attn-column { display: grid; gap: 8px; align-content: start; min-width: 0; flex: 1 1 200px; max-width: 260px }
.attn-column:first-of-type { flex: 2 1 300px; max-width: 460px }
.attn-patches small { color: var(--dim); font-size: 11px; letter-spacing: .02em }
.attn-patches label { display: grid; gap: 3px; margin: 0; font-weight: 400 }
.attn-patches label > span { color: var(--dim); font-size: 11px; letter-spacing: .02em }
.attn-patches select { width: 100%; min-width: 0; padding: 4px 6px; font: inherit; color: var(--fg); background: var(--bg); border: 1px solid var(--line); border-radius: 5px }
.attn-patches button { font: inherit; color: var(--fg); background: var(--bg); border: 1px solid var(--line); border-radius: 5px; padding: 4px 8px; cursor: pointer }
.attn-patches button[aria-pressed=true] { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent) }
.attn-patches button:disabled { opacity: .5; cursor: default }
.attn-buttons { display: flex; flex-wrap: wrap; gap: 6px }
.attn-bar-row { display: grid; grid-template-columns: minmax(0, 6em) 1fr 2.8em; gap: 8px; align-items: center; font-variant-numeric: tabular-nums }
.attn-bar-row :first-child { overflow-wrap: anywhere }
.attn-bar-row :last-child { text-align: right }
.attn-track { position: relative; height: 10px; border-radius: 3px; background: color-mix(in srgb, var(--line) 40%, transparent) }
.attn-track i { position: absolute; inset: 0 auto 0 0; border-radius: 3px; background: var(--accent) }
.attn-track b { position: absolute; top: -2px; bottom: -2px; width: 2px; background: var(--fg) }
.attn-tour { flex: 1 0 100%; border-left: 3px solid var(--accent); padding: 2px 0 2px 10px; display: grid; gap: 6px; max-width: 780px }
.attn-tour p { margin: 0 }
.attn-lens { margin: 0; padding-left: 2.2em; columns: 2 }
.attn-lens li[aria-current] { font-weight: 600 }`;

const button = (text, press) => Object.assign(make('button', { type: 'button', textContent: text }), { onclick: press });

function bones(record) {
  const node = {
    main: make('canvas', { className: 'attn-main', tabIndex: 0 }), sheet: make('canvas', { className: 'attn-sheet', tabIndex: 0 }),
    beside: make('canvas'), layer: make('select'), head: make('select'), which: make('select'), tokens: make('div', { className: 'attn-buttons' }),
    lens: make('ol', { className: 'attn-lens' }), bars: make('div'), switches: make('div', { className: 'attn-buttons' }), tour: make('div', { className: 'attn-tour' }),
    caption: make('p', { className: 'attn-caption' }),
  };
  for (const canvas of [node.main, node.sheet]) canvas.setAttribute('role', 'application');
  node.beside.setAttribute('role', 'img');
  node.caption.setAttribute('role', 'status');
  node.caption.setAttribute('aria-live', 'polite');
  const small = text => make('small', { textContent: text }), column = (...nodes) => make('section', { className: 'attn-column' }, ...nodes);
  const left = column(node.main, node.caption), middle = column(small('All layers (rows): the mean, then each head'), node.sheet, labelled('Beside it', node.which), node.beside);
  const right = column(labelled('Layer', node.layer), labelled('Head', node.head), small('Ask from'), node.tokens);
  if (record.lens) left.append(small('What the classifier would say of this token after each layer'), node.lens);
  if (record.speaks) right.append(small('The answer (line: with everything on)'), node.bars, node.switches);
  node.root = make('div', { className: 'attn-explorer attn-patches' }, make('style', { textContent: PATCH_STYLE }), ...(record.tour.length ? [node.tour] : []), left, middle, right);
  return node;
}

function boxed(ink, x, y, w, h) {
  for (const [colour, line] of [['#000', 4], ['#fff', 2]]) {
    ink.strokeStyle = colour;
    ink.lineWidth = line;
    ink.strokeRect(x + 2, y + 2, Math.max(1, w - 4), Math.max(1, h - 4));
  }
}

// Cells of a grid over the grey picture; the token that asks is framed.
function paintCells(canvas, base, cells, layer, query, table, look) {
  const [h, w] = layer.grid, ink = paintGrid(canvas, base, cells, h, w, table, look), at = position(layer, query);
  const [dy, dx] = [canvas.height/h, canvas.width/w];
  if (at) boxed(ink, at[1]*dx, at[0]*dy, dx, dy);
}

function renderPatches({ model, el }) {
  const record = model.get('record'), bytes = toBytes(model.get('pixels')), layers = record.layers, node = bones(record);
  const scales = new Float32Array(bytes.slice(record.scales).buffer), table = toBytes(record.table), look = record.look;
  let base = null, waiting = false, alive = true;
  const state = () => Object.fromEntries(TRAITS.map(name => [name, model.get(name)]));

  function change(changes) {
    const s = state(), next = { ...s, ...changes };
    if (next.layer !== s.layer) {
      if (changes.query === undefined) changes.query = carried(s.query, layers[s.layer], layers[next.layer]);
      if (next.head >= layers[next.layer].heads) changes.head = -1;
    }
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  }

  function draw() {
    const began = performance.now(), s = state(), layer = layers[s.layer], row = rowOf(layer, bytes, scales, s.head, s.query);
    const said = captionOf(record, s, row);
    if (node.caption.textContent !== said) node.caption.textContent = said;
    if (base) paint(s, layer, row);
    controls(s, layer, said);
    node.root.dataset.ms = (performance.now() - began).toFixed(2);
  }

  function paint(s, layer, row) {
    paintCells(node.main, base, patches(row, layer), layer, s.query, table, look);
    const all = sheet(record, bytes, scales, s.query, s.layer, table, look), ink = node.sheet.getContext('2d');
    if (node.sheet.width !== all.width || node.sheet.height !== all.height) Object.assign(node.sheet, { width: all.width, height: all.height });
    ink.putImageData(new ImageData(all.data, all.width, all.height), 0, 0);
    ink.strokeStyle = '#3fa7ff';
    ink.lineWidth = 1;
    ink.strokeRect((s.head + 1)*all.w + .5, s.layer*all.h + .5, all.w, all.h);
    if (s.beside === 'picture') return original();
    const start = s.beside === 'alike' ? layer.alike : record.rollout, shared = s.beside === 'alike' ? layer : layers[layers.length - 1];
    if (start == null) return;
    const q = carried(s.query, layer, shared), other = tableRow(start, shared.tokens, bytes, q);
    paintCells(node.beside, base, patches(other, shared), shared, q, table, look);
    node.beside.setAttribute('aria-label', `${s.beside === 'alike' ? 'Patches whose features resemble it' : 'Rollout: where it has its content from, through all layers'}: ${peakText(other, shared, record.places)}.`);
  }

  function original() {
    const ink = node.beside.getContext('2d');
    Object.assign(node.beside, { width: base.grey.width, height: base.grey.height });
    ink.imageSmoothingQuality = 'high';
    ink.drawImage(base.colour, 0, 0, node.beside.width, node.beside.height);
    node.beside.setAttribute('aria-label', 'The picture in colour.');
  }

  function controls(s, layer, said) {
    fill(node.layer, layers.map(l => `${l.number}: ${l.name}`), `${layer.number}: ${layer.name}`);
    const heads = ['mean of all', ...Array(layer.heads).keys()].map((h, i) => i ? String(i) : h);
    fill(node.head, heads, heads[s.head + 1]);
    fill(node.which, Object.values(record.besides), record.besides[s.beside]);
    if (node.tokens.childElementCount !== layer.prefix.length)
      node.tokens.replaceChildren(...layer.prefix.map((name, i) => button(`${name} token`, () => change({ query: i }))));
    [...node.tokens.children].forEach((b, i) => b.setAttribute('aria-pressed', String(s.query === i)));
    node.main.setAttribute('aria-label', `Attention. ${said} Arrow keys move the patch that asks, Home asks from the first token.`);
    node.sheet.setAttribute('aria-label', `All layers and heads, layer ${layer.number} and ${s.head < 0 ? 'the mean' : `head ${s.head + 1}`} chosen. Arrow keys choose.`);
    node.bars.replaceChildren(...bars(s.answers, s.off).map(([name, before, now]) => make('div', { className: 'attn-bar-row' }, make('span', { textContent: name }),
      make('span', { className: 'attn-track' }, Object.assign(make('i'), { style: `width:${100*now}%` }), Object.assign(make('b'), { style: `left:${100*before}%` })),
      make('span', { textContent: now > 0 && now < .005 ? '<1%' : percent(now) }))));
    switches(s, layer);
    if (record.lens) lens(s, layer);
    if (record.tour.length) tour(s);
  }

  function switches(s, layer) {
    const one = `${s.layer}.${s.head}`, all = String(s.layer), can = key => record.kernel || key in s.answers;
    const wanted = [[s.head < 0 ? '' : one, `Switch off head ${s.head + 1}`], [all, `Switch off layer ${layer.number}`]].filter(([key]) => key && Object.keys(s.answers).length);
    const found = wanted.map(([key, text]) => Object.assign(button(text, () => change({ off: s.off === key ? '' : key })), { disabled: !can(key), key }));
    found.forEach(b => b.setAttribute('aria-pressed', String(b.key === s.off)));
    if (s.off) found.push(button('All on', () => change({ off: '' })));
    const had = [...node.switches.children].indexOf(document.activeElement);
    node.switches.replaceChildren(...found);
    if (had >= 0) node.switches.children[Math.min(had, found.length - 1)]?.focus();
  }

  function lens(s, layer) {
    node.lens.replaceChildren(...layers.map((l, i) => {
      const nth = i*l.tokens + carried(s.query, layer, l), item = make('li', { textContent: `${record.lens.names[record.lens.top[nth]]} ${percent(record.lens.share[nth]/100)}` });
      if (i === s.layer) item.setAttribute('aria-current', 'true');
      return item;
    }));
  }

  function tour(s) {
    const step = record.tour[s.step], go = n => () => change({ step: n, off: '', ...(record.tour[n]?.set || {}) });
    if (node.tour.dataset.step === String(s.step)) return;
    const inside = node.tour.contains(document.activeElement);
    node.tour.dataset.step = s.step;
    if (!step) node.tour.replaceChildren(make('div', { className: 'attn-buttons' }, button('Take the tour', go(0))));
    else {
      const next = button(s.step + 1 < record.tour.length ? 'Next' : 'Done', go(s.step + 1 < record.tour.length ? s.step + 1 : -1));
      const back = Object.assign(button('Back', go(s.step - 1)), { disabled: !s.step });
      node.tour.replaceChildren(make('p', {}, make('strong', { textContent: `${s.step + 1} of ${record.tour.length}. ${step.title} ` }), step.text),
        make('div', { className: 'attn-buttons' }, next, back, button('Leave the tour', go(-1))));
    }
    node.tour.querySelector('p')?.setAttribute('aria-live', 'polite');
    if (inside) node.tour.querySelector('button').focus();
  }

  function redraw() {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; if (alive) draw(); });
  }

  const share = (event, canvas) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientY - box.top)/box.height, (event.clientX - box.left)/box.width].map(v => Math.max(0, Math.min(.9999, v)));
  };

  function hover(event) {
    const layer = layers[state().layer], query = tokenAt(layer, share(event, node.main).map((v, i) => Math.floor(v*layer.grid[i])));
    if (query !== state().query) change({ query });
  }

  function pick(event) {
    const [y, x] = share(event, node.sheet), most = Math.max(...layers.map(l => l.heads)) + 1, layer = Math.floor(y*layers.length);
    change({ layer, head: Math.min(layers[layer].heads - 1, Math.floor(x*most) - 1) });
  }

  function press(event) {
    const s = state(), query = stepped(event.key, s.query, layers[s.layer]);
    if (query === null || modified(event)) return;
    event.preventDefault();
    change({ query });
  }

  function choose(event) {
    const s = state(), to = chosen(event.key, s.layer, s.head, layers);
    if (!to || modified(event)) return;
    event.preventDefault();
    change({ layer: to[0], head: to[1] });
  }

  node.main.addEventListener('pointermove', hover);
  node.main.addEventListener('pointerdown', hover);
  node.main.addEventListener('keydown', press);
  node.sheet.addEventListener('pointerdown', pick);
  node.sheet.addEventListener('keydown', choose);
  node.root.addEventListener('keydown', keepKeys);
  node.layer.addEventListener('change', () => change({ layer: node.layer.selectedIndex }));
  node.head.addEventListener('change', () => change({ head: node.head.selectedIndex - 1 }));
  node.which.addEventListener('change', () => change({ beside: Object.keys(record.besides)[node.which.selectedIndex] }));
  for (const name of TRAITS) model.on(`change:${name}`, redraw);
  const img = make('img', { src: record.picture });
  img.decode().then(() => { base = greyPicture(img); redraw(); });
  el.replaceChildren(node.root);
  draw();
  return () => {
    alive = false;
    for (const name of TRAITS) model.off(`change:${name}`, redraw);
  };
}

// ---- without a kernel -----------------------------------------------------------------------

// Put a live explorer in place of a still picture; its bytes come packed.
export async function revive(el, state) {
  const stream = new Blob([toBytes(state.pixels)]).stream().pipeThrough(new DecompressionStream('gzip'));
  const pixels = new Uint8Array(await new Response(stream).arrayBuffer());
  return renderPatches({ model: offline({ ...state, pixels }), el });
}

export default { render: renderPatches };
