// Who is woken, and when: a node dies, and a real Alertmanager that a real Prometheus tells of it reaches the receiver for pages; it says so when
// the node is back.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { amtool, example, needAlertmanager, startAlertmanager } from '../lib/alertmanager.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { folder, needPrometheus, startPrometheus } from '../lib/prometheus_server.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { webhookReceiver } from '../lib/webhook.mjs';
import { onlyWhole } from '../lib/whole.mjs';

const rules = fs.readFileSync(path.join(folder, 'rules/alerts.yml'), 'utf8');
const names = [...rules.matchAll(/- alert: (\w+)/g)].map((found) => found[1]);
const NODE_DOWN = /- alert: RingcastNodeDown\n {8}expr: ringcast_master_link_lag_seconds > (\d+)\n {8}for: (\d+)s\n/;

// Seconds: how often Prometheus reads, and judges; how long Alertmanager waits for more of a group.
const [SCRAPE, EVALUATION, GROUP] = [1, 1, 1];
// A node tells of itself at least so often, so its silence may have begun so much before its death.
const HEARTBEAT = 1;
// For all that takes no time on a machine with nothing else to do.
const SLACK = 4;

const receivers = {};
before(async () => {
  needPrometheus();
  needAlertmanager();
  for (const name of ['pager', 'tickets']) receivers[name] = await webhookReceiver();
});
after(async () => { for (const receiver of Object.values(receivers)) await receiver.close(); });

const urls = () => Object.fromEntries(Object.entries(receivers).map(([name, { url }]) => [name, url]));
const alertsAt = (name) => receivers[name].events.flatMap((message) => message.alerts.map(({ status, labels, annotations }) => ({ at: message.at, status, labels, annotations })));
const forget = () => { for (const receiver of Object.values(receivers)) receiver.events.length = 0; };
const arrives = (what, name, fits, timeout) => until(what, () => alertsAt(name).find(fits), { timeout, every: 20 });

// Kills a node and takes the time until somebody is paged, and from its return until that is taken back.
async function killAndReturn(t, text) {
  const [threshold, lasting] = NODE_DOWN.exec(text).slice(1).map(Number);
  forget();
  const cluster = await startCluster({ nodes: 2, workers: 1 });
  const alertmanager = await startAlertmanager({ receivers: urls(), group: GROUP });
  const prometheus = await startPrometheus(cluster, { alertmanager: alertmanager.address, rules: () => text });
  try {
    const read = async () => (await prometheus.query('count(ringcast_node_ready) + count(ringcast_master_link_lag_seconds)'))[0]?.value === 4;
    const judged = async () => (await prometheus.api('rules')).groups.every(({ rules }) => rules.every(({ health }) => health === 'ok'));
    await until('all is read and judged', async () => await read() && judged());
    await sleep(1000 * (SCRAPE + 3 * EVALUATION + GROUP));
    assert.deepEqual(await alertmanager.alerts(), [], 'the control: all is well, and nobody knows of anything');
    assert.deepEqual([alertsAt('pager'), alertsAt('tickets')], [[], []]);

    const [, victim] = cluster.nodes;
    const killedAt = Date.now();
    await victim.kill();
    const [least, most] = [threshold - HEARTBEAT + lasting, threshold + SCRAPE + EVALUATION + lasting + EVALUATION + GROUP + SLACK];
    const page = await arrives('somebody is paged', 'pager', () => true, 1000 * most);
    const pagedAfter = (page.at - killedAt) / 1000;
    assert.ok(pagedAfter >= least, `${pagedAfter} s, while the rule waits for ${least}`);
    assert.deepEqual([page.status, page.labels.alertname, page.labels.node, page.labels.cluster, page.labels.severity], ['firing', 'RingcastNodeDown', victim.id, 'e2e', 'critical']);
    assert.equal(page.annotations.summary, `The node ${victim.id} is down`);
    assert.equal(page.annotations.runbook_url, 'scripts/prometheus/RUNBOOK.md#ringcastnodedown');

    await victim.launch();
    const back = async () => (await cluster.rest('GET', `/media-nodes/${victim.id}`)).body.connected === true;
    await until('the node is back', back, { timeout: 15_000 });
    const backAt = Date.now();
    const end = await arrives('the page is taken back', 'pager', ({ status }) => status === 'resolved', 1000 * (SCRAPE + EVALUATION + GROUP + SLACK));
    assert.deepEqual([end.labels.alertname, end.labels.node], ['RingcastNodeDown', victim.id]);
    await sleep(1000 * (EVALUATION + 2 * GROUP));
    assert.deepEqual(alertsAt('pager').map(({ status }) => status), ['firing', 'resolved'], 'each once');
    assert.deepEqual(alertsAt('tickets'), [], 'and nobody is told of anything else');
    t.diagnostic(`kill -9 to the page: ${pagedAfter.toFixed(1)} s (between ${least} and ${most}), of which the rule waits for ${threshold} + ${lasting}; from the node's return to the end of it: ${((end.at - backAt) / 1000).toFixed(1)} s`);
  } finally {
    await prometheus.stop();
    await alertmanager.stop();
    await cluster.stop();
  }
}

test('amtool takes the example, and each alert goes to whom its severity says', async () => {
  const { ok, text } = await amtool('check-config', example);
  assert.ok(ok, text);
  const receiver = async (labels) => (await amtool('config', 'routes', 'test', `--config.file=${example}`, ...labels)).text.split('\n')[0];
  for (const [severity, wanted] of [['critical', 'pager'], ['warning', 'tickets']]) assert.equal(await receiver([`severity=${severity}`, 'cluster=e2e']), wanted);
  const named = [...fs.readFileSync(example, 'utf8').matchAll(/Ringcast\w+/g)].map(([name]) => name);
  assert.ok(named.length > 5);
  assert.deepEqual(named.filter((name) => !names.includes(name)), [], 'alerts that there are not');
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-alertmanager-'));
  try {
    const broken = path.join(dir, 'alertmanager.yml');
    fs.writeFileSync(broken, fs.readFileSync(example, 'utf8').replace('receiver: pager', 'receiver: nobody'));
    assert.ok(!(await amtool('check-config', broken)).ok, 'the control: it does not take everything');
  } finally { fs.rmSync(dir, { recursive: true, force: true }); }
});

test('what a greater trouble says is not said of each node, in that cluster and while it lasts', async () => {
  forget();
  const alertmanager = await startAlertmanager({ receivers: urls(), group: GROUP });
  const alert = (alertname, severity, more) => ({ labels: { alertname, severity, ...more }, startsAt: new Date().toISOString() });
  const full = alert('RingcastClusterFull', 'critical', { cluster: 'one' });
  const overloaded = (cluster) => alert('RingcastNodeOverloaded', 'warning', { cluster, node: 'media_1' });
  const down = alert('RingcastNodeDown', 'critical', { cluster: 'two', node: 'media_2' });
  const lost = (node) => alert('RingcastNodeMetricsDown', 'warning', { cluster: 'two', node });
  const told = () => alertsAt('tickets').filter(({ status }) => status === 'firing').map(({ labels }) => `${labels.alertname} ${labels.cluster} ${labels.node}`).sort();
  try {
    await alertmanager.post([full, down]);
    await arrives('the cluster is full', 'pager', ({ labels }) => labels.alertname === 'RingcastClusterFull', 5_000);
    await arrives('a node is down', 'pager', ({ labels }) => labels.alertname === 'RingcastNodeDown', 5_000);
    await alertmanager.post([overloaded('one'), overloaded('two'), lost('media_2'), lost('media_3')]);
    const others = ['RingcastNodeMetricsDown two media_3', 'RingcastNodeOverloaded two media_1'];
    await until('what is of other clusters and nodes is said', () => others.every((one) => told().includes(one)), { timeout: 5_000 });
    await sleep(3000 * GROUP);
    assert.deepEqual(told(), others);
    const hidden = (await alertmanager.alerts()).filter(({ status }) => status.inhibitedBy.length > 0).map(({ labels }) => `${labels.alertname} ${labels.cluster} ${labels.node}`);
    assert.deepEqual(hidden.sort(), ['RingcastNodeMetricsDown two media_2', 'RingcastNodeOverloaded one media_1'], 'they are known, and unsaid');
    await alertmanager.post([{ ...full, endsAt: new Date().toISOString() }]);
    await arrives('it is said once the cluster has room', 'tickets', ({ labels }) => labels.alertname === 'RingcastNodeOverloaded' && labels.cluster === 'one', 5_000);
  } finally { await alertmanager.stop(); }
});

// The same as below with a rule that waits for two seconds instead of thirty.
test('a node that dies is a page, and its return takes that back', (t) => killAndReturn(t, rules.replace(NODE_DOWN, (text) => text.replace(/for: \d+s/, 'for: 2s'))));

test('a node that dies is a page by the rules as they are', onlyWhole, (t) => killAndReturn(t, rules));
