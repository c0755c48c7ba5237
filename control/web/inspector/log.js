// What happens, newest first.

import { $, el, note, say } from './dom.js';
import { clock, many, sentence } from './words.js';

const SHOWN_MAX = 300;
const HELD_MAX = 1000;
const BAD = new Set(['nodeCrashed']);
const BREATH_MS = 5_000; // between two announcements

export function eventLog() {
  let held = null; // while it is paused: what came meanwhile
  let only = null; // the session that is looked at
  const voice = announcer();
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
    $('log').hidden = [...$('log').children].every((entry) => entry.hidden);
    $('no-events').hidden = !$('log').hidden;
    note($('held'), held ? `Paused: ${many(held.length, 'event')} since.` : '');
  }

  function push(entry) {
    if (only === null || entry.session === only) voice.say(entry.text);
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
    forget: () => { voice.forget(); held = null; $('pause').setAttribute('aria-pressed', 'false'); $('log').replaceChildren(); refresh(); },
  };
}

// Tells screen readers what happens, where that is wanted. The log itself is not announced: in a busy cluster it would never be silent. What comes
// within a breath is told in one sentence.
function announcer() {
  let [waiting, timer] = [[], 0];
  const speak = () => {
    timer = 0;
    if (waiting.length === 0) return;
    say($('spoken'), waiting.length === 1 ? waiting[0] : `${waiting.length} events. The last: ${waiting.at(-1)}`);
    waiting = [];
    timer = setTimeout(speak, BREATH_MS);
  };
  const forget = () => { clearTimeout(timer); [waiting, timer] = [[], 0]; say($('spoken'), ''); };
  $('aloud').onchange = forget;
  return {
    say: (text) => {
      if (!$('aloud').checked) return;
      waiting.push(text);
      if (!timer) speak();
    },
    forget,
  };
}

function line({ at, text, name, session, body, kind }) {
  const time = el('time', { datetime: new Date(at).toISOString() }, clock(at));
  const element = el('li', { class: kind }, el('p', {}, time, ' ', text));
  if (session) element.dataset.session = session;
  if (body) element.append(el('details', {}, el('summary', {}, name), el('pre', {}, JSON.stringify(body, null, 1))));
  return element;
}
