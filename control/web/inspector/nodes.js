// The media nodes: how they are, and what can be done with them.

import { ask, minutesUntil } from './ask.js';
import { $, button, el, facts, keep, note, once, say } from './dom.js';
import { clock, many, since } from './words.js';

const DRAINED = 'waiting-idle-to-terminate';

// `act(task, done)` does something by the API and says what came of it.
export function nodesView({ act }) {
  $('add-node').onsubmit = (event) => {
    event.preventDefault();
    once(event.submitter ?? $('add-node').querySelector('button'), () => act(async (api) => {
      const [uri, label] = [$('add-uri').value.trim(), $('add-label').value.trim()];
      const added = await api.call('POST', '/media-nodes', { uri, ...(label ? { environmentId: label } : {}) });
      $('add-node').reset();
      return `Node ${added.id} is added.`;
    }));
  };
  return {
    show(nodes) {
      const up = nodes.filter((one) => one.connected).length;
      say($('nodes-count'), nodes.length ? `${up} of ${nodes.length} connected` : '');
      $('no-nodes').hidden = nodes.length > 0;
      keep($('node-list'), nodes, { key: (one) => one.id, make: (one) => card(one, act), home: $('nodes') });
    },
  };
}

function card(first, act) {
  let node = first;
  const path = `/media-nodes/${encodeURIComponent(node.id)}`;
  const parts = {
    label: el('span', { class: 'quiet' }),
    state: el('p', { class: 'badge' }),
    fill: el('span', { class: 'fill' }),
    load: el('div', { class: 'meter', role: 'meter', 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-label': `Load of ${node.id}` }),
    percent: el('span', { class: 'figure' }),
    why: el('p', { class: 'why' }),
    facts: el('dl', { class: 'facts' }),
    turn: button('Drain…', node.id, () => turn(node, path, act)),
    limit: button('Deadline…', node.id, () => limit(node, path, act)),
    remove: button('Remove…', node.id, () => remove(node, path, act), 'danger'),
  };
  parts.load.append(parts.fill);
  const element = el('li', { class: 'panel node' },
    el('div', { class: 'title' }, el('h3', {}, node.id, ' ', parts.label), parts.state),
    el('div', { class: 'load' }, el('span', { class: 'quiet' }, 'Load'), parts.load, parts.percent),
    parts.why, parts.facts, el('p', { class: 'line' }, parts.turn, parts.limit, parts.remove));
  return { element, update: (now) => { node = now; update(parts, node); } };
}

function update(parts, node) {
  const info = node.ringcastInfo ?? {};
  const state = stateOf(node, info);
  say(parts.label, node.environmentId ?? '');
  say(parts.state, state.text);
  parts.state.className = `badge ${state.kind}`;
  showLoad(parts, info);
  note(parts.why, state.why ?? '');
  const ends = node.deadline ? `in ${since(Date.now(), node.deadline)}` : null;
  facts(parts.facts, [
    ['Sessions', info.sessions ?? '–'], ['Workers', info.workers], ['Transports', transports(info)], ['Processor', node.connected ? `${Math.round(node.load)} %` : null],
    ['Nearest limit', LIMITS[info.loadOf]?.name ?? info.loadOf], ['Closed', ends], [node.connected ? 'Connected for' : 'Away for', ageOf(node)], ['Address', node.uri], ['Software', info.software],
  ]);
  const drained = node.status === DRAINED;
  parts.turn.hidden = !drained && node.status !== 'running';
  parts.limit.hidden = !drained;
  say(parts.turn, drained ? 'Undrain' : 'Drain…');
  parts.turn.setAttribute('aria-label', `${drained ? 'Undrain' : 'Drain'} ${node.id}`);
  parts.remove.hidden = ['terminating', 'terminated'].includes(node.status);
}

// How full the node is, of what it has most: 100 % is a limit. Nothing is known of one that was not read.
function showLoad(parts, { loadRatio }) {
  const load = loadRatio === undefined ? null : Math.round(100 * loadRatio);
  const shown = Math.min(100, load ?? 0);
  parts.fill.style.width = `${shown}%`;
  parts.fill.className = `fill ${shown >= 90 ? 'bad' : shown >= 70 ? 'warn' : ''}`;
  parts.load.setAttribute('aria-valuenow', String(shown));
  parts.load.setAttribute('aria-valuetext', load === null ? 'not known' : `${load} %`);
  say(parts.percent, load === null ? '–' : `${load} %`);
}

function transports({ transports: used, transportsMax: most }) {
  if (typeof most !== 'number') return used;
  return used === undefined ? `up to ${most}` : `${used} of ${most}`;
}

function ageOf(node) {
  const at = node.connected ? node.connectionTime : node.disconnectionTime;
  return at ? since(at) : null;
}

// What a load can be of: its name, and what is so when that is at its limit.
const LIMITS = {
  packets: { name: 'packets', reached: 'It carries as many packets as it can.' },
  bits: { name: 'line', reached: 'Its line is full.' },
  worker: { name: 'a worker', reached: 'One of its workers has no time left.' },
  drops: { name: 'losses', reached: 'It loses packets that arrive.' },
  memory: { name: 'memory', reached: 'It uses all memory that it may.' },
  transports: { name: 'transports', reached: 'It has as many transports as it may.' },
};

// The same of a node that runs, by how it stands with the scheduler.
function standingOf({ standing, loadRatio, loadOf, loadAgeSeconds }) {
  const reached = loadRatio >= 1 ? LIMITS[loadOf]?.reached : undefined;
  if (standing === 'full') return { text: 'full', kind: 'warn', why: `${reached ?? 'It refuses more.'} It gets no new sessions until there is room.` };
  if (standing === 'excluded') return { text: 'load not known', kind: 'warn', why: 'Its metrics can’t be read: others are given the new sessions.' };
  const old = standing === 'stale' && loadAgeSeconds !== undefined;
  return { text: 'running', kind: 'good', why: old ? `Its load was read ${Math.round(loadAgeSeconds)} s ago.` : '' };
}

// What a node is in one word, how bad that is, and why.
function stateOf(node, info) {
  if (info.copyOf) return { text: 'refused', kind: 'bad', why: `It shows the certificate of ${info.copyOf}.` };
  if (info.health === 'crashed') return { text: 'dead', kind: 'bad', why: said(`Nothing was heard of it since ${node.disconnectionTime ? clock(node.disconnectionTime) : 'a while'}.`, info) };
  if (info.health === 'suspect') return { text: 'silent', kind: 'warn', why: said('It gets no new sessions while it is silent.', info) };
  if (node.status === DRAINED) return { text: 'draining', kind: 'warn', why: 'It keeps its sessions, takes no more, and leaves when it is empty.' };
  if (node.status === 'running' && node.connected) return standingOf(info);
  return { text: node.status, kind: 'warn', why: said('', info) };
}

const said = (text, info) => `${text} ${info.unreached ?? ''}`.trim();

async function turn(node, path, act) {
  if (node.status === DRAINED) {
    return act(async (api) => {
      await api.call('PATCH', path, { status: 'running' });
      return `Node ${node.id} takes sessions again.`;
    });
  }
  const count = node.ringcastInfo?.sessions ?? 0;
  const question = count === 0
    ? { text: 'It has no sessions, so it leaves the cluster at once. Add it by its address to have it back.' }
    : { text: `It keeps its ${many(count, 'session')}, takes no more, and leaves when ${count === 1 ? 'it is' : 'they are'} over.`, limit: { of: null, text: LEFT } };
  const answer = await ask({ title: `Drain node ${node.id}?`, verb: 'Drain', ...question });
  if (answer === null) return;
  await act(async (api) => {
    await api.call('PATCH', path, { status: DRAINED, deadline: secondsOf(answer) });
    return `Node ${node.id} is being drained${within(answer)}.`;
  });
}

const LEFT = 'Sessions that are left then are closed. Without one it waits for as long as they last.';
const secondsOf = ({ minutes }) => (minutes === null ? null : 60 * minutes);
const within = ({ minutes }) => (minutes === null ? '' : `, for ${many(minutes, 'minute')} at most`);

// Until when a node that is being drained may take.
async function limit(node, path, act) {
  const answer = await ask({ title: `When must ${node.id} be empty?`, text: '', verb: 'Set', limit: { of: null, text: LEFT, now: minutesUntil(node.deadline) } });
  if (answer === null) return;
  await act(async (api) => {
    await api.call('PATCH', path, { status: DRAINED, deadline: secondsOf(answer) });
    return answer.minutes === null ? `Node ${node.id} may take as long as its sessions last.` : `Node ${node.id} is drained${within(answer)}.`;
  });
}

async function remove(node, path, act) {
  const count = node.ringcastInfo?.sessions ?? 0;
  const choices = count === 0 ? [] : [['when-no-sessions', 'When its sessions are over; until then it is drained'], ['now', `Now: ${many(count, 'session')} ${count === 1 ? 'ends' : 'end'}, and everybody in ${count === 1 ? 'it' : 'them'} is told`]];
  const text = count === 0 ? 'It has no sessions.' : `It has ${many(count, 'session')}.`;
  const answer = await ask({ title: `Remove node ${node.id}?`, text, choices, verb: 'Remove', limit: count === 0 ? null : { of: 'when-no-sessions', text: LEFT } });
  if (answer === null) return;
  const seconds = secondsOf(answer);
  await act(async (api) => {
    await api.call('DELETE', `${path}?deletion-strategy=${answer.choice ?? 'if-no-sessions'}${seconds === null ? '' : `&deadline=${seconds}`}`);
    return answer.choice === 'when-no-sessions' ? `Node ${node.id} leaves when its sessions are over${answer.minutes === null ? '' : `, or in ${many(answer.minutes, 'minute')}`}.` : `Node ${node.id} is being removed.`;
  });
}
