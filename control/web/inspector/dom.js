// The little of a framework that the page needs. What comes from the API is only ever set as text: names and data are strangers'.

export const $ = (id) => document.getElementById(id);

// An element with attributes, listeners (`onclick`) and children, which are elements or texts.
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// Sets a text only where it differs: what is selected stays so, and nothing is announced twice.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Shows a message, or hides its element without one.
export function note(element, text) {
  say(element, text);
  element.hidden = !text;
}

const kept = new WeakMap(); // a list's element → its rows by key

// Makes the children of `list` those of `items`, each `make(item)` → { element, update }, and changes what is there in place: whoever
// has the focus keeps it. If that one's row is gone, `home` gets it.
export function keep(list, items, { key, make, home }) {
  if (!kept.has(list)) kept.set(list, new Map());
  const rows = kept.get(list);
  const wanted = new Set(items.map(key));
  let lost = false;
  for (const [id, row] of rows) {
    if (wanted.has(id)) continue;
    lost ||= row.element.contains(document.activeElement);
    row.element.remove();
    rows.delete(id);
  }
  items.forEach((item, at) => {
    const id = key(item);
    if (!rows.has(id)) rows.set(id, make(item));
    const row = rows.get(id);
    if (list.children[at] !== row.element) list.insertBefore(row.element, list.children[at] ?? null);
    row.update(item);
  });
  if (lost) home?.focus();
}

// A list of terms and what they are now: [['Node', 'media_1'], …]. What is null is left out.
export function facts(list, pairs) {
  const there = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  keep(list, there, {
    key: ([term]) => term,
    make: ([term]) => {
      const value = el('dd');
      return { element: el('div', {}, el('dt', {}, term), value), update: ([, text]) => say(value, String(text)) };
    },
  });
}

// A button that works once at a time and never loses the focus by that. `what` says for whom it is, where the text does not.
export function button(text, what, act, kind = '') {
  const made = el('button', { type: 'button', 'aria-label': `${text.replace('…', '')} ${what}`, class: kind }, text);
  made.addEventListener('click', () => once(made, act));
  return made;
}

// Does what a button is for, unless it is still being done.
export async function once(pressed, act) {
  if (pressed.getAttribute('aria-disabled') === 'true') return;
  pressed.setAttribute('aria-disabled', 'true');
  try {
    await act();
  } finally {
    pressed.removeAttribute('aria-disabled');
  }
}

// Looks again and again: `rest` ms after the last time, or `least` ms after it if it was nudged meanwhile. What takes long is done less often,
// and nothing is done while nobody sees the page.
export function repeat(look, { rest, least }) {
  let [timer, ended, running, again, free] = [0, false, false, false, 0];
  const plan = (at) => {
    clearTimeout(timer);
    timer = setTimeout(run, Math.max(0, at - performance.now()));
  };
  async function run() {
    if (document.hidden || ended) return; // whoever comes back is shown what is new at once
    running = true;
    again = false;
    const began = performance.now();
    await look().catch((fault) => console.error(fault));
    const now = performance.now();
    running = false;
    if (ended) return;
    free = now + Math.max(least, 5 * (now - began));
    plan(again ? free : Math.max(free, now + rest));
  }
  const nudge = () => {
    if (ended) return;
    if (running) again = true;
    else plan(free);
  };
  document.addEventListener('visibilitychange', nudge);
  run();
  return { nudge, end: () => { ended = true; clearTimeout(timer); document.removeEventListener('visibilitychange', nudge); } };
}
