// The master is ended three times while people talk, come and go.
import assert from 'node:assert/strict';
import { COLORS } from '../lib/call.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { once, settledOrder } from '../lib/webhook.mjs';
import { call, endsOf, follow, inState, most, paperSession, startWorld } from './scene.mjs';

export const name = 'restarts';
export const what = 'the master is killed, stopped in order and killed again under load: calls go on, clients resume, no event is lost';

export async function run({ short, figure, log }) {
  const world = await startWorld({ nodes: short ? 2 : 5 });
  const { cluster, hook, close } = world;
  try {
    const talking = await call(world, 'talk', COLORS.red);
    const people = [];
    for (let n = 0; n < (short ? 5 : 30); n += 1) people.push(await paperSession(cluster, `held${n}`, { publish: true }));
    const before = await sessionsOf(cluster);
    const watching = follow(talking.b, talking.a.streamId);
    const outages = [];
    for (const how of ['SIGKILL', 'SIGTERM', 'SIGKILL']) {
      // Somebody is just coming: whoever was told yes is known afterwards.
      const came = [];
      const coming = comeUntilItFails(cluster, `late${outages.length}_`, came);
      await sleep(500);
      const since = Date.now();
      if (how === 'SIGKILL') await cluster.killMaster();
      else { cluster.signalMaster('SIGTERM'); await cluster.masterEnded; }
      await coming;
      await cluster.launchMaster();
      await until('all nodes are there', async () => (await inState(cluster, 'up')) === cluster.nodes.length, { timeout: 10_000 });
      outages.push(Date.now() - since);
      const now = await sessionsOf(cluster);
      for (const [sessionId, node] of before) assert.equal(now.get(sessionId), node, `${sessionId} is where it was, after ${how}`);
      for (const sessionId of came) assert.ok(now.has(sessionId), `${sessionId} was answered with success, and is known after ${how}`);
      log(`${how}: back after ${outages.at(-1)} ms, ${came.length} came until the end`);
      // The browsers notice by themselves that their socket is gone, and resume.
      await until('the browsers can talk again', async () => {
        const had = (await talking.b.call('eventsOf', 'signal')).length;
        await talking.a.call('signal', { type: 'here', data: how }).catch(() => {});
        await sleep(300);
        return (await talking.b.call('eventsOf', 'signal')).length > had;
      }, { timeout: 15_000, every: 300 });
    }
    figure('outage of the master, most of 3', most(outages), 'ms');
    const { frames, still } = await watching.stop();
    log(`the call: ${frames} frames, at most ${still} ms without one`);
    figure('longest still picture in three restarts', still, 'ms', { target: '≤ 1500', met: still <= 1_500 });
    for (const who of [talking.a, talking.b]) assert.deepEqual(await endsOf(who), [], `${who.name} is still in`);
    // It ends as if nothing had been.
    for (const who of [talking.b, talking.a]) await who.call('leave');
    await until('the end is told', () => hook.named('sessionDestroyed', { sessionId: 'talk' }).length > 0, { timeout: 10_000 });
    const told = once(hook.events.filter((e) => e.sessionId === 'talk' && e.event !== 'signalSent')).map((e) => `${e.event}${e.connection ? ` ${e.connection}` : ''}`);
    const expected = ['sessionCreated', 'participantJoined', 'webrtcConnectionCreated OUTBOUND', 'participantJoined', 'webrtcConnectionCreated INBOUND',
      'webrtcConnectionDestroyed INBOUND', 'participantLeft', 'webrtcConnectionDestroyed OUTBOUND', 'participantLeft', 'sessionDestroyed'];
    assert.deepEqual(told, expected);
    const { twice, disordered, missing } = await settledOrder(hook);
    log(`${hook.events.length} events, ${twice} of them twice`);
    assert.deepEqual([disordered, missing], [[], 0]);
    for (const who of people) who.close();
    await talking.close();
  } finally {
    await close();
  }
}

const sessionsOf = async (cluster) => new Map((await cluster.rest('GET', '/sessions')).body.content.map((s) => [s.sessionId, s.mediaNodeId]));

async function comeUntilItFails(cluster, name, came) {
  for (let n = 0; ; n += 1) {
    const made = await cluster.rest('POST', '/sessions', { customSessionId: `${name}${n}` }).catch(() => null);
    if (!made || made.status !== 200) return;
    came.push(`${name}${n}`);
    await sleep(20);
  }
}
