// What the reader does. It is the last file, since it shows the page for the first time.
const timeline = get('chart');
timeline.addEventListener('pointerdown', event => { if (event.button === 0) { state.mark = barAt(event); timeline.setPointerCapture(event.pointerId); } });
timeline.addEventListener('pointermove', event => { const at = barAt(event); read(at); if (state.mark !== null) span(state.mark, at); });
timeline.addEventListener('pointerup', event => {
  if (state.mark === null) return;
  const at = barAt(event), mark = state.mark;
  state.mark = null;
  if (at !== mark) zoom(mark, at); else span(0, -1);
});
timeline.addEventListener('pointercancel', () => { state.mark = null; span(0, -1); });
timeline.addEventListener('pointerleave', () => { if (state.mark === null) read(null); });
timeline.addEventListener('keydown', event => {
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
timeline.addEventListener('blur', () => { state.mark = null; span(0, -1); read(null); });
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
