// The tables.
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
