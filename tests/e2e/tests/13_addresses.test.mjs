// Where a node is and where a client is: IPv6, several addresses, mapped ports, and a client whose address changes in a call.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { hostAddress, hostAddress6 } from '../lib/net.mjs';
import { sleep, until } from '../lib/wait.mjs';

// RFC 5737: documentation only, nobody answers there.
const NOWHERE = '192.0.2.1';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

// Both publish: a page that never asked for a camera may only use the default route, and there need be none for IPv6.
async function callOn(cluster, sessionId) {
  const a = await enter({ cluster, browser, page, sessionId, name: 'a', color: COLORS.red });
  const b = await enter({ cluster, browser, page, sessionId, name: 'b', color: COLORS.blue });
  await assertReceives(b, a, { color: COLORS.red });
  await assertReceives(a, b, { color: COLORS.blue });
  return { a, b, close: async () => { await a.close(); await b.close(); } };
}

// The candidates that a subscriber was offered, and the one that its browser chose.
function path(watcher, streamId) {
  return watcher.page.evaluate(async (id) => {
    const connection = window.client.connectionOf(id);
    const offered = [...connection.remoteDescription.sdp.matchAll(/a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host/gi)].map((m) => [m[1], Number(m[2])]);
    const stats = await connection.getStats();
    const transport = [...stats.values()].find((s) => s.type === 'transport');
    const remote = stats.get(stats.get(transport.selectedCandidatePairId).remoteCandidateId);
    return { offered: [...new Map(offered.map((o) => [String(o), o])).values()], address: remote.address, port: remote.port };
  }, streamId);
}

// One address, two ways to write it.
const canonical = (address) => new URL(`http://${address.includes(':') ? `[${address}]` : address}/`).hostname;

test('a node that has nothing but an IPv6 address', async (t) => {
  const address = hostAddress6();
  if (!address) return t.skip('this machine has no IPv6 address but loopback and link-local');
  const cluster = await startCluster({ workers: 1, advertise: [address] });
  try {
    const { a, b, close } = await callOn(cluster, 'six');
    const { offered, ...chosen } = await path(b, a.streamId);
    assert.deepEqual(offered.map(([ip]) => canonical(ip)), [canonical(address)], 'no other candidate');
    assert.deepEqual([canonical(chosen.address), chosen.port], [canonical(address), cluster.nodes[0].mediaPorts[0]]);
    await close();
  } finally {
    await cluster.stop();
  }
});

test('several addresses: all are offered, and one that works is found', async (t) => {
  const others = [hostAddress6()].filter(Boolean);
  if (others.length === 0) t.diagnostic('IPv4 only: this machine has no IPv6 address of its own');
  const advertise = [NOWHERE, hostAddress(), ...others];
  const cluster = await startCluster({ workers: 1, advertise });
  try {
    const { a, b, close } = await callOn(cluster, 'several');
    const { offered, address } = await path(b, a.streamId);
    assert.deepEqual(offered.map(([ip]) => canonical(ip)), advertise.map(canonical), 'in the order of the configuration');
    assert.notEqual(address, NOWHERE);
    t.diagnostic(`chosen: ${address}`);
    await close();
  } finally {
    await cluster.stop();
  }
});

describe('a mapping between browsers and node', () => {
  let cluster, node, call;
  before(async () => { cluster = await startCluster({ impaired: true, workers: 1 }); [node] = cluster.nodes; });
  after(() => cluster?.stop());

  test('browsers are told the port outside', async () => {
    call = await callOn(cluster, 'mapped');
    const { offered, port } = await path(call.b, call.a.streamId);
    assert.deepEqual(offered.map(([, told]) => told), node.advertisedPorts);
    assert.equal(port, node.advertisedPorts[0]);
    assert.notEqual(port, node.mediaPorts[0], 'the control: that is not where it listens');
    assert.ok(cluster.impairer.passed.up > 100 && cluster.impairer.passed.down > 100, 'everything went through the mapping');
  });

  test('a client whose address changes in the middle of a call', { timeout: 60_000 }, async (t) => {
    const { a, b } = call;
    const frames = async () => (await b.call('received', a.streamId)).framesDecoded;
    const strangers = async () => (await node.metrics()).sum('ringcast_node_packets_dropped_total', { reason: 'stranger' });
    const transports = async () => (await node.metrics()).sum('ringcast_node_transports');
    const asBefore = () => b.page.evaluate((id) => (window.first ??= window.client.connectionOf(id)) === window.client.connectionOf(id), a.streamId);
    await asBefore();
    assert.equal(await transports(), 4);

    // The control: as long as the new addresses have proven nothing, nothing comes from them and nothing goes there.
    const unknown = await strangers();
    cluster.impairer.blockStun = true;
    cluster.impairer.rebind();
    await sleep(500);
    const stopped = await frames();
    await sleep(1_500);
    assert.ok((await frames()) - stopped <= 1, 'media to an address without proof');
    const known = await strangers();
    assert.ok(known - unknown > 20, 'media from an address without proof is dropped, and counted');

    const provenAt = Date.now();
    cluster.impairer.blockStun = false;
    await until('the picture moves again', async () => (await frames()) > stopped + 10, { timeout: 6_000, every: 50 });
    t.diagnostic(`10 frames ${Date.now() - provenAt} ms after the first check could pass`);
    await assertReceives(b, a, { color: COLORS.red });
    await assertReceives(a, b, { color: COLORS.blue });

    // Once more as it happens in life, with nothing blocked.
    const [seenBefore, strange, movedAt] = [await frames(), await strangers(), Date.now()];
    cluster.impairer.rebind();
    await until('the picture moves again', async () => (await frames()) > seenBefore + 20, { timeout: 10_000, every: 50 });
    t.diagnostic(`20 frames ${Date.now() - movedAt} ms after the address changed`);
    assert.ok((await strangers()) > strange, 'for a moment they were strangers');
    await seen(a, b.streamId, { frames: (await a.call('received', b.streamId)).framesDecoded + 15, timeout: 6_000 });
    assert.ok(await asBefore(), 'on the same RTCPeerConnection');
    assert.equal(await transports(), 4, 'and the same transports');
    await call.close();
  });
});
