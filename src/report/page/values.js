'use strict';
// What the page knows, how its values are written, and what is shown of them.
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
