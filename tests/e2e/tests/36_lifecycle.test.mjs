// How daemons begin and end: what their health says, and what SIGTERM, a second one and SIGINT do while people talk.
import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { paperParticipant } from '../lib/paper.mjs';
import { sleep, until } from '../lib/wait.mjs';

const health = async (admin, what, method = 'GET') => {
  const answer = await fetch(`http://${admin}/healthz/${what}`, { method, headers: { connection: 'close' } });
  return [answer.status, (await answer.text()).trim()];
};
const nodeOf = async (cluster, sessionId) => (await cluster.rest('GET', `/sessions/${sessionId}`)).body.mediaNodeId;
const masterLog = (cluster) => fs.readFileSync(path.join(cluster.dir, 'master.log'), 'utf8');
const within = (what, promise, limit) => Promise.race([promise, sleep(limit).then(() => { throw new Error(`${what}: not within ${limit} ms`); })]);
// The reason for which a participant on paper was put out.
const evicted = (who) => until(`${who.name} is told why`, () => who.notifications.find((n) => n.method === 'participantEvicted')?.params.reason, { timeout: 8_000, every: 20 });

// Whoever publishes on the only node of a cluster.
async function somebody(cluster, sessionId) {
  const [node] = cluster.nodes;
  await until('the node takes sessions', async () => (await cluster.rest('GET', '/health')).status === 200 && (await health(node.admin, 'ready'))[0] === 200, { timeout: 8_000 });
  const who = await paperParticipant(cluster, sessionId, { name: sessionId });
  await who.publish();
  return who;
}

describe('a node that is asked to end while people talk', () => {
  let browser, page, cluster, a, b, leaving, other;
  before(async () => {
    [browser, page, cluster] = await Promise.all([launchChromium(), servePage(), startCluster({ nodes: 2, workers: 1, shutdown: { drain: '10m' }, master: { reconnect_grace: '1s' } })]);
    a = await enter({ cluster, browser, page, sessionId: 'talk', name: 'a', color: COLORS.red });
    b = await enter({ cluster, browser, page, sessionId: 'talk', name: 'b', publish: false });
    await assertReceives(b, a, { color: COLORS.red });
    const id = await nodeOf(cluster, 'talk');
    [leaving, other] = [cluster.nodes.find((n) => n.id === id), cluster.nodes.find((n) => n.id !== id)];
  });
  after(async () => { await browser?.close(); page?.close(); await cluster?.stop(); });

  test('before that it is live, ready and started', async () => {
    for (const admin of [leaving.admin, cluster.admin]) {
      for (const [what, word] of [['live', 'live'], ['ready', 'ready'], ['startup', 'started']]) {
        assert.deepEqual(await health(admin, what), [200, word]);
        assert.deepEqual(await health(admin, what, 'HEAD'), [200, '']);
      }
    }
  });

  test('the call goes on, who joins it comes in, and other sessions go elsewhere', async () => {
    leaving.signal('SIGTERM');
    await until('it is not ready', async () => (await health(leaving.admin, 'ready'))[0] === 503, { timeout: 8_000, every: 10 });
    assert.match((await health(leaving.admin, 'ready'))[1], /draining/);
    for (const what of ['live', 'startup']) assert.equal((await health(leaving.admin, what))[0], 200, what);
    assert.equal((await leaving.metrics()).sum('ringcast_node_leaving'), 1);
    assert.equal((await other.metrics()).sum('ringcast_node_leaving'), 0, 'the control');
    await until('the master has heard of it', () => /about to end/.test(masterLog(cluster)), { timeout: 8_000, every: 10 });
    for (const n of [1, 2, 3, 4, 5, 6]) {
      const who = await paperParticipant(cluster, `fresh${n}`);
      assert.equal(await nodeOf(cluster, `fresh${n}`), other.id);
      who.close();
    }
    const late = await enter({ cluster, browser, page, sessionId: 'talk', name: 'late', publish: false });
    await assertReceives(late, a, { color: COLORS.red });
    await late.close();
    const { framesDecoded } = await b.call('received', a.streamId);
    await seen(b, a.streamId, { frames: framesDecoded + 30, timeout: 8_000 });
    for (const who of [a, b]) for (const type of ['reconnecting', 'sessionDisconnected', 'streamDestroyed']) assert.deepEqual(await who.call('eventsOf', type), [], `${who.name}: ${type}`);
  });

  test('when the call is over it ends, nobody calls that a crash, and it is used again when it is back', async () => {
    await a.close();
    await b.close();
    assert.deepEqual(await within('it ends', leaving.ended, 10_000), { code: 0, signal: null });
    await until('its silence is noticed', () => /media node has ended in order/.test(masterLog(cluster)), { timeout: 8_000 });
    assert.doesNotMatch(masterLog(cluster), /crashed: its sessions/);
    await leaving.launch();
    await until('a session goes to it', async () => {
      const id = `again${Date.now()}`;
      (await paperParticipant(cluster, id)).close();
      return (await nodeOf(cluster, id)) === leaving.id;
    }, { timeout: 10_000 });
  });

  test('the control: a node that is killed has crashed', async () => {
    await leaving.kill();
    await until('its silence is noticed', () => /crashed: its sessions/.test(masterLog(cluster)), { timeout: 8_000 });
    await leaving.launch();
  });
});

describe('what is left on a node when there is no more time', () => {
  let cluster, node;
  before(async () => {
    cluster = await startCluster({ workers: 1, shutdown: { drain: '2s' } });
    [node] = cluster.nodes;
  });
  after(() => cluster?.stop());

  test('is closed, and clients are told why', async () => {
    const who = await somebody(cluster, 'late');
    const at = Date.now();
    node.signal('SIGTERM');
    assert.equal(await evicted(who), 'mediaServerDisconnect');
    assert.ok(Date.now() - at >= 1_900, `after ${Date.now() - at} ms`);
    assert.deepEqual(await within('it ends', node.ended, 4_000), { code: 0, signal: null });
  });
});

describe('a node that is asked to end at once', () => {
  // It would wait ten minutes, so that what happens within seconds happens at once, however slow the machine is.
  const AT_ONCE = 10_000;
  let cluster, node;
  before(async () => {
    cluster = await startCluster({ workers: 1, shutdown: { drain: '10m' } });
    [node] = cluster.nodes;
  });
  after(() => cluster?.stop());

  for (const [how, ...signals] of [['a second SIGTERM', 'SIGTERM', 'SIGTERM'], ['SIGINT while it waits', 'SIGTERM', 'SIGINT'], ['SIGINT', 'SIGINT']]) {
    test(`${how} ends it at once`, async () => {
      const who = await somebody(cluster, how.replaceAll(' ', '_'));
      node.signal(signals[0]);
      if (signals.length > 1) {
        await until('it waits', async () => /draining/.test((await health(node.admin, 'ready'))[1]), { timeout: 8_000, every: 10 });
        node.signal(signals[1]);
      }
      assert.deepEqual(await within('it ends', node.ended, AT_ONCE), { code: 0, signal: null });
      assert.equal(await evicted(who), 'mediaServerDisconnect');
      who.close();
      await node.launch();
    });
  }

  test('without sessions SIGTERM ends it at once', async () => {
    await until('it is empty', async () => (await node.metrics()).sum('ringcast_node_transports') === 0, { timeout: 5_000 });
    node.signal('SIGTERM');
    assert.deepEqual(await within('it ends', node.ended, AT_ONCE), { code: 0, signal: null });
  });
});

describe('a master that is asked to end', () => {
  let cluster, silent, uri;
  before(async () => {
    cluster = await startCluster({ workers: 1, master: { shutdown_deadline: '20s' } });
    // Nobody ever answers there, which takes the master four seconds to find out.
    silent = dgram.createSocket('udp4');
    await new Promise((resolve) => { silent.bind(0, '127.0.0.1', resolve); });
    uri = `quic://127.0.0.1:${silent.address().port}`;
  });
  after(async () => { silent?.close(); await cluster?.stop(); });
  // Comes back when the request is under way: the master dials.
  const slow = async () => {
    const dialled = new Promise((resolve) => { silent.once('message', resolve); });
    const answer = cluster.rest('POST', '/media-nodes', { uri }).then(({ status }) => status, () => 'cut off');
    await within('the master dials', dialled, 8_000);
    return { answer };
  };

  test('answers what it was asked, takes nothing new, and leaves calls alone', async () => {
    const who = await paperParticipant(cluster, 'S');
    await who.publish();
    const asked = await slow();
    const at = Date.now();
    cluster.signalMaster('SIGTERM');
    await until('it is not ready', async () => (await health(cluster.admin, 'ready')).join() === '503,stopping', { timeout: 3_500, every: 10 });
    assert.equal((await health(cluster.admin, 'live'))[0], 200);
    await assert.rejects(cluster.rest('GET', '/sessions'), 'nobody listens any more');
    const status = await within('the answer', asked.answer, 8_000);
    assert.ok(status >= 400 && status < 600, `it was answered: ${status}`);
    assert.deepEqual(await within('it ends', cluster.masterEnded, 3_000), { code: 0, signal: null });
    assert.ok(Date.now() - at > 1_500, 'it has waited for that');
    assert.equal((await cluster.nodes[0].metrics()).sum('ringcast_node_publishers'), 1, 'the call goes on');
    await cluster.launchMaster();
  });

  test('a second SIGTERM ends it at once', async () => {
    const asked = await slow();
    cluster.signalMaster('SIGTERM');
    await until('it is not ready', async () => (await health(cluster.admin, 'ready'))[0] === 503, { timeout: 3_500, every: 10 });
    cluster.signalMaster('SIGTERM');
    assert.deepEqual(await within('it ends', cluster.masterEnded, 8_000), { code: 0, signal: null });
    // Else it would have had its answer.
    assert.equal(await asked.answer, 'cut off');
    await cluster.launchMaster();
  });
});
