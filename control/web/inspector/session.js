// One session: who is in it, and how their streams are doing.

import { ask } from './ask.js';
import { $, button, el, facts, keep, note, once, say } from './dom.js';
import { closeSession, peopleOf, receivedBy, sentBy } from './sessions.js';
import { failureList, troubleList } from './troubles.js';
import { bits, clock, many, millis, nameOf, percent, since } from './words.js';

const SHOWN_MAX = 100;

export function sessionView({ act }) {
  let session = null;
  const showFailures = failureList($('one-failures'), { home: $('one-title') });
  $('close-one').onclick = () => once($('close-one'), async () => { if (session) await closeSession(session, act); });

  return {
    // It was chosen, and is not known yet.
    open(id) {
      session = null;
      say($('one-title'), `Session ${id}`);
      show([], null, act);
      for (const part of ['one-gone', 'one-empty', 'one-facts', 'one-failed', 'close-one']) $(part).hidden = true;
    },
    // What the API says of it; null: it is no more.
    show(now) {
      session = now;
      const lost = now === null && $('close-one') === document.activeElement;
      for (const part of ['one-facts', 'close-one']) $(part).hidden = now === null;
      $('one-gone').hidden = now !== null;
      if (lost) $('one-title').focus();
      const people = now ? peopleOf(now) : [];
      $('one-empty').hidden = now === null || people.length > 0;
      show(people, now, act);
      const names = new Map(people.map((one) => [one.connectionId, nameOf(one)]));
      $('one-failed').hidden = !now?.transportFailures?.length;
      showFailures(now, (id) => names.get(id) ?? id);
    },
  };
}

function show(people, session, act) {
  const names = new Map(people.map((one) => [one.connectionId, nameOf(one)]));
  facts($('one-facts'), session === null ? [] : [
    ['Node', session.mediaNodeId ?? 'none yet'], ['People', people.length], ['Streams sent', sentBy(people)], ['Streams received', receivedBy(people)],
    ['Since', `${clock(session.createdAt)}, ${since(session.createdAt)}`], ['Speaks', names.get(session.dominantSpeaker?.connectionId)],
  ]);
  // Whose stream it is that somebody receives.
  const publishers = new Map(people.flatMap((one) => (one.publishers ?? []).map((stream) => [stream.streamId, nameOf(one)])));
  const context = { session, publishers, act };
  const rows = people.slice(0, SHOWN_MAX).map((person) => ({ person, context }));
  keep($('people'), rows, { key: ({ person }) => person.connectionId, make: card, home: $('one-title') });
  note($('more-people'), people.length > SHOWN_MAX ? `${people.length - SHOWN_MAX} more are not shown.` : '');
}

function card(first) {
  let { person, context } = first;
  const parts = {
    name: el('h3'), speaks: el('p', { class: 'badge good' }, 'speaks'), facts: el('dl', { class: 'facts' }),
    sends: streamTable(), receives: streamTable(), count: el('summary'), troubles: troubleList(),
  };
  const received = el('details', { ontoggle: () => update() }, parts.count, parts.receives.element);
  const evict = button('Evict…', nameOf(person), () => remove(person, context), 'danger');
  const element = el('li', { class: 'panel' }, el('div', { class: 'title' }, parts.name, parts.speaks, evict), parts.facts, parts.sends.element, parts.troubles.element, received);

  function update() {
    const [published, receives] = [person.publishers ?? [], person.subscribers ?? []];
    say(parts.name, nameOf(person));
    parts.speaks.hidden = context.session?.dominantSpeaker?.connectionId !== person.connectionId;
    facts(parts.facts, [
      ['Connection', person.connectionId], ['Role', person.role], ['Here for', person.activeAt ? since(person.activeAt) : 'not yet'], ['Address', person.ip],
      ['Browser', person.platform], ['Said by the browser', person.clientData === nameOf(person) ? null : person.clientData], ['Said by the application', person.serverData],
    ]);
    parts.sends.show(`What ${nameOf(person)} sends`, published.map((stream) => ({ title: (kind) => sends(kind, stream), stream })));
    // Of what is received too, though its list may be shut.
    parts.troubles.show([
      ...published.map(({ streamId, transport }) => ({ id: `to ${streamId}`, title: 'What is sent', transport })),
      ...receives.map(({ streamId, transport }) => ({ id: `from ${streamId}`, title: `${context.publishers.get(streamId) ?? streamId}, received`, transport })),
    ]);
    say(parts.count, `Receives ${many(receives.length, 'stream')}`);
    received.hidden = receives.length === 0;
    // Among hundreds this is most of the page: only what is looked at is kept.
    const shown = received.open ? receives : [];
    parts.receives.show(`What ${nameOf(person)} receives`, shown.map((stream) => ({ title: (kind) => `${context.publishers.get(stream.streamId) ?? stream.streamId}, ${kind === 'audio' ? 'sound' : 'video'}`, stream })));
  }
  return { element, update: (now) => { ({ person, context } = now); update(); } };
}

// What somebody sends of one kind: `Sends screen`, `Sends sound (off)`.
function sends(kind, { mediaOptions: of }) {
  const [name, on] = kind === 'audio' ? ['sound', of?.audioActive] : [PICTURES[of?.typeOfVideo] ?? 'video', of?.videoActive];
  return `Sends ${name}${on === false ? ' (off)' : ''}`;
}

const PICTURES = { CAMERA: 'camera', SCREEN: 'screen' };
const COLUMNS = ['Stream', 'Layer', 'Bit rate', 'Loss', 'Round trip', 'Jitter'];
const KINDS = ['', '', 'number', 'number', 'number', 'number roomy'];

// A row for each kind and encoding of each stream.
function streamTable() {
  const [caption, rows] = [el('caption', { class: 'unseen' }), el('tbody')];
  const head = el('thead', {}, el('tr', {}, ...COLUMNS.map((name, at) => el('th', { scope: 'col', class: KINDS[at] }, name))));
  const element = el('div', { class: 'scroll' }, el('table', {}, caption, head, rows));
  const show = (title, streams) => {
    element.hidden = streams.length === 0;
    say(caption, title);
    const lines = streams.flatMap(({ title, stream }) => linesOf(stream).map((line) => ({ ...line, title: line.of ? title(line.of.kind) : stream.streamId, id: `${stream.streamId} ${line.id}` })));
    keep(rows, lines, { key: (line) => line.id, make: lineRow });
  };
  return { element, show };
}

// What the node says of a stream; one line without figures if it says nothing.
function linesOf({ serverStats: stats }) {
  if (!stats?.streams?.length) return [{ id: 'none', of: null }];
  const seen = new Map();
  return stats.streams.map((of) => {
    const id = `${of.kind} ${of.rid ?? ''}`;
    seen.set(id, (seen.get(id) ?? 0) + 1);
    return { id: `${id} ${seen.get(id)}`, of, roundTrip: stats.roundTripMs };
  });
}

function lineRow() {
  const title = el('th', { scope: 'row' });
  const cells = KINDS.slice(1).map((kind) => el('td', { class: kind }));
  const update = ({ title: text, of, roundTrip }) => {
    say(title, text);
    const values = of ? [layerOf(of), rateOf(of), percent(of.lossRatio), millis(roundTrip), millis(of.jitterMs)] : ['no figures yet', '', '', '', ''];
    cells.forEach((cell, at) => say(cell, values[at]));
    cells[2].className = `number ${of?.lossRatio >= 0.08 ? 'bad' : of?.lossRatio >= 0.03 ? 'warn' : ''}`;
    cells[3].className = `number ${roundTrip >= 600 ? 'bad' : roundTrip >= 350 ? 'warn' : ''}`;
  };
  return { element: el('tr', {}, title, ...cells), update };
}

const layerOf = (of) => [of.rid, of.temporalLayer === undefined ? null : `T${of.temporalLayer}`].filter(Boolean).join(' ') || '–';
const rateOf = (of) => (of.wantedBitsPerSecond > of.bitsPerSecond ? `${bits(of.bitsPerSecond)} of ${bits(of.wantedBitsPerSecond)}` : bits(of.bitsPerSecond));

async function remove(person, { session, act }) {
  const name = nameOf(person);
  if (!session || await ask({ title: `Evict ${name}?`, text: `${person.connectionId} is disconnected from session ${session.id}.`, verb: 'Evict' }) === null) return;
  await act(async (api) => {
    await api.call('DELETE', `/sessions/${encodeURIComponent(session.id)}/connection/${encodeURIComponent(person.connectionId)}`);
    return `${name} is evicted.`;
  });
}
