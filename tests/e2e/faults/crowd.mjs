// 2 500 sessions: how fast they are placed, and how soon a killed master serves all of them again.
import assert from 'node:assert/strict';
import { paperParticipant, sideBySide } from '../lib/paper.mjs';
import { rpcSocket } from '../lib/rpc.mjs';
import { until } from '../lib/wait.mjs';
import { inState, median, most, spread, startScene } from './scene.mjs';

export const name = 'crowd';
export const what = 'thousands of sessions: placements per second, and the time from a restart to full service';

export async function run({ short, figure, log }) {
  const count = short ? 100 : 2_500;
  const { cluster, close } = await startScene({ nodes: short ? 2 : 5, master: { reconnect_grace: '60s', sockets_per_address_max: 20_000, joins_per_address_rate: 10_000 } });
  try {
    const began = Date.now();
    const outcomes = await sideBySide([...Array(count).keys()], 32, (n) => paperParticipant(cluster, `crowd${n}`));
    const people = outcomes.map((o) => o.value).filter(Boolean);
    const took = Date.now() - began;
    assert.equal(people.length, count, String(outcomes.find((o) => o.error)?.error));
    const counts = await spread(cluster);
    log(`${count} sessions in ${took} ms, by node ${counts.join(' ')}`);
    figure('sessions made, joined and placed per second', Math.round((count * 1_000) / took), '1/s');
    const decided = await cluster.masterMetrics();
    const [sum, decisions] = ['sum', 'count'].map((part) => decided.sum(`ringcast_master_placement_duration_seconds_${part}`));
    if (decisions > 0) figure('one decision', (sum / decisions) * 1e6, 'µs');
    const listing = await timed(() => cluster.rest('GET', '/sessions'));
    figure('listing all sessions', listing, 'ms', { target: '≤ 1000', met: listing <= 1_000 });

    const since = Date.now();
    await cluster.killMaster();
    await cluster.launchMaster();
    figure('kill until REST answers', Date.now() - since, 'ms');
    await until('all nodes are there', async () => (await inState(cluster, 'up')) === cluster.nodes.length, { timeout: 15_000 });
    figure('kill until all nodes are up', Date.now() - since, 'ms');
    const known = (await cluster.rest('GET', '/sessions')).body.numberOfElements;
    assert.equal(known, count, 'no session is forgotten');
    // Every client resumes on a new socket, as openvidu-browser does.
    const waits = [];
    const resumed = await sideBySide(people, 64, async (who, n) => {
      const asked = Date.now();
      const socket = await rpcSocket(cluster, `crowd${n}`);
      const answer = await socket.ask('connect', { sessionId: who.joined.sessionId, reconnect: true });
      waits.push(Date.now() - asked);
      if (answer.error) throw new Error(JSON.stringify(answer.error));
      return socket;
    });
    const all = Date.now() - since;
    const failed = resumed.filter((o) => o.error);
    assert.equal(failed.length, 0, `${failed.length} could not resume: ${failed[0]?.error}`);
    figure('kill until everybody has resumed', all, 'ms', { target: '≤ 10000', met: all <= 10_000 });
    figure('one client\'s resuming, median', median(waits), 'ms');
    figure('one client\'s resuming, most', most(waits), 'ms', { target: '≤ 5000', met: most(waits) <= 5_000 });
    // And it takes new ones.
    const late = await paperParticipant(cluster, 'afterwards');
    late.close();
    for (const { value } of resumed) value?.close();
    for (const who of people) who.close();
  } finally {
    await close();
  }
}

const timed = async (what) => { const at = Date.now(); await what(); return Date.now() - at; };
