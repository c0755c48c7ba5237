// Where sessions go: by the nodes' own metrics, which a proxy alters and keeps back; and by what the master counts itself.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startCluster } from '../lib/cluster.mjs';
import { prometheus } from '../lib/prometheus.mjs';
import { runProgram } from '../lib/program.mjs';
import { rpcSocket } from '../lib/rpc.mjs';
import { until } from '../lib/wait.mjs';

const OFFER = fs.readFileSync(path.join(path.dirname(new URL(import.meta.url).pathname), '../../data/sdp/openvidu-browser-2.32.2-mediasoup-static.publishVideo.offer.sdp'), 'utf8');
// Read every second; stale after two of them and excluded after four.
const OFTEN = { load_interval: '1s', load_stale_after: 2, load_excluded_after: 4 };
const EXCLUDED_MS = 4_000;
const MEMORY = 'ringcast_node_resident_memory_bytes';

let number = 0;
const members = [];

// Somebody joins a session; where that is.
async function join(cluster, session = `s${number += 1}`) {
  const token = await cluster.token(session);
  const who = await rpcSocket(cluster, session);
  members.push(who);
  await who.join(token);
  return { who, session, node: (await cluster.rest('GET', `/sessions/${session}`)).body.mediaNodeId };
}

async function joins(cluster, count) {
  const nodes = [];
  for (let i = 0; i < count; i += 1) nodes.push((await join(cluster)).node);
  return nodes;
}

const publish = (who) => who.call('publishVideo', { doLoopback: false, hasAudio: true, hasVideo: true, audioActive: true, videoActive: true, typeOfVideo: 'CAMERA', frameRate: 30, videoDimensions: '{}', sdpOffer: OFFER });

const countOf = (nodes) => Object.fromEntries([...new Set(nodes)].sort().map((n) => [n, nodes.filter((one) => one === n).length]));
const standing = async (cluster, word) => (await cluster.masterMetrics()).sum('ringcast_master_nodes_for_placement', { standing: word });
const load = async (cluster, node) => (await cluster.masterMetrics()).sum('ringcast_master_node_load_ratio', { node: node.id });
const age = async (cluster, node) => (await cluster.masterMetrics()).sum('ringcast_master_node_load_age_seconds', { node: node.id });

// The row of a node in the operators' table.
async function row(cluster, node) {
  const { stdout, stderr } = await runProgram('ringcast-master', ['nodes', '--config', path.join(cluster.dir, 'master.toml')]);
  return stdout.split('\n').find((line) => line.startsWith(`${node.id} `)) ?? assert.fail(stdout + stderr);
}

// The node's metrics say that this share of its memory is in use; the master has read that.
async function setLoad(cluster, node, share) {
  const memory = (await node.metrics()).sum('ringcast_node_capacity_memory_bytes');
  assert.ok(memory > 0, 'a node says how much memory it may take');
  node.proxy.alter(MEMORY, share === undefined ? undefined : Math.round(memory * share));
  const seen = (ratio) => (share === undefined ? ratio < 0.2 : Math.abs(ratio - share) < 0.02);
  await until(`${node.id} is known to have load ${share}`, async () => seen(await load(cluster, node)), { timeout: 5_000 });
}

after(() => { for (const who of members) who.close(); });

describe('by capacity', () => {
  let cluster, left, right;
  before(async () => {
    cluster = await startCluster({ nodes: 2, workers: 1, proxied: true, master: OFTEN });
    [left, right] = cluster.nodes;
    await until('both have been read twice', () => left.proxy.state.asked > 1 && right.proxy.state.asked > 1, { timeout: 10_000 });
  });
  after(() => cluster?.stop());

  test('the master asks for what it needs and knows the load', async () => {
    assert.equal(left.proxy.state.loadOnly, left.proxy.state.asked);
    const series = (await (await fetch(`http://${left.admin}/metrics?collect=load`)).text()).split('\n').filter((l) => l && !l.startsWith('#'));
    assert.ok(series.length <= 20, `${series.length} series`);
    assert.ok(await age(cluster, left) < 2.5);
    const metrics = await cluster.masterMetrics();
    assert.ok(metrics.sum('ringcast_master_node_load_reads_total', { outcome: 'ok' }) >= 4);
    assert.equal(metrics.sum('ringcast_master_node_load_reads_total'), metrics.sum('ringcast_master_node_load_reads_total', { outcome: 'ok' }));
  });

  test('without a difference both take sessions, and none is forgotten between two readings', async () => {
    // Faster than anything shows in metrics, where they differ by what idle processes do.
    const counts = countOf(await joins(cluster, 10));
    assert.ok(counts.media_1 >= 3 && counts.media_2 >= 3, JSON.stringify(counts));
  });

  test('what a proxy makes of the metrics decides where sessions go', async () => {
    for (const [busy, idle] of [[left, right], [right, left]]) {
      await setLoad(cluster, busy, 0.9);
      assert.deepEqual(countOf(await joins(cluster, 5)), { [idle.id]: 5 });
      await setLoad(cluster, busy, undefined);
    }
  });

  test('a node whose metrics are kept back is stale, then excluded, and comes back', async () => {
    // The other is so busy that even a stale one would be better.
    await setLoad(cluster, left, 0.95);
    assert.deepEqual(countOf(await joins(cluster, 3)), { [right.id]: 3 }, 'before');
    right.proxy.block(true);
    const at = Date.now();
    await until('it is stale', () => standing(cluster, 'stale'), { timeout: 5_000 });
    assert.deepEqual(countOf(await joins(cluster, 2)), { [right.id]: 2 }, 'stale is less, not nothing');
    await until('it is excluded', () => standing(cluster, 'excluded'), { timeout: 5_000 });
    assert.ok(Date.now() - at >= EXCLUDED_MS - 1_500, `excluded after ${Date.now() - at} ms`);
    assert.deepEqual(countOf(await joins(cluster, 5)), { [left.id]: 5 });
    assert.match(await row(cluster, right), / running +up +excluded .* its load is not known$/);
    assert.match(await row(cluster, left), / running +up +open +\d+ +[\d.]+ +9[5-7] +quic:\S+ +-$/);
    assert.ok((await cluster.masterMetrics()).sum('ringcast_master_node_load_reads_total', { outcome: 'timeout' }) > 0);
    // Its own calls do not mind: it is up.
    assert.equal((await cluster.rest('GET', `/media-nodes/${right.id}`)).body.connected, true);
    right.proxy.block(false);
    await until('it is back', async () => await standing(cluster, 'open') === 2, { timeout: 5_000 });
    assert.deepEqual(countOf(await joins(cluster, 5)), { [right.id]: 5 });
    await setLoad(cluster, left, undefined);
  });

  test('where nobody can be read sessions are spread by what was placed', async () => {
    for (const node of cluster.nodes) node.proxy.block(true);
    await until('both are excluded', async () => await standing(cluster, 'excluded') === 2, { timeout: 8_000 });
    for (const who of members.splice(0)) who.close();
    await Promise.all((await cluster.rest('GET', '/sessions')).body.content.map((s) => cluster.rest('DELETE', `/sessions/${s.id}`)));
    assert.deepEqual(countOf(await joins(cluster, 10)), { media_1: 5, media_2: 5 });
    for (const node of cluster.nodes) node.proxy.block(false);
    await until('both are read again', async () => await standing(cluster, 'open') === 2, { timeout: 5_000 });
  });

  test('a full cluster makes sessions, gives no tokens and lets nobody in', async () => {
    const early = await join(cluster, 'early');
    const token = await cluster.token('late');
    for (const node of cluster.nodes) await setLoad(cluster, node, 1.5);
    assert.equal((await cluster.rest('POST', '/sessions', { customSessionId: 'later' })).status, 200);
    const refused = await cluster.rest('POST', '/sessions/later/connection', {});
    assert.equal(refused.status, 503);
    assert.match(refused.body.message, /every media node is full/);
    assert.equal((await cluster.rest('POST', '/tokens', { session: 'later' })).status, 503);
    const late = await rpcSocket(cluster, 'late');
    members.push(late);
    const answer = await late.ask('joinRoom', { token, session: 'late', platform: 'by hand', metadata: '', secret: '', recorder: false, stt: false });
    assert.equal(answer.error.code, 204);
    assert.match(answer.error.message, /every media node is full/);
    assert.equal((await join(cluster, 'early')).node, early.node, 'who has a place has room for more');
    const metrics = await cluster.masterMetrics();
    assert.equal(metrics.sum('ringcast_master_placements_total', { outcome: 'all_full' }), 1);
    assert.equal(metrics.sum('ringcast_master_placements_foreseen_total', { outcome: 'all_full' }), 2);
    assert.equal(await standing(cluster, 'full'), 2);
    for (const node of cluster.nodes) assert.match(await row(cluster, node), / running +up +full +\d+ +[\d.]+ +1(49|5\d) .* full: memory$/);
    // One has room again.
    await setLoad(cluster, right, undefined);
    assert.match(await row(cluster, right), / running +up +open +\d+ +[\d.]+ +1?\d +quic:\S+ +-$/);
    await late.join(token);
    assert.equal((await cluster.rest('GET', '/sessions/late')).body.mediaNodeId, right.id);
    assert.equal((await cluster.rest('POST', '/sessions/later/connection', {})).status, 200);
    await setLoad(cluster, left, undefined);
  });

  test('an application may name the node', async () => {
    await setLoad(cluster, left, 0.8);
    await cluster.rest('POST', '/sessions', { customSessionId: 'named', mediaNode: { id: left.id } });
    assert.equal((await join(cluster, 'named')).node, left.id);
    await cluster.rest('POST', '/sessions', { customSessionId: 'nowhere', mediaNode: { id: 'media_9' } });
    assert.equal((await cluster.rest('POST', '/sessions/nowhere/connection', {})).status, 503);
  });
});

test('a node that refuses has sessions go elsewhere, and a session with media stays', async () => {
  // So few that the second session on a node finds no room; nobody's metrics say so in time.
  const cluster = await startCluster({ nodes: 2, workers: 1, proxied: true, media: { transports_max: 2 }, master: { load_strategy: 'manual', load_interval: '60s' } });
  try {
    const [left, right] = cluster.nodes;
    const of = async (session) => (await cluster.rest('GET', `/sessions/${session}`)).body.mediaNodeId;
    await cluster.rest('POST', '/sessions', { customSessionId: 'a', mediaNode: left.id });
    const a = [await join(cluster, 'a'), await join(cluster, 'a'), await join(cluster, 'a')];
    await publish(a[0].who);
    await publish(a[1].who);
    await assert.rejects(publish(a[2].who), /refuses/, 'who named the node gets that one or none');
    assert.equal(await of('a'), left.id);
    assert.equal((await left.metrics()).sum('ringcast_node_transports'), 2);
    assert.equal((await right.metrics()).sum('ringcast_node_transports'), 0);
  } finally { await cluster.stop(); }
});

test('a session without media that is refused is placed again, and everybody follows', async () => {
  const cluster = await startCluster({ nodes: 2, workers: 1, media: { transports_max: 1 }, master: { load_strategy: 'sessions' } });
  try {
    const sessions = [await join(cluster, 'a'), await join(cluster, 'b'), await join(cluster, 'c'), await join(cluster, 'd')];
    assert.deepEqual(countOf(sessions.map((s) => s.node)), { media_1: 2, media_2: 2 });
    await publish(sessions[0].who);
    // Whoever shares its node is refused there and finds the other one.
    const neighbour = sessions.slice(1).find((s) => s.node === sessions[0].node);
    await publish(neighbour.who);
    const moved = (await cluster.rest('GET', `/sessions/${neighbour.session}`)).body.mediaNodeId;
    assert.notEqual(moved, neighbour.node);
    assert.equal((await cluster.masterMetrics()).sum('ringcast_master_placements_moved_total'), 1);
    // Now both are full.
    const rest = sessions.slice(1).filter((s) => s !== neighbour);
    for (const { who } of rest) await assert.rejects(publish(who), /refuses|cannot be placed/);
  } finally { await cluster.stop(); }
});

for (const strategy of ['sessions', 'streams']) {
  test(`the strategy ${strategy} counts ${strategy}`, async () => {
    const cluster = await startCluster({ nodes: 2, workers: 1, master: { load_strategy: strategy } });
    try {
      const first = await join(cluster, 'large');
      const others = [first, await join(cluster, 'large'), await join(cluster, 'large'), await join(cluster, 'large')];
      for (const { who } of others) await publish(who);
      const nodes = [];
      for (let i = 0; i < 4; i += 1) {
        const small = await join(cluster);
        await publish(small.who);
        nodes.push(small.node);
      }
      const there = nodes.filter((n) => n === first.node).length;
      // Four streams in one session: as many sessions there as elsewhere, or as many streams.
      const [least, most] = strategy === 'streams' ? [0, 0] : [1, 2];
      assert.ok(there >= least && there <= most, `${there} of 4 went to the large session's node`);
    } finally { await cluster.stop(); }
  });
}

test('who requires loads places nothing without them', async () => {
  const cluster = await startCluster({ nodes: 1, workers: 1, proxied: true, master: { ...OFTEN, load_required: true } });
  try {
    await until('it was read', () => cluster.nodes[0].proxy.state.asked > 1, { timeout: 5_000 });
    await join(cluster, 'before');
    cluster.nodes[0].proxy.block(true);
    await until('it is excluded', () => standing(cluster, 'excluded'), { timeout: 8_000 });
    await cluster.rest('POST', '/sessions', { customSessionId: 'S' });
    const refused = await cluster.rest('POST', '/sessions/S/connection', {});
    assert.equal(refused.status, 503);
    assert.match(refused.body.message, /metrics/);
    cluster.nodes[0].proxy.block(false);
    await until('there is room', async () => (await cluster.rest('POST', '/sessions/S/connection', {})).status === 200, { timeout: 5_000 });
  } finally { await cluster.stop(); }
});

test('a Prometheus server may be asked instead of the nodes', async () => {
  const server = await prometheus();
  const cluster = await startCluster({ nodes: 2, workers: 1, proxied: true, master: { ...OFTEN, prometheus_url: server.url, load_required: true } });
  try {
    const [left, right] = cluster.nodes;
    // It finds them by the address of their metrics, or by a label with their id.
    server.state.targets = cluster.nodes.map((n) => n.admin);
    server.state.change = (series) => series.map((s) => (s.metric.instance === left.admin ? { ...s, metric: { ...s.metric, node: left.id, instance: 'elsewhere' } } : s));
    const full = (node, by) => {
      const plain = server.state.change;
      server.state.change = (series) => plain(series).map((s) => (s.metric.__name__ === MEMORY && by(s.metric) ? { ...s, value: 1e15 } : s));
    };
    const known = async () => (await cluster.masterMetrics()).sum('ringcast_master_node_load_reads_total', { outcome: 'ok' });
    await until('both are known', async () => await known() >= 4, { timeout: 10_000 });
    full(left, (metric) => metric.node === left.id);
    await until('one is full', () => standing(cluster, 'full'), { timeout: 5_000 });
    assert.deepEqual(countOf(await joins(cluster, 3)), { [right.id]: 3 });
    full(right, (metric) => metric.instance === right.admin);
    await until('both are full', async () => await standing(cluster, 'full') === 2, { timeout: 5_000 });
    assert.equal(left.proxy.state.asked + right.proxy.state.asked, 0, 'nobody else was asked');
    // What it has read is told again and again; how old it is counts.
    server.state.stopped = true;
    await until('what it knows is too old', async () => await standing(cluster, 'excluded') === 2, { timeout: 8_000 });
  } finally { await cluster.stop(); server.close(); }
});
