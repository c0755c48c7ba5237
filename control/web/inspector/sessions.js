// All sessions, in a table.

import { ask } from './ask.js';
import { $, button, el, keep, note, say } from './dom.js';
import { many, since } from './words.js';

const SHOWN_MAX = 200;

export const peopleOf = (session) => session.connections.content;
export const sentBy = (people) => people.reduce((sum, one) => sum + (one.publishers?.length ?? 0), 0);
export const receivedBy = (people) => people.reduce((sum, one) => sum + (one.subscribers?.length ?? 0), 0);
export const linkTo = (id) => `#/session/${encodeURIComponent(id)}`;

export function sessionsView({ act }) {
  let all = [];
  $('find').oninput = () => show(all);

  function show(sessions) {
    all = sessions;
    const wanted = $('find').value.trim().toLowerCase();
    const fits = (one) => [one.id, one.mediaNodeId ?? ''].some((text) => text.toLowerCase().includes(wanted));
    const found = sessions.filter(fits).sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? -1 : 1));
    const people = sessions.reduce((sum, one) => sum + peopleOf(one).length, 0);
    say($('sessions-count'), sessions.length ? `${sessions.length} with ${many(people, 'person', 'people')}` : '');
    keep($('session-rows'), found.slice(0, SHOWN_MAX), { key: (one) => `${one.id} ${one.createdAt}`, make: (one) => row(one, act), home: $('sessions') });
    $('session-table').hidden = found.length === 0;
    $('find-line').hidden = sessions.length === 0;
    note($('no-sessions'), found.length ? '' : sessions.length ? 'No session fits.' : 'There are no sessions now.');
    note($('more-sessions'), found.length > SHOWN_MAX ? `${found.length - SHOWN_MAX} more are not shown: look for what you need.` : '');
  }
  return { show };
}

function row(first, act) {
  let session = first;
  const cell = (kind = '') => el('td', { class: kind });
  const cells = { node: cell('roomy'), people: cell('number'), sent: cell('number'), received: cell('number roomy'), since: cell('roomy') };
  const close = button('Close…', `session ${session.id}`, () => closeSession(session, act), 'danger');
  const name = el('th', { scope: 'row' }, el('a', { href: linkTo(session.id) }, session.id));
  const element = el('tr', {}, name, ...Object.values(cells), el('td', { class: 'end' }, close));
  const update = (now) => {
    session = now;
    const people = peopleOf(session);
    say(cells.node, session.mediaNodeId ?? '–');
    say(cells.people, String(people.length));
    say(cells.sent, String(sentBy(people)));
    say(cells.received, String(receivedBy(people)));
    say(cells.since, since(session.createdAt));
  };
  return { element, update };
}

// Asks, and closes a session.
export async function closeSession(session, act) {
  const count = peopleOf(session).length;
  const text = count === 0 ? 'Nobody is in it.' : `${many(count, 'person', 'people')} will be disconnected.`;
  if (await ask({ title: `Close session ${session.id}?`, text, verb: 'Close session' }) === null) return;
  await act(async (api) => {
    await api.call('DELETE', `/sessions/${encodeURIComponent(session.id)}`);
    return `Session ${session.id} is closed.`;
  });
}
