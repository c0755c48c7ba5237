// Nodes die, one after the other and each several times; how soon does the master know?
import assert from 'node:assert/strict';
import { until } from '../lib/wait.mjs';
import { SILENCE_MS, SUSPECT_MS, inState, median, millisUntil, most, paperSession, nodeOf, startScene } from './scene.mjs';

export const name = 'deaths';
export const what = 'nodes are killed: the time until they are suspect and until nodeCrashed is told';

export async function run({ short, figure, log }) {
  const rounds = short ? 2 : 20;
  const { cluster, hook, close } = await startScene({ nodes: short ? 2 : 5 });
  try {
    const times = { suspect: [], crashed: [], told: [] };
    for (let round = 0; round < rounds; round += 1) {
      const node = cluster.nodes[round % cluster.nodes.length];
      // Somebody is on it, and has to be told too.
      const sessionId = `victim${round}`;
      await cluster.rest('POST', '/sessions', { customSessionId: sessionId, mediaNode: { id: node.id } });
      const who = await paperSession(cluster, sessionId);
      assert.equal((await nodeOf(cluster, sessionId)).id, node.id, 'where it was wanted');
      const since = Date.now();
      await node.kill();
      times.suspect.push(await millisUntil('it is suspect', async () => (await inState(cluster, 'suspect')) > 0, { since }));
      times.crashed.push(await millisUntil('it has crashed', async () => (await inState(cluster, 'crashed')) > 0, { since }));
      const event = await until('the application is told', () => hook.named('nodeCrashed', { id: node.id }).find((e) => e.at >= since), { timeout: 5_000, every: 10 });
      times.told.push(event.at - since);
      assert.deepEqual(event.sessionIds, [sessionId], 'the event names the sessions of that node');
      await until('the client is told', () => who.notifications.some((n) => n.method === 'participantEvicted' && n.params.reason === 'nodeCrashed'), { timeout: 2_000 });
      who.close();
      await node.launch();
      await until('it is back', async () => (await inState(cluster, 'up')) === cluster.nodes.length, { timeout: 15_000 });
      log(`death ${round + 1} of ${rounds}: suspect ${times.suspect.at(-1)} ms, crashed ${times.crashed.at(-1)} ms, told ${times.told.at(-1)} ms`);
    }
    figure('death to suspect, median', median(times.suspect), 'ms', { target: '≤ 1500', met: median(times.suspect) <= SUSPECT_MS + 500 });
    figure('death to suspect, most', most(times.suspect), 'ms');
    figure('death to crashed, median', median(times.crashed), 'ms', { target: '≤ 3500', met: median(times.crashed) <= SILENCE_MS + 500 });
    figure('death to crashed, most', most(times.crashed), 'ms');
    figure('death to nodeCrashed at the receiver, median', median(times.told), 'ms', { target: '≤ 4000', met: median(times.told) <= SILENCE_MS + 1_000 });
    figure('death to nodeCrashed at the receiver, most', most(times.told), 'ms');
  } finally {
    await close();
  }
}
