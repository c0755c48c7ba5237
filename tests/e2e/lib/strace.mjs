import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { sleep } from './wait.mjs';

const DATAGRAM_CALLS = ['recvmsg', 'sendmsg', 'recvmmsg', 'sendmmsg', 'recvfrom', 'sendto'];

// Watches the worker threads of a node for a while: how often each datagram call was made on a media socket, and all calls.
export async function syscallsOnMediaPort(node, millis) {
  const output = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-strace-')), 'trace');
  const threads = fs.readdirSync(`/proc/${node.pid}/task`).filter((tid) => fs.readFileSync(`/proc/${node.pid}/task/${tid}/comm`, 'utf8').startsWith('worker'));
  if (threads.length === 0) throw new Error('the node has no worker threads');
  const strace = spawn('strace', ['-yy', '-o', output, ...threads.flatMap((tid) => ['-p', tid])], { stdio: ['ignore', 'ignore', 'pipe'] });
  let complaint = '';
  strace.stderr.on('data', (text) => { complaint += text; });
  await sleep(millis);
  strace.kill('SIGINT');
  await new Promise((resolve) => strace.once('close', resolve));
  const lines = fs.existsSync(output) ? fs.readFileSync(output, 'utf8').split('\n') : [];
  fs.rmSync(path.dirname(output), { recursive: true, force: true });
  if (lines.length < 2) throw new Error(`strace saw nothing: ${complaint}`);
  const datagram = {};
  let total = 0;
  for (const line of lines) {
    const call = /^\s*(?:\d+\s+)?(\w+)\(/.exec(line)?.[1];
    if (!call) continue;
    total += 1;
    const onMediaPort = node.mediaPorts.some((port) => line.includes(`:${port}`) || line.includes(`:${port}]`));
    if (DATAGRAM_CALLS.includes(call) && onMediaPort) datagram[call] = (datagram[call] ?? 0) + 1;
  }
  return { datagram, total };
}
