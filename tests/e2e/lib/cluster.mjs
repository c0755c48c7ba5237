import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { impairer } from './impairer.mjs';
import { scrape } from './metrics.mjs';
import { linkRelay } from './relay.mjs';
import { metricsProxy } from './metrics_proxy.mjs';
import { freeTcpPort, freeUdpBlock, hostAddress } from './net.mjs';
import { startNetwork } from './netns.mjs';
import { sleep, until } from './wait.mjs';

const root = path.join(path.dirname(new URL(import.meta.url).pathname), '../../..');
const run = promisify(execFile);

// The folder of ringcast-master and ringcast-node.
export function binaries() {
  const wanted = process.env.RINGCAST_BIN ?? ['release', 'debug'].map((p) => path.join(root, 'target', p)).find((p) => fs.existsSync(path.join(p, 'ringcast-node')));
  if (!wanted || !fs.existsSync(path.join(wanted, 'ringcast-node'))) throw new Error('build first: cargo build -p control -p dataplane (or set RINGCAST_BIN)');
  return wanted;
}

// The processes that `pid` started and that are still there.
export async function children(pid) {
  const { stdout } = await run('ps', ['-o', 'pid=', '--ppid', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.split('\n').map((l) => Number(l.trim())).filter((p) => p > 0 && fs.existsSync(`/proc/${p}/exe`) && fs.readlinkSync(`/proc/${p}/exe`).includes('ringcast'));
}

// A master and its nodes, as processes of their own on free ports. Whatever the test does, `stop` ends them all.
// With `isolated` each node has a network namespace and an address of its own (root only), and faults between it and the rest: `node.host`.
// With `proxied` the master reads each node's metrics through a proxy: `node.proxy`.
// With `relayed` the master reaches each node by a relay that loses and delays: `node.relay`. `masterInside` is a program under which the master runs.
// `shutdown` says how long nodes wait for calls when they are asked to end: here not at all, unless a test is about that.
// `advertise` lists the addresses that browsers are told, in place of this machine's own; `media`, `engine` and `admin` are more of those sections of the nodes' configuration.
export async function startCluster({ nodes = 1, workers = 2, driver = 'auto', mediaServer = 'mediasoup', impaired = false, isolated = false, proxied = false, relayed = false, masterInside = [], faults = [], advertise = null, media = {}, engine = {}, limits = {}, shutdown = { drain: '0s' }, admin = {}, master = {} } = {}) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-e2e-'));
  const secret = 'E2E_SECRET';
  const running = [];
  const cluster = { dir, secret, pki: path.join(dir, 'pki'), nodes: [], impairer: null, network: null, stopped: false };
  // Whoever ends this test in the middle leaves no process behind.
  const sweep = () => { for (const { pid, over } of running) if (!over()) process.kill(pid, 'SIGKILL'); };
  process.once('exit', sweep);
  cluster.stop = async () => {
    cluster.stopped = true;
    cluster.impairer?.close();
    for (const node of cluster.nodes) {
      node.proxy?.close();
      await node.relay?.close();
    }
    await Promise.all(running.map((p) => p.stop()));
    process.off('exit', sweep);
    await cluster.network?.close();
    if (!process.env.RINGCAST_KEEP) fs.rmSync(dir, { recursive: true, force: true });
  };
  try {
    const ids = [...Array(nodes)].map((_, i) => `media_${i + 1}`);
    await run(path.join(binaries(), 'ringcast-master'), ['pki', 'init', '--dir', path.join(dir, 'pki'), '--nodes', ids.join(',')]);
    if (isolated) cluster.network = await startNetwork();
    const launchNode = async (id) => {
      const host = isolated ? await cluster.network.host() : null;
      const node = await startNode({ id, dir, workers, driver, impaired, host, faults, advertise: advertise ?? [host?.address ?? hostAddress()], media, engine, limits, shutdown, settings: admin, running });
      cluster.nodes.push(node);
      return node;
    };
    // A node that no master knows yet.
    cluster.anotherNode = async () => {
      const id = `media_${cluster.nodes.length + 1}`;
      await run(path.join(binaries(), 'ringcast-master'), ['pki', 'node', '--dir', path.join(dir, 'pki'), '--id', id]);
      return launchNode(id);
    };
    for (const id of ids) {
      const node = await launchNode(id);
      if (proxied) node.proxy = await metricsProxy(node.admin);
      if (relayed) {
        node.relay = await linkRelay({ host: '127.0.0.1', port: node.linkPort });
        node.uri = `quic://127.0.0.1:${node.relay.port}`;
      }
      if (impaired) cluster.impairer = await impairer({ listenBase: node.advertisedPorts[0], targetBase: node.mediaPorts[0], count: workers, target: node.address });
    }
    await startMaster(cluster, { dir, secret, mediaServer, master, running, inside: masterInside });
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

// Lines of a TOML section.
const entries = (values) => Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join('');

async function startNode({ id, dir, workers, driver, impaired, host, faults, advertise, media, engine, limits, shutdown, settings, running }) {
  // In a namespace of its own every port is free.
  const base = host ? 20_000 : await freeUdpBlock(workers);
  const advertisedBase = impaired ? await freeUdpBlock(workers) : base;
  const [linkPort, adminPort] = host ? [7443, 9090] : [await freeUdpBlock(1), await freeTcpPort()];
  const ip = host?.address ?? '127.0.0.1';
  const file = path.join(dir, `${id}.toml`);
  fs.writeFileSync(file, `
node_id = "${id}"
[link]
listen = "${ip}:${linkPort}"
pki = "${path.join(dir, 'pki')}"
[media]
base_port = ${base}
advertise = ${JSON.stringify(advertise)}
${impaired ? `advertised_base_port = ${advertisedBase}` : ''}
workers = ${workers}
pin = false
driver = "${driver}"
${entries(media)}[engine]
${entries(engine)}[limits]
${entries(limits)}[shutdown]
${entries(shutdown)}[admin]
listen = "${ip}:${adminPort}"
${entries(settings)}[faults]
drop_rtp = ${faults.includes('drop-rtp')}
nack = ${!faults.includes('no-nack')}
`);
  const admin = `${ip}:${adminPort}`;
  // Also once more, when it has ended: a supervisor does the same.
  const launch = async () => {
    const child = await start('ringcast-node', ['--config', file], path.join(dir, `${id}.log`), running, host?.exec);
    Object.assign(node, { pid: child.pid, log: child.log, kill: child.kill, signal: child.signal, ended: child.ended });
    await until(`${id} has started`, () => child.alive() && fetch(`http://${admin}/healthz/startup`).then((r) => r.ok, () => false), { timeout: 15_000 }).catch((e) => { throw new Error(`${e.message}\n${child.log()}`); });
  };
  const node = {
    id, address: advertise[0], admin, linkPort, uri: `quic://${ip}:${linkPort}`, host, launch,
    mediaPorts: [...Array(workers)].map((_, i) => base + i),
    advertisedPorts: [...Array(workers)].map((_, i) => advertisedBase + i),
    metrics: () => scrape(admin),
    residentMemory: async () => Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${node.pid}/status`, 'utf8'))[1]) * 1024,
  };
  await launch();
  return node;
}

async function startMaster(cluster, { dir, secret, mediaServer, master, running, inside }) {
  const [httpPort, adminPort] = [await freeTcpPort(), await freeTcpPort()];
  const settings = {
    listen: `127.0.0.1:${httpPort}`, admin_listen: `127.0.0.1:${adminPort}`, plain_http: true, secret,
    data_dir: path.join(dir, 'master'), pki_dir: path.join(dir, 'pki'), media_server: mediaServer, ...master,
  };
  const toml = Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  for (const node of cluster.nodes) toml.push('[[nodes]]', `id = "${node.id}"`, `uri = "${node.uri}"`, ...(node.proxy ? [`metrics = "${node.proxy.url}"`] : []));
  const file = path.join(dir, 'master.toml');
  fs.writeFileSync(file, `${toml.join('\n')}\n`);
  const url = `http://localhost:${httpPort}`;
  const authorization = (password) => `Basic ${Buffer.from(`OPENVIDUAPP:${password}`).toString('base64')}`;
  const rest = async (method, where, body, password = secret) => {
    const answer = await fetch(`http://127.0.0.1:${httpPort}/openvidu/api${where}`, {
      method, headers: { authorization: authorization(password), ...(body === undefined ? {} : { 'content-type': 'application/json' }) }, body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    let parsed = text;
    try { parsed = JSON.parse(text); } catch { /* some answers are plain text */ }
    return { status: answer.status, body: parsed };
  };
  const launchMaster = async ({ timeout = 15_000 } = {}) => {
    const child = await start('ringcast-master', ['--config', file], path.join(dir, 'master.log'), running, inside);
    Object.assign(cluster, { masterPid: child.pid, masterLog: child.log, killMaster: child.kill, signalMaster: child.signal, masterEnded: child.ended });
    await until('the cluster is up', () => child.alive() && rest('GET', '/health').then((r) => r.status === 200, () => false), { timeout }).catch((e) => { throw new Error(`${e.message}\n${child.log()}`); });
  };
  await launchMaster();
  Object.assign(cluster, {
    url, httpPort, admin: `127.0.0.1:${adminPort}`, rest, launchMaster,
    masterMetrics: () => scrape(`127.0.0.1:${adminPort}`),
    token: async (sessionId, connection = {}) => {
      const made = await rest('POST', '/sessions', { customSessionId: sessionId });
      if (![200, 409].includes(made.status)) throw new Error(`POST /sessions: ${made.status} ${JSON.stringify(made.body)}`);
      const answer = await rest('POST', `/sessions/${sessionId}/connection`, connection);
      if (answer.status !== 200) throw new Error(`POST connection: ${answer.status} ${JSON.stringify(answer.body)}`);
      return answer.body.token.replace(/^(wss?):\/\/[^?/]+/, `$1://localhost:${httpPort}`);
    },
  });
}

async function start(program, args, logFile, running, inside = []) {
  const out = fs.openSync(logFile, 'a');
  // `ip netns exec` becomes the program, so the process is ours as well.
  const [command, ...words] = [...inside, path.join(binaries(), program), ...args];
  const child = spawn(command, words, { stdio: ['ignore', out, out], env: { ...process.env, RUST_BACKTRACE: '1' } });
  fs.closeSync(out);
  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
  const log = () => fs.readFileSync(logFile, 'utf8').split('\n').slice(-40).join('\n');
  const alive = () => {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${program} ended (${child.exitCode ?? child.signalCode}):\n${log()}`);
    return true;
  };
  const handle = {
    pid: child.pid, log, alive, ended,
    over: () => child.exitCode !== null || child.signalCode !== null,
    kill: async () => { child.kill('SIGKILL'); await ended; },
    signal: (name) => child.kill(name),
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGINT'); // SIGTERM would wait for calls
      child.kill('SIGCONT'); // a test may have left it frozen
      await Promise.race([ended, sleep(5_000)]);
      if (child.exitCode === null && child.signalCode === null) { child.kill('SIGKILL'); await ended; }
    },
  };
  running.push(handle);
  return handle;
}
