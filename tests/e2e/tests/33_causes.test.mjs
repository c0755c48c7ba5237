// Why is there no picture? What fails has a cause in REST, in both logs, in the inspector and in the metrics; what works has none.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { enter, seen } from '../lib/call.mjs';
import { binaries, startCluster } from '../lib/cluster.mjs';
import { scrape } from '../lib/metrics.mjs';
import { paperParticipant } from '../lib/paper.mjs';
import { sleep, until } from '../lib/wait.mjs';

const run = promisify(execFile);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-capture-'));
const socket = path.join(folder, 'admin.socket');

let browser, cluster, page, anna, ben, paper, inspector;
before(async () => {
  [browser, page] = await Promise.all([launchChromium(), servePage()]);
  process.env.RINGCAST_NODE__ADMIN__SOCKET = socket;
  cluster = await startCluster({ nodes: 1, workers: 1, impaired: true });
});
after(async () => { paper?.close(); await cluster?.stop(); await browser?.close(); page?.close(); fs.rmSync(folder, { recursive: true }); });

// The packets of a file of rtptools.
function rtpdump(bytes) {
  const packets = [];
  let at = bytes.indexOf(10) + 1 + 16;
  for (let length; at < bytes.length; at += length) {
    length = bytes.readUInt16BE(at);
    packets.push({ plen: bytes.readUInt16BE(at + 2), octets: bytes.subarray(at + 8, at + length) });
  }
  return packets;
}

const session = async () => (await cluster.rest('GET', '/sessions/why')).body;
const connection = (shown, id) => shown.connections.content.find((one) => one.connectionId === id);
const sent = async (who) => connection(await session(), who.connectionId)?.publishers[0]?.transport;
const received = async (who) => connection(await session(), who.connectionId)?.subscribers[0]?.transport;
const logOf = (name) => fs.readFileSync(path.join(cluster.dir, `${name}.log`), 'utf8').replace(/\x1b\[[0-9;]*m/g, '');
const linesAbout = (name, cause) => logOf(name).split('\n').filter((line) => line.includes(`cause="${cause}"`));
const shownTroubles = () => inspector.$$eval('.troubles li', (all) => all.filter((one) => one.checkVisibility()).map((one) => one.textContent));
const troubled = async (cause) => (await scrape(cluster.nodes[0].admin)).sum('ringcast_node_transports_troubled', { cause });

test('a call that works has no cause anywhere', async () => {
  anna = await enter({ cluster, browser, page, sessionId: 'why', name: 'Anna', color: [200, 30, 30] });
  ben = await enter({ cluster, browser, page, sessionId: 'why', name: 'Ben', publish: false });
  const began = Date.now();
  await seen(ben, anna.streamId, { frames: 20 });
  await sleep(8_000 - (Date.now() - began)); // a trouble is told after seven seconds at most
  for (const transport of [await sent(anna), await received(ben)]) {
    assert.equal(transport.state, 'connected');
    assert.equal(transport.cause, null);
    assert.equal(transport.mediaNodeId, (await session()).mediaNodeId);
    assert.match(transport.id, /^tra_/);
    assert.ok(Math.abs(Date.now() - transport.since) < 60_000);
    assert.ok(!('what' in transport || 'mend' in transport));
  }
  assert.ok(!('transportFailures' in await session()));
  assert.equal(logOf('master').split('\n').filter((line) => line.includes('cause=')).length, 0);
  inspector = await browser.newPage();
  await inspector.goto(`${cluster.url}/inspector#/session/why`);
  await inspector.fill('#secret', cluster.secret);
  await inspector.click('#enter');
  await until('the session is shown', () => inspector.$$eval('#people h3', (all) => all.some((one) => one.textContent === 'Anna')), { timeout: 5_000 });
  assert.deepEqual(await shownTroubles(), []);
});

test('its packets can be looked into: headers, and nobody is disturbed', async () => {
  const { id } = await sent(anna);
  const ask = (...words) => run(path.join(binaries(), 'ringcast-node'), ['--admin-socket', socket, ...words]);
  const { stdout: table } = await ask('transports');
  assert.match(table, new RegExp(`^${id} +connected .*publishes`, 'm'));
  const out = path.join(folder, 'call.rtpdump');
  await ask('capture', '--transport', id, '--seconds', '2', '--out', out);
  const packets = rtpdump(fs.readFileSync(path.join(folder, 'call.in.rtpdump')));
  const media = packets.filter((one) => one.plen > 0);
  assert.ok(media.length > 40, `${media.length} packets of two seconds`);
  for (const { plen, octets } of media) {
    const header = 12 + (octets[0] & 0x10 ? 4 + 4 * octets.readUInt16BE(14) : 0);
    assert.equal(octets.length, header, 'the header with its extensions, and nothing more');
    assert.ok(plen > header);
  }
  assert.equal(new Set(media.map(({ octets }) => octets.readUInt32BE(8))).size, 2, 'sound and pictures');
  const [begun, over] = logOf((await session()).mediaNodeId).split('\n').filter((line) => line.includes('capture of decrypted packets'));
  assert.ok(begun.includes(`transport=${id}`) && begun.includes('payload=false') && /uid=\d+ pid=\d+/.test(begun), begun);
  assert.ok(over.includes('missed=0'), over);
  await assert.rejects(ask('capture', '--transport', 'tra_none', '--out', path.join(folder, 'none')), /there is no transport tra_none here/);
  assert.equal((await sent(anna)).cause, null);
});

test('who never sends a check is found by that, while it tries and when it is given up', async () => {
  paper = await paperParticipant(cluster, 'why', { name: 'Paula' });
  const stream = await paper.publish();
  paper.connectionId = paper.joined.id;
  const fresh = await sent(paper);
  assert.deepEqual([fresh.state, fresh.cause], ['new', null], 'it may still come');
  const transport = await until('its cause', async () => { const now = await sent(paper); return now.cause && now; }, { timeout: 12_000 });
  assert.deepEqual([transport.state, transport.cause], ['new', 'noCheck']);
  assert.match(transport.what, /No connectivity check/);
  assert.match(transport.mend, /media ports/);
  const [line, ...more] = linesAbout('master', 'noCheck');
  assert.equal(more.length, 0, 'one line');
  for (const part of ['session=why', `connection=${paper.connectionId}`, `stream=${stream}`, 'role="publisher"', `transport=${transport.id}`, transport.what, transport.mend]) {
    assert.ok(line.includes(part), `${part}: ${line}`);
  }
  assert.equal(linesAbout((await session()).mediaNodeId, 'noCheck').length, 1);
  await until('it is counted', async () => (await troubled('no_check')) === 1, { timeout: 3_000 });
  await inspector.bringToFront();
  const shown = await until('the inspector says so', async () => (await shownTroubles()).find((one) => one.includes('No connectivity check')), { timeout: 6_000 });
  assert.ok(shown.includes(transport.mend) && shown.includes(transport.id), shown);
  assert.equal((await sent(anna)).cause, null, 'nobody else is concerned');
});

test('a publisher that falls silent and who receives it are told apart, and it is taken back', async () => {
  await anna.page.evaluate(async () => {
    const senders = window.client.ownConnection().getSenders();
    window.tracks = senders.map((sender) => [sender, sender.track]);
    await Promise.all(senders.map((sender) => sender.replaceTrack(null)));
  });
  const ofAnna = await until('her silence', async () => { const now = await sent(anna); return now.cause && now; }, { timeout: 15_000 });
  assert.deepEqual([ofAnna.state, ofAnna.cause], ['connected', 'noMedia']);
  const ofBen = await until('his', async () => { const now = await received(ben); return now.cause && now; }, { timeout: 15_000 });
  assert.deepEqual([ofBen.state, ofBen.cause], ['connected', 'publisherSilent']);
  await until('both are shown', async () => {
    const all = (await shownTroubles()).join('\n');
    return all.includes('sends no media') && all.includes('Nothing arrives of the stream');
  }, { timeout: 6_000 });
  await anna.page.evaluate(() => Promise.all(window.tracks.map(([sender, track]) => sender.replaceTrack(track))));
  await until('it is over', async () => (await sent(anna)).cause === null && (await received(ben)).cause === null, { timeout: 15_000 });
  assert.equal(linesAbout('master', 'noMedia').length, 1);
  // Who is muted sends on purpose nothing to look at.
  assert.equal((await scrape(cluster.nodes[0].admin)).sum('ringcast_node_transport_troubles_total', { cause: 'no_media' }), 1);
});

test('what failed is still there when somebody asks later', async () => {
  const failure = await until('it is given up', async () => (await session()).transportFailures?.[0], { timeout: 40_000 });
  assert.deepEqual([failure.cause, failure.role, failure.connectionId], ['noCheck', 'publisher', paper.connectionId]);
  assert.deepEqual([(await sent(paper)).state, (await sent(paper)).cause], ['closed', 'noCheck']);
  await until('the inspector keeps it', async () => (await inspector.$eval('#one-failures', (list) => list.checkVisibility() && list.textContent)).includes?.('No connectivity check'), { timeout: 6_000 });
  const one = await cluster.rest('GET', `/sessions/why/connection/${ben.connectionId}`);
  assert.equal(one.body.subscribers[0].transport.cause, null);
});

test('a browser whose path is cut has lost its consent, and nobody else has', async () => {
  const cara = await enter({ cluster, browser, page, sessionId: 'why', name: 'Cara', publish: false, options: { subscribe: false } });
  // The published client would notice, and be back by another way before.
  await cara.page.evaluate(() => {
    const add = RTCPeerConnection.prototype.addEventListener;
    RTCPeerConnection.prototype.addEventListener = function listen(type, ...rest) { if (type !== 'iceconnectionstatechange') add.call(this, type, ...rest); };
  });
  const before = cluster.impairer.mark();
  Object.assign(cara, await cara.call('publish', { color: [30, 60, 200] }));
  await seen(ben, cara.streamId, { frames: 10 });
  const { id } = await sent(cara);
  const [client] = cluster.impairer.since(before).filter(({ up }) => up.passed > 20);
  const cutAt = Date.now();
  client.set({ up: { cut: true }, down: { cut: true } });
  const failures = async () => (await session()).transportFailures ?? [];
  const failure = await until('her consent is lost', async () => (await failures()).find((one) => one.connectionId === cara.connectionId), { timeout: 25_000 });
  assert.deepEqual([failure.cause, failure.role], ['consentLost', 'publisher']);
  assert.ok(Date.now() - cutAt > 8_000, 'what is away for some seconds is not given up');
  const [line] = linesAbout('master', 'consentLost');
  assert.ok(line.includes(id) && line.includes(`connection=${cara.connectionId}`), line);
  assert.ok((await failures()).every((one) => [cara, paper].some((who) => who.connectionId === one.connectionId)));
  assert.equal((await sent(anna)).cause, null);
});
