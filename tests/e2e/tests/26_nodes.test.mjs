// Media nodes that come and go while calls run: added, drained, taken back, removed, refused, frozen, given up; and the operators' commands for it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter, seen } from '../lib/call.mjs';
import { binaries, startCluster } from '../lib/cluster.mjs';
import { freeTcpPort } from '../lib/net.mjs';
import { paperParticipant } from '../lib/paper.mjs';
import { runProgram } from '../lib/program.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { webhookReceiver } from '../lib/webhook.mjs';

// The master's default: after so much silence a node has crashed.
const SILENCE_MS = 3_000;

const shown = async (cluster, id) => (await cluster.rest('GET', `/media-nodes/${id}`)).body;
const statusIs = (cluster, id, status, timeout = 5_000) => until(`${id} is ${status}`, async () => (await shown(cluster, id)).status === status, { timeout });
const gone = (cluster, id, timeout = 8_000) => until(`${id} is gone`, async () => (await cluster.rest('GET', `/media-nodes/${id}`)).status === 404, { timeout });
const patch = async (cluster, id, body) => (await cluster.rest('PATCH', `/media-nodes/${id}`, body)).status;
const nodeOf = async (cluster, sessionId) => (await cluster.rest('GET', `/sessions/${sessionId}`)).body.mediaNodeId;
const gauge = async (node, name) => (await node.metrics()).sum(`ringcast_node_${name}`);
const log = (cluster) => fs.readFileSync(path.join(cluster.dir, 'master.log'), 'utf8');
const told = (receiver, event, fields, timeout = 5_000) => until(`${event} ${JSON.stringify(fields)} is told`, () => receiver.named(event, fields)[0], { timeout });
const command = (cluster, ...args) => runProgram('ringcast-master', [...args, '--config', path.join(cluster.dir, 'master.toml')], { limit: 30_000 });
const webhook = (receiver) => ({ webhook_endpoint: receiver.url, webhook_allow_internal: true });

describe('under a call', () => {
  let browser, page, cluster, receiver, second;
  const people = {};
  before(async () => {
    [browser, page, receiver] = await Promise.all([launchChromium(), servePage(), webhookReceiver()]);
    cluster = await startCluster({ workers: 1, master: webhook(receiver) });
    people.a = await enter({ cluster, browser, page, sessionId: 'old', name: 'a', color: COLORS.red });
    people.b = await enter({ cluster, browser, page, sessionId: 'old', name: 'b', publish: false });
    await assertReceives(people.b, people.a, { color: COLORS.red });
  });
  after(async () => { await cluster?.stop(); await browser?.close(); page?.close(); await receiver?.close(); });
  const frames = async () => (await people.b.call('received', people.a.streamId)).framesDecoded;
  const goesOn = async () => seen(people.b, people.a.streamId, { frames: (await frames()) + 20, timeout: 8_000 });

  test('a node is added, and takes sessions at once', async (t) => {
    second = await cluster.anotherNode();
    const at = Date.now();
    const { status, body } = await cluster.rest('POST', '/media-nodes?wait=true', { uri: second.uri, environmentId: 'rack 7' });
    t.diagnostic(`added in ${Date.now() - at} ms`);
    assert.deepEqual([status, body.status, body.id, body.environmentId], [200, 'running', second.id, 'rack 7']);
    assert.equal((await cluster.rest('POST', '/media-nodes', { uri: second.uri })).status, 409);
    assert.equal((await cluster.rest('POST', '/media-nodes', {})).status, 501);
    assert.equal((await cluster.rest('POST', '/media-nodes', { uri: 'quic://nowhere:1' })).status, 400);
    const event = await told(receiver, 'mediaNodeStatusChanged', { id: second.id, newStatus: 'running' });
    assert.deepEqual([event.oldStatus, event.environmentId, event.uri], ['launching', 'rack 7', second.uri]);
    const first = receiver.named('mediaNodeStatusChanged', { id: second.id, newStatus: 'launching' });
    assert.deepEqual(first.map((e) => e.oldStatus), [null]);
    await goesOn();
  });

  test('a drained node keeps its call and takes no other, until it is taken back', async () => {
    assert.equal(await patch(cluster, 'media_1', { status: 'waiting-idle-to-terminate' }), 200);
    assert.equal(await patch(cluster, 'media_1', { status: 'waiting-idle-to-terminate' }), 204);
    const fresh = await Promise.all([1, 2, 3, 4].map((n) => paperParticipant(cluster, `fresh${n}`)));
    for (const n of [1, 2, 3, 4]) assert.equal(await nodeOf(cluster, `fresh${n}`), second.id);
    const late = await enter({ cluster, browser, page, sessionId: 'old', name: 'late', publish: false });
    await assertReceives(late, people.a, { color: COLORS.red });
    await late.close();
    for (const who of fresh) who.close();
    assert.equal(await patch(cluster, 'media_1', { status: 'running' }), 200);
    // The control: what kept them away was the drain.
    await until('a session goes to the node again', async () => {
      const id = `again${Date.now()}`;
      const who = await paperParticipant(cluster, id);
      const on = await nodeOf(cluster, id);
      who.close();
      return on === 'media_1';
    }, { timeout: 10_000 });
    await goesOn();
  });

  test('at the deadline what is left is closed, and the node goes', async () => {
    assert.equal(await patch(cluster, 'media_1', { status: 'waiting-idle-to-terminate', deadline: '2s' }), 200);
    const at = Date.now();
    const ended = await Promise.all([people.a, people.b].map((who) => until(`${who.name} is told`, async () => (await who.call('eventsOf', 'sessionDisconnected'))[0], { timeout: 6_000 })));
    assert.deepEqual(ended.map((e) => e.reason), ['mediaServerDisconnect', 'mediaServerDisconnect']);
    assert.ok(Date.now() - at > 1_500, `after ${Date.now() - at} ms`);
    await gone(cluster, 'media_1');
    await told(receiver, 'mediaNodeStatusChanged', { id: 'media_1', newStatus: 'terminated' });
    const course = receiver.events.filter((e) => e.id === 'media_1' && e.event === 'mediaNodeStatusChanged').map((e) => e.newStatus);
    assert.deepEqual(course, ['launching', 'running', 'waiting-idle-to-terminate', 'running', 'waiting-idle-to-terminate', 'terminating', 'terminated']);
    const destroyed = await told(receiver, 'sessionDestroyed', { sessionId: 'old' });
    assert.equal(destroyed.reason, 'mediaServerDisconnect');
    const [node] = cluster.nodes;
    await until('nothing is left on it', async () => (await gauge(node, 'transports')) === 0, { timeout: 5_000 });
  });

  test('a node that was removed stays away when the master starts again, until it is added', async () => {
    await cluster.killMaster();
    await cluster.launchMaster();
    await statusIs(cluster, second.id, 'running');
    assert.equal((await cluster.rest('GET', '/media-nodes/media_1')).status, 404);
    assert.match(log(cluster), /configured, but was removed/);
    const { status, body } = await cluster.rest('POST', '/media-nodes?wait=true', { uri: cluster.nodes[0].uri });
    assert.deepEqual([status, body.id], [200, 'media_1']);
  });
});

test('each way to remove a node does what it says, and commands say what they did', async () => {
  const cluster = await startCluster({ workers: 1 });
  try {
    const second = await cluster.anotherNode();
    const added = await command(cluster, 'add', second.uri, '--environment-id', 'rack 7');
    assert.deepEqual([added.code, added.stdout], [0, 'media_2 is running\n']);
    const again = await command(cluster, 'add', second.uri);
    assert.deepEqual([again.code, again.stdout], [1, '']);
    assert.match(again.stderr, /is media node 'media_2' already/);
    const wanted = { mediaNode: { id: second.id } };
    await cluster.rest('POST', '/sessions', { customSessionId: 'S', ...wanted });
    const who = await paperParticipant(cluster, 'S');
    const nodes = await command(cluster, 'nodes');
    assert.equal(nodes.code, 0);
    assert.match(nodes.stdout, /^ID +STATUS +HEALTH +STANDING +SESSIONS +CPU% +LOAD%/);
    assert.match(nodes.stdout, /media_2 +running +up +open +1 .*rack 7/);
    const sessions = await command(cluster, 'sessions');
    assert.match(sessions.stdout, /S +media_2 +1 +0 +0 +\d+s/);
    const refused = await command(cluster, 'remove', 'media_2');
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /has sessions/);
    const drained = await command(cluster, 'remove', 'media_2', '--when-empty');
    assert.deepEqual([drained.code, (await shown(cluster, 'media_2')).status], [0, 'waiting-idle-to-terminate']);
    assert.equal((await command(cluster, 'undrain', 'media_2')).code, 0);
    const json = await command(cluster, 'drain', 'media_2', '--deadline', '10m', '--json');
    assert.equal(JSON.parse(json.stdout).status, 'waiting-idle-to-terminate');
    assert.match((await command(cluster, 'nodes')).stdout, /media_2 +waiting-idle-to-terminate +up +closed .*closed in 9m/);
    const status = await command(cluster, 'status');
    assert.deepEqual([status.code, /1 running, 1 waiting-idle-to-terminate/.test(status.stdout)], [0, true], status.stdout);
    // One on which nobody is leaves at once, and whoever asks for it is told how it comes back. Then nobody takes sessions, and that is said.
    const took = async () => (await fetch(`http://${cluster.admin}/healthz/sessions`)).status;
    assert.deepEqual([await took(), /new ones/.test(status.stdout)], [200, false], status.stdout);
    const left = await command(cluster, 'drain', 'media_1');
    const back = /nobody was in a session on media_1: it has left the cluster, and `ringcast-master add (\S+)` brings it back/.exec(left.stdout);
    assert.ok(back, left.stdout + left.stderr);
    const late = await command(cluster, 'undrain', 'media_1');
    assert.deepEqual([late.code, /there is no media node 'media_1'; .*ringcast-master add URI/.test(late.stderr)], [1, true], late.stderr);
    const closed = await command(cluster, 'status');
    assert.deepEqual([closed.code, /new ones +refused: no media node takes new sessions: 1 drained/.test(closed.stdout)], [0, true], closed.stdout);
    assert.equal(await took(), 503);
    const ready = await fetch(`http://${cluster.admin}/healthz/ready`);
    assert.deepEqual([ready.status, await ready.text()], [200, 'ready, but no media node takes new sessions: 1 drained\n'], 'a call goes on');
    assert.equal((await command(cluster, 'add', back[1])).stdout, 'media_1 is running\n');
    assert.equal(await took(), 200);
    assert.doesNotMatch((await command(cluster, 'status')).stdout, /new ones/);
    const removed = await command(cluster, 'remove', 'media_2', '--now');
    assert.deepEqual([removed.code, removed.stdout], [0, 'media_2 is removed\n']);
    await until('who was there is told', () => who.notifications.find((n) => n.method === 'participantEvicted' && n.params.reason === 'mediaServerDisconnect'), { timeout: 3_000 });
    assert.equal((await cluster.rest('GET', '/media-nodes')).body.numberOfElements, 1);
    // What can't be done is said.
    assert.match((await command(cluster, 'drain', 'media_2')).stderr, /there is no media node 'media_2'/);
    assert.match((await command(cluster, 'status', '--secret', 'wrong')).stderr, /refuses the secret/);
    assert.match((await command(cluster, 'status', '--url', 'http://127.0.0.1:1')).stderr, /no master answers/);
    assert.equal((await command(cluster, 'drain')).code, 2);
    const config = await command(cluster, 'check-config', '--json');
    assert.deepEqual([JSON.parse(config.stdout).secret, JSON.parse(config.stdout).nodes[0].id], ['***', 'media_1']);
    await cluster.nodes[0].kill();
    await until('the loss is noticed', async () => (await command(cluster, 'status')).code === 4, { timeout: SILENCE_MS });
  } finally {
    await cluster.stop();
  }
});

test('a node of another authority and one with a copied certificate are refused, named and counted', async () => {
  const cluster = await startCluster({ nodes: 2, workers: 1 });
  const pki = (id, kind) => path.join(cluster.dir, 'pki', `${id}.${kind}`);
  try {
    const [first, second] = cluster.nodes;
    // The second node becomes a copy of the first.
    await second.kill();
    const file = path.join(cluster.dir, 'media_2.toml');
    const honest = fs.readFileSync(file, 'utf8');
    fs.writeFileSync(file, honest.replace('node_id = "media_2"', 'node_id = "media_1"'));
    await second.launch();
    await until('the copy is refused', () => /refused: this media node shows the certificate of another one/.test(log(cluster)), { timeout: 8_000 });
    const unreached = async (trouble) => (await cluster.masterMetrics()).sum('ringcast_master_nodes_unreached', { trouble });
    assert.equal(await unreached('copied_id'), 1);
    assert.deepEqual([(await shown(cluster, 'media_1')).connected, (await shown(cluster, 'media_2')).connected], [true, false]);
    assert.equal((await cluster.rest('POST', '/media-nodes', { uri: second.uri })).status, 409);
    assert.match((await command(cluster, 'nodes')).stdout, /media_2.*shows the certificate of media_1/);
    assert.ok((await gauge(first, 'up').catch(() => 1)) !== null);
    // Now it shows one of another authority, and is looked for again.
    await second.kill();
    const elsewhere = path.join(cluster.dir, 'elsewhere');
    await runProgram('ringcast-master', ['pki', 'init', '--dir', elsewhere, '--nodes', 'media_2']);
    for (const kind of ['pem', 'key']) fs.copyFileSync(path.join(elsewhere, `media_2.${kind}`), pki('media_2', kind));
    fs.writeFileSync(file, honest);
    await second.launch();
    await cluster.rest('PUT', '/media-nodes');
    await until('the stranger is counted', async () => (await unreached('certificate')) === 1, { timeout: 8_000 });
    await sleep(3_000);
    const lines = log(cluster).split('\n').filter((line) => line.includes("can't be reached") && line.includes('certificate'));
    assert.equal(lines.length, 1, `said once, not at each try: ${lines.join('\n')}`);
    assert.match(lines[0], /media_2.*both must be of the same authority.*pki node/);
    // The control: with a good one it comes.
    await second.kill();
    await runProgram('ringcast-master', ['pki', 'node', '--dir', path.join(cluster.dir, 'pki'), '--id', 'media_2']);
    await second.launch();
    const found = await cluster.rest('PUT', '/media-nodes');
    assert.deepEqual(found.body.content.map((n) => n.id), ['media_2']);
    await until('it is up', async () => (await cluster.rest('GET', '/health')).status === 200, { timeout: 5_000 });
    assert.equal(await unreached('certificate'), 0);
  } finally {
    await cluster.stop();
  }
});

test('a node that returns late serves nothing that was declared dead', async (t) => {
  const receiver = await webhookReceiver();
  const cluster = await startCluster({ workers: 1, master: webhook(receiver) });
  const [node] = cluster.nodes;
  try {
    const who = await paperParticipant(cluster, 'S');
    await who.publish();
    await until('it is on the node', async () => (await gauge(node, 'publishers')) === 1, { timeout: 3_000 });
    // The control: who comes back in time keeps everything.
    node.signal('SIGSTOP');
    await sleep(SILENCE_MS - 1_500);
    node.signal('SIGCONT');
    await sleep(1_500);
    assert.deepEqual([receiver.named('nodeCrashed').length, await gauge(node, 'publishers')], [0, 1]);
    assert.equal(await nodeOf(cluster, 'S'), node.id);

    node.signal('SIGSTOP');
    const at = Date.now();
    const crashed = await told(receiver, 'nodeCrashed', { id: node.id }, SILENCE_MS + 2_500);
    t.diagnostic(`declared dead after ${Date.now() - at} ms`);
    assert.deepEqual([crashed.sessionIds, crashed.recordingIds, crashed.broadcasts, crashed.nodeRole], [['S'], [], [], 'medianode']);
    assert.ok(crashed.timestamp - crashed.timeOfDisconnection >= SILENCE_MS - 500, `${crashed.timestamp - crashed.timeOfDisconnection} ms`);
    await told(receiver, 'sessionDestroyed', { sessionId: 'S', reason: 'nodeCrashed' });
    const order = receiver.events.map((e) => e.event).filter((e) => ['nodeCrashed', 'participantLeft', 'sessionDestroyed'].includes(e));
    assert.deepEqual(order, ['nodeCrashed', 'participantLeft', 'sessionDestroyed']);
    node.signal('SIGCONT');
    const back = Date.now();
    await told(receiver, 'nodeRecovered', { id: node.id }, 8_000);
    t.diagnostic(`back after ${Date.now() - back} ms`);
    await until('nothing of the dead session is on it', async () => (await gauge(node, 'transports')) === 0 && (await gauge(node, 'publishers')) === 0, { timeout: 2_000 });
    await sleep(1_000);
    assert.equal(await gauge(node, 'publishers'), 0, 'and nothing comes back');
    const again = await paperParticipant(cluster, 'S');
    await again.publish();
    await until('it is usable', async () => (await gauge(node, 'publishers')) === 1, { timeout: 3_000 });
    assert.equal((await shown(cluster, node.id)).status, 'running');
  } finally {
    await cluster.stop();
    await receiver.close();
  }
});

test('a dead node is given up in time, and comes back only when it is looked for', async () => {
  const receiver = await webhookReceiver();
  const cluster = await startCluster({ nodes: 2, workers: 1, master: { ...webhook(receiver), node_reconnection_timeout: '3s' } });
  const [node] = cluster.nodes;
  try {
    await node.kill();
    await told(receiver, 'mediaNodeStatusChanged', { id: node.id, newStatus: 'terminated' }, SILENCE_MS + 4_000);
    const course = receiver.events.filter((e) => e.id === node.id).map((e) => e.newStatus ?? e.event);
    assert.deepEqual(course.slice(-3), ['nodeCrashed', 'terminating', 'terminated']);
    await node.launch();
    await sleep(1_500);
    assert.equal((await cluster.rest('GET', `/media-nodes/${node.id}`)).status, 404);
    const found = await cluster.rest('PUT', '/media-nodes');
    assert.deepEqual(found.body.content.map((n) => n.id), [node.id]);
    await statusIs(cluster, node.id, 'running');
    assert.equal(receiver.named('nodeRecovered').length, 0);
  } finally {
    await cluster.stop();
    await receiver.close();
  }
});

test('a master that was superseded says so, declares nobody dead and is not ready', async () => {
  const receiver = await webhookReceiver();
  const cluster = await startCluster({ workers: 1, master: webhook(receiver) });
  const [node] = cluster.nodes;
  let successor;
  try {
    const who = await paperParticipant(cluster, 'S');
    await who.publish();
    const ready = async () => (await fetch(`http://${cluster.admin}/healthz/ready`)).status;
    assert.equal(await ready(), 200);
    await sleep(1_100); // an epoch is never below the clock, in seconds
    const [port, admin] = [await freeTcpPort(), await freeTcpPort()];
    const file = path.join(cluster.dir, 'successor.toml');
    const settings = { listen: `127.0.0.1:${port}`, admin_listen: `127.0.0.1:${admin}`, secret: 'OTHER', data_dir: path.join(cluster.dir, 'successor'), pki_dir: cluster.pki };
    const lines = Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    fs.writeFileSync(file, [...lines, '[[nodes]]', 'id = "media_1"', `uri = "${node.uri}"`, ''].join('\n'));
    successor = spawn(path.join(binaries(), 'ringcast-master'), ['--config', file], { stdio: 'ignore' });
    await until('the first master knows', () => /no longer the one of this media node/.test(log(cluster)), { timeout: 8_000 });
    assert.match(log(cluster), /another master was started later/);
    await sleep(SILENCE_MS + 1_500);
    assert.equal(await ready(), 503);
    assert.equal((await cluster.masterMetrics()).sum('ringcast_master_superseded'), 1);
    assert.equal(receiver.named('nodeCrashed').length, 0, 'the node lives: its calls are another master\'s');
    // The successor speaks TLS with a certificate of its own, which its commands trust by its configuration, and nobody by chance.
    const status = await runProgram('ringcast-master', ['status', '--config', file, '--json']);
    assert.deepEqual([status.code, JSON.parse(status.stdout).status], [0, 'UP'], status.stderr);
    const stranger = await runProgram('ringcast-master', ['status', '--url', `https://127.0.0.1:${port}`, '--secret', 'OTHER']);
    assert.equal(stranger.code, 1);
    assert.match(stranger.stderr, /certificate/);
  } finally {
    successor?.kill('SIGKILL');
    await cluster.stop();
    await receiver.close();
  }
});
