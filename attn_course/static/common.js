// What all explorers share: pure functions, nodes, a model without a kernel.

export const toBytes = x => typeof x === 'string'
  ? Uint8Array.from(atob(x), c => c.charCodeAt(0))
  : new Uint8Array(x.buffer, x.byteOffset, x.byteLength);

const same = (a, b) => a.length === b.length && a.every((v, i) => v === b[i]);

// Three significant digits, written as the Python side writes them.
export function number(x) {
  const v = Number(x.toPrecision(3)), size = Math.abs(v);
  return v === 0 || (size >= 1e-4 && size < 1e6) ? String(v) : v.toExponential(2).replace('+', '');
}

const third = (i, n) => Math.min(2, Math.floor((2*i + 1)*3/(2*n)));
export const place = (row, col, h, w, places) => places[third(row, h)][third(col, w)];

const percent = v => v > 0 && v < .005 ? 'less than 1%' : `${Math.round(100*v)}%`;

// Cells as colours over a grey picture: those below `full` of the largest are the more transparent the weaker; full 0: none.
export function tinted(cells, table, look, out, at, stride, w) {
  let most = 0;
  for (const v of cells) if (v > most) most = v;
  for (let k = 0; k < cells.length; k++) {
    const t = most ? cells[k]/most : 0, c = 3*Math.round(255*(look.low + (look.high - look.low)*t)), p = 4*(at + Math.floor(k/w)*stride + k % w);
    out[p] = table[c]; out[p + 1] = table[c + 1]; out[p + 2] = table[c + 2];
    out[p + 3] = 255*look.alpha*(look.full > 0 ? Math.min(1, t/look.full) : 1);
  }
  return out;
}

const BASE = `
.attn-explorer { --fg: var(--jp-ui-font-color1, light-dark(#1f2328, #e6e6e6)); --dim: var(--jp-ui-font-color2, light-dark(#5b6168, #a9adb2));
  --bg: var(--jp-layout-color1, light-dark(#fff, #1c1e21)); --line: var(--jp-border-color1, light-dark(#c5c9ce, #50545a));
  --accent: var(--jp-brand-color1, light-dark(#1668c1, #6cb2ff)); color: var(--fg); box-sizing: border-box; max-width: 780px; padding: 4px;
  font: 13px/1.45 var(--jp-ui-font-family, system-ui, sans-serif); display: flex; flex-wrap: wrap; gap: 12px 20px; align-items: flex-start }
:where(.attn-explorer) { color-scheme: light dark }
body[data-jp-theme-light="true"] .attn-explorer { color-scheme: light }
body[data-jp-theme-light="false"] .attn-explorer { color-scheme: dark }
.attn-explorer * { box-sizing: border-box }
.attn-explorer :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
.attn-controls { flex: 1 1 180px; max-width: 240px; display: grid; gap: 9px }
.attn-controls label { display: grid; gap: 3px; margin: 0; font-weight: 400 }
.attn-controls label > span { color: var(--dim); font-size: 11px; letter-spacing: .02em }
.attn-controls label.attn-check { display: flex; gap: 8px; align-items: center }
.attn-controls select { width: 100%; min-width: 0; padding: 4px 6px; font: inherit; color: var(--fg); background: var(--bg);
  border: 1px solid var(--line); border-radius: 5px }
.attn-controls input { accent-color: var(--accent); margin: 0 }
.attn-controls input[type=range] { width: 100% }
.attn-caption { flex: 1 0 100%; margin: 0; max-width: 600px; min-height: 4.4em; overflow-wrap: anywhere }
.attn-caption span { display: block }
.attn-caption .attn-cell { color: var(--dim) }
.attn-line { display: block; max-width: 600px; min-height: 0 }`;

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

const modified = event => event.ctrlKey || event.metaKey || event.altKey;

// The notebook's one-key shortcuts must not hear what is typed into a control.
const keepKeys = event => modified(event) || event.key === 'Enter' || event.stopPropagation();

const labelled = (text, control) => make('label', {}, make('span', { textContent: text }), control);
const capital = text => text.charAt(0).toUpperCase() + text.slice(1);

function fill(select, values, value) {
  if (!same([...select.options].map(o => o.value), values))
    select.replaceChildren(...values.map(v => make('option', { value: v, textContent: v })));
  select.value = value;
}

function greyPicture(img) {
  const canvas = make('canvas', { width: 448, height: Math.round(448*img.naturalHeight/img.naturalWidth) }), ink = canvas.getContext('2d');
  ink.imageSmoothingQuality = 'high';
  ink.drawImage(img, 0, 0, canvas.width, canvas.height);
  const pixels = ink.getImageData(0, 0, canvas.width, canvas.height), d = pixels.data;
  for (let p = 0; p < d.length; p += 4) d[p] = d[p + 1] = d[p + 2] = 44 + .74*(.299*d[p] + .587*d[p + 1] + .114*d[p + 2]);
  ink.putImageData(pixels, 0, 0);
  return { grey: canvas, colour: img };
}

// Cells of a grid over a grey picture, crisp.
function paintGrid(canvas, base, cells, h, w, table, look) {
  const small = make('canvas', { width: w, height: h }), data = tinted(cells, table, look, new Uint8ClampedArray(4*w*h), 0, w, w);
  small.getContext('2d').putImageData(new ImageData(data, w, h), 0, 0);
  if (canvas.width !== base.grey.width || canvas.height !== base.grey.height) Object.assign(canvas, { width: base.grey.width, height: base.grey.height });
  const ink = canvas.getContext('2d');
  ink.imageSmoothingEnabled = false;
  ink.drawImage(base.grey, 0, 0);
  ink.drawImage(small, 0, 0, canvas.width, canvas.height);
  return ink;
}

// A model that lives in the page alone.
export function offline(state) {
  const heard = {};
  return {
    get: name => state[name],
    set(name, value) { state[name] = value; (heard[`change:${name}`] || []).forEach(f => f()); },
    save_changes() {},
    on(event, f) { (heard[event] ||= []).push(f); },
    off(event, f) { heard[event] = (heard[event] || []).filter(g => g !== f); },
  };
}
