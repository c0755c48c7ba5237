// Why there is no picture: what the node says of transports on which nothing flows, and what to do about it.

import { el, keep, say } from './dom.js';
import { clock } from './words.js';

const LATEST_MAX = 8;

// A list of what is wrong with somebody's streams: [{ id, title, transport }], of which those without a cause are left out.
export function troubleList() {
  const element = el('ul', { class: 'troubles' });
  const show = (streams) => {
    const wrong = streams.filter(({ transport }) => transport?.cause);
    element.hidden = wrong.length === 0;
    keep(element, wrong, { key: ({ id }) => id, make: row });
  };
  return { element, show };
}

// What failed lately in a session, whoever's it was: a stream that was refused or given up is shown nowhere else.
export function failureList(element, { home }) {
  return (session, nameOf) => {
    const latest = (session?.transportFailures ?? []).slice(0, LATEST_MAX);
    element.hidden = latest.length === 0;
    const rows = latest.map((one) => ({ id: one.id, title: `${nameOf(one.connectionId)}, ${one.role === 'publisher' ? 'sending' : 'receiving'}`, transport: { ...one, since: one.at } }));
    keep(element, rows, { key: ({ id }) => id, make: row, home });
  };
}

function row() {
  const [what, mend] = [el('p', { class: 'why' }), el('p', { class: 'quiet' })];
  const element = el('li', {}, what, mend);
  const update = ({ title, transport: of }) => {
    say(what, `${title}: ${of.what}${of.detail ? ` (${of.detail})` : ''}`);
    say(mend, [of.mend, of.since ? `Since ${clock(of.since)}` : '', of.mediaNodeId ? `on ${of.mediaNodeId}` : '', `[${of.cause}, ${of.id}]`].filter(Boolean).join(' '));
    element.className = of.state === 'connected' ? 'warn' : 'bad';
  };
  return { element, update };
}
