// More than one media node, and fewer: placement, a node that dies, a node that stands still, none at all; and new processes in place of old ones.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium, participant, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { rpcSocket } from '../lib/rpc.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { onlyWhole } from '../lib/whole.mjs';

// The master's default: after so much silence a node has crashed.
const SILENCE_MS = 3_000;
// openvidu-browser waits so long for an answer; whoever answers later answers nobody.
const PATIENCE_MS = 10_000;

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

const ends = (who) => who.call('eventsOf', 'sessionDisconnected');
const framesOf = async (who, streamId) => (await who.call('received', streamId)).framesDecoded;
const crashSeen = (who, timeout) => until(`${who.name} is told of the crash`, async () => (await ends(who)).find((e) => e.reason === 'nodeCrashed'), { timeout });
const gauge = async (node, name) => (await node.metrics()).sum(`ringcast_node_${name}`);
// A node's numbers follow what it does by a moment.
const publishers = (nodes, wanted) => until(`the nodes have ${wanted} publishers`, async () => String(await Promise.all(nodes.map((n) => gauge(n, 'publishers')))) === String(wanted), { timeout: 3_000 });

async function nodeOf(cluster, sessionId) {
  const { mediaNodeId } = (await cluster.rest('GET', `/sessions/${sessionId}`)).body;
  const node = cluster.nodes.find((n) => n.id === mediaNodeId);
  assert.ok(node, `session ${sessionId} is on ${mediaNodeId}`);
  return node;
}

async function join(cluster, sessionId, name, token = null) {
  const who = await participant(browser, page.url, name);
  await who.call('join', token ?? await cluster.token(sessionId), { name });
  return who;
}

// What somebody was refused with, and after how long.
async function refusal(promise) {
  const at = Date.now();
  const error = await promise.then((value) => { throw new Error(`it was granted: ${JSON.stringify(value)}`); }, (e) => e);
  return { message: error.message, millis: Date.now() - at };
}

describe('two nodes', () => {
  let cluster, left, right;
  const people = {};
  before(async () => { cluster = await startCluster({ nodes: 2, workers: 1, master: { load_strategy: 'streams' } }); });
  after(() => cluster?.stop());

  test('a session goes where the fewest streams are', async () => {
    people.a = await enter({ cluster, browser, page, sessionId: 'left', name: 'a', color: COLORS.red });
    left = await nodeOf(cluster, 'left');
    right = cluster.nodes.find((n) => n !== left);
    await publishers([left, right], [1, 0]);
    people.b = await enter({ cluster, browser, page, sessionId: 'right', name: 'b', color: COLORS.blue });
    assert.equal((await nodeOf(cluster, 'right')).id, right.id);
    // A session stays together, however full its node; the next one goes to the other.
    people.c = await enter({ cluster, browser, page, sessionId: 'left', name: 'c', color: COLORS.green });
    people.d = await enter({ cluster, browser, page, sessionId: 'right', name: 'd', publish: false });
    await assertReceives(people.c, people.a, { color: COLORS.red });
    await assertReceives(people.a, people.c, { color: COLORS.green });
    await assertReceives(people.d, people.b, { color: COLORS.blue });
    const third = await enter({ cluster, browser, page, sessionId: 'third', name: 'third', color: COLORS.yellow });
    assert.equal((await nodeOf(cluster, 'third')).id, right.id, 'four ends of streams on the one, two on the other');
    await publishers([left, right], [2, 2]);
    await third.call('leave');
    await third.close();
  });

  test('a node that is killed takes its own sessions with it and no other', async (t) => {
    const { a, b, c, d } = people;
    const before = await framesOf(d, b.streamId);
    await left.kill();
    const at = Date.now();
    await Promise.all([a, c].map((who) => crashSeen(who, SILENCE_MS + 2_500)));
    t.diagnostic(`told after ${Date.now() - at} ms`);
    const { body } = await cluster.rest('GET', '/sessions');
    assert.deepEqual(body.content.map((s) => s.sessionId), ['right']);
    assert.equal((await cluster.rest('GET', '/sessions/left')).status, 404);
    const health = await cluster.rest('GET', '/health');
    assert.deepEqual([health.status, health.body.status, health.body.disconnectedMediaNodes], [409, 'UNSTABLE', [left.id]]);
    for (const who of [b, d]) assert.deepEqual(await ends(who), [], `${who.name} is not concerned`);
    const rate = ((await framesOf(d, b.streamId)) - before) * 1_000 / (Date.now() - at);
    assert.ok(rate > 10, `${rate.toFixed(1)} frames per second on the other node meanwhile`);
    for (const who of [a, c]) await who.close();
  });

  test('what comes afterwards goes to the node that is left', async () => {
    const [a, c] = [
      await enter({ cluster, browser, page, sessionId: 'left', name: 'a again', color: COLORS.yellow }),
      await enter({ cluster, browser, page, sessionId: 'left', name: 'c again', publish: false }),
    ];
    assert.equal((await nodeOf(cluster, 'left')).id, right.id, 'although the other one is empty');
    await assertReceives(c, a, { color: COLORS.yellow });
    for (const who of [a, c]) { await who.call('leave'); await who.close(); }
  });

  test('without any node nobody gets in, and everybody is told why', async () => {
    const token = await cluster.token('late');
    await right.kill();
    await Promise.all([people.b, people.d].map((who) => crashSeen(who, SILENCE_MS + 2_500)));
    const health = await cluster.rest('GET', '/health');
    assert.deepEqual([health.status, health.body.status], [503, 'DOWN']);
    assert.match((await refusal(join(cluster, 'later', 'later'))).message, /503.*no media node/i);
    const late = await refusal(join(cluster, 'late', 'late', token));
    assert.match(late.message, /204.*no media node/i);
    assert.ok(late.millis < PATIENCE_MS / 2, `refused after ${late.millis} ms`);
    for (const who of [people.b, people.d]) await who.close();
  });
});

describe('a node that stands still', () => {
  test('for too long: nothing hangs, its sessions end, and it comes back empty', onlyWhole, async (t) => {
    const cluster = await startCluster({ workers: 1 });
    const [node] = cluster.nodes;
    try {
      const a = await enter({ cluster, browser, page, sessionId: 'frozen', name: 'a', color: COLORS.red });
      const b = await enter({ cluster, browser, page, sessionId: 'frozen', name: 'b', publish: false });
      await seen(b, a.streamId);
      node.signal('SIGSTOP');
      const at = Date.now();
      // A request that waits for the node when its session ends; its client forgets it when it is told.
      b.call('publish', { color: COLORS.blue }).catch(() => {});
      await Promise.all([a, b].map((who) => crashSeen(who, SILENCE_MS + 2_500)));
      t.diagnostic(`told after ${Date.now() - at} ms`);
      const joining = await refusal(join(cluster, 'meanwhile', 'meanwhile'));
      assert.match(joining.message, /503.*no media node/i);
      assert.ok(joining.millis < PATIENCE_MS / 2, `refused after ${joining.millis} ms`);
      const asked = Date.now();
      assert.equal((await cluster.rest('GET', '/sessions/frozen')).status, 404);
      assert.equal((await cluster.rest('GET', '/health')).status, 503);
      assert.ok(Date.now() - asked < 1_000, 'the master itself is as quick as ever');
      for (const who of [a, b]) await who.close();
      node.signal('SIGCONT');
      await until('the node is back', async () => (await cluster.rest('GET', '/health')).status === 200, { timeout: 8_000 });
      const [c, d] = [
        await enter({ cluster, browser, page, sessionId: 'frozen', name: 'c', color: COLORS.green }),
        await enter({ cluster, browser, page, sessionId: 'frozen', name: 'd', publish: false }),
      ];
      await assertReceives(d, c, { color: COLORS.green });
      await until('what was before is gone', async () => (await gauge(node, 'transports')) === 2 && (await gauge(node, 'publishers')) === 1, { timeout: 5_000 });
      for (const who of [c, d]) await who.close();
    } finally {
      await cluster.stop();
    }
  });

  test('for a while: what needs it is refused in time, and the call goes on afterwards', async (t) => {
    const cluster = await startCluster({ workers: 1, master: { node_silence: '30s', node_answer_timeout: '3s' } });
    const [node] = cluster.nodes;
    try {
      const a = await enter({ cluster, browser, page, sessionId: 'pause', name: 'a', color: COLORS.red });
      const b = await enter({ cluster, browser, page, sessionId: 'pause', name: 'b', publish: false });
      await seen(b, a.streamId);
      node.signal('SIGSTOP');
      const publishing = await refusal(b.call('publish', { color: COLORS.blue }));
      t.diagnostic(`publish: ${publishing.message}, after ${publishing.millis} ms`);
      assert.match(publishing.message, /303|204/);
      assert.ok(publishing.millis < PATIENCE_MS, `refused after ${publishing.millis} ms`);
      const joining = await refusal(join(cluster, 'elsewhere', 'elsewhere'));
      assert.match(joining.message, /503.*no media node/i);
      const frozen = await framesOf(b, a.streamId);
      await sleep(500);
      assert.equal(await framesOf(b, a.streamId), frozen, 'the control: the node does stand still');
      node.signal('SIGCONT');
      await seen(b, a.streamId, { frames: frozen + 15, timeout: 10_000 });
      for (const who of [a, b]) assert.deepEqual(await ends(who), [], `${who.name} is still in`);
      await until('it takes work again', async () => (await cluster.rest('GET', '/health')).status === 200, { timeout: 5_000 });
      Object.assign(b, await b.call('publish', { color: COLORS.blue }));
      await assertReceives(a, b, { color: COLORS.blue });
      for (const who of [a, b]) await who.close();
    } finally {
      await cluster.stop();
    }
  });
});

test('sessions that begin at once are spread over idle nodes, although nobody publishes yet', async () => {
  const cluster = await startCluster({ nodes: 2, workers: 1 });
  try {
    for (let n = 0; n < 6; n += 1) await (await rpcSocket(cluster, `burst${n}`)).join(await cluster.token(`burst${n}`));
    const { body } = await cluster.rest('GET', '/sessions');
    const on = (id) => body.content.filter((s) => s.mediaNodeId === id).length;
    // Even, but for what idle processes do by themselves.
    assert.ok(cluster.nodes.every((n) => on(n.id) >= 2), `${cluster.nodes.map((n) => on(n.id))}`);
  } finally {
    await cluster.stop();
  }
});

describe('a process that is started again', onlyWhole, () => {
  let cluster, node;
  before(async () => { cluster = await startCluster({ workers: 1 }); [node] = cluster.nodes; });
  after(() => cluster?.stop());

  async function callOf(color) {
    const a = await enter({ cluster, browser, page, sessionId: 'again', name: 'a', color });
    const b = await enter({ cluster, browser, page, sessionId: 'again', name: 'b', publish: false });
    await assertReceives(b, a, { color });
    return [a, b];
  }
  const leave = (people) => Promise.all(people.map(async (who) => { await who.call('leave'); await who.close(); }));

  test('a node: nobody waits for the silence to end, and the next call is as good as the first', async (t) => {
    const people = await callOf(COLORS.red);
    await node.kill();
    await node.launch();
    const at = Date.now();
    await Promise.all(people.map((who) => crashSeen(who, 2_500)));
    t.diagnostic(`told ${Date.now() - at} ms after the start`);
    for (const who of people) await who.close();
    await leave(await callOf(COLORS.blue));
  });

  test('a master: the call goes on under the next one, which knows everything, and the next call is as good', async (t) => {
    const people = await callOf(COLORS.green);
    const [a, b] = people;
    const before = await framesOf(b, a.streamId);
    await cluster.killMaster();
    const at = Date.now();
    await cluster.launchMaster();
    t.diagnostic(`it answers ${Date.now() - at} ms after the start`);
    const { body } = await cluster.rest('GET', '/sessions');
    assert.deepEqual(body.content.map((s) => [s.sessionId, s.mediaNodeId, s.connections.numberOfElements]), [['again', node.id, 2]]);
    // The client tries again every three seconds.
    await until('they can talk again', async () => { await a.call('signal', { type: 'here', data: 'yes' }).catch(() => {}); return (await b.call('eventsOf', 'signal')).length > 0; }, { timeout: 12_000, every: 500 });
    for (const who of people) assert.deepEqual(await ends(who), [], `${who.name} is still in`);
    const rate = ((await framesOf(b, a.streamId)) - before) * 1_000 / (Date.now() - at);
    assert.ok(rate > 10, `${rate.toFixed(1)} frames per second all the while`);
    await leave(people);
    await until('the node is empty', async () => (await gauge(node, 'transports')) === 0, { timeout: 3_000 });
    await leave(await callOf(COLORS.yellow));
  });
});

test('a master that stands still blames nobody but itself', onlyWhole, async () => {
  const cluster = await startCluster({ workers: 1 });
  try {
    const a = await enter({ cluster, browser, page, sessionId: 'pause', name: 'a', color: COLORS.red });
    const b = await enter({ cluster, browser, page, sessionId: 'pause', name: 'b', publish: false });
    await seen(b, a.streamId);
    cluster.signalMaster('SIGSTOP');
    const before = await b.call('received', a.streamId);
    await sleep(SILENCE_MS + 1_500);
    const after = await b.call('received', a.streamId);
    // A publisher that has just begun may send few frames a second, but sound comes every 20 ms: 225 packets.
    assert.ok(after.audioPackets - before.audioPackets > 180, `media need no master: ${after.audioPackets - before.audioPackets} packets of sound`);
    assert.ok(after.framesDecoded - before.framesDecoded > 15, `media need no master: ${after.framesDecoded - before.framesDecoded} frames`);
    cluster.signalMaster('SIGCONT');
    await until('the cluster is up', async () => (await cluster.rest('GET', '/health')).status === 200, { timeout: 5_000 });
    await sleep(SILENCE_MS + 500);
    for (const who of [a, b]) assert.deepEqual(await ends(who), [], `${who.name} is still in`);
    await until('they can talk again', async () => { await a.call('signal', { type: 'here', data: 'yes' }).catch(() => {}); return (await b.call('eventsOf', 'signal')).length > 0; }, { timeout: 5_000, every: 500 });
    for (const who of [a, b]) await who.close();
  } finally {
    await cluster.stop();
  }
});
