// What a master was asked by REST and what it answered: which states it may be in when it died at some moment.
//
// Each worker changes things of its own, so that of each thing the changes are one after the other.

import { publishOnPaper } from '../lib/paper.mjs';
import { rpcSocket } from '../lib/rpc.mjs';

export class Ledger {
  constructor() { this.changes = new Map(); }

  // Something is asked now; the answer decides what becomes of it. `state` is what the thing is then, null: it is not there.
  async change(key, state, ask, begun = now()) {
    const change = { state, begun, done: null, refused: false };
    if (!this.changes.has(key)) this.changes.set(key, []);
    this.changes.get(key).push(change);
    const status = await ask();
    if (status >= 200 && status < 300) change.done = now();
    else change.refused = true;
    return !change.refused;
  }

  // What is not as it may be, if the master died at `at`: { key, is, may }. `states` has what its successor knows.
  wrong(states, at = Infinity) {
    const wrong = [];
    for (const [key, changes] of this.changes) {
      const begun = changes.filter((one) => one.begun <= at && !one.refused);
      const last = begun.findLastIndex((one) => isDone(one, at));
      const may = [last < 0 ? null : begun[last].state, ...begun.slice(last + 1).map((one) => one.state)];
      const is = states.get(key) ?? null;
      if (!may.includes(is)) wrong.push({ key, is, may });
    }
    return wrong;
  }

  // When the first was answered.
  first() {
    return Math.min(...[...this.changes.values()].flat().map((one) => one.done ?? Infinity));
  }

  // How many changes were answered with success until then.
  answered(at = Infinity) {
    let count = 0;
    for (const changes of this.changes.values()) count += changes.filter((one) => isDone(one, at)).length;
    return count;
  }
}

const isDone = (change, at) => change.done !== null && change.done <= at;

// Milliseconds since the epoch, with fractions.
export const now = () => performance.timeOrigin + performance.now();

// Makes, changes and removes sessions and connections until the master is gone.
export async function ask(rest, ledger, name) {
  const status = async (method, where, body) => (await rest(method, where, body)).status;
  for (let n = 0; ; n += 1) {
    const id = `${name}_${n}`;
    const made = await ledger.change(`session ${id}`, 'there', () => status('POST', '/sessions', { customSessionId: id }));
    if (!made) throw new Error(`POST /sessions is refused`);
    // Until it is answered nobody knows its name: it is a thing of its own only then.
    const begun = now();
    const answer = await rest('POST', `/sessions/${id}/connection`, { role: 'SUBSCRIBER' });
    if (answer.status !== 200) throw new Error(`POST connection: ${answer.status} ${JSON.stringify(answer.body)}`);
    const path = `/sessions/${id}/connection/${answer.body.connectionId}`;
    const key = `connection ${id} ${answer.body.connectionId}`;
    await ledger.change(key, 'SUBSCRIBER', async () => 200, begun);
    for (const role of ['PUBLISHER', 'MODERATOR']) await ledger.change(key, role, () => status('PATCH', path, { role }));
    if (n % 3 === 1) await ledger.change(key, null, () => status('DELETE', path));
    if (n % 3 === 2) {
      // Both go with one answer.
      await ledger.change(key, null, () => ledger.change(`session ${id}`, null, () => status('DELETE', `/sessions/${id}`)).then((ok) => (ok ? 200 : 500)));
    }
  }
}

// Several at once; ends when all have found the master gone.
export async function askAll(rest, ledger, name, workers = 8) {
  const gone = (error) => { if (!/fetch failed|ECONN|socket|terminated/i.test(`${error.message} ${error.cause?.code ?? ''}`)) throw error; };
  await Promise.all([...Array(workers)].map((_, w) => ask(rest, ledger, `${name}_${w}`).catch(gone)));
}

// People come and publish, in sessions of their own, until the master is gone: { session, connection, stream } of all that were told yes.
export async function joinAll(master, name, workers = 3) {
  const joined = [];
  await Promise.all([...Array(workers)].map(async (_, w) => {
    for (let n = 0; ; n += 1) {
      const session = `${name}_${w}_${n}`;
      try {
        const made = await master.rest('POST', '/sessions', { customSessionId: session });
        const { body: { token } } = await master.rest('POST', `/sessions/${session}/connection`, {});
        if (made.status !== 200 || !token) return;
        const rpc = await rpcSocket(master, session);
        const { id: connection } = await Promise.race([rpc.join(token), rpc.gone]);
        const one = { session, connection, stream: null };
        joined.push(one);
        one.stream = (await Promise.race([publishOnPaper(rpc), rpc.gone])).id;
      } catch {
        return; // it is gone, and who was not answered counts for nothing
      }
    }
  }));
  return joined;
}

// Who of these is not in, or does not publish, as it was told. Their sockets are gone, and they may still come back.
export async function missing(rest, joined) {
  const gone = [];
  for (const { session, connection, stream } of joined) {
    const { status, body } = await rest('GET', `/sessions/${session}/connection/${connection}`);
    const streams = status === 200 ? body.publishers?.map((one) => one.streamId) ?? [] : [];
    if (status !== 200 || body.status !== 'active') gone.push(`${connection} in ${session}`);
    else if (stream && !streams.includes(stream)) gone.push(`${stream} of ${connection} in ${session}`);
  }
  return gone;
}

// What a master knows, in the words of a ledger.
export async function statesOf(rest) {
  const answer = await rest('GET', '/sessions?pendingConnections=true');
  if (answer.status !== 200) throw new Error(`GET /sessions: ${answer.status}`);
  const states = new Map();
  for (const session of answer.body.content) {
    states.set(`session ${session.sessionId}`, 'there');
    for (const one of session.connections.content) states.set(`connection ${session.sessionId} ${one.connectionId}`, one.role);
  }
  return states;
}
