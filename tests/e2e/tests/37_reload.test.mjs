// SIGHUP: certificates and configuration are read again while the daemons run, and a mistake in them changes nothing.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { binaries, startCluster } from '../lib/cluster.mjs';
import { scrape } from '../lib/metrics.mjs';
import { freeTcpPort } from '../lib/net.mjs';
import { paperParticipant } from '../lib/paper.mjs';
import { runProgram } from '../lib/program.mjs';
import { until } from '../lib/wait.mjs';
import { webhookReceiver } from '../lib/webhook.mjs';

// A certificate of its own making that ends in so many days.
function certificate(file, key, days) {
  const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=localhost', '-days', String(days), '-keyout', key, '-out', file], { encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
}

describe('the master', () => {
  let dir, file, child, port, admin;
  const settings = {};
  const write = (changes = {}) => {
    Object.assign(settings, changes);
    fs.writeFileSync(file, Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join(''));
  };
  const log = () => fs.readFileSync(path.join(dir, 'log'), 'utf8');
  const reloads = async (outcome) => (await scrape(admin)).sum('ringcast_master_config_reloads_total', { outcome });
  const reload = async (outcome) => {
    const before = await reloads(outcome);
    child.kill('SIGHUP');
    await until(`it is read again: ${outcome}`, async () => (await reloads(outcome)) === before + 1, { timeout: 5_000, every: 20 });
    assert.equal((await scrape(admin)).sum('ringcast_master_config_last_reload_successful'), outcome === 'ok' ? 1 : 0);
  };
  const daysShown = () => new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      const { valid_to: end } = socket.getPeerCertificate();
      socket.destroy();
      resolve(Math.round((Date.parse(end) - Date.now()) / 86_400_000));
    });
    socket.on('error', reject);
  });
  const daysCounted = async () => Math.round(((await scrape(admin)).sum('ringcast_master_certificate_expiry_timestamp_seconds', { what: 'https' }) - Date.now() / 1000) / 86_400);
  const status = async (secret, method = 'GET', body) => {
    const args = ['-sk', '-o', '/dev/null', '-w', '%{http_code}', '-X', method, '-u', `OPENVIDUAPP:${secret}`, `https://127.0.0.1:${port}/openvidu/api/sessions`];
    if (body) args.push('-H', 'content-type: application/json', '-d', JSON.stringify(body));
    return Number(spawnSync('curl', args, { encoding: 'utf8' }).stdout);
  };

  before(async () => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-reload-'));
    file = path.join(dir, 'master.toml');
    port = await freeTcpPort();
    admin = `127.0.0.1:${await freeTcpPort()}`;
    certificate(path.join(dir, 'c.pem'), path.join(dir, 'c.key'), 30);
    write({ listen: `127.0.0.1:${port}`, admin_listen: admin, secret: 'FIRST', certificate: path.join(dir, 'c.pem'), private_key: path.join(dir, 'c.key'), data_dir: path.join(dir, 'data') });
    const out = fs.openSync(path.join(dir, 'log'), 'a');
    child = spawn(path.join(binaries(), 'ringcast-master'), ['--config', file], { stdio: ['ignore', out, out] });
    fs.closeSync(out);
    await until('it has started', () => fetch(`http://${admin}/healthz/startup`).then((r) => r.ok, () => false), { timeout: 8_000, every: 20 });
  });
  after(async () => {
    const ended = new Promise((resolve) => { child?.once('exit', resolve); });
    if (child && child.exitCode === null) { child.kill('SIGINT'); await ended; }
    fs.rmSync(dir, { recursive: true, force: true });
  });

  test('shows a new certificate to who comes, and leaves open WebSockets alone', async () => {
    assert.equal(await status('FIRST', 'POST', { customSessionId: 'S' }), 200);
    const socket = new WebSocket(`wss://127.0.0.1:${port}/openvidu?sessionId=S`, { rejectUnauthorized: false });
    await new Promise((resolve, reject) => { socket.on('open', resolve); socket.on('error', reject); });
    const ping = () => new Promise((resolve) => { socket.once('message', resolve); socket.send('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"interval":5000}}'); });
    assert.deepEqual([await daysShown(), await daysCounted()], [30, 30]);
    certificate(path.join(dir, 'c.pem'), path.join(dir, 'c.key'), 90);
    assert.equal(await daysShown(), 30, 'the control: not before it is told');
    await reload('ok');
    assert.deepEqual([await daysShown(), await daysCounted()], [90, 90]);
    assert.match(String(await ping()), /pong/);
    socket.terminate();
  });

  test('keeps the old one when the new one is broken, or is of another key, and says so', async () => {
    const good = fs.readFileSync(path.join(dir, 'c.key'));
    certificate(path.join(dir, 'other.pem'), path.join(dir, 'other.key'), 5);
    for (const wrong of ['no key at all\n', fs.readFileSync(path.join(dir, 'other.key'))]) {
      fs.writeFileSync(path.join(dir, 'c.key'), wrong);
      await reload('failed');
      assert.deepEqual([await daysShown(), await daysCounted()], [90, 90]);
    }
    assert.match(log(), /ERROR.*not read again.*c\.(key|pem)/);
    fs.writeFileSync(path.join(dir, 'c.key'), good);
    await reload('ok');
  });

  test('takes up secrets and limits, and says what waits for the next start', async () => {
    write({ secret: 'SECOND', secret_previous: 'FIRST', sessions_max: 1, load_fit: 'bestFit' });
    await reload('ok');
    assert.deepEqual([await status('FIRST'), await status('SECOND')], [200, 200]);
    assert.equal(await status('SECOND', 'POST', { customSessionId: 'one_too_many' }), 429);
    assert.match(log(), /WARN.*takes effect at the next start.*load_fit/);
    assert.match(log(), /INFO.*in effect from now on.*sessions_max/);
    assert.doesNotMatch(log(), /FIRST|SECOND/);
    delete settings.secret_previous;
    write({ sessions_max: 10 });
    await reload('ok');
    assert.deepEqual([await status('FIRST'), await status('SECOND')], [401, 200]);
    assert.equal(await status('SECOND', 'POST', { customSessionId: 'T' }), 200);
  });

  test('takes up nothing of a file with a mistake in it', async () => {
    write({ secret: 'THIRD', colour: 'red' });
    await reload('failed');
    assert.match(log(), /ERROR.*not read again.*master\.toml, line \d+: colour: there is no such key/);
    assert.deepEqual([await status('SECOND'), await status('THIRD')], [200, 401]);
    const checked = await runProgram('ringcast-master', ['--config', file, '--check-config']);
    assert.deepEqual([checked.code, checked.stdout], [1, '']);
    assert.match(checked.stderr, /master\.toml, line \d+: colour: there is no such key/);
    delete settings.colour;
    write();
    await reload('ok');
    assert.deepEqual([await status('SECOND'), await status('THIRD')], [401, 200]);
    assert.deepEqual((await runProgram('ringcast-master', ['--config', file, '--check-config'])).stdout, 'ok\n');
  });

  test('writes more when it is told to', async () => {
    assert.doesNotMatch(log(), /DEBUG/);
    write({ log_level: 'debug' });
    await reload('ok');
    const bytes = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256', ALPNProtocols: ['nonsense'] });
    bytes.on('error', () => {});
    await until('the handshake that failed is in the log', () => /DEBUG.*TLS handshake/.test(log()), { timeout: 3_000, every: 20 });
    bytes.destroy();
  });
});

describe('a cluster', () => {
  let cluster, node, file, first, second;
  before(async () => {
    [first, second] = [await webhookReceiver(), await webhookReceiver()];
    cluster = await startCluster({ workers: 1, master: { webhook_endpoint: first.url, webhook_allow_internal: true } });
    [node] = cluster.nodes;
    file = path.join(cluster.dir, `${node.id}.toml`);
  });
  after(async () => { await cluster?.stop(); await first?.close(); await second?.close(); });
  const log = () => fs.readFileSync(path.join(cluster.dir, `${node.id}.log`), 'utf8');
  const value = async (name, labels) => (await node.metrics()).sum(`ringcast_node_${name}`, labels);
  const reload = async (outcome) => {
    const before = await value('config_reloads_total', { outcome });
    node.signal('SIGHUP');
    await until(`it is read again: ${outcome}`, async () => (await value('config_reloads_total', { outcome })) === before + 1, { timeout: 5_000, every: 20 });
    assert.equal(await value('config_last_reload_successful'), outcome === 'ok' ? 1 : 0);
  };
  const change = (from, to) => {
    const text = fs.readFileSync(file, 'utf8');
    assert.ok(text.includes(from));
    fs.writeFileSync(file, text.replace(from, to));
  };

  test('tells another webhook, with other headers, from then on', async () => {
    const created = async (id, receiver) => {
      const who = await paperParticipant(cluster, id);
      const event = await until(`${id} is told`, () => receiver.named('sessionCreated', { sessionId: id })[0], { timeout: 5_000, every: 20 });
      who.close();
      return event;
    };
    await created('before', first);
    const master = path.join(cluster.dir, 'master.toml');
    const text = fs.readFileSync(master, 'utf8').replace(first.url, second.url);
    fs.writeFileSync(master, `webhook_headers = ["x-ours: HUSH"]\n${text}`);
    cluster.signalMaster('SIGHUP');
    await until('it is read again', async () => (await cluster.masterMetrics()).sum('ringcast_master_config_reloads_total', { outcome: 'ok' }) === 1, { timeout: 5_000, every: 20 });
    assert.equal((await created('after', second)).headers['x-ours'], 'HUSH');
    assert.deepEqual(first.named('sessionCreated').map((e) => e.sessionId), ['before']);
    assert.doesNotMatch(fs.readFileSync(path.join(cluster.dir, 'master.log'), 'utf8'), /HUSH/);
  });

  test('has a node take up limits and level, and leaves calls alone', async () => {
    const who = await paperParticipant(cluster, 'S');
    await who.publish();
    change('[limits]\n', '[limits]\npackets_per_second = 12345\n');
    change('[admin]\n', '[log]\nlevel = "error"\n[admin]\n');
    change('pin = false', 'pin = true');
    assert.notEqual(await value('capacity_packets_per_second'), 12345);
    await reload('ok');
    assert.equal(await value('capacity_packets_per_second'), 12345);
    assert.match(log(), /WARN.*takes effect at the next start.*media\.pin/);
    assert.equal(await value('publishers'), 1);
    assert.equal(who.closed, null);
    who.close();
    const lines = log();
    await reload('ok');
    assert.equal(log(), lines, 'less is written now');
  });

  test('has a node show its master a new certificate, and keeps the old one when the new one is broken', async () => {
    const [pem, key] = ['pem', 'key'].map((end) => path.join(cluster.pki, `${node.id}.${end}`));
    const before = await value('link_certificate_expiry_timestamp_seconds');
    const good = fs.readFileSync(key);
    fs.writeFileSync(key, 'no key at all\n');
    await reload('failed');
    assert.match(log(), /ERROR.*not read again.*media_1\.key/);
    assert.equal(await value('link_certificate_expiry_timestamp_seconds'), before);
    fs.writeFileSync(key, good);
    await until('a second has passed since the first one was made', () => Date.now() / 1000 > 0 && fs.statSync(pem).mtimeMs + 1_100 < Date.now(), { timeout: 3_000 });
    for (const one of [pem, key]) fs.rmSync(one);
    assert.equal((await runProgram('ringcast-master', ['pki', 'node', '--dir', cluster.pki, '--id', node.id])).code, 0);
    await reload('ok');
    assert.ok(await value('link_certificate_expiry_timestamp_seconds') > before, 'the new one lasts longer');
    assert.equal(await value('link_up'), 1, 'the link that there was stays');
    // Whoever dials from now on is shown the new one, and takes it.
    await cluster.killMaster();
    await cluster.launchMaster();
    await until('the node is there again', async () => (await cluster.rest('GET', '/health')).status === 200, { timeout: 8_000 });
  });

  test('has another authority take the place of the old one while a call goes on', async () => {
    const who = await paperParticipant(cluster, 'R');
    await who.publish();
    const links = await value('link_connections_total');
    const fresh = path.join(cluster.dir, 'new');
    const text = (dir, name) => fs.readFileSync(path.join(dir, name), 'utf8');
    const put = (name, content) => fs.writeFileSync(path.join(cluster.pki, name), content);
    const ends = async () => (await cluster.masterMetrics()).sum('ringcast_master_certificate_expiry_timestamp_seconds', { what: 'authority' });
    const reloadAll = async () => {
      await reload('ok');
      const reloads = async () => (await cluster.masterMetrics()).sum('ringcast_master_config_reloads_total', { outcome: 'ok' });
      const before = await reloads();
      cluster.signalMaster('SIGHUP');
      await until('the master has read it', async () => (await reloads()) === before + 1, { timeout: 5_000, every: 20 });
    };
    const masterAgain = async () => { await cluster.killMaster(); await cluster.launchMaster(); };
    const old = { ends: await ends(), authority: text(cluster.pki, 'ca.pem'), pem: text(cluster.pki, `${node.id}.pem`), key: text(cluster.pki, `${node.id}.key`) };
    assert.equal(old.ends, Date.parse(new X509Certificate(old.authority).validTo) / 1000);
    assert.equal((await runProgram('ringcast-master', ['pki', 'init', '--dir', fresh, '--nodes', node.id])).code, 0);

    put('ca.pem', old.authority + text(fresh, 'ca.pem'));
    await reloadAll();
    assert.equal(await ends(), old.ends, 'the first to end');
    for (const name of ['master', node.id]) for (const end of ['pem', 'key']) put(`${name}.${end}`, text(fresh, `${name}.${end}`));
    await reloadAll();
    assert.equal(await value('link_connections_total'), links, 'the link that there was stays');
    assert.equal(who.closed, null);
    assert.ok(await value('publishers') >= 1);
    who.close();
    await masterAgain();
    put('ca.pem', text(fresh, 'ca.pem'));
    await reloadAll();
    assert.ok(await ends() > old.ends, 'the new one lasts longer');
    await masterAgain();

    // The control: the old authority has no say any more.
    put(`${node.id}.pem`, old.pem);
    put(`${node.id}.key`, old.key);
    await reload('ok');
    await cluster.killMaster();
    await assert.rejects(cluster.launchMaster({ timeout: 3_000 }), /the cluster is up/);
    assert.match(text(cluster.dir, 'master.log'), /WARN.*certificate/i);
  });
});
