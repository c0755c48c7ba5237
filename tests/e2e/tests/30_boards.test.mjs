// What operators see in Prometheus and Grafana: the alerts of scripts/prometheus come when they should, and every query of these rules and of the
// boards of scripts/grafana finds something at a real Prometheus server that reads a real cluster.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import dgram from 'node:dgram';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { drawBoard } from '../lib/boards/page.mjs';
import { boards, filled, panels } from '../lib/boards/read.mjs';
import { format } from '../lib/boards/units.mjs';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { paperParticipant } from '../lib/paper.mjs';
import { folder, needPrometheus, startPrometheus } from '../lib/prometheus_server.mjs';
import { rpcSocket } from '../lib/rpc.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { webhookReceiver } from '../lib/webhook.mjs';
import { onlyWhole } from '../lib/whole.mjs';

const run = promisify(execFile);

const read = (name) => fs.readFileSync(path.join(folder, name), 'utf8');
const yaml = (name) => fs.readdirSync(path.join(folder, name)).map((file) => path.join(name, file));
const alerts = [...read('rules/alerts.yml').matchAll(/- alert: (\w+)\n(?: {8}.*\n)+/g)].map(([text, name]) => ({ name, text }));

// What promtool says of files, in `cwd`: { ok, text }.
const promtool = (args, cwd = folder) => run('promtool', args, { cwd, encoding: 'utf8' }).then(({ stdout, stderr }) => ({ ok: true, text: `${stdout}${stderr}` }), (error) => ({ ok: false, text: `${error.stdout}${error.stderr}` }));

// Runs `task` in a copy of the folder with other alerts.
async function changed(text, task) {
  const copy = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-rules-'));
  try {
    fs.cpSync(folder, copy, { recursive: true });
    fs.writeFileSync(path.join(copy, 'rules/alerts.yml'), text);
    return await task(copy);
  } finally { fs.rmSync(copy, { recursive: true, force: true }); }
}

// The alert with each of the words that its labels may have (`=~"open|stale"`) mistyped in turn.
const mistyped = (text) => [...text.matchAll(/[{,]\w+=~"([^"]+\|[^"]+)"/g)].flatMap(({ 0: labels, 1: words, index }) => words.split('|').map((word, at, all) => `${text.slice(0, index)}${labels.replace(words, all.with(at, `${word}x`).join('|'))}${text.slice(index + labels.length)}`));

before(needPrometheus);

describe('rules', () => {
  test('promtool takes the rules and the configuration', async () => {
    for (const args of [['check', 'rules', '--lint-fatal', ...yaml('rules')], ['check', 'config', 'prometheus.yml']]) {
      const { ok, text } = await promtool(args);
      assert.ok(ok, text);
    }
    const broken = await changed(read('rules/alerts.yml').replace('> 10\n', '> > 10\n'), (copy) => promtool(['check', 'rules', 'rules/alerts.yml'], copy));
    assert.ok(!broken.ok, 'the control: it does not take everything');
  });

  test('every alert comes when it should, and does not when it should not', async () => {
    const results = await Promise.all(yaml('tests').map((file) => promtool(['test', 'rules', file])));
    assert.ok(results.length > 4);
    for (const { ok, text } of results) assert.ok(ok, text);
    // The control: a node that is silent for longer than nodes ever are.
    const deaf = read('rules/alerts.yml').replace('ringcast_master_link_lag_seconds > 10\n', 'ringcast_master_link_lag_seconds > 1e9\n');
    assert.ok(!(await changed(deaf, (copy) => promtool(['test', 'rules', 'tests/nodes.yml'], copy))).ok);
    // And one mistyped reason of many.
    const { name, text } = alerts.find((alert) => alert.name === 'RingcastPacketsDropped');
    const other = mistyped(text).find((one) => one.includes('|no_burstx|'));
    assert.ok(!(await changed(read('rules/alerts.yml').replace(text, () => other), (copy) => promtool(['test', 'rules', 'tests/media.yml'], copy))).ok, name);
  });

  test('runbooks get the address that operators say by the command of the docs', async () => {
    const [, command] = /^(sed -i '.*' rules\/alerts\.yml)$/m.exec(fs.readFileSync(path.join(folder, '../../control/OPERATING.md'), 'utf8'));
    await changed(read('rules/alerts.yml'), async (copy) => {
      await run('bash', ['-c', command], { cwd: copy });
      const urls = [...fs.readFileSync(path.join(copy, 'rules/alerts.yml'), 'utf8').matchAll(/ runbook_url: (.*)/g)].map(([, url]) => url);
      assert.equal(urls.length, alerts.length);
      for (const url of urls) assert.match(url, /^https:\/\/[^/]+\/.*\/scripts\/prometheus\/RUNBOOK\.md#ringcast\w+$/);
      assert.ok((await promtool(['check', 'rules', 'rules/alerts.yml'], copy)).ok);
    });
    assert.ok(!read('rules/alerts.yml').includes('runbook_url: https:'), 'the control: without it there is none');
  });

  test('in the examples no two listen on one port of one host', () => {
    const targets = ['master', 'nodes', 'alertmanager'].map((name) => /"127\.0\.0\.1:(\d+)"/.exec(read(`targets/${name}.yml`))[1]);
    const asked = /url: http:\/\/localhost:(\d+)/.exec(read('../grafana/provisioning/datasources/ringcast.yaml'))[1];
    const begun = /--web\.listen-address=127\.0\.0\.1:(\d+)/.exec(read('prometheus.yml'))[1];
    assert.equal(begun, asked, 'Grafana asks where Prometheus is');
    assert.equal(new Set([...targets, asked]).size, 4);
  });

  test('every alert has a severity, words, a section of the runbook and a test', () => {
    const sections = [...read('RUNBOOK.md').matchAll(/^### (\w+)\n\*\*Means:\*\* .{20}[^]*?\n\*\*Do:\*\* .{20}/gm)].map((found) => found[1]);
    const tests = yaml('tests').map(read).join('\n');
    assert.ok(alerts.length > 30, `${alerts.length} alerts were found`);
    assert.deepEqual(alerts.map((a) => a.name).sort(), sections.sort());
    for (const { name, text } of alerts) {
      assert.match(text, /severity: (critical|warning)/, name);
      assert.match(text, /\n {10}summary: ".+"\n {10}description: ".+"\n/, name);
      assert.ok(text.includes(`runbook_url: scripts/prometheus/RUNBOOK.md#${name.toLowerCase()}\n`), name);
      // A label that words speak of is there when the alert comes.
      const comes = new RegExp(`alertname="${name}",alertstate="firing"\\}\\)\\n +eval_time: .+\\n +exp_samples:(?: \\[\\{|\\n +- \\{) labels: '\\{(.+?)\\}'`).exec(tests);
      assert.ok(comes, `${name}: no test has it come`);
      const spoken = new Set([...text.matchAll(/\$labels\.(\w+)/g)].map((found) => found[1]));
      // All series of a cluster have the label of their target.
      for (const label of ['cluster', 'instance']) spoken.delete(label);
      assert.deepEqual([...spoken].filter((label) => !comes[1].includes(`${label}="`)), [], `${name}: labels that it does not have`);
    }
  });

  test('the tests notice of every alert whether it never comes, comes too early, or has a mistyped label', onlyWhole, async () => {
    const all = read('rules/alerts.yml');
    for (const { name, text } of alerts) {
      const tests = yaml('tests').filter((file) => read(file).includes(name));
      for (const other of [text.replace(/expr: (.*)/, 'expr: ($1) and vector(0) == 1'), text.replace(/\n {8}for: .*/, ''), ...mistyped(text)]) {
        if (other === text) continue;
        const { ok } = await changed(all.replace(text, () => other), (copy) => promtool(['test', 'rules', ...tests], copy));
        assert.ok(!ok, `${name}: nobody noticed\n${other}`);
      }
    }
  });
});

test('figures are written as Grafana writes them', () => {
  const wanted = [
    [0, 's', '0 s'], [0.000_002_5, 's', '2.50 µs'], [0.012, 's', '12 ms'], [90, 's', '1.50 mins'], [172_800, 's', '2 days'],
    [0.0157, 'percentunit', '1.57%'], [1, 'percentunit', '100%'], [1234, 'short', '1.23 K'], [7, 'short', '7'], [1_250_000, 'bps', '1.25 Mb/s'], [0.25, 'bps', '250 mb/s'],
    [1536, 'bytes', '1.50 KiB'], [0.25, 'count:p/s', '0.250 p/s'], [12_345, 'count:p/s', '12.3K p/s'], [12.3, 'reqps', '12.3 req/s'],
  ];
  for (const [value, unit, text] of wanted) assert.equal(format(value, unit), text);
  // Beside others: as many digits as tell them apart.
  assert.deepEqual([0, 0.25, 0.5].map((value) => format(value, 'short', 0.25)), ['0', '0.25', '0.50']);
  assert.throws(() => format(1, 'furlongs'), /a unit that nobody can write/);
});

// What is not there while all is well: counters of what never happened, and alerts.
const QUIET = new Map(Object.entries({
  'ALERTS{alertname=~"Ringcast.*",alertstate="firing"}': 'no alert fires',
  'ringcast_master_rpc_requests_total{method=~"joinRoom|publishVideo|receiveVideoFrom|prepareReceiveVideoFrom",outcome=~"204|303|999"}': 'nothing fails by our fault',
  'ringcast_master_placements_total{outcome=~"none_up|all_full|all_stale"}': 'every session gets a node',
  'ringcast_master_placements_foreseen_total': 'no application is refused',
  'ringcast_master_placements_foreseen_total{outcome=~"none_up|all_full|all_stale"}': 'no application is refused',
  'ringcast_master_transports_closed_total{reason=~"ice_timeout|handshake_failed|fingerprint_mismatch|fingerprint_timeout|no_common_srtp_profile"}': 'everybody connects',
  'ringcast_master_http_requests_total{status!="501",status=~"5.."}': 'REST does not fail',
  'ringcast_master_node_refusals_total': 'nodes refuse nothing',
  'ringcast_master_audit_lines_total{outcome="failed"}': 'there is no file for them',
  'ringcast_master_websockets_refused_total': 'there are not too many sockets',
}));

const RATE = '15s';

// The selectors of an expression, without the labels that a board's variables ask for.
function selectors(expression) {
  const found = new Set();
  const rest = expression.replace(/([a-zA-Z_:][\w:]*)\{([^}]*)\}/g, (_, name, labels) => {
    const kept = (labels.match(/\w+(?:=~|!~|!=|=)"[^"]*"/g) ?? []).filter((label) => !/^(cluster=~"e2e"|node=~"media_)/.test(label));
    // Prometheus has an order of its own.
    found.add(kept.length > 0 ? `${name}{${kept.sort().join(',')}}` : name);
    return ' ';
  });
  for (const [name] of rest.matchAll(/\b(?:(?:ringcast|process)_\w+|(?:cluster|node|instance):[\w:]+|up)\b/g)) found.add(name);
  return [...found];
}

describe('a real Prometheus', () => {
  let browser, page, hook, cluster, prometheus, load, nodes;
  const people = [];
  let loading = true;

  before(async () => {
    [browser, page, hook] = await Promise.all([launchChromium(), servePage(), webhookReceiver()]);
    const records = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-records-'));
    cluster = await startCluster({ nodes: 2, master: { load_interval: '1s', webhook_endpoint: hook.url, webhook_allow_internal: true, cdr_path: records } });
    cluster.records = records;
    nodes = cluster.nodes.map((node) => node.id);
    prometheus = await startPrometheus(cluster);
    load = keepBusy();
    for (const [name, color] of Object.entries(COLORS).slice(0, 2)) people.push(await enter({ cluster, browser, page, sessionId: 'seen', name, color }));
    await seen(people[0], people[1].streamId);
    // Somebody hangs up and tells nobody but the node.
    const third = await enter({ cluster, browser, page, sessionId: 'seen', name: 'third', color: COLORS.yellow });
    await seen(people[0], third.streamId);
    await third.page.evaluate(() => window.client.ownConnection().close());
    await until('the node has told the master', async () => (await cluster.masterMetrics()).sum('ringcast_master_transports_closed_total') > 0, { timeout: 10_000 });
    await third.close();
    await until('Prometheus has read for as long as rates are taken over', async () => {
      const [{ value: nodes } = {}] = await prometheus.query(`min(count_over_time(ringcast_node_ready[${RATE}]))`);
      const [{ value: recorded } = {}] = await prometheus.query('count(cluster:ringcast_joins_failed:ratio_rate6h)');
      return nodes >= 10 && recorded > 0;
    }, { timeout: 30_000 });
  });
  after(async () => {
    loading = false;
    await load;
    await prometheus?.stop();
    await browser?.close();
    page?.close();
    await cluster?.stop();
    await hook?.close();
    if (cluster?.records) fs.rmSync(cluster.records, { recursive: true, force: true });
  });

  // People on paper come and go, one has no right to, and a stranger sends to a node.
  async function keepBusy() {
    const stranger = dgram.createSocket('udp4');
    // One stays, and is in trouble before long, for nothing comes of it.
    const lasting = await paperParticipant(cluster, 'paper-0');
    await lasting.publish();
    for (let n = 0; loading; n += 1) {
      const who = await paperParticipant(cluster, `paper-${n % 5}`);
      await who.publish();
      const none = await rpcSocket(cluster, 'seen');
      await none.ask('joinRoom', { token: 'tok_nonsense', session: 'seen' });
      none.close();
      stranger.send('nonsense', cluster.nodes[n % 2].mediaPorts[0], cluster.nodes[n % 2].address);
      await sleep(200);
      await who.call('leaveRoom', {});
      who.close();
    }
    lasting.close();
    stranger.close();
  }

  // What is wrong with an expression: names and labels that nothing has. `whole`: all of it must give numbers as well.
  async function complaints(expression, { whole }) {
    const found = [];
    for (const selector of selectors(expression)) {
      if (!QUIET.has(selector) && (await prometheus.query(selector)).length === 0) found.push(`nothing is called ${selector}`);
    }
    const isQuiet = selectors(expression).every((selector) => QUIET.has(selector));
    if (whole && !isQuiet && !(await prometheus.query(expression)).some(({ value }) => !Number.isNaN(value))) found.push(`no data: ${expression}`);
    return found;
  }

  const chosen = () => ({ values: { cluster: ['e2e'], node: nodes }, rate: RATE });
  const queries = () => boards().flatMap((board) => panels(board).flatMap((panel) => panel.targets.map((target) => ({ where: `${board.title}: ${panel.title}`, expression: filled(target.expr, chosen()) }))));

  test('every panel of every board shows something', async (t) => {
    const all = queries();
    assert.ok(all.length > 100, `${all.length} queries were found`);
    const wrong = [];
    for (const { where, expression } of all) for (const complaint of await complaints(expression, { whole: true })) wrong.push(`${where}: ${complaint}`);
    assert.deepEqual(wrong, []);
    t.diagnostic(`${all.length} queries of ${boards().length} boards`);
  });

  test('every board can be drawn: no panel is empty, and nothing that it says is cut off', async (t) => {
    const sheet = await browser.newPage();
    const end = Math.floor(Date.now() / 1000) - 1;
    const scope = { ...chosen(), start: end - 30, end, step: 1 };
    const wrong = [];
    const draw = async (board) => {
      const { html, empty } = await drawBoard(prometheus, board, { width: 1280, scope });
      await sheet.setContent(html);
      const cut = await sheet.$$eval('h2, h3, .legend th, .legend td, .stat, .bars th, .rows th, .rows td', (all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent));
      return { empty, cut, drawn: (await sheet.$$('section:has(svg, .stat, .bars, .rows)')).length };
    };
    for (const board of boards()) {
      const quiet = panels(board).filter((panel) => panel.targets.every((target) => selectors(filled(target.expr, chosen())).every((one) => QUIET.has(one)))).map((panel) => panel.title);
      const { empty, cut, drawn } = await draw(board);
      wrong.push(...empty.filter((title) => !quiet.includes(title)).map((title) => `${board.title}: ${title} is empty`), ...cut.map((text) => `${board.title}: "${text}" is cut off`));
      assert.equal(drawn, panels(board).length - empty.length, board.title);
      t.diagnostic(`${board.title}: ${drawn} panels`);
    }
    assert.deepEqual(wrong, []);
    // The controls: a panel that asks for nothing that there is, a title that has no room, a kind that nobody can draw.
    const spoilt = () => { const board = boards().find(({ uid }) => uid === 'ringcast-master'); return { board, panel: panels(board)[0] }; };
    const none = spoilt();
    const before = (await draw(none.board)).empty;
    none.panel.targets[0].expr = 'ringcast_no_such_thing';
    assert.deepEqual((await draw(none.board)).empty, [none.panel.title, ...before]);
    const long = spoilt();
    long.panel.title = 'A title that goes on and on until there is no room for it';
    assert.deepEqual((await draw(long.board)).cut, [long.panel.title]);
    const odd = spoilt();
    odd.panel.type = 'piechart';
    await assert.rejects(draw(odd.board), /nobody can draw a piechart/);
    await sheet.close();
  });

  test('the boards find clusters and nodes to choose from', async () => {
    for (const board of boards()) {
      for (const { name, type, query } of board.templating.list) {
        if (type !== 'query') continue;
        const [, selector, label] = /^label_values\((.+), (\w+)\)$/.exec(query.query);
        const values = (await prometheus.query(`count by (${label}) (${filled(selector, chosen())})`)).map(({ metric }) => metric[label]).sort();
        assert.deepEqual(values, name === 'node' ? nodes : ['e2e'], `${board.title}: ${name}`);
      }
    }
  });

  test('browsers have gone through every phase of joining, people on paper not', async (t) => {
    const found = await prometheus.query('sum by (phase) (ringcast_master_join_duration_seconds_count)');
    const counts = Object.fromEntries(found.map(({ metric, value }) => [metric.phase, value]));
    t.diagnostic(JSON.stringify(counts));
    // Three browsers came; nothing ever comes from paper, which is the control.
    assert.equal(counts.connect, 3);
    assert.ok(counts.negotiate > 3 && counts.join >= counts.negotiate);
    const [{ value: size }] = await prometheus.query('ringcast_master_session_participants_count');
    assert.ok(size > 0, 'sessions on paper are over');
    const [{ value: mean }] = await prometheus.query('ringcast_master_join_duration_seconds_sum{phase="connect"} / ringcast_master_join_duration_seconds_count{phase="connect"}');
    assert.ok(mean > 0.01 && mean < 10, `${mean} s to connect`);
  });

  // What the daemons tell of and none of these expressions asks for.
  async function unasked(expressions) {
    const pages = await Promise.all([cluster.admin, ...cluster.nodes.map((node) => node.admin)].map((admin) => fetch(`http://${admin}/metrics`).then((r) => r.text())));
    const told = [...pages.join('').matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name);
    const asked = new Set(expressions.flatMap((expression) => expression.match(/ringcast_\w+/g) ?? []).map((name) => name.replace(/_(?:bucket|sum|count)$/, '')));
    assert.ok(told.length > 150);
    return [...new Set(told)].filter((name) => !asked.has(name));
  }

  test('every metric is on a board or in a rule', async () => {
    const { groups } = await prometheus.api('rules');
    const all = [...queries().map(({ expression }) => expression), ...groups.flatMap((group) => group.rules.map((rule) => rule.query))];
    assert.deepEqual(await unasked(all), []);
    // The control: without those that ask for it it is missed.
    assert.deepEqual(await unasked(all.filter((one) => !one.includes('ringcast_node_stage_packets_held'))), ['ringcast_node_stage_packets_held']);
  });

  test('Prometheus reads OpenMetrics of both daemons', async () => {
    // Units are in no other format.
    for (const [metric, unit] of [['ringcast_node_forward_latency_seconds', 'seconds'], ['ringcast_master_join_duration_seconds', 'seconds'], ['ringcast_node_bytes', 'bytes'], ['ringcast_node_transports', '']]) {
      const known = await prometheus.api('targets/metadata', { metric });
      assert.ok(known.length > 0, metric);
      assert.deepEqual([...new Set(known.map((one) => one.unit))], [unit], metric);
    }
  });

  test('every rule finds what it asks for, and no alert fires', async (t) => {
    const { groups } = await prometheus.api('rules');
    const rules = groups.flatMap((group) => group.rules);
    assert.ok(rules.filter((rule) => rule.type === 'recording').length > 20 && rules.filter((rule) => rule.type === 'alerting').length === alerts.length);
    const wrong = [];
    for (const { name, type, query, health, lastError } of rules) {
      if (health !== 'ok') wrong.push(`${name}: ${health} ${lastError}`);
      for (const complaint of await complaints(query, { whole: type === 'recording' })) wrong.push(`${name}: ${complaint}`);
    }
    assert.deepEqual(wrong, []);
    assert.deepEqual((await prometheus.api('alerts')).alerts.filter((alert) => alert.state === 'firing').map((alert) => alert.labels), []);
    t.diagnostic(`${rules.length} rules`);
  });

  test('what is said to be quiet is asked for', async () => {
    const { groups } = await prometheus.api('rules');
    const asked = new Set([...queries().map(({ expression }) => expression), ...groups.flatMap((group) => group.rules.map((rule) => rule.query))].flatMap(selectors));
    assert.deepEqual([...QUIET.keys()].filter((selector) => !asked.has(selector)), []);
  });

  test('the control: a name that has changed is found, and so is a label', async () => {
    const { expression } = queries().find((one) => one.where === 'Ringcast / Node: In');
    assert.deepEqual(await complaints(expression, { whole: true }), []);
    for (const [was, is] of [['ringcast_node_packets_total', 'ringcast_node_datagrams_total'], ['direction="in"', 'direction="inwards"']]) {
      const found = await complaints(expression.replace(was, is), { whole: true });
      assert.equal(found.length, 2, found.join(', '));
      assert.ok(found[0].includes(is), found[0]);
    }
    // Also where the rest of the expression hides it.
    assert.equal((await complaints('ringcast_node_reddy or vector(0)', { whole: true })).length, 1);
    assert.equal((await complaints('sum(ringcast_master_node_silence_seconds) > 10', { whole: false })).length, 1);
  });

  test('a node that dies is an alert, in words', async () => {
    const of = async (name) => (await prometheus.api('alerts')).alerts.filter((alert) => alert.labels.alertname === name);
    assert.deepEqual(await of('RingcastNodeDown'), []);
    loading = false;
    await load;
    await cluster.nodes[1].kill();
    // It begins as pending; that it fires after its time is what the unit tests are for.
    const [alert] = await until('the alert', async () => { const found = await of('RingcastNodeDown'); return found.length > 0 && found; }, { timeout: 20_000 });
    const { node, cluster: where, severity } = alert.labels;
    assert.deepEqual({ node, where, severity }, { node: 'media_2', where: 'e2e', severity: 'critical' });
    assert.equal(alert.annotations.summary, 'The node media_2 is down');
    assert.match(alert.annotations.description, /^The master of e2e last heard of media_2 1\d[.\d]*s ago\. Its sessions are over\.$/);
    assert.deepEqual((await of('RingcastNodeMetricsDown')).map((one) => one.labels.node), ['media_2']);
    // A master that starts now has never met it, and says no less.
    await cluster.killMaster();
    // It is not whole without the node, so nobody waits until it is.
    cluster.launchMaster().catch(() => {});
    const silence = async () => (await cluster.masterMetrics()).sum('ringcast_master_link_lag_seconds', { node: 'media_2' });
    await until('the new master misses it', () => silence().then((seconds) => seconds > 1, () => false), { timeout: 10_000 });
  });
});
