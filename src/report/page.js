'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const get = id => document.getElementById(id);
  const SVG = 'http://www.w3.org/2000/svg';
  const LENGTH = data.length / 1000;
  const COLORS = 8;

  // Names of other people are only ever set as text.
  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  };
  const draw = (tag, attributes, text) => {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // Numbers of 64 bits do not fit a Number, so sums are made of BigInt.
  const big = text => {
    if (text.length <= 10) return BigInt(parseInt(text, 36));
    let value = 0n;
    for (const digit of text) value = value * 36n + BigInt(parseInt(digit, 36));
    return value;
  };
  // A bin is `sent.received`, or `sent`; `~n` skips n bins. Numbers have the base 36.
  const unpack = row => {
    row.bins = [];
    let at = 0;
    for (const part of row.series.split(' ')) {
      if (part[0] === '~') { at += parseInt(part.slice(1), 36); continue; }
      const [sent, received] = part.split('.');
      row.bins.push({ at, sent: big(sent || '0'), received: received ? big(received) : 0n });
      at += 1;
    }
  };
  data.rows.forEach((row, index) => { row.index = index; unpack(row); });

  const SI = ['', 'K', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y', 'R'];
  const scaled = value => {
    let index = 0;
    while (value >= 999.5 && index < SI.length - 1) { value /= 1000; index += 1; }
    return (index && value < 99.95 ? value.toFixed(1) : value.toFixed(0)) + ' ' + SI[index];
  };
  const bytes = value => scaled(Number(value)) + 'B';
  const bits = (value, seconds) => {
    const rate = Number(value) * 8 / seconds;
    return (rate > 0 && rate < 0.5 ? '<1 ' : scaled(rate)) + 'bps';
  };
  const exact = value => value.toLocaleString('en-US');
  const percent = (part, whole) => {
    const share = Number(part) / Number(whole) * 100;
    return !Number(whole) ? '' : share > 0 && share < 0.05 ? '<0.1%' : share.toFixed(1) + '%';
  };

  const state = { from: 0, to: data.bins, row: null, sort: 'bytes', down: true, filter: '', local: false, cursor: null, mark: null };
  const days = data.bins * data.length > 23 * 3600e3;
  const two = number => String(number).padStart(2, '0');
  const clock = (ms, full) => {
    const date = new Date(state.local ? ms - new Date(ms).getTimezoneOffset() * 60e3 : ms);
    const day = date.getUTCFullYear() + '-' + two(date.getUTCMonth() + 1) + '-' + two(date.getUTCDate());
    const time = two(date.getUTCHours()) + ':' + two(date.getUTCMinutes())
      + (data.length < 60e3 ? ':' + two(date.getUTCSeconds()) : '');
    return full ? day + ' ' + time : days ? day.slice(5) + ' ' + time : time;
  };
  const zone = () => state.local ? 'local time' : 'UTC';
  const edge = bin => data.begin + bin * data.length;
  // No time that is shown is outside of the recording.
  const begin = bin => Math.max(data.span[0], Math.min(data.span[1], edge(bin)));
  const lasting = ms => ms % 3600e3 === 0 ? ms / 3600e3 + ' h' : ms % 60e3 === 0 ? ms / 60e3 + ' min' : ms / 1000 + ' s';

  // The sums of a row in the span that is shown.
  const sums = row => {
    let sent = 0n, received = 0n, peak = -1n, when = null, first = null, last = null;
    for (const bin of row.bins) {
      if (bin.at < state.from || bin.at >= state.to) continue;
      if (first === null) first = bin.at;
      last = bin.at + 1;
      sent += bin.sent;
      received += bin.received;
      if (bin.sent + bin.received > peak) { peak = bin.sent + bin.received; when = bin.at; }
    }
    return { row, sent, received, bytes: sent + received, peak: peak < 0n ? 0n : peak, when, first, last };
  };
  const matches = row => (row.name + ' ' + (row.host || '') + ' ' + (row.id || '') + ' ' + (row.remote || '')).toLowerCase().includes(state.filter);
  // Rows keep their color, whatever is shown.
  const colored = data.rows.filter(row => row.kind === 0).slice(0, COLORS);
  const color = row => colored.includes(row) ? 'k' + colored.indexOf(row) : 'rest';
  const label = row => row.name + (row.remote ? ' ↔ ' + row.remote : '');

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

  function chart() {
    const svg = get('chart');
    const width = svg.clientWidth || 900;
    svg.replaceChildren();
    const inner = width - SIZE.left - SIZE.right, tall = width < 640 ? 220 : 280;
    const { made, per, count } = layers(inner);
    const seconds = per * LENGTH;
    const most = side => Math.max(0, ...Array.from({ length: count }, (_, at) => made.reduce((sum, layer) => sum + layer[side][at], 0)));
    const up = most('sent'), down = most('received');
    // One scale for both sides, so that heights can be compared.
    const scale = tall / Math.max(up + down, 1);
    // A side with hardly any traffic keeps room for its scale.
    const zero = SIZE.top + Math.min(Math.max(up * scale, 16), tall - 16);
    const unit = Math.min((zero - SIZE.top) / Math.max(up, 1e-9), (SIZE.top + tall - zero) / Math.max(down, 1e-9));
    const x = at => SIZE.left + at * per / (state.to - state.from) * inner;
    // Rows whose bars are less than a pixel would not be seen: a lane below shows when they had traffic.
    const tiny = made.filter(layer => {
      const highest = Math.max(...layer.sent, ...layer.received) * unit;
      return highest > 0 && highest < 1;
    });
    const bottom = SIZE.top + tall, lanes = tiny.length * LANE;
    const height = bottom + SIZE.bottom + lanes;
    svg.style.height = height + 'px';
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const grid = (value, sign) => {
      const y = zero - sign * value * seconds / 8 * unit;
      svg.append(draw('line', { x1: SIZE.left, x2: width - SIZE.right, y1: y, y2: y, class: value ? 'grid' : 'zero' }));
      // Its text keeps clear of that of the 0.
      const shift = value ? Math.max(0, 12 - Math.abs(y - zero)) : 0;
      svg.append(draw('text', { x: SIZE.left - 6, y: y + 4 - sign * shift, 'text-anchor': 'end', class: 'scale' }, value ? scaled(value) + 'bps' : '0'));
    };
    grid(0, 1);
    const step = nice(Math.max(up, down, 1) * 8 / seconds / 4);
    for (const [most, sign] of [[up, 1], [down, -1]]) {
      const rate = most * 8 / seconds;
      for (let value = step; value <= rate; value += step) grid(value, sign);
      // A side that is less than a step has a value of its own.
      if (rate > 0 && rate < step) {
        const value = [nice(rate), nice(rate / 2), nice(rate / 2.5)].find(value => value <= rate);
        grid(value || rate, sign);
      }
    }
    for (const side of ['sent', 'received']) {
      const base = new Array(count).fill(0);
      for (const layer of made) {
        let path = '';
        for (let at = 0; at < count; at += 1) {
          const value = layer[side][at];
          if (!value) continue;
          const sign = side === 'sent' ? -1 : 1;
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
    svg.append(draw('line', { x1: SIZE.left, x2: width - SIZE.right, y1: zero, y2: zero, class: 'zero' }));
    const upTo = most => most ? `, up to ${bits(most, seconds)}` : '';
    svg.append(draw('text', { x: SIZE.left, y: SIZE.top - 9, class: 'side' }, '▲ sent' + upTo(up)));
    svg.append(draw('text', { x: SIZE.left, y: bottom + 15, class: 'side' }, '▼ received' + upTo(down)));
    tiny.forEach((layer, index) => {
      const y = bottom + SIZE.bottom + index * LANE + 14;
      const most = Math.floor(inner / 7) - 25;
      const name = layer.name.length > most ? layer.name.slice(0, most - 1) + '…' : layer.name;
      svg.append(draw('text', { x: SIZE.left, y: y - 2 }, name + ' (too small to see above)'));
      let path = '';
      for (let at = 0; at < count; at += 1) {
        if (layer.sent[at] + layer.received[at]) path += `M${x(at).toFixed(2)} ${y + 1}V${y + 9}H${Math.min(Math.max(x(at + 1), x(at) + 1), width - SIZE.right).toFixed(2)}V${y + 1}Z`;
      }
      const marks = draw('path', { d: path, class: layer.css + ' lane' });
      marks.append(draw('title', {}, layer.name + ', when it had traffic'));
      svg.append(marks);
    });
    const shown = (state.to - state.from) * LENGTH;
    const tick = STEPS.find(step => shown / step <= Math.max(2, inner / 110)) || STEPS[STEPS.length - 1];
    const shift = state.local ? new Date(edge(state.from)).getTimezoneOffset() * 60 : 0;
    let next = Math.ceil((edge(state.from) / 1000 - shift) / tick) * tick + shift;
    for (; next * 1000 <= edge(state.to); next += tick) {
      const at = SIZE.left + (next * 1000 - edge(state.from)) / ((state.to - state.from) * data.length) * inner;
      svg.append(draw('line', { x1: at, x2: at, y1: bottom + 20, y2: bottom + 24, class: 'zero' }));
      svg.append(draw('text', { x: at, y: bottom + 35, 'text-anchor': at > width - 40 ? 'end' : 'middle' }, clock(next * 1000)));
    }
    const drag = draw('rect', { class: 'drag', y: SIZE.top, height: tall, width: 0, x: 0 });
    const cursor = draw('line', { class: 'cursor', y1: SIZE.top, y2: bottom, x1: -9, x2: -9 });
    svg.append(drag, cursor);
    plot = { made, per, count, seconds, inner, x, drag, cursor, width };
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

  const titles = () => [
    ['name', data.title, 't'],
    ...(data.hosts.length > 1 && data.key !== 'host' ? [['host', 'Host', 't']] : []),
    ...(data.id ? [['id', data.id]] : []),
    ...(data.split ? [['remote', 'Remote end', 't']] : []),
    ['share', 'Share'], ['sent', 'Sent'], ['received', 'Received'], ['peak', 'Peak'], ['when', 'Peak at'], ['first', 'First'], ['last', 'Last'],
  ];
  const value = (sum, key) => {
    switch (key) {
      case 'share': return sum.bytes;
      case 'sent': case 'received': case 'bytes': case 'peak': return sum[key];
      case 'when': case 'first': case 'last': return sum[key] === null ? -1 : sum[key];
      case 'id': return Number(sum.row.id || 0);
      default: return (sum.row[key] || '').toLowerCase();
    }
  };
  const cell = (text, name, title) => {
    const node = make('td', text, name);
    if (title) node.title = title;
    return node;
  };
  function rows() {
    const table = get('rows');
    const head = make('tr');
    for (const [key, title, name] of titles()) {
      const th = make('th', undefined, name);
      const active = state.sort === key || (state.sort === 'bytes' && key === 'share');
      th.scope = 'col';
      th.setAttribute('aria-sort', active ? (state.down ? 'descending' : 'ascending') : 'none');
      const button = make('button', title + (active ? (state.down ? ' ↓' : ' ↑') : ''));
      button.type = 'button';
      button.dataset.key = key;
      button.onclick = () => {
        const text = name === 't';
        state.down = state.sort === key || (active && key === 'share') ? !state.down : !text;
        state.sort = key;
        rows();
        table.tHead.querySelector(`[data-key="${key}"]`).focus();
      };
      th.append(button);
      head.append(th);
    }
    table.tHead.replaceChildren(head);
    const all = data.rows.map(sums);
    const total = all.reduce((sum, one) => sum + one.bytes, 0n);
    const shown = all.filter(sum => matches(sum.row) && (sum.bytes > 0n || sum.row === state.row || (state.from === 0 && state.to === data.bins)));
    shown.sort((one, other) => {
      if (one.row.kind !== other.row.kind) return one.row.kind - other.row.kind;
      const a = value(one, state.sort), b = value(other, state.sort);
      const order = a < b ? -1 : a > b ? 1 : 0;
      return (state.down ? -order : order) || one.row.index - other.row.index;
    });
    table.tBodies[0].replaceChildren(...shown.map(sum => {
      const { row } = sum;
      const tr = make('tr', undefined, row === state.row ? 'on' : '');
      const name = cell(undefined, 't', label(row) + (row.about ? '\n' + row.about : ''));
      const pick = make('button', undefined, 'pick');
      pick.type = 'button';
      pick.setAttribute('aria-pressed', row === state.row);
      pick.append(make('span', '', 'swatch ' + color(row)), row.name);
      pick.onclick = () => select(row === state.row ? null : row);
      name.append(pick);
      tr.append(name);
      for (const [key] of titles().slice(1)) {
        switch (key) {
          case 'host': tr.append(cell(row.host || '-', 't')); break;
          case 'id': tr.append(cell(row.id === undefined ? '' : exact(row.id))); break;
          case 'remote': tr.append(cell(row.remote || '-', 't')); break;
          case 'share': {
            const share = cell(percent(sum.bytes, total), 'share');
            const bar = make('i');
            bar.style.width = total ? Math.max(1, Number(sum.bytes) / Number(total) * 64) + 'px' : '0';
            share.append(bar);
            tr.append(share);
            break;
          }
          case 'sent': case 'received': {
            const number = cell(bytes(sum[key]), key, exact(sum[key]) + ' bytes');
            number.dataset.bytes = sum[key];
            tr.append(number);
            break;
          }
          case 'peak': tr.append(cell(sum.when === null ? '' : bits(sum.peak, LENGTH), '', exact(sum.peak) + ' bytes in ' + lasting(data.length))); break;
          default: {
            const time = sum[key] === null ? null : begin(sum[key]);
            tr.append(time === null ? cell('') : cell(clock(time), '', clock(time, true) + ' ' + zone()));
          }
        }
      }
      return tr;
    }));
    const sent = shown.reduce((sum, one) => sum + one.sent, 0n), received = shown.reduce((sum, one) => sum + one.received, 0n);
    const foot = make('tr');
    for (const [key, , name] of titles()) {
      const part = { name: state.filter ? 'total of these rows' : 'total', share: percent(sent + received, total), sent: bytes(sent), received: bytes(received) }[key];
      const node = cell(part || '', name || key);
      if (key === 'sent' || key === 'received') { const sum = key === 'sent' ? sent : received; node.dataset.bytes = sum; node.title = exact(sum) + ' bytes'; }
      foot.append(node);
    }
    table.tFoot.replaceChildren(foot);
    get('clear').hidden = state.row === null;
  }
  function select(row) {
    state.row = row;
    chart();
    rows();
    remotes();
    read(null);
    const on = get('rows').querySelector('tr.on .pick');
    if (on) on.focus();
  }

  const header = (table, names) => {
    const head = make('tr');
    for (const [title, name] of names) { const th = make('th', undefined, name); th.scope = 'col'; const text = make('button', title); text.disabled = true; th.append(text); head.append(th); }
    table.tHead.replaceChildren(head);
  };
  function remotes() {
    get('remote').hidden = data.remotes.length === 0;
    const list = data.remotes.filter(one => state.row === null || one.row === state.row.index);
    const note = data.remotes_left ? ` The ${data.remotes.length} with the most traffic are shown, ${data.remotes_left} are not.` : '';
    get('remote-note').textContent = (state.row ? `Remote ends of ${state.row.name}, ` : 'Remote ends, ') + 'sums of the whole report.' + note;
    header(get('remotes'), [[data.title, 't'], ['Remote end', 't'], ['Role', 't'], ['Sent'], ['Received']]);
    get('remotes').tBodies[0].replaceChildren(...list.map(one => {
      const tr = make('tr');
      tr.append(cell(one.name, 't', one.name), cell(one.end, 't', one.end), cell(one.part, 't'));
      for (const key of ['sent', 'received']) {
        const sum = BigInt(one[key]), node = cell(bytes(sum), key, exact(sum) + ' bytes');
        node.dataset.bytes = sum;
        tr.append(node);
      }
      return tr;
    }));
  }
  function tcp() {
    get('tcp').hidden = data.tcp.length === 0;
    const time = value => value === null ? '' : Number(value) < 1000 ? value + ' µs' : (Number(value) / 1000).toFixed(1) + ' ms';
    const marked = (text, bad) => cell((bad ? '! ' : '') + text, bad ? 'bad' : '');
    const isLossy = one => Number(one.again) * 100 > Number(one.out);
    // When and with whom something went wrong; nothing if it never did.
    const most = (key, title) => data.tcp.some(one => one[key].at || one[key].whom) ? [
      [[title + ' most at', 't'], one => cell(one[key].at ? `${clock(one[key].at[0])} (${one[key].at[1]})` : '', 't')],
      [[title + ' most with', 't'], one => cell(one[key].whom ? `${one[key].whom[0]} (${one[key].whom[1]})` : '', 't', one[key].whom && one[key].whom[0])],
    ] : [];
    const columns = [
      [[data.title, 't'], one => cell(one.name, 't', one.name)],
      [['Segments sent'], one => cell(exact(BigInt(one.out)))],
      [['retransmitted'], one => cell(exact(BigInt(one.again)))],
      [[''], one => marked(percent(one.again, one.out), isLossy(one))],
      ...most('again_most', 'retransmitted'),
      [['Segments received'], one => cell(exact(BigInt(one.in)))],
      [['Connections failed'], one => marked(exact(BigInt(one.failed)), Number(one.failed) > 0)],
      ...most('failed_most', 'failed'),
      [['reset'], one => cell(exact(BigInt(one.reset)))],
      [['Round trip, least'], one => cell(time(one.least))],
      [['greatest'], one => cell(time(one.greatest))],
      [['Longest connect'], one => cell(time(one.connect))],
    ];
    header(get('tcps'), columns.map(([title]) => title));
    get('tcps').tBodies[0].replaceChildren(...data.tcp.map(one => {
      const tr = make('tr');
      tr.append(...columns.map(([, made]) => made(one)));
      return tr;
    }));
  }
  function render() { chart(); rows(); remotes(); tcp(); }

  const svg = get('chart');
  svg.addEventListener('pointerdown', event => { if (event.button === 0) { state.mark = barAt(event); svg.setPointerCapture(event.pointerId); } });
  svg.addEventListener('pointermove', event => { const at = barAt(event); read(at); if (state.mark !== null) span(state.mark, at); });
  svg.addEventListener('pointerup', event => {
    if (state.mark === null) return;
    const at = barAt(event), mark = state.mark;
    state.mark = null;
    if (at !== mark) zoom(mark, at); else span(0, -1);
  });
  svg.addEventListener('pointercancel', () => { state.mark = null; span(0, -1); });
  svg.addEventListener('pointerleave', () => { if (state.mark === null) read(null); });
  svg.addEventListener('keydown', event => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (step) {
      const from = state.cursor === null ? (step > 0 ? -1 : plot.count) : state.cursor;
      const at = Math.max(0, Math.min(plot.count - 1, from + step));
      if (event.shiftKey && state.mark === null) state.mark = Math.max(0, Math.min(plot.count - 1, from));
      if (!event.shiftKey) { state.mark = null; span(0, -1); }
      read(at);
      if (state.mark !== null) span(state.mark, at);
    } else if (event.key === 'Enter' && state.mark !== null && state.cursor !== null) {
      zoom(state.mark, state.cursor);
    } else if (event.key === 'Escape') {
      get('whole').click();
    } else { return; }
    event.preventDefault();
  });
  svg.addEventListener('blur', () => { state.mark = null; span(0, -1); read(null); });
  get('whole').onclick = () => { state.from = 0; state.to = data.bins; state.mark = null; render(); read(null); };
  get('clear').onclick = () => select(null);
  for (const choice of get('zone').children) {
    choice.onclick = () => {
      state.local = choice.dataset.zone === 'local';
      for (const one of get('zone').children) one.setAttribute('aria-pressed', one === choice);
      for (const time of document.querySelectorAll('time')) time.textContent = clock(Date.parse(time.dateTime), time.className === 'full');
      for (const name of document.querySelectorAll('.zone')) name.textContent = zone();
      render();
      read(null);
    };
  }
  get('filter').oninput = event => { state.filter = event.target.value.trim().toLowerCase(); rows(); };
  addEventListener('resize', () => { chart(); read(null); });
  addEventListener('beforeprint', chart);
  addEventListener('afterprint', chart);
  render();
})();
