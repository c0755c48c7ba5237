// What stands in the logs, and what does not: floods are cut and counted, changes are written down with who made them, begin and end are told, and secrets never.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import dgram from 'node:dgram';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { paperParticipant, sideBySide } from '../lib/paper.mjs';
import { runProgram } from '../lib/program.mjs';
import { until } from '../lib/wait.mjs';
import { webhookReceiver } from '../lib/webhook.mjs';

const linesOf = (cluster, name) => fs.readFileSync(path.join(cluster.dir, `${name}.log`), 'utf8').split('\n').filter(Boolean);
// All daemons of the cluster at that level, in that form.
async function loud(level, format, options = {}) {
  const variables = { RINGCAST_NODE__LOG__LEVEL: level, RINGCAST_NODE__LOG__FORMAT: format };
  Object.assign(process.env, variables);
  try {
    return await startCluster({ workers: 1, ...options, master: { log_level: level, log_format: format, ...options.master } });
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
}

describe('a flood', () => {
  let cluster;
  before(async () => { cluster = await loud('debug', 'text', { master: { wrong_secrets_per_address_rate: 1_000 } }); });
  after(() => cluster?.stop());

  test('of wrong secrets and rubbish at the master is cut and counted, and hides nothing else', async (t) => {
    const before = linesOf(cluster, 'master').length;
    const all = [...Array(300).keys()];
    await sideBySide(all, 20, async () => assert.equal((await cluster.rest('GET', '/sessions', undefined, 'guess')).status, 401));
    await sideBySide(all, 20, () => new Promise((resolve) => {
      const socket = net.connect(cluster.httpPort, '127.0.0.1', () => socket.end('rubbish\r\n\r\n'));
      socket.on('error', () => {});
      socket.resume();
      socket.on('close', resolve);
    }));
    const who = await paperParticipant(cluster, 'seen', { name: 'seen' });
    who.close();
    // What was left out is told when ten seconds are over; what falls into a second ten, when those are.
    const lines = () => linesOf(cluster, 'master').slice(before);
    const kinds = ['wrong secret', 'HTTP'];
    const leftOut = (kind) => lines().map((line) => new RegExp(`… and (\\d+) more in 10 s: ${kind}`).exec(line)?.[1]).filter(Boolean);
    const writtenOf = (kind) => lines().filter((line) => new RegExp(`(WARN|DEBUG) ${kind}`).test(line)).length;
    const countedOf = (kind) => leftOut(kind).reduce((sum, count) => sum + Number(count), 0);
    await until('all that was left out is told', () => kinds.every((kind) => writtenOf(kind) + countedOf(kind) >= 300), { timeout: 25_000 });
    for (const kind of kinds) {
      const [written, counted] = [writtenOf(kind), countedOf(kind)];
      t.diagnostic(`${kind}: ${written} lines, ${counted} left out`);
      assert.ok(written >= 10 && written <= 30, `${kind}: ${written} lines`);
      assert.equal(written + counted, 300, kind);
    }
    assert.ok(lines().some((line) => /INFO joined.*session=seen/.test(line)), 'the control: what is seldom is there');
  });

  test('of packets at a node writes nothing', async () => {
    const [node] = cluster.nodes;
    const before = linesOf(cluster, node.id).length;
    const socket = dgram.createSocket('udp4');
    const send = (bytes, port, host) => new Promise((resolve) => { socket.send(bytes, port, host, () => resolve()); });
    const rubbish = (first) => { const bytes = Buffer.alloc(200, 0x5a); bytes[0] = first; return bytes; };
    const had = (await node.metrics()).sum('ringcast_node_packets_dropped_total');
    for (let n = 0; n < 500; n += 1) {
      for (const first of [0, 22, 128, 144, 255]) await send(rubbish(first), node.mediaPorts[0], node.address);
      await send(rubbish(0xc3), node.linkPort, '127.0.0.1');
    }
    socket.close();
    await until('they have come', async () => (await node.metrics()).sum('ringcast_node_packets_dropped_total') >= had + 1_500, { timeout: 5_000 });
    const more = linesOf(cluster, node.id).slice(before);
    assert.ok(more.length <= 20, `${more.length} lines: ${more.slice(0, 5).join('\n')}`);
  });
});

describe('who changed what', () => {
  let cluster;
  before(async () => { cluster = await loud('warn', 'json'); });
  after(() => cluster?.stop());
  const audit = () => linesOf(cluster, 'master').map((line) => JSON.parse(line)).filter((line) => line.target === 'audit');

  test('is written at every level, with names and without anything secret', async () => {
    const call = async (method, where, body, expected = 200) => {
      const { status, body: answer } = await cluster.rest(method, where, body);
      assert.equal(status, expected, `${method} ${where}: ${JSON.stringify(answer)}`);
      return answer;
    };
    await call('POST', '/sessions', { customSessionId: 'S', customData: 'HUSH' });
    await call('POST', '/sessions', { customSessionId: 'S' }, 409);
    const made = await call('POST', '/sessions/S/connection', { data: 'HUSH', role: 'PUBLISHER', customIceServers: [{ url: 'turn:t', username: 'u', credential: 'HUSH' }] });
    await call('PATCH', `/sessions/S/connection/${made.id}`, { role: 'SUBSCRIBER' });
    const { token } = await call('POST', '/tokens', { session: 'S', data: 'HUSH' });
    await call('POST', '/signal', { session: 'S', type: 't', data: 'HUSH' }, 406);
    await call('DELETE', `/sessions/S/connection/${made.id}`, undefined, 204);
    await call('DELETE', '/sessions/S', undefined, 204);
    await call('DELETE', '/media-nodes/nowhere', undefined, 404);
    // These change nothing.
    for (const where of ['/sessions', '/media-nodes', '/config', '/health']) await cluster.rest('GET', where);
    assert.equal((await cluster.rest('DELETE', '/sessions/S', undefined, 'guess')).status, 401);

    const told = audit().map(({ method, path: where, status, session, connection, node }) => [method, where, status, session, connection, node]);
    const connectionPath = '/sessions/{session}/connection/{connection}';
    assert.deepEqual(told, [
      ['POST', '/sessions', 200, 'S', undefined, undefined],
      ['POST', '/sessions', 409, undefined, undefined, undefined],
      ['POST', '/sessions/{session}/connection', 200, 'S', made.id, undefined],
      ['PATCH', connectionPath, 200, 'S', made.id, undefined],
      ['POST', '/tokens', 200, 'S', undefined, undefined],
      ['POST', '/signal', 406, 'S', undefined, undefined],
      ['DELETE', connectionPath, 204, 'S', made.id, undefined],
      ['DELETE', '/sessions/{session}', 204, 'S', undefined, undefined],
      ['DELETE', '/media-nodes/{node}', 404, undefined, undefined, 'nowhere'],
    ]);
    for (const line of audit()) {
      assert.deepEqual([line.level, line.user, line.address, line.msg], ['INFO', 'OPENVIDUAPP', '127.0.0.1', 'audit']);
      assert.ok(Math.abs(Date.parse(line.ts) - Date.now()) < 60_000, line.ts);
    }
    const text = linesOf(cluster, 'master').join('\n');
    const bare = /tok_\w+/.exec(token)[0];
    for (const secret of ['HUSH', cluster.secret, 'guess', bare, /tok_\w+/.exec(made.token)[0]]) assert.ok(!text.includes(secret), secret);
    const counted = (await cluster.masterMetrics()).sum('ringcast_master_http_requests_total', { status: '401' });
    assert.equal(counted, 1, 'who was turned away is counted');
  });

  test('names requests as clients do, on one line and no longer than it must', async () => {
    const ask = (headers) => fetch(`http://127.0.0.1:${cluster.httpPort}/openvidu/api/sessions/nowhere`, { method: 'DELETE', headers: { authorization: `Basic ${Buffer.from(`OPENVIDUAPP:${cluster.secret}`).toString('base64')}`, ...headers } });
    await ask({ 'x-request-id': 'request-7', 'user-agent': 'mine/1' });
    assert.deepEqual(audit().slice(-1).map((line) => [line.request, line.agent, line.status]), [['request-7', 'mine/1', 404]]);
    await ask({ 'x-request-id': 'x'.repeat(5_000) });
    assert.equal(audit().at(-1).request.length, 100);
  });
});

describe('who changed what, in a file of its own', { skip: process.getuid() !== 0 && 'only root may mount' }, () => {
  let cluster, disk, file;
  const lines = (name = file) => fs.readFileSync(name, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
  const inLog = () => linesOf(cluster, 'master').filter((line) => / audit user=/.test(line));
  const counted = async (outcome) => (await cluster.masterMetrics()).sum('ringcast_master_audit_lines_total', { outcome });
  const change = (session) => cluster.rest('POST', '/sessions', { customSessionId: session, customData: 'HUSH' });
  const reloaded = async (outcome) => {
    const reloads = async () => (await cluster.masterMetrics()).sum('ringcast_master_config_reloads_total', { outcome });
    const before = await reloads();
    cluster.signalMaster('SIGHUP');
    await until(`it is read again: ${outcome}`, async () => (await reloads()) === before + 1, { timeout: 5_000, every: 20 });
  };
  before(async () => {
    disk = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-audit-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]);
    file = path.join(disk, 'audit.jsonl');
    cluster = await loud('warn', 'text', { master: { audit_path: file, log_level: 'warn,audit=off' } });
  });
  after(async () => { await cluster?.stop(); execFileSync('umount', ['-l', disk]); fs.rmdirSync(disk); });

  test('is there for its owner alone, without secrets, and not in a log that should not have it', async () => {
    await change('A');
    assert.equal((await cluster.rest('DELETE', '/sessions/A', undefined, 'guess')).status, 401);
    assert.deepEqual(lines().map(({ target, user, method, path: where, status, session }) => [target, user, method, where, status, session]), [['audit', 'OPENVIDUAPP', 'POST', '/sessions', 200, 'A']]);
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    const text = fs.readFileSync(file, 'utf8');
    for (const secret of ['HUSH', 'guess', cluster.secret]) assert.ok(!text.includes(secret), secret);
    assert.deepEqual(inLog(), []);
    await until('it is counted', async () => (await counted('written')) === 1, { timeout: 3_000 });
  });

  test('goes on in a new one when the old one was moved away, but not by a configuration with a mistake', async () => {
    const old = path.join(disk, 'audit.1');
    fs.renameSync(file, old);
    const config = path.join(cluster.dir, 'master.toml');
    const good = fs.readFileSync(config, 'utf8');
    fs.writeFileSync(config, good.replace(file, path.join(disk, 'no/where')));
    await reloaded('failed');
    await change('B');
    assert.ok(!fs.existsSync(file), 'the control: not before it is told');
    fs.writeFileSync(config, good);
    await reloaded('ok');
    await change('C');
    const told = (name) => lines(name).map((line) => line.session ?? `${line.what} ${line.outcome}`);
    assert.deepEqual([told(old), told(file)], [['A', 'reload failed', 'B'], ['reload ok', 'C']]);
    assert.match(linesOf(cluster, 'master').join('\n'), /not read again.*audit_path.*no\/where/);
  });

  test('is in the log where the disk is full, and that is told once and counted', async () => {
    const full = path.join(disk, 'full');
    try { fs.writeFileSync(full, Buffer.alloc(1 << 20)); } catch (error) { assert.equal(error.code, 'ENOSPC'); }
    // What is left of the last page still takes some lines.
    let number = 0;
    await until('a line is lost', async () => { assert.equal((await change(`D${number += 1}`)).status, 200); return inLog().length > 0; }, { timeout: 10_000, every: 1 });
    const lost = `D${number}`;
    assert.match(inLog()[0], new RegExp(`session="${lost}"`));
    await change('E');
    await until('both are counted', async () => (await counted('failed')) === 2, { timeout: 3_000 });
    const troubles = () => linesOf(cluster, 'master').filter((line) => line.includes('audit lines can\'t be written'));
    assert.equal(troubles().length, 1);
    assert.match(troubles()[0], /ERROR.*No space left on device/);
    fs.rmSync(full);
    await change('F');
    const sessions = lines().map((line) => line.session);
    assert.ok(sessions.includes('F') && !sessions.includes(lost) && !sessions.includes('E'), 'whole lines, and no half one');
    assert.equal(inLog().length, 2, 'and the log has none of them any more');
  });
});

describe('at the begin and the end', () => {
  let dir;
  before(() => { dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-ends-')); });
  after(() => fs.rmSync(dir, { recursive: true, force: true }));
  const failed = async (program, toml, form, env = {}) => {
    const file = path.join(dir, 'daemon.toml');
    fs.writeFileSync(file, toml);
    const flag = form === undefined ? [] : ['--log-format', form];
    const { code, stdout, stderr } = await runProgram(program, ['--config', file, ...flag], { env });
    assert.deepEqual([code, stdout], [1, '']);
    return stderr.trimEnd().split('\n');
  };

  test('what keeps a daemon from starting is a line in the form of the others', async () => {
    const taken = net.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => { taken.once('listening', resolve); });
    const at = `127.0.0.1:${taken.address().port}`;
    const master = `log_format = "json"\nsecret = "hush-hush"\ndata_dir = ${JSON.stringify(path.join(dir, 'data'))}\n`;
    const node = `node_id = "media_7"\nlog.format = "json"\nlink.pki = ${JSON.stringify(dir)}\n`;
    for (const [program, good, wrong, why, env] of [
      ['ringcast-master', master, 'colour = "red"', /line 4: colour: there is no such key/],
      ['ringcast-master', master, `admin_listen = "${at}"`, new RegExp(at)],
      ['ringcast-node', node, 'media.colour = "red"', /unknown field `colour`/],
      ['ringcast-node', node, 'log.level = "loud=louder"', /log\.level/],
      ['ringcast-node', node, '', /ca\.pem/],
      ['ringcast-master', master, '', /RINGCAST_MASTER_LISTNE/, { RINGCAST_MASTER_LISTNE: 'x' }],
      ['ringcast-node', node, '', /RINGCAST_NODE__MEDIA__BASE_PORT/, { RINGCAST_NODE_MEDIA_BASE_PORT: '1' }],
    ]) {
      const lines = (await failed(program, good + wrong, undefined, env)).map((line) => JSON.parse(line));
      const last = lines.at(-1);
      assert.deepEqual([last.level, last.target, last.node], ['ERROR', program, program === 'ringcast-node' ? 'media_7' : undefined]);
      assert.match(last.msg, why);
      assert.ok(Math.abs(Date.parse(last.ts) - Date.now()) < 60_000, last.ts);
      // The control: for people it is a line of words.
      const words = await failed(program, good + wrong, 'text', env);
      assert.match(words.join('\n'), new RegExp(`^${program}: `, 'm'));
    }
    taken.close();
  });

  test('who was told to end says so in the end', async () => {
    const cluster = await loud('info', 'json');
    try {
      const [node] = cluster.nodes;
      const lines = (name) => linesOf(cluster, name).map((line) => JSON.parse(line).msg);
      assert.ok(!lines('master').includes('stopped') && !lines(node.id).includes('stopped'), 'the control');
      cluster.signalMaster('SIGTERM');
      assert.deepEqual(await cluster.masterEnded, { code: 0, signal: null });
      node.signal('SIGINT');
      assert.deepEqual(await node.ended, { code: 0, signal: null });
      assert.deepEqual([lines('master').at(-1), lines(node.id).at(-1)], ['stopped', 'stopped']);
    } finally { await cluster.stop(); }
  });
});

describe('at the lowest level', () => {
  let browser, page, cluster, receiver;
  before(async () => {
    [browser, page, receiver] = await Promise.all([launchChromium(), servePage(), webhookReceiver()]);
    cluster = await loud('trace', 'json', { master: { webhook_endpoint: receiver.url, webhook_allow_internal: true, webhook_headers: ['Authorization: Basic HUSH-HEADER'], webhook_signature_secret: 'HUSH-SIGNATURE', secret_previous: 'HUSH-PREVIOUS' } });
  });
  after(async () => { await cluster?.stop(); await browser?.close(); page?.close(); await receiver?.close(); });

  test('no secret, token, password or key is in any line', async (t) => {
    const tokens = [];
    const token = async () => { tokens.push(await cluster.token('S', { data: 'HUSH-DATA' })); return tokens.at(-1); };
    const a = await enter({ cluster, browser, page, sessionId: 'S', name: 'a', color: COLORS.red, token: await token() });
    const b = await enter({ cluster, browser, page, sessionId: 'S', name: 'b', publish: false, token: await token() });
    await assertReceives(b, a, { color: COLORS.red });
    // By hand, so that what went over the wire is known.
    const who = await paperParticipant(cluster, 'S', { token: await token() });
    const sent = [];
    const { send } = who.socket;
    who.socket.send = function (text, ...rest) { sent.push(String(text)); return send.call(this, text, ...rest); };
    const heard = [];
    who.socket.on('message', (text) => heard.push(String(text)));
    await who.publish();
    await who.call('prepareReceiveVideoFrom', { sender: a.streamId, reconnect: false });
    const passwords = [...sent, ...heard].flatMap((text) => [...text.matchAll(/a=ice-pwd:([^\\\s"]+)/g)].map((match) => match[1]));
    assert.ok(passwords.length >= 3, `${passwords.length} passwords`);
    await until('the webhook is told', () => receiver.named('sessionCreated').length > 0, { timeout: 5_000 });
    assert.equal((await cluster.rest('GET', '/sessions', undefined, 'HUSH-PREVIOUS')).status, 200);
    assert.equal((await cluster.rest('GET', '/sessions', undefined, 'HUSH-GUESS')).status, 401);
    who.close();

    const text = ['master', ...cluster.nodes.map((node) => node.id)].flatMap((name) => linesOf(cluster, name));
    t.diagnostic(`${text.length} lines`);
    const basic = Buffer.from(`OPENVIDUAPP:${cluster.secret}`).toString('base64');
    const hidden = [cluster.secret, basic, 'HUSH', ...tokens.map((one) => /tok_\w+/.exec(one)[0]), ...passwords];
    for (const secret of hidden) assert.deepEqual(text.filter((line) => line.includes(secret)).slice(0, 1), [], `${secret} is in the log`);
    // Keys are octets: in no form do sixteen of them stand in a row.
    const octets = /\[\d{1,3}(, ?\d{1,3}){15,}\]|"[0-9a-f]{64,}"/;
    assert.deepEqual(text.filter((line) => octets.test(line)).slice(0, 1), []);
    // The control: it was the lowest level, and what is no secret is there.
    const levels = new Set(text.map((line) => JSON.parse(line).level));
    assert.ok(levels.has('DEBUG'), [...levels].join());
    assert.ok(text.some((line) => line.includes(who.connectionId) && line.includes('joined')));
  });
});
