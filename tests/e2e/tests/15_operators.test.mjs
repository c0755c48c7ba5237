// What operators see and do: metrics, configuration, mistakes at the start, the end; and what strangers throw at the master.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { parse } from '../lib/metrics.mjs';
import { freeTcpPort, freeUdpBlock } from '../lib/net.mjs';
import { complaintsOf } from '../lib/openmetrics.mjs';
import { paperParticipant } from '../lib/paper.mjs';
import { runProgram } from '../lib/program.mjs';
import { rpcSocket } from '../lib/rpc.mjs';
import { sleep, until } from '../lib/wait.mjs';

const root = path.join(path.dirname(new URL(import.meta.url).pathname), '../../..');
const MIB = 2 ** 20;
const OPENMETRICS = 'application/openmetrics-text';
// The most series that a node may have at a level.
const SERIES_MAX = { basic: 300, full: 2_000 };

// A page of metrics in the format that `accept` asks for: { type, text }.
async function pageOf(admin, accept) {
  // On a connection of its own: while promtool was installed nobody could notice that an older one was closed.
  const answer = await fetch(`http://${admin}/metrics`, { headers: { connection: 'close', ...(accept && { accept }) } });
  assert.equal(answer.status, 200);
  return { type: answer.headers.get('content-type'), text: await answer.text() };
}

const series = (text) => text.split('\n').filter((line) => line && !line.startsWith('#')).map((line) => line.slice(0, line.lastIndexOf(' ')));

// promtool has nothing to say about the text, nor we about OpenMetrics, and both have the same series.
async function assertWellMade(admin) {
  const text = (await pageOf(admin)).text;
  const { status, stdout, stderr } = lint(text);
  assert.deepEqual([status, `${stdout}${stderr}`], [0, '']);
  const open = await pageOf(admin, `text/plain;q=0.5,${OPENMETRICS};version=1.0.0`);
  assert.equal(open.type, `${OPENMETRICS}; version=1.0.0; charset=utf-8`);
  assert.deepEqual(complaintsOf(open.text), []);
  assert.deepEqual(series(open.text).sort(), series(text).sort());
  return series(text).length;
}

function needPromtool() {
  const installed = spawnSync('bash', ['-c', 'source scripts/lib.sh && need promtool prometheus'], { cwd: root, encoding: 'utf8' });
  assert.equal(installed.status, 0, installed.stderr);
}

const lint = (text) => spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });

describe('while two people talk', () => {
  let browser, page, cluster, node, a, b;
  before(async () => {
    [browser, page, cluster] = await Promise.all([launchChromium(), servePage(), startCluster({})]);
    [node] = cluster.nodes;
    a = await enter({ cluster, browser, page, sessionId: 'talk', name: 'a', color: COLORS.red });
    b = await enter({ cluster, browser, page, sessionId: 'talk', name: 'b', color: COLORS.blue });
    await seen(a, b.streamId);
    await seen(b, a.streamId);
  });
  after(async () => { await browser?.close(); page?.close(); await cluster?.stop(); });

  // Nobody in the call has noticed anything.
  async function assertUnharmed() {
    const before = (await b.call('received', a.streamId)).framesDecoded;
    await seen(b, a.streamId, { frames: before + 8, timeout: 3_000 });
    for (const who of [a, b]) for (const type of ['reconnecting', 'sessionDisconnected', 'streamDestroyed']) assert.deepEqual(await who.call('eventsOf', type), [], `${who.name}: ${type}`);
    assert.equal((await cluster.rest('GET', '/health')).status, 200);
  }

  test('promtool has nothing to say about the metrics, in both formats', async (t) => {
    needPromtool();
    for (const [what, admin] of [['the node', node.admin], ['the master', cluster.admin]]) t.diagnostic(`${what}: ${await assertWellMade(admin)} series`);
    assert.notEqual(lint('# HELP x y\n# TYPE x counter\nx 1\n').status, 0, 'the control: it does complain of a counter without _total');
    // And so do we, of OpenMetrics.
    const { text } = await pageOf(node.admin, OPENMETRICS);
    for (const [was, is] of [['# EOF\n', ''], ['# UNIT ringcast_node_run_packets packets', '# UNIT ringcast_node_run_packets seconds'], ['# TYPE ringcast_node_packets counter', '# TYPE ringcast_node_packets_total counter'], ['le="3.0"', 'le="3"'], ['le="+Inf"', 'le="99.0"']]) {
      assert.ok(text.includes(was), was);
      assert.notDeepEqual(complaintsOf(text.replace(was, is)), [], `nobody complains of ${is}`);
    }
  });

  test('a page comes in the format that is asked for, and its head alone', async () => {
    for (const admin of [node.admin, cluster.admin]) {
      for (const accept of [undefined, '*/*', 'text/html,*/*;q=0.8', `${OPENMETRICS};q=0.1,text/plain`, `${OPENMETRICS};version=0.0.1`]) {
        const { type, text } = await pageOf(admin, accept);
        assert.equal(type, 'text/plain; version=0.0.4; charset=utf-8', accept);
        assert.ok(!text.includes('# EOF') && text.includes('# HELP '), accept);
      }
      const head = await fetch(`http://${admin}/metrics`, { method: 'HEAD', headers: { accept: OPENMETRICS } });
      assert.deepEqual([head.status, head.headers.get('content-type'), await head.text()], [200, `${OPENMETRICS}; version=1.0.0; charset=utf-8`, '']);
    }
  });

  test('every packet is accounted for, stage by stage and from stage to stage', async (t) => {
    const metrics = await node.metrics();
    const way = ['classify', 'unprotect', 'ingest', 'route', 'rewrite', 'protect'];
    const stages = [...new Set(metrics.samples.map((s) => s.labels.stage).filter(Boolean))];
    assert.deepEqual(stages.filter((stage) => !way.includes(stage)), ['control', 'cross_out', 'cross_in', 'orders', 'driver'], 'the way of a packet, what the node says itself, other workers, the agent, the network');
    const flow = {};
    for (const stage of stages) {
      const count = (what) => metrics.sum(`ringcast_node_stage_packets_${what}_total`, { stage });
      const s = { in: count('in'), made: count('made'), out: count('out'), consumed: count('consumed'), dropped: metrics.sum('ringcast_node_packets_dropped_total', { stage }), held: metrics.sum('ringcast_node_stage_packets_held', { stage }) };
      assert.equal(s.in + s.made, s.out + s.consumed + s.dropped + s.held, `${stage}: ${JSON.stringify(s)}`);
      flow[stage] = s;
    }
    for (const [n, stage] of way.slice(1).entries()) assert.equal(flow[stage].in, flow[way[n]].out, `what ${way[n]} gave, ${stage} got`);
    const driver = (direction) => metrics.sum('ringcast_node_driver_packets_total', { direction });
    // Of what the driver carries, some may be on its way this very moment.
    assert.ok(Math.abs(driver('in') - flow.classify.in) <= 32, `the driver brought ${driver('in')}, classify got ${flow.classify.in}`);
    const left = flow.protect.out + flow.control.out - metrics.sum('ringcast_node_driver_expired_packets_total');
    assert.ok(Math.abs(left - driver('out')) <= 32, `protect and control gave ${left}, the driver sent ${driver('out')}`);
    assert.equal(metrics.sum('ringcast_node_packets_unbalanced'), 0, 'and the node says the same of itself');
    assert.ok(flow.protect.out > 100, 'the control: there was something to count');
    const cycles = (stage) => metrics.sum('ringcast_node_stage_cycles_total', { stage });
    // Which of them took most says nothing: whoever has the processor in the middle of a stage makes that one long.
    for (const stage of [...way, 'driver']) assert.ok(cycles(stage) > 0, `${stage} took ${cycles(stage)} cycles`);
    t.diagnostic(`${driver('in')} in, ${driver('out')} out`);
  });

  test('REST: what is too long, broken or deep is refused', async () => {
    const send = async (body, where = '/sessions', headers = {}) => {
      const answer = await fetch(`http://127.0.0.1:${cluster.httpPort}/openvidu/api${where}`, {
        method: 'POST', body, headers: { authorization: `Basic ${Buffer.from(`OPENVIDUAPP:${cluster.secret}`).toString('base64')}`, 'content-type': 'application/json', ...headers },
      });
      await answer.text();
      return answer.status;
    };
    // The answer reaches whoever still sends: he would see a broken pipe instead.
    for (let i = 0; i < 20; i += 1) assert.equal(await send(JSON.stringify({ customSessionId: 'x'.repeat(8 * MIB) })), 413);
    const broken = ['{"customSessionId": "x"', '{]', 'null', '[]', '"text"', '\u0000', '['.repeat(500_000), '{"a":'.repeat(100_000), JSON.stringify({ customSessionId: { a: [] } }), Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d])];
    for (const body of broken) assert.equal(await send(body), 400, String(body).slice(0, 40));
    for (const where of ['/sessions/%00', '/sessions/%ff%fe/connection', `/sessions/${'x'.repeat(4_000)}/connection`, '/../../etc/passwd', '/sessions/talk/connection/%2e%2e/stream']) {
      const status = await send('{}', where);
      assert.ok(status >= 400 && status < 500, `${where.slice(0, 40)}: ${status}`);
    }
    // The control: the same way in, with a good body.
    assert.equal(await send(JSON.stringify({ customSessionId: 'good' })), 200);
    await assertUnharmed();
  });

  test('HTTP: what is none is hung up on', async () => {
    const say = (bytes) => new Promise((resolve) => {
      const socket = net.connect(cluster.httpPort, '127.0.0.1', () => socket.write(bytes));
      let answer = '';
      socket.on('data', (data) => { answer += data; });
      socket.on('error', () => {});
      socket.on('close', () => resolve(answer));
    });
    const zeros = '0'.repeat(1_000);
    for (const bytes of ['\x16\x03\x01\x02\x00\x01\x00\r\n\r\n', 'GET\r\n\r\n', `GET / HTTP/1.1\r\n${`x: ${zeros}\r\n`.repeat(1_000)}\r\n`]) {
      assert.match(await say(bytes), /^(HTTP\/1\.1 4\d\d.*)?$/s, JSON.stringify(bytes.slice(0, 20)));
    }
    await assertUnharmed();
  });

  test('WebSocket: rubbish is answered or ends the socket that sent it', async () => {
    const open = () => rpcSocket(cluster, 'talk');
    const closedBy = async (bytes) => {
      const rpc = await open();
      rpc.socket.send(bytes);
      await until('the master hangs up', () => rpc.closed, { timeout: 5_000, every: 20 });
      return rpc.closed.code;
    };
    assert.equal(await closedBy(Buffer.from([1, 2, 3])), 1003, 'a binary frame');
    // 1009 means too big; 1006 that the connection was cut, which is as good when somebody sends without end.
    assert.ok([1006, 1009].includes(await closedBy(`"${'x'.repeat(2 * MIB)}"`)), 'a long frame');

    const rpc = await open();
    const answered = async (text) => {
      const had = rpc.strays.length;
      rpc.socket.send(text);
      await until(`an answer to ${text.slice(0, 30)}`, () => rpc.strays.length > had, { timeout: 3_000, every: 10 });
      return rpc.strays.at(-1).error?.code;
    };
    for (const text of ['', 'hello', '[]', '{}', 'null', '{"id":[],"method":"ping"}', '['.repeat(200_000), '{"id":"s","method":"ping","params":[]}', '{"id":"s","method":7}']) assert.equal(await answered(text), 801, text.slice(0, 30));
    // Before the join nothing but coming is possible.
    for (const method of ['publishVideo', 'receiveVideoFrom', 'sendMessage', 'leaveRoom', 'forceDisconnect', 'noSuchMethod']) {
      assert.equal((await rpc.ask(method, {})).error?.code, 803, method);
    }
    const token = await cluster.token('talk');
    assert.equal((await rpc.ask('joinRoom', { token: 'tok_nonsense', session: 'talk' })).error?.code, 401);
    for (const params of [{}, { token: 5, session: 'talk' }, { token, session: {} }, { token: 'x'.repeat(500_000), session: 'talk' }]) {
      assert.ok((await rpc.ask('joinRoom', params)).error?.code, JSON.stringify(params).slice(0, 40));
    }
    assert.deepEqual((await rpc.call('ping', { interval: 5_000 })).value, 'pong', 'the socket still is good');
    // And it may still join; then it asks for what makes no sense.
    await rpc.join(token, 'stranger');
    const refused = async (method, params, code) => assert.equal((await rpc.ask(method, params)).error?.code, code, `${method} ${JSON.stringify(params).slice(0, 60)}`);
    await refused('publishVideo', { sdpOffer: 'v=0', hasAudio: true, hasVideo: true }, 302);
    await refused('publishVideo', { sdpOffer: `v=0\r\n${'a=x\r\n'.repeat(100_000)}`, hasAudio: true, hasVideo: true }, 302);
    await refused('publishVideo', { hasAudio: true }, 801);
    await refused('receiveVideoFrom', { sender: a.streamId, sdpOffer: 'nonsense' }, 302);
    await refused('receiveVideoFrom', { sender: 'str_CAM_none', sdpOffer: 'nonsense' }, 302);
    await refused('sendMessage', { message: '{"to":["con_nobody"],"data":"x"}' }, 601);
    await refused('sendMessage', { message: 'not JSON' }, 600);
    await refused('forceDisconnect', { connectionId: a.connectionId }, 401);
    await refused('noSuchMethod', {}, 801);
    rpc.close();
    await assertUnharmed();
  });

  test('SIGTERM ends both daemons at once and in order', async () => {
    for (const [what, end, ended] of [['master', () => cluster.signalMaster('SIGTERM'), cluster.masterEnded], ['node', () => node.signal('SIGTERM'), node.ended]]) {
      const at = Date.now();
      end();
      const how = await Promise.race([ended, sleep(5_000)]);
      assert.deepEqual(how, { code: 0, signal: null }, what);
      assert.ok(Date.now() - at < 2_000, `${what}: ${Date.now() - at} ms`);
    }
  });
});

describe('with less detail', () => {
  let cluster, node;
  before(async () => {
    needPromtool();
    cluster = await startCluster({ admin: { metrics: 'basic' }, master: { load_interval: '1s' } });
    [node] = cluster.nodes;
  });
  after(() => cluster?.stop());

  test('a node has few series, and the master places by them as ever', async (t) => {
    const who = await paperParticipant(cluster, 'few');
    await who.publish();
    assert.equal((await cluster.rest('GET', '/sessions/few')).body.mediaNodeId, node.id);
    const reads = async () => (await cluster.masterMetrics()).sum('ringcast_master_node_load_reads_total', { outcome: 'ok' });
    await until('its load was read twice', async () => await reads() > 1, { timeout: 10_000 });
    const master = await cluster.masterMetrics();
    assert.ok(master.sum('ringcast_master_node_load_ratio', { node: node.id }) > 0, 'and is more than nothing');
    assert.equal(master.sum('ringcast_master_node_standing', { node: node.id, standing: 'open' }), 1);
    const count = await assertWellMade(node.admin);
    assert.ok(count <= SERIES_MAX.basic, `${count} series`);
    const metrics = await node.metrics();
    assert.deepEqual(metrics.samples.filter((one) => 'worker' in one.labels), []);
    assert.ok(metrics.sum('ringcast_node_worker_turns_total') > 0);
    t.diagnostic(`${count} series`);
    who.close();
  });

  test('rules and alerts find at that level whatever they ask nodes for', async () => {
    const rules = ['recording', 'alerts'].map((name) => fs.readFileSync(path.join(root, `scripts/prometheus/rules/${name}.yml`), 'utf8')).join('\n');
    const expressions = [...rules.matchAll(/^ +expr: (.+)$/gm)].map(([, expression]) => expression);
    const bare = (name) => name.replace(/_(?:bucket|sum|count)$/, '');
    const asked = new Set(expressions.flatMap((one) => one.match(/(?<![:\w])ringcast_node_\w+/g) ?? []).map(bare));
    const told = async (admin) => new Set([...(await pageOf(admin)).text.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name));
    const here = await told(node.admin);
    assert.ok(asked.size > 8, [...asked].join(' '));
    assert.deepEqual([...asked].filter((name) => !here.has(name)), []);
    assert.deepEqual(expressions.filter((one) => /ringcast_node/.test(one) && /\b(?:worker|stage)\b/.test(one)), [], 'labels that are missing here');
    // The control: some names are missing.
    assert.ok(!here.has('ringcast_node_stage_packets_in_total') && !here.has('ringcast_node_worker_busy_ratio'));
  });

  test('a node of 64 workers has no more series than its level allows', async (t) => {
    const run = async (level) => {
      const admin = `127.0.0.1:${await freeTcpPort()}`;
      const flags = ['--node-id', node.id, '--pki', cluster.pki, '--link-listen', `127.0.0.1:${await freeUdpBlock(1)}`, '--base-port', String(await freeUdpBlock(64)), '--workers', '64', '--no-pin', '--arena', '4MiB', '--driver', 'mmsg', '--advertise', '127.0.0.1', '--admin-listen', admin, '--metrics', level];
      const running = runProgram('ringcast-node', flags, { limit: 8_000, env: { RINGCAST_NODE__MEDIA__BURSTS: '4MiB' } });
      const { text } = await Promise.race([until('it runs', () => pageOf(admin).catch(() => null), { timeout: 7_000, every: 50 }), running.then(({ stderr }) => assert.fail(stderr))]);
      const [{ status, stdout, stderr }, open] = [lint(text), await pageOf(admin, OPENMETRICS)];
      assert.deepEqual([status, `${stdout}${stderr}`, complaintsOf(open.text)], [0, '', []]);
      return { count: series(text).length, workers: new Set(parse(text).map((one) => one.labels.worker).filter(Boolean)).size, running };
    };
    const [basic, full] = [await run('basic'), await run('full')];
    t.diagnostic(`${basic.count} and ${full.count} series`);
    assert.deepEqual([basic.workers, full.workers], [0, 64]);
    assert.ok(basic.count <= SERIES_MAX.basic && full.count <= SERIES_MAX.full);
    assert.ok(full.count > SERIES_MAX.basic, 'the control: it does make a difference');
    for (const { running } of [basic, full]) assert.equal((await running).code, 0);
  });
});

describe('mistakes are named', () => {
  let dir, good;
  const file = (name, text) => { fs.writeFileSync(path.join(dir, name), text); return path.join(dir, name); };
  const node = (args, options) => runProgram('ringcast-node', args, options);
  const master = (args, options) => runProgram('ringcast-master', args, options);
  // It ends by itself, with a failure, and says what is wrong in a line for people.
  const refuses = async (running, pattern) => {
    const { code, signal, stderr } = await running;
    assert.ok(code > 0 && signal === null, `code ${code}, signal ${signal}: ${stderr}`);
    assert.match(stderr, pattern);
    assert.doesNotMatch(stderr, /panicked|backtrace/i);
  };

  before(async () => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-operators-'));
    for (const pki of ['pki', 'other']) assert.equal((await master(['pki', 'init', '--dir', path.join(dir, pki), '--nodes', 'media_1'])).code, 0);
    // Free ports of their own for every start.
    good = {
      node: async (pki = 'pki') => ({ '--node-id': 'media_1', '--pki': path.join(dir, pki), '--link-listen': `127.0.0.1:${await freeUdpBlock(1)}`, '--base-port': String(await freeUdpBlock(1)), '--workers': '1', '--advertise': '127.0.0.1', '--admin-listen': `127.0.0.1:${await freeTcpPort()}` }),
      master: async (pki = 'pki') => ({ '--secret': 'S', '--plain-http': 'true', '--pki-dir': path.join(dir, pki), '--data-dir': fs.mkdtempSync(path.join(dir, 'data-')), '--listen': `127.0.0.1:${await freeTcpPort()}`, '--admin-listen': `127.0.0.1:${await freeTcpPort()}` }),
    };
  });
  after(() => fs.rmSync(dir, { recursive: true, force: true }));

  const flags = (settings) => Object.entries(settings).flat();

  test('--check prints what is in effect, without secrets, and takes it back', async () => {
    for (const [run, first, told] of [[node, ['--base-port', '12345', '--advertise', '192.0.2.7'], /base_port = 12345/], [master, ['--secret', 'HIDDEN', '--node-silence', '7s'], /node_silence = "7s"/]]) {
      const { code, stdout } = await run([...first, '--check']);
      assert.equal(code, 0);
      assert.match(stdout, told);
      assert.doesNotMatch(stdout, /HIDDEN/);
      const again = await run(['--config', file('again.toml', stdout), '--check']);
      assert.deepEqual([again.code, again.stdout], [0, stdout]);
    }
  });

  test('--print-config says where each value comes from, --check-config everything that is wrong', async () => {
    const from = file('from.toml', 'node_id = "n"\n[media]\nbase_port = 12345\n');
    const printed = await node(['--config', from, '--advertise', '192.0.2.7', '--print-config'], { env: { RINGCAST_NODE__MEDIA__WORKERS: '3' } });
    for (const line of [`base_port = 12345  # ${from}, line 3`, 'workers = 3  # RINGCAST_NODE__MEDIA__WORKERS', 'advertise = ["192.0.2.7"]  # flag', 'pin = true  # default']) assert.ok(printed.stdout.includes(line), `${line}: ${printed.stdout}`);
    const hidden = await master(['--config', file('hidden.toml', 'secret = "HIDDEN"\n'), '--print-config']);
    assert.match(hidden.stdout, /secret = "\*\*\*" {2}# .*hidden\.toml/);
    for (const [run, good, bad, wrong] of [
      [node, `node_id = "media_1"\n[link]\npki = "${path.join(dir, 'pki')}"\n`, 'node_id = "n"\n[media]\ncolour = "red"\narena = "64 bananas"\n', [/media\.colour: unknown field/, /media\.arena: .*64 bananas/]],
      [master, 'secret = "S"\n', 'secret = "S"\nnode_silence = 5\nsesions_max = 5\nload_fit = "worst"\n', [/line 2: node_silence: /, /line 3: sesions_max: there is no such key; did you mean sessions_max\?/, /load_fit: 'worst' is not/]],
    ]) {
      const ok = await run(['--config', file('good.toml', good), '--check-config']);
      assert.deepEqual([ok.code, ok.stdout, ok.stderr], [0, 'ok\n', '']);
      const told = await run(['--config', file('bad.toml', bad), '--check-config']);
      assert.deepEqual([told.code, told.stdout], [1, '']);
      assert.equal(told.stderr.trim().split('\n').length, wrong.length, told.stderr);
      for (const pattern of wrong) assert.match(told.stderr, pattern);
    }
    await refuses(node(['--config', file('none.toml', 'node_id = "n"\n[link]\npki = "nowhere"\n'), '--check-config']), /nowhere\/ca\.pem.*No such file/);
  });

  test('an unknown key, a wrong value, a missing file', async () => {
    await refuses(node(['--config', file('n.toml', '[media]\ncolour = "red"\n'), '--check']), /colour/);
    await refuses(node(['--check'], { env: { RINGCAST_NODE__MEDIA__COLOUR: 'red' } }), /colour/);
    await refuses(node(['--metrics', 'all', '--check']), /'all'.*--metrics.*basic, full/s);
    await refuses(node(['--check'], { env: { RINGCAST_NODE__ADMIN__METRICS: 'all' } }), /basic.*full/s);
    await refuses(node(['--config', file('m.toml', '[media]\narena = "64 bananas"\n'), '--check']), /64 bananas/);
    await refuses(master(['--config', file('k.toml', 'secret = "S"\ncolour = "red"\n'), '--check']), /colour/);
    await refuses(master(['--secret', 'S', '--node', 'a=quic://host:1', '--check']), /nodes\.a\.uri.*quic:\/\/host:1/);
    await refuses(master(['--check']), /secret/);
    for (const run of [node, master]) await refuses(run(['--config', path.join(dir, 'nowhere.toml'), '--check']), /nowhere\.toml.*No such file/);
  });

  test('no certificates, or those of another node', async () => {
    await refuses(node(flags(await good.node('nowhere'))), /nowhere.*No such file.*ringcast-master pki/s);
    await refuses(master([...flags(await good.master('nowhere')), '--node', 'media_1=quic://127.0.0.1:1']), /nowhere.*No such file.*ringcast-master pki|ringcast-master pki.*No such file/s);
    const { '--pki': pki, ...rest } = await good.node();
    await refuses(node([...flags({ ...rest, '--node-id': 'media_2' }), '--ca', `${pki}/ca.pem`, '--cert', `${pki}/media_1.pem`, '--key', `${pki}/media_1.key`]), /media_1.*media_2/);
  });

  test('ports in use, and a certificate of another cluster', async () => {
    const [first, second] = [await good.node(), await good.master('other')];
    const stranger = master([...flags(second), '--node', `media_1=quic://${first['--link-listen']}`], { limit: 6_500 });
    const running = node(flags(first), { limit: 6_000 });
    await until('they run', () => fetch(`http://${first['--admin-listen']}/healthz/startup`).then((r) => r.ok, () => false), { timeout: 3_000, every: 20 });
    const port = (address) => address.split(':').pop();
    for (const taken of ['--link-listen', '--base-port', '--admin-listen']) {
      await refuses(node(flags({ ...await good.node(), [taken]: first[taken] })), new RegExp(`${port(first[taken])}.*in use.*${taken}`, 's'));
    }
    for (const taken of ['--listen', '--admin-listen']) {
      await refuses(master(flags({ ...await good.master('other'), [taken]: second[taken] })), new RegExp(`${port(second[taken])}.*in use`, 's'));
    }
    const [strange, known] = await Promise.all([stranger, running]);
    assert.match(known.stderr, /WARN.*turned someone away.*certificate/);
    assert.match(strange.stderr, /WARN.*media_1.*certificate/, 'the master says it at its default level');
    assert.ok(strange.stderr.match(/WARN.*media_1/g).length <= 2, 'and not at every attempt');
    assert.doesNotMatch(`${known.stderr}${strange.stderr}`, /media node connected|link up/);
    for (const end of [strange, known]) assert.equal(end.code, 0, 'ended by SIGTERM, in order');
  });
});
