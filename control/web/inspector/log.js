// What happens, newest first.

import { $, el, note, say } from './dom.js';
import { clock, many, sentence } from './words.js';

const SHOWN_MAX = 300;
const HELD_MAX = 1000;
const BAD = new Set(['nodeCrashed']);

export function eventLog() {
  let held = null; // while it is paused: what came meanwhile
  let only = null; // the session that is looked at
  $('aloud').onchange = () => $('log').setAttribute('aria-live', $('aloud').checked ? 'polite' : 'off');
  $('clear').onclick = () => { $('log').replaceChildren(); refresh(); };
  $('pause').onclick = () => {
    const waited = held;
    held = held ? null : [];
    $('pause').setAttribute('aria-pressed', String(Boolean(held)));
    for (const entry of waited ?? []) add(entry);
    refresh();
  };

  function add(entry) {
    $('log').prepend(line(entry));
    while ($('log').childElementCount > SHOWN_MAX) $('log').lastElementChild.remove();
  }

  function refresh() {
    for (const entry of $('log').children) entry.hidden = only !== null && entry.dataset.session !== only;
    say($('events-of'), only === null ? '' : `of session ${only}`);
    $('no-events').hidden = [...$('log').children].some((entry) => !entry.hidden);
    note($('held'), held ? `Paused: ${many(held.length, 'event')} since.` : '');
  }

  function push(entry) {
    if (!held) add(entry);
    else if (held.length < HELD_MAX) held.push(entry);
    refresh();
  }

  return {
    told: (id, event) => push({ at: event.timestamp, text: sentence(event), name: event.event, session: event.sessionId, body: event, kind: BAD.has(event.event) ? 'bad' : '' }),
    // Something of the page's own, such as a gap.
    remark: (text) => push({ at: Date.now(), text, name: 'this page', kind: 'quiet' }),
    // Only what is about this session; null: everything.
    show: (session) => { only = session; refresh(); },
    forget: () => { held = null; $('pause').setAttribute('aria-pressed', 'false'); $('log').replaceChildren(); refresh(); },
  };
}

function line({ at, text, name, session, body, kind }) {
  const time = el('time', { datetime: new Date(at).toISOString() }, clock(at));
  const element = el('li', { class: kind }, el('p', {}, time, ' ', text));
  if (session) element.dataset.session = session;
  if (body) element.append(el('details', {}, el('summary', {}, name), el('pre', {}, JSON.stringify(body, null, 1))));
  return element;
}
