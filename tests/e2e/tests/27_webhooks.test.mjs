// What applications are told: every event of a call, in order, signed, over a receiver that is away and a master that is killed; and a record on disk.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import crypto from 'node:crypto';
import dns from 'node:dns/promises';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { COLORS } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { nativeParticipant } from '../lib/native.mjs';
import { rpcSocket } from '../lib/rpc.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { settledOrder, webhookReceiver } from '../lib/webhook.mjs';

const SECRET = 'whsec_e2e';

// An event as an application logs it: who, what, why.
function inShort(names, { event, connectionId, connection, receivingFrom, reason, from, to, type, data }) {
  const name = (id) => names[id] ?? id ?? 'server';
  const who = {
    sessionCreated: 'session', sessionDestroyed: 'session',
    signalSent: `${name(from)} to ${(to ?? []).map(name).sort().join('+')}: ${type} ${data}`,
  }[event] ?? name(connectionId);
  const what = connection === 'INBOUND' ? ` from ${name(receivingFrom)}` : connection === 'OUTBOUND' ? ' out' : '';
  return `${event} ${who}${what}${reason ? ` (${reason})` : ''}`;
}

// What Ringcast-Signature says of a body, checked as an application would.
function isSigned({ headers, body }, secret) {
  const { t, v1 } = Object.fromEntries(headers['ringcast-signature'].split(',').map((part) => part.split('=')));
  const expected = crypto.createHmac('sha256', secret).update(`${t}.${body}`).digest('hex');
  return v1.length === expected.length && crypto.timingSafeEqual(Buffer.from(v1), Buffer.from(expected)) && Math.abs(Date.now() / 1000 - t) < 300;
}

const records = (dir) => fs.readFileSync(path.join(dir, 'CDR.log'), 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line));

// A call of two, each publishing and receiving, and a receiver that hears of it.
async function callOfTwo(extra = {}) {
  const hook = await webhookReceiver();
  const cluster = await startCluster({ workers: 1, master: { webhook_endpoint: hook.url, webhook_allow_internal: true, ...extra } });
  const people = [];
  const stop = async () => {
    for (const one of people) one.close();
    await cluster.stop();
    await hook.close().catch(() => {});
  };
  try {
    for (const [name, color] of [['a', COLORS.red], ['b', COLORS.green]]) {
      const one = await nativeParticipant({ cluster, sessionId: 'told', name });
      people.push(one);
      Object.assign(one, await one.publish(color));
    }
    const [a, b] = people;
    await a.subscribe(b.streamId);
    await b.subscribe(a.streamId);
    const names = { [a.connectionId]: 'a', [b.connectionId]: 'b' };
    const ofSession = () => hook.events.filter((event) => event.sessionId);
    return { hook, cluster, a, b, stop, ofSession, told: () => ofSession().map((event) => inShort(names, event)) };
  } catch (error) {
    await stop();
    throw error;
  }
}

test('a whole call is told in order while receiver and master fail', async () => {
  const cdr = fs.mkdtempSync('/tmp/ringcast-cdr-');
  const { hook, cluster, a, b, stop, ofSession, told } = await callOfTwo({ webhook_signature_secret: SECRET, webhook_headers: ['X-Application: ours'], cdr_path: cdr, reconnect_grace: '60s' });
  try {
    const signal = { session: 'told', type: 'chat', data: 'hello' };
    assert.equal((await cluster.rest('POST', '/signal', signal)).status, 200);
    const before = ['sessionCreated session', 'participantJoined a', 'webrtcConnectionCreated a out', 'participantJoined b', 'webrtcConnectionCreated b out',
      'webrtcConnectionCreated a from b', 'webrtcConnectionCreated b from a', 'signalSent server to a+b: chat hello'];
    await until('the call is told', () => told().length === before.length, { timeout: 5_000 }).catch((error) => { throw new Error(`${error.message}\n${told().join('\n')}`); });
    assert.deepEqual(told(), before);
    // Nobody hears of it now, and then the master dies too.
    hook.mode = 'fail';
    assert.equal((await cluster.rest('DELETE', `/sessions/told/stream/${a.streamId}`)).status, 204);
    await until('it is tried', () => hook.refused > 0, { timeout: 5_000 });
    await cluster.killMaster();
    await hook.close();
    await cluster.launchMaster();
    assert.equal((await cluster.rest('DELETE', '/sessions/told')).status, 204);
    await sleep(1_500);
    assert.equal(told().length, before.length, 'the receiver is away');
    hook.mode = 'ok';
    await hook.open();
    const whole = [...before, 'webrtcConnectionDestroyed b from a (forceUnpublishByServer)', 'webrtcConnectionDestroyed a out (forceUnpublishByServer)',
      'webrtcConnectionDestroyed a from b (sessionClosedByServer)', 'participantLeft a (sessionClosedByServer)',
      'webrtcConnectionDestroyed b out (sessionClosedByServer)', 'participantLeft b (sessionClosedByServer)', 'sessionDestroyed session (sessionClosedByServer)'];
    await until('the rest is told', () => told().length >= whole.length, { timeout: 15_000 }).catch((error) => { throw new Error(`${error.message}\n${told().join('\n')}\n${cluster.masterLog()}`); });
    assert.deepEqual(told(), whole);
    assert.deepEqual(await settledOrder(hook), { twice: 0, disordered: [], missing: 0 });
    checkEach(ofSession(), { a, b });
    const [node] = hook.named('mediaNodeStatusChanged', { newStatus: 'running' });
    assert.deepEqual([node.id, node.oldStatus, node.uri], ['media_1', 'launching', cluster.nodes[0].uri]);
    // The record says the same, once, under the names of the events.
    const lines = records(cdr);
    const plain = ofSession().map(({ event, at, headers, body, ...fields }) => ({ [event]: fields }));
    assert.deepEqual(lines.filter((line) => Object.values(line)[0].sessionId), plain);
    await until('nothing waits any more', async () => (await cluster.masterMetrics()).sum('ringcast_master_events_waiting') === 0, { timeout: 5_000 });
    assert.ok((await cluster.masterMetrics()).sum('ringcast_master_webhook_deliveries_total', { outcome: 'delivered' }) >= 7);
  } finally {
    await stop();
    fs.rmSync(cdr, { recursive: true });
  }
});

function checkEach(events, { a, b }) {
  const [created] = events;
  const ids = new Set();
  for (const event of events) {
    assert.equal(event.headers['content-type'], 'application/json');
    assert.equal(event.headers['x-application'], 'ours');
    assert.ok(isSigned(event, SECRET), `${event.event} is signed`);
    assert.ok(!isSigned(event, 'whsec_other'), 'the control: another secret does not fit');
    assert.ok(!isSigned({ ...event, body: event.body.replace('told', 'TOLD') }, SECRET), 'the control: nor does another body');
    ids.add(event.headers['ringcast-event-id']);
    assert.equal(event.sessionId, 'told');
    assert.equal(event.uniqueSessionId, `told_${created.timestamp}`);
  }
  assert.equal(ids.size, events.length, 'every event has an id of its own');
  // Whatever ends tells again what began, with the time between.
  for (const [begins, ends] of [['participantJoined', 'participantLeft'], ['webrtcConnectionCreated', 'webrtcConnectionDestroyed']]) {
    const same = (one, other) => one.connectionId === other.connectionId && one.streamId === other.streamId && one.receivingFrom === other.receivingFrom;
    for (const end of events.filter((e) => e.event === ends)) {
      const began = events.filter((e) => e.event === begins && same(e, end));
      assert.equal(began.length, 1, inShort({}, end));
      const { at: _, headers: __, body: ___, event: ____, timestamp: start, ...fields } = began[0];
      assert.deepEqual(Object.fromEntries(Object.keys(fields).map((key) => [key, end[key]])), fields);
      assert.equal(end.startTime, start);
      assert.equal(end.duration, Math.floor((end.timestamp - start) / 1000));
    }
  }
  const out = events.find((e) => e.event === 'webrtcConnectionCreated' && e.connectionId === a.connectionId);
  assert.equal(out.streamId, a.streamId);
  assert.deepEqual([out.audioEnabled, out.videoEnabled, out.videoSource, out.videoFramerate, out.videoDimensions], [true, true, 'CUSTOM', 15, '{"width":320,"height":240}']);
  const joined = events.find((e) => e.event === 'participantJoined' && e.connectionId === b.connectionId);
  assert.deepEqual([joined.participantId, joined.location, joined.ip, joined.platform, joined.clientData, joined.serverData], [b.connectionId, 'unknown', '127.0.0.1', 'by hand', 'b', '']);
}

test('the control: events that were not on the disk are missed', async () => {
  const { hook, cluster, a, stop, told } = await callOfTwo();
  try {
    await until('the call is told', () => told().length === 7, { timeout: 5_000 });
    hook.mode = 'fail';
    assert.equal((await cluster.rest('DELETE', `/sessions/told/stream/${a.streamId}`)).status, 204);
    await until('it is tried', () => hook.refused > 0, { timeout: 5_000 });
    await cluster.killMaster();
    for (const file of fs.readdirSync(path.join(cluster.dir, 'master'))) if (file.startsWith('master.db')) fs.rmSync(path.join(cluster.dir, 'master', file));
    hook.mode = 'ok';
    await cluster.launchMaster();
    await sleep(2_500);
    assert.equal(told().length, 7, 'nothing of it is known any more');
  } finally {
    await stop();
  }
});

test('a receiver inside the network is not posted to unless that is meant', async () => {
  const hook = await webhookReceiver('0.0.0.0');
  try {
    await assert.rejects(startCluster({ workers: 1, master: { webhook_endpoint: `http://127.0.0.1:${hook.port}/` } }), /loopback address.*webhook_allow_internal/);
    // A name says where it leads only when it is asked.
    const { address } = await dns.lookup(os.hostname(), { family: 4 });
    assert.match(address, /^(10|127|172|192\.168)\./, 'this machine is inside a network');
    const cluster = await startCluster({ workers: 1, master: { webhook_endpoint: `http://${os.hostname()}:${hook.port}/` } });
    try {
      await cluster.rest('POST', '/sessions', { customSessionId: 'inside' });
      const refused = async () => (await cluster.masterMetrics()).sum('ringcast_master_webhook_deliveries_total', { outcome: 'internal_address' });
      await until('it is refused', async () => (await refused()) > 0, { timeout: 5_000 }).catch((error) => { throw new Error(`${error.message}\n${cluster.masterLog()}`); });
      assert.match(cluster.masterLog(), /must not be reached/);
      assert.equal(hook.events.length, 0);
    } finally {
      await cluster.stop();
    }
  } finally {
    await hook.close();
  }
});

test('a full disk stops nothing but the records, and none is missing afterwards', { skip: process.getuid() !== 0 && 'a disk of its own needs root' }, async () => {
  const disk = fs.mkdtempSync('/tmp/ringcast-disk-');
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]);
  let cluster, rpc;
  try {
    cluster = await startCluster({ workers: 1, master: { cdr_path: disk } });
    rpc = await rpcSocket(cluster, 'full');
    await rpc.join(await cluster.token('full'));
    const count = 60;
    for (let i = 0; i < count; i += 1) {
      const sent = await cluster.rest('POST', '/signal', { session: 'full', type: String(i), data: 'x'.repeat(2_000) });
      assert.equal(sent.status, 200, 'calls go on');
    }
    const metrics = async (name, labels) => (await cluster.masterMetrics()).sum(name, labels);
    await until('the disk is full', async () => (await metrics('ringcast_master_cdr_lines_total', { outcome: 'failed' })) > 0, { timeout: 5_000 });
    assert.ok((await metrics('ringcast_master_events_waiting', { target: 'cdr' })) > 0);
    execFileSync('mount', ['-o', 'remount,size=4m', disk]);
    await until('all is written', async () => (await metrics('ringcast_master_events_waiting', { target: 'cdr' })) === 0, { timeout: 40_000 });
    const signals = records(disk).filter((line) => line.signalSent).map((line) => line.signalSent.type);
    assert.deepEqual(signals, [...Array(count)].map((_, i) => String(i)));
  } finally {
    rpc?.close();
    await cluster?.stop();
    execFileSync('umount', [disk]);
    fs.rmdirSync(disk);
  }
});
