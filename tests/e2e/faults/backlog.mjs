// The application is deaf for a while, in every way, and the master killed meanwhile.
import assert from 'node:assert/strict';
import { sleep, until } from '../lib/wait.mjs';
import { settledOrder } from '../lib/webhook.mjs';
import { inState, inflow, startScene } from './scene.mjs';

export const name = 'backlog';
export const what = 'the receiver of webhooks is away: nothing is lost or reordered, and the backlog is drained';

export async function run({ short, figure, log }) {
  const outage = short ? 4_000 : 60_000;
  const { cluster, hook, close } = await startScene({ nodes: 2 });
  try {
    const flow = inflow(cluster, { every: short ? 100 : 50, stay: 2_000, name: 'b' });
    await sleep(1_000);
    const before = hook.events.length;
    assert.ok(before > 0, 'events come');
    // A third of the time each: no answer, a wrong one, nobody there.
    hook.mode = 'hang';
    await sleep(outage / 3);
    hook.mode = 'fail';
    await sleep(outage / 3);
    await hook.close();
    await cluster.killMaster();
    await cluster.launchMaster();
    await sleep(outage / 3);
    const missed = hook.events.length;
    hook.mode = 'ok';
    const back = Date.now();
    await hook.open();
    const outcomes = await flow.stop();
    flow.leave();
    const joined = outcomes.filter((o) => !o.error).map((o) => o.sessionId);
    const lacking = () => joined.filter((id) => !hook.events.some((e) => e.sessionId === id && e.event === 'participantJoined'));
    await until('everything that was due has come', () => lacking().length === 0, { timeout: 120_000, every: 50 }).catch((error) => { throw new Error(`${error.message}: ${lacking().length} of ${joined.length} lack`); });
    const drained = Date.now() - back;
    const { twice, disordered, missing } = await settledOrder(hook);
    log(`${joined.length} sessions, ${hook.events.length - missed} events after ${outage / 1_000} s of silence, ${twice} twice, ${hook.refused} attempts refused`);
    figure(`backlog of ${outage / 1_000} s drained`, drained, 'ms', { target: '≤ 60000', met: drained <= 60_000 });
    figure('events that were late', hook.events.length - missed, '');
    figure('events out of order in their session', disordered.length, '', { target: '0', met: disordered.length === 0 });
    figure('events that never came', missing, '', { target: '0', met: missing === 0 });
    assert.deepEqual([disordered, missing], [[], 0]);
    for (const id of joined) {
      const told = hook.events.filter((e) => e.sessionId === id).map((e) => e.event);
      assert.ok(told.includes('sessionCreated'), `${id}: ${told}`);
    }
    await until('nodes are there', async () => (await inState(cluster, 'up')) === 2, { timeout: 10_000 });
  } finally {
    await close();
  }
}
