// A server of Prometheus' family on a port of its own, with a folder that goes when it ends.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { freeTcpPort } from './net.mjs';
import { sleep, until } from './wait.mjs';

// Starts `program` with the arguments that `args` makes of its address. `ready` waits until it is, and stops it if it never gets there.
export async function startServer(program, dir, args) {
  const address = `127.0.0.1:${await freeTcpPort()}`;
  const child = spawn(program, args(address), { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text) => { log += text; });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const stop = async () => {
    child.kill('SIGTERM');
    await Promise.race([ended, sleep(5_000).then(kill)]);
    await ended;
    process.off('exit', kill);
    fs.rmSync(dir, { recursive: true, force: true });
  };
  const ready = () => until(`${program} is ready`, () => {
    if (child.exitCode !== null) throw new Error(`${program} ended (${child.exitCode}):\n${log}`);
    return fetch(`http://${address}/-/ready`).then((r) => r.ok, () => false);
  }).catch(async (error) => {
    await stop();
    throw error;
  });
  return { address, ready, stop };
}
