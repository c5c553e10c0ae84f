// The timeline: its bars, its readout and its span.
// Titles are outside of the plot, so that they never cover a bar.
const SIZE = { left: 66, right: 10, top: 24, bottom: 42 };
const LANE = 26;
let plot = null;
// Bins of the chart are sums of whole bins, at least two pixels wide.
const layers = width => {
  const span = state.to - state.from;
  const per = Math.max(1, Math.ceil(span / Math.max(1, Math.floor(width / 2))));
  const count = Math.ceil(span / per);
  const list = state.row ? [state.row] : colored;
  const made = list.map(row => ({ row, name: label(row), css: color(row), sent: new Array(count).fill(0), received: new Array(count).fill(0) }));
  const rest = { row: null, name: 'all others', css: 'rest', sent: new Array(count).fill(0), received: new Array(count).fill(0) };
  for (const row of data.rows) {
    if (state.row && row !== state.row) continue;
    const layer = made.find(one => one.row === row) || rest;
    for (const bin of row.bins) {
      if (bin.at < state.from || bin.at >= state.to) continue;
      const at = Math.floor((bin.at - state.from) / per);
      layer.sent[at] += Number(bin.sent);
      layer.received[at] += Number(bin.received);
    }
  }
  if (!state.row && data.rows.length > colored.length) made.push(rest);
  return { made, per, count };
};
const nice = value => {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map(step => step * power).find(step => step >= value);
};
const STEPS = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800, 2419200, 31449600, 314496000];

// The heights of a chart: where its zero is, and how many pixels a byte takes.
const heights = (made, count, tall) => {
  const most = side => Math.max(0, ...Array.from({ length: count }, (_, at) => made.reduce((sum, layer) => sum + layer[side][at], 0)));
  const up = most('sent'), down = most('received');
  // One scale for both sides, so that heights can be compared.
  const scale = tall / Math.max(up + down, 1);
  // A side with hardly any traffic keeps room for its scale.
  const zero = SIZE.top + Math.min(Math.max(up * scale, 16), tall - 16);
  const bottom = SIZE.top + tall;
  const unit = Math.min((zero - SIZE.top) / Math.max(up, 1e-9), (bottom - zero) / Math.max(down, 1e-9));
  return { up, down, zero, unit, bottom };
};
function drawGrid(svg, { up, down, zero, unit }, { seconds, width }) {
  const line = (value, sign) => {
    const y = zero - sign * value * seconds / 8 * unit;
    svg.append(draw('line', { x1: SIZE.left, x2: width - SIZE.right, y1: y, y2: y, class: value ? 'grid' : 'zero' }));
    // Its text keeps clear of that of the 0.
    const shift = value ? Math.max(0, 12 - Math.abs(y - zero)) : 0;
    svg.append(draw('text', { x: SIZE.left - 6, y: y + 4 - sign * shift, 'text-anchor': 'end', class: 'scale' }, value ? scaled(value) + 'bps' : '0'));
  };
  line(0, 1);
  const step = nice(Math.max(up, down, 1) * 8 / seconds / 4);
  for (const [most, sign] of [[up, 1], [down, -1]]) {
    const rate = most * 8 / seconds;
    for (let value = step; value <= rate; value += step) line(value, sign);
    // A side that is less than a step has a value of its own.
    if (rate > 0 && rate < step) {
      const value = [nice(rate), nice(rate / 2), nice(rate / 2.5)].find(value => value <= rate);
      line(value || rate, sign);
    }
  }
}
// The bars of all layers on one side, each on top of the one before.
function drawBars(svg, side, { zero, unit }, { made, count, x, width }) {
  const sign = side === 'sent' ? -1 : 1;
  const base = new Array(count).fill(0);
  for (const layer of made) {
    let path = '';
    for (let at = 0; at < count; at += 1) {
      const value = layer[side][at];
      if (!value) continue;
      const from = zero + sign * base[at] * unit, to = zero + sign * (base[at] + value) * unit;
      const x0 = x(at), x1 = Math.min(x(at + 1), width - SIZE.right);
      path += `M${x0.toFixed(2)} ${from.toFixed(2)}V${to.toFixed(2)}H${x1.toFixed(2)}V${from.toFixed(2)}Z`;
      base[at] += value;
    }
    if (path) {
      const shape = draw('path', { d: path, class: layer.css, 'data-side': side });
      shape.append(draw('title', {}, layer.name + ', ' + side));
      svg.append(shape);
    }
  }
}
// Layers whose bars are less than a pixel would not be seen: a lane below shows when they had traffic.
function drawLane(svg, layer, top, { count, inner, x, width }) {
  const most = Math.floor(inner / 7) - 25;
  const name = layer.name.length > most ? layer.name.slice(0, most - 1) + '…' : layer.name;
  svg.append(draw('text', { x: SIZE.left, y: top + 12 }, name + ' (too small to see above)'));
  let path = '';
  for (let at = 0; at < count; at += 1) {
    if (!layer.sent[at] && !layer.received[at]) continue;
    const end = Math.min(Math.max(x(at + 1), x(at) + 1), width - SIZE.right);
    path += `M${x(at).toFixed(2)} ${top + 15}V${top + 23}H${end.toFixed(2)}V${top + 15}Z`;
  }
  const marks = draw('path', { d: path, class: layer.css + ' lane' });
  marks.append(draw('title', {}, layer.name + ', when it had traffic'));
  svg.append(marks);
}
function drawTimes(svg, bottom, { inner, width }) {
  const shown = (state.to - state.from) * LENGTH;
  const tick = STEPS.find(step => shown / step <= Math.max(2, inner / 110)) || STEPS[STEPS.length - 1];
  const shift = state.local ? new Date(edge(state.from)).getTimezoneOffset() * 60 : 0;
  let next = Math.ceil((edge(state.from) / 1000 - shift) / tick) * tick + shift;
  for (; next * 1000 <= edge(state.to); next += tick) {
    const at = SIZE.left + (next * 1000 - edge(state.from)) / ((state.to - state.from) * data.length) * inner;
    svg.append(draw('line', { x1: at, x2: at, y1: bottom + 20, y2: bottom + 24, class: 'zero' }));
    svg.append(draw('text', { x: at, y: bottom + 35, 'text-anchor': at > width - 40 ? 'end' : 'middle' }, clock(next * 1000)));
  }
}

function chart() {
  const svg = get('chart');
  const width = svg.clientWidth || 900;
  svg.replaceChildren();
  const inner = width - SIZE.left - SIZE.right, tall = width < 640 ? 220 : 280;
  const { made, per, count } = layers(inner);
  const seconds = per * LENGTH;
  const x = at => SIZE.left + at * per / (state.to - state.from) * inner;
  const size = heights(made, count, tall);
  const { zero, unit, bottom } = size;
  const drag = draw('rect', { class: 'drag', y: SIZE.top, height: tall, width: 0, x: 0 });
  const cursor = draw('line', { class: 'cursor', y1: SIZE.top, y2: bottom, x1: -9, x2: -9 });
  plot = { made, per, count, seconds, inner, x, drag, cursor, width };
  const tiny = made.filter(layer => {
    const highest = Math.max(...layer.sent, ...layer.received) * unit;
    return highest > 0 && highest < 1;
  });
  const height = bottom + SIZE.bottom + tiny.length * LANE;
  svg.style.height = height + 'px';
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  drawGrid(svg, size, plot);
  for (const side of ['sent', 'received']) drawBars(svg, side, size, plot);
  svg.append(draw('line', { x1: SIZE.left, x2: width - SIZE.right, y1: zero, y2: zero, class: 'zero' }));
  const upTo = most => most ? `, up to ${bits(most, seconds)}` : '';
  svg.append(draw('text', { x: SIZE.left, y: SIZE.top - 9, class: 'side' }, '▲ sent' + upTo(size.up)));
  svg.append(draw('text', { x: SIZE.left, y: bottom + 15, class: 'side' }, '▼ received' + upTo(size.down)));
  tiny.forEach((layer, index) => drawLane(svg, layer, bottom + SIZE.bottom + index * LANE, plot));
  drawTimes(svg, bottom, plot);
  svg.append(drag, cursor);
  get('shown').textContent = `${clock(begin(state.from), true)} to ${clock(begin(state.to), true)} ${zone()}; a bar is ${lasting(per * data.length)}`;
  get('whole').hidden = state.from === 0 && state.to === data.bins;
  const legend = get('legend');
  legend.replaceChildren();
  for (const layer of made) {
    const item = make('li');
    item.append(make('span', '', 'swatch ' + layer.css), layer.name);
    legend.append(item);
  }
}

const barAt = event => {
  const place = event.clientX - get('chart').getBoundingClientRect().left - SIZE.left;
  return Math.max(0, Math.min(plot.count - 1, Math.floor(place / plot.inner * (state.to - state.from) / plot.per)));
};
function read(at) {
  state.cursor = at;
  const tip = get('tip');
  if (at === null) { tip.hidden = true; plot.cursor.setAttribute('x1', -9); plot.cursor.setAttribute('x2', -9); return; }
  const middle = (plot.x(at) + plot.x(at + 1)) / 2;
  plot.cursor.setAttribute('x1', middle);
  plot.cursor.setAttribute('x2', middle);
  const first = state.from + at * plot.per;
  const when = `${clock(begin(first), true)} to ${clock(begin(Math.min(first + plot.per, state.to)))} ${zone()}`;
  tip.replaceChildren(make('b', when));
  const table = make('table');
  const head = make('tr');
  head.append(make('td'), make('td', 'sent'), make('td', 'received'));
  table.append(head);
  let sent = 0, received = 0;
  const said = [];
  for (const layer of plot.made) {
    sent += layer.sent[at];
    received += layer.received[at];
    if (!layer.sent[at] && !layer.received[at]) continue;
    const line = make('tr'), name = make('td', undefined, 't name');
    name.append(make('span', '', 'swatch ' + layer.css), layer.name);
    line.append(name, make('td', bits(layer.sent[at], plot.seconds)), make('td', bits(layer.received[at], plot.seconds)));
    table.append(line);
    said.push(`${layer.name} ${bits(layer.sent[at] + layer.received[at], plot.seconds)}`);
  }
  const all = make('tr');
  all.append(make('td', 'all', 't'), make('td', bits(sent, plot.seconds)), make('td', bits(received, plot.seconds)));
  table.append(all);
  tip.append(table);
  tip.hidden = false;
  const room = tip.offsetWidth + 14;
  tip.style.left = Math.max(0, middle + room > plot.width ? middle - room : middle + 14) + 'px';
  get('readout').textContent = `${when}: sent ${bits(sent, plot.seconds)}, received ${bits(received, plot.seconds)}. ${said.slice(0, 3).join(', ')}`;
}
function span(one, other) {
  const first = Math.min(one, other), last = Math.max(one, other) + 1;
  plot.drag.setAttribute('x', plot.x(first));
  plot.drag.setAttribute('width', Math.max(0, plot.x(last) - plot.x(first)));
}
function zoom(one, other) {
  const from = state.from + Math.min(one, other) * plot.per;
  const to = Math.min(state.to, state.from + (Math.max(one, other) + 1) * plot.per);
  state.mark = null;
  state.from = from;
  state.to = to;
  render();
  read(null);
}
