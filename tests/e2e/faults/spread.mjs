// Where sessions go by each strategy, and how many fit as nodes are added.
import assert from 'node:assert/strict';
import { sleep, until } from '../lib/wait.mjs';
import { most, paperSession, spread, startScene } from './scene.mjs';

export const name = 'spread';
export const what = 'five nodes: sessions spread as the strategy says; what fits grows with the nodes';

// Transports of one node, and those that are used at least: some room is kept for sessions that are there to grow.
const ROOM = 12;
const USED = 8;

export async function run({ short, figure, log }) {
  for (const [strategy, unevenness] of short ? [['capacity', 3], ['sessions', 0]] : [['capacity', 3], ['sessions', 0], ['streams', 0], ['connections', 0], ['mediaObjects', 0]]) {
    await bySessions(strategy, unevenness, { figure, log, sessions: short ? 10 : 20 });
  }
  await growing({ figure, log, last: short ? 2 : 6 });
}

async function bySessions(strategy, unevenness, { figure, log, sessions }) {
  const { cluster, close } = await startScene({ master: { load_strategy: strategy } });
  try {
    for (let n = 0; n < sessions; n += 1) await paperSession(cluster, `s${n}`, { publish: true });
    const counts = await spread(cluster);
    log(`${strategy}: ${counts.join(' ')}`);
    assert.equal(counts.reduce((a, b) => a + b), sessions, 'every session has a node');
    const difference = most(counts) - Math.min(...counts);
    figure(`${strategy}: most less fewest of ${sessions} sessions`, difference, 'sessions', { target: `≤ ${unevenness}`, met: difference <= unevenness });
  } finally {
    await close();
  }
}

async function growing({ figure, log, last }) {
  const { cluster, close } = await startScene({ nodes: 1, media: { transports_max: ROOM } });
  try {
    let inside = 0;
    for (let nodes = 1; nodes <= last; nodes += 1) {
      if (nodes > 1) await addNode(cluster);
      let last = '';
      // Until nobody more gets in, also when the nodes' metrics have been read again.
      for (let refused = 0, n = 0; refused < 5; n += 1) {
        const who = await paperSession(cluster, `g${nodes}_${n}`, { publish: true }).catch((error) => { last = error.message; return null; });
        if (who) { inside += 1; refused = 0; }
        else { refused += 1; await sleep(500); }
        assert.ok(n < 20 * ROOM, 'a limit is a limit');
      }
      log(`${nodes} nodes: ${inside} publishers, then: ${last}`);
      assert.ok(inside >= nodes * USED && inside <= nodes * ROOM, `${inside} fit on ${nodes} nodes`);
    }
    figure(`publishers on ${last} nodes of ${ROOM}`, inside, '', { target: `≥ ${last * USED}`, met: inside >= last * USED });
  } finally {
    await close();
  }
}

// Starts a node, and has the master take it while everything goes on.
export async function addNode(cluster) {
  const node = await cluster.anotherNode();
  const { status, body } = await cluster.rest('POST', '/media-nodes', { uri: node.uri });
  assert.equal(status, 200, JSON.stringify(body));
  assert.equal(body.id, node.id);
  await until(`${node.id} runs`, async () => (await cluster.rest('GET', `/media-nodes/${node.id}`)).body.status === 'running', { timeout: 10_000 });
  return node;
}
