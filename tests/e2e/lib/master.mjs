// A master with one node: killed and started again on the same directory, as often as a test likes.
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { binaries } from './cluster.mjs';
import { freeTcpPort, freeUdpBlock } from './net.mjs';
import { sleep } from './wait.mjs';

const run = promisify(execFile);

// `options` are those of its command line that all its lives have.
export async function loneMaster(options = []) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-lone-'));
  const [port, admin] = [await freeTcpPort(), await freeTcpPort()];
  const secret = 'LONE';
  const authorization = `Basic ${Buffer.from(`OPENVIDUAPP:${secret}`).toString('base64')}`;
  const rest = async (method, where, body) => {
    const answer = await fetch(`http://127.0.0.1:${port}/openvidu/api${where}`, {
      method, headers: { authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }, body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, body: text.startsWith('{') ? JSON.parse(text) : text };
  };
  const [linkPort, pki] = [await freeUdpBlock(1), path.join(dir, 'pki')];
  await run(path.join(binaries(), 'ringcast-master'), ['pki', 'init', '--dir', pki, '--nodes', 'media_1']);
  fs.writeFileSync(path.join(dir, 'node.toml'), `
node_id = "media_1"
[link]
listen = "127.0.0.1:${linkPort}"
pki = "${pki}"
[media]
base_port = ${await freeUdpBlock(1)}
advertise = ["127.0.0.1"]
workers = 1
pin = false
[admin]
listen = "127.0.0.1:${await freeTcpPort()}"
`);
  const node = spawn(path.join(binaries(), 'ringcast-node'), ['--config', path.join(dir, 'node.toml')], { stdio: 'ignore' });
  const master = { dir, data: path.join(dir, 'data'), rest, httpPort: port, child: null };
  // `before` is a program and its arguments under which it runs, `ready` what it must answer.
  master.launch = async ({ data = master.data, before = [], ready = '/health' } = {}) => {
    const args = ['--listen', `127.0.0.1:${port}`, '--admin-listen', `127.0.0.1:${admin}`, '--plain-http', '--secret', secret, '--data-dir', data, '--pki-dir', pki, '--node', `media_1=quic://127.0.0.1:${linkPort}`, ...options];
    const [program, ...all] = [...before, path.join(binaries(), 'ringcast-master'), ...args];
    const out = fs.openSync(path.join(dir, 'master.log'), 'a');
    const child = spawn(program, all, { stdio: ['ignore', out, out] });
    fs.closeSync(out);
    master.child = child;
    master.ended = new Promise((resolve) => child.once('exit', resolve));
    for (const began = Date.now(); ;) {
      if (child.exitCode !== null) throw new Error(`ringcast-master ended (${child.exitCode}):\n${master.log()}`);
      const alive = await rest('GET', ready).then((r) => r.status === 200, () => false);
      if (alive) return;
      if (Date.now() - began > 20_000) throw new Error(`ringcast-master does not answer:\n${master.log()}`);
      await sleep(5);
    }
  };
  master.kill = async () => { master.child?.kill('SIGKILL'); await master.ended; };
  master.log = () => fs.readFileSync(path.join(dir, 'master.log'), 'utf8').split('\n').slice(-20).join('\n');
  master.close = async () => {
    if (master.child && master.child.exitCode === null) await master.kill();
    node.kill('SIGKILL');
    fs.rmSync(dir, { recursive: true, force: true });
  };
  return master;
}
