// The browser's half of attn_course.widgets: pure functions, then one `render` for each widget.
// A model is anything with get, set, save_changes, on and off: a Jupyter widget, or `offline` below.

const STATE = ['selected', 'alpha', 'colours', 'smooth', 'cursor'];

// ---- pure functions -------------------------------------------------------------------------

const startsLike = (key, wanted, n) => same(key.slice(0, n), wanted.slice(0, n));

// The values an axis offers, given the choices made on the axes before it.
export const choices = (keys, selected, axis) =>
  [...new Set(keys.filter(k => startsLike(k, selected, axis)).map(k => k[axis]))];

// The existing key nearest to a wanted one whose first `axis + 1` values are binding.
export function nearest(keys, wanted, axis) {
  const alike = key => key.filter((v, i) => v === wanted[i]).length;
  return keys.filter(k => startsLike(k, wanted, axis + 1)).reduce((a, b) => alike(b) > alike(a) ? b : a);
}

export const valueAt = (map, cells, i) => map.lo + cells[i]/map.levels*(map.hi - map.lo);

// What the cell under the cursor says; empty without a cursor.
export function cellText(map, cells, cursor, places) {
  if (!cursor.length) return '';
  const [row, col] = cursor, value = number(valueAt(map, cells, row*map.w + col));
  return `Row ${row + 1} of ${map.h}, column ${col + 1} of ${map.w}, ${place(row, col, map.h, map.w, places)}: ${value}.`;
}

// Where an arrow key, Home (the peak) or Escape (nowhere) takes the cursor; null for any other key.
export function moved(key, cursor, map, cells) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
  if (key === 'Escape') return [];
  if (!step && key !== 'Home') return null;
  if (key === 'Home' || !cursor.length) {
    const peak = cells.indexOf(Math.max(...cells));
    return [Math.floor(peak/map.w), peak % map.w];
  }
  return [map.h, map.w].map((n, i) => Math.max(0, Math.min(n - 1, cursor[i] + step[i]*Math.ceil(n/32))));
}

// A query's place, as in 'row 3, column 4', counted from zero; and the name of a place.
export const queryCell = name => name.match(/\d+/g).map(n => n - 1);
export const queryName = ([row, col]) => `row ${row + 1}, column ${col + 1}`;

// Where a key takes the query: arrows one step, Home to where it looks most; null for any other key.
export function asked(key, cell, grid, map, cells) {
  if (key === 'Escape') return null;
  if (key !== 'Home') return moved(key, cell, grid, cells);
  const [row, col] = moved('Home', [], map, cells);
  return [Math.floor((row + .5)*grid.h/map.h), Math.floor((col + .5)*grid.w/map.w)];
}

// The table a map is drawn with: one with a middle if it has negative values, whatever was chosen.
export const tableName = (record, map, chosen) =>
  map.lo < 0 && !record.diverging.includes(chosen) ? record.diverging[0] : chosen;

// Cell values as positions 0..1 in a colour table, from zero up; a diverging table keeps zero in its middle.
export function tones(map, cells, diverging) {
  const most = Math.max(Math.abs(map.lo), Math.abs(map.hi)) || 1, low = Math.min(map.lo, 0), span = (map.hi - low) || 1;
  return Float32Array.from(cells, (u, i) => diverging ? .5 + valueAt(map, cells, i)/most/2 : (valueAt(map, cells, i) - low)/span);
}

// The weights of four neighbours on a smooth curve through them (Catmull-Rom), t of the way from the second to the third.
const curve = t => [((2 - t)*t - 1)*t/2, ((3*t - 5)*t*t + 2)/2, ((4 - 3*t)*t + 1)*t/2, (t - 1)*t*t/2];

// For each pixel of one side: the four cells it is made of and their weights; one cell alone if not smooth.
export function samples(pixels, cells, smooth) {
  const inside = i => Math.max(0, Math.min(cells - 1, i));
  return Array.from({ length: pixels }, (_, p) => {
    const at = (p + .5)*cells/pixels, first = Math.floor(at - .5);
    return smooth ? [[-1, 0, 1, 2].map(i => inside(first + i)), curve(at - .5 - first)] : [[Math.floor(at)], [1]];
  });
}

// Rows of cells at another length: each new cell is a weighted sum of old ones, `step` apart.
function stretched(values, at, rows, rowLength, step) {
  const out = new Float32Array(at.length*rows);
  at.forEach(([cells, weights], x) => cells.forEach((c, i) => {
    const w = weights[i], from = c*step.from, to = x*step.to;
    for (let r = 0; r < rows; r++) out[to + r*rowLength.to] += w*values[from + r*rowLength.from];
  }));
  return out;
}

// A map at the size of the picture, kept within its own values: curves overshoot.
export function enlarge(tone, map, width, height, smooth) {
  const wide = stretched(tone, samples(width, map.w, smooth), map.h, { from: map.w, to: width }, { from: 1, to: 1 });
  const big = stretched(wide, samples(height, map.h, smooth), width, { from: 1, to: 1 }, { from: width, to: width });
  let lo = Infinity, hi = -Infinity;
  for (const v of tone) { if (v < lo) lo = v; if (v > hi) hi = v; }
  for (let k = 0; k < big.length; k++) big[k] = big[k] < lo ? lo : big[k] > hi ? hi : big[k];
  return big;
}

// The level above which half of the weight lies, to one of 1024 steps.
export function halfLevel(big) {
  const bins = new Float64Array(1024);
  let total = 0;
  for (const v of big) { bins[Math.min(1023, Math.max(0, Math.floor(v*1024)))] += v; total += v; }
  let sum = 0;
  for (let i = 1023; i > 0; i--) if ((sum += bins[i]) >= total/2) return i/1024;
  return 0;
}

// Blend a map over the grey picture's RGBA bytes: weak places stay transparent, from `look.full` on all are equally opaque.
export function blend(base, big, table, alpha, diverging, look, partly) {
  const out = new Uint8ClampedArray(base), low = partly ? look.low : 0, span = partly ? look.high - look.low : 1;
  for (let k = 0, p = 0; k < big.length; k++, p += 4) {
    const t = big[k], weight = (diverging ? Math.abs(2*t - 1) : t)/look.full, a = alpha*(weight < 1 ? weight : 1);
    const c = 3*Math.round(255*(low + span*t));
    out[p] += (table[c] - out[p])*a;
    out[p + 1] += (table[c + 1] - out[p + 1])*a;
    out[p + 2] += (table[c + 2] - out[p + 2])*a;
  }
  return out;
}

// A thin white line around the places that hold half of the weight.
export function outline(rgba, big, width, height) {
  const level = halfLevel(big), thick = Math.max(1, Math.min(width, height)/140), reach = Math.ceil(thick) + 1;
  if (!(level > 0)) return rgba;
  for (let y = 0; y < height; y++) {
    const up = Math.max(0, y - reach)*width, down = Math.min(height - 1, y + reach)*width;
    for (let x = 0; x < width; x++) {
      const k = y*width + x, v = big[k], inside = v >= level;
      const left = big[k - Math.min(x, reach)], right = big[k + Math.min(width - 1 - x, reach)], above = big[up + x], below = big[down + x];
      if ((left >= level) === inside && (right >= level) === inside && (above >= level) === inside && (below >= level) === inside) continue;
      const slope = Math.hypot(right - left, below - above)/(2*reach) + 1e-6;
      const a = Math.max(0, Math.min(1, thick/2 + .5 - Math.abs(v - level)/slope));
      for (let i = 0; i < 3; i++) rgba[4*k + i] += (255 - rgba[4*k + i])*a;
    }
  }
  return rgba;
}

// RGBA bytes in grey, a little flatter, so that the colours of a map stand out.
export function greyed(rgba) {
  const out = new Uint8ClampedArray(rgba);
  for (let p = 0; p < out.length; p += 4) out.fill(44 + .74*(.299*rgba[p] + .587*rgba[p + 1] + .114*rgba[p + 2]), p, p + 3);
  return out;
}

// ---- the page -------------------------------------------------------------------------------

const STYLE = `${BASE}
.attn-picture { flex: 0 1 480px; min-width: 0 }
.attn-picture canvas { display: block; width: 100%; border-radius: 6px }
.attn-picture canvas.attn-map { cursor: crosshair; touch-action: manipulation }
.attn-picture canvas.attn-bar { height: 8px; margin-top: 8px; border-radius: 4px; border: 1px solid var(--line) }
.attn-ends { display: flex; justify-content: space-between; color: var(--dim); font-size: 11px; font-variant-numeric: tabular-nums }
`;

// The grey picture at the size of the page; small pictures are enlarged smoothly.
function backdrop(img) {
  const times = Math.max(1, 480/Math.max(img.naturalWidth, img.naturalHeight));
  const canvas = make('canvas', { width: Math.round(img.naturalWidth*times), height: Math.round(img.naturalHeight*times) });
  const ink = canvas.getContext('2d', { willReadFrequently: true });
  ink.imageSmoothingQuality = 'high';
  ink.drawImage(img, 0, 0, canvas.width, canvas.height);
  const { data, width, height } = ink.getImageData(0, 0, canvas.width, canvas.height);
  return { data: greyed(data), width, height };
}

function frame(ink, [row, col], map) {
  const { width, height } = ink.canvas, w = width/map.w, h = height/map.h, x = Math.min(2, w/4), y = Math.min(2, h/4);
  for (const [colour, line] of [['#000', 4], ['#fff', 2]]) {
    ink.strokeStyle = colour;
    ink.lineWidth = line;
    ink.strokeRect(col*w + x, row*h + y, w - 2*x, h - 2*y);
  }
}

function bar(canvas, table, { low, high }) {
  const ink = canvas.getContext('2d'), strip = ink.createImageData(256, 1);
  for (let i = 0; i < 256; i++) {
    const c = 3*Math.round(255*low + (high - low)*i);
    strip.data.set([table[c], table[c + 1], table[c + 2], 255], 4*i);
  }
  ink.putImageData(strip, 0, 0);
}

// The nodes of an explorer, in reading order: picture, controls, caption.
function skeleton(record) {
  const node = {
    map: make('canvas', { className: 'attn-map', tabIndex: 0 }), bar: make('canvas', { className: 'attn-bar', width: 256, height: 1 }),
    lo: make('span'), hi: make('span'), about: make('span', { className: 'attn-about' }), cell: make('span', { className: 'attn-cell' }),
    axes: record.axes.map(() => make('select')), colours: make('select'),
    alpha: make('input', { type: 'range', min: 0, max: 1, step: .05 }), smooth: make('input', { type: 'checkbox' }),
  };
  node.map.setAttribute('role', 'application');
  node.bar.setAttribute('aria-hidden', 'true');
  const several = axis => axis !== record.query?.axis && new Set(record.maps.map(m => m.key[axis])).size > 1;
  const rows = record.axes.map((name, i) => several(i) && labelled(capital(name), node.axes[i])).filter(Boolean);
  rows.push(labelled('Opacity', node.alpha), labelled('Colours', node.colours));
  rows.push(make('label', { className: 'attn-check' }, node.smooth, make('span', { textContent: 'Smooth' })));
  node.caption = make('p', { className: 'attn-caption' }, node.about, node.cell);
  node.caption.setAttribute('role', 'status');
  node.caption.setAttribute('aria-live', 'polite');
  node.caption.setAttribute('aria-atomic', 'false');
  node.root = make('div', { className: 'attn-explorer' }, make('style', { textContent: STYLE }),
    make('div', { className: 'attn-picture' }, node.map, node.bar, make('div', { className: 'attn-ends' }, node.lo, node.hi)),
    make('div', { className: 'attn-controls' }, ...rows), node.caption);
  return node;
}

function renderExplorer({ model, el }) {
  const record = model.get('record'), pixels = toBytes(model.get('pixels')), node = skeleton(record);
  const keys = record.maps.map(m => m.key), imageAxis = record.axes.indexOf('image'), backdrops = {};
  const tables = Object.fromEntries(Object.entries(record.tables).map(([name, x]) => [name, toBytes(x)]));
  let waiting = false, alive = true, painted = {};
  const state = () => Object.fromEntries(STATE.map(name => [name, model.get(name)]));
  const mapOf = s => record.maps.find(m => same(m.key, s.selected));
  const cellsOf = map => pixels.subarray(map.start, map.start + map.h*map.w);
  const query = record.query, cursorOf = s => query ? queryCell(s.selected[query.axis]) : s.cursor;
  const say = (s, map = mapOf(s)) => [map.about, cellText(map, cellsOf(map), s.cursor, record.places)].filter(Boolean);

  function change(changes) {
    const next = { ...state(), ...changes }, map = mapOf(next);
    if (next.cursor.length && (next.cursor[0] >= map.h || next.cursor[1] >= map.w)) changes.cursor = next.cursor = [];
    for (const [name, value] of Object.entries({ ...changes, caption: say(next).join(' ') })) model.set(name, value);
    model.save_changes();
  }

  function draw() {
    const s = state(), map = mapOf(s), cells = cellsOf(map), base = backdrops[imageAxis < 0 ? '' : s.selected[imageAxis]];
    const colours = tableName(record, map, s.colours), table = tables[colours], diverging = record.diverging.includes(colours);
    const [about, cell = ''] = say(s, map);
    node.axes.forEach((select, i) => fill(select, choices(keys, s.selected, i), s.selected[i]));
    fill(node.colours, map.lo < 0 ? record.diverging : Object.keys(tables), colours);
    Object.assign(node.alpha, { value: s.alpha });
    Object.assign(node.smooth, { checked: s.smooth });
    if (node.about.textContent !== about) node.about.textContent = about;
    if (node.cell.textContent.trim() !== cell) node.cell.textContent = cell && ` ${cell}`;
    const most = Math.max(Math.abs(map.lo), Math.abs(map.hi)), ends = diverging ? [-most, most] : [Math.min(map.lo, 0), map.hi];
    [node.lo.textContent, node.hi.textContent] = ends.map(number);
    const keysHelp = query ? 'Arrow keys move the query, Home takes it where it looks most.' : 'Arrow keys read single cells, Home the peak, Escape stops.';
    node.map.setAttribute('aria-label', `Heatmap. ${about} ${keysHelp}`);
    bar(node.bar, table, colours === 'inferno' ? record.look : { low: 0, high: 1 });
    if (!base) return;
    if (node.map.width !== base.width || node.map.height !== base.height) Object.assign(node.map, { width: base.width, height: base.height });
    const ink = node.map.getContext('2d'), look = JSON.stringify([s.selected, s.alpha, s.colours, s.smooth, base.width]);
    if (painted.look !== look) {
      const big = enlarge(tones(map, cells, diverging), map, base.width, base.height, s.smooth);
      const rgba = blend(base.data, big, table, s.alpha, diverging, record.look, colours === 'inferno');
      if (s.smooth && !diverging && map.lo < map.hi) outline(rgba, big, base.width, base.height);
      painted = { look, picture: new ImageData(rgba, base.width, base.height) };
    }
    ink.putImageData(painted.picture, 0, 0);
    if (cursorOf(s).length) frame(ink, cursorOf(s), query || map);
  }

  function redraw() {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; if (alive) draw(); });
  }

  // Put the cursor on a cell; in a map of queries, ask from there.
  function point(cell) {
    if (same(cell, cursorOf(state()))) return;
    const wanted = [...model.get('selected')];
    if (query) wanted[query.axis] = queryName(cell);
    change(query ? { selected: wanted } : { cursor: cell });
  }

  function hover(event) {
    const box = node.map.getBoundingClientRect(), grid = query || mapOf(state());
    const at = (offset, size, n) => Math.max(0, Math.min(n - 1, Math.floor(offset/size*n)));
    point([at(event.clientY - box.top, box.height, grid.h), at(event.clientX - box.left, box.width, grid.w)]);
  }

  function press(event) {
    const s = state(), map = mapOf(s), cells = cellsOf(map);
    const cell = query ? asked(event.key, cursorOf(s), query, map, cells) : moved(event.key, s.cursor, map, cells);
    if (!cell || modified(event)) return;
    event.preventDefault();
    point(cell);
  }

  node.map.addEventListener('pointermove', hover);
  node.map.addEventListener('pointerdown', hover);
  node.map.addEventListener('pointerleave', event => event.pointerType === 'mouse' && !query && change({ cursor: [] }));
  node.map.addEventListener('keydown', press);
  node.root.addEventListener('keydown', keepKeys);
  node.axes.forEach((select, i) => select.addEventListener('change', () => {
    const wanted = model.get('selected').map((v, j) => j === i ? select.value : v);
    change({ selected: nearest(keys, wanted, i) });
  }));
  node.colours.addEventListener('change', () => change({ colours: node.colours.value }));
  node.alpha.addEventListener('input', () => change({ alpha: Number(node.alpha.value) }));
  node.smooth.addEventListener('change', () => change({ smooth: node.smooth.checked }));
  for (const name of STATE) model.on(`change:${name}`, redraw);
  for (const [name, url] of Object.entries(record.images)) {
    const img = make('img', { src: url });
    img.decode().then(() => { backdrops[name] = backdrop(img); redraw(); });
  }
  el.replaceChildren(node.root);
  draw();
  return () => {
    alive = false;
    for (const name of STATE) model.off(`change:${name}`, redraw);
  };
}

// One line of text that a screen reader hears when it changes.
function renderLine({ model, el }) {
  const line = make('p', { className: 'attn-caption attn-line', textContent: model.get('text') });
  line.setAttribute('role', 'status');
  line.setAttribute('aria-live', 'polite');
  const show = () => { line.textContent = model.get('text'); };
  model.on('change:text', show);
  el.replaceChildren(make('div', { className: 'attn-explorer' }, make('style', { textContent: STYLE }), line));
  return () => model.off('change:text', show);
}

const render = view => (view.model.get('record') ? renderExplorer : renderLine)(view);

// ---- without a kernel -----------------------------------------------------------------------

// Put a live explorer in place of a still picture.
export const revive = (el, state) => renderExplorer({ model: offline(state), el });

export default { render };
