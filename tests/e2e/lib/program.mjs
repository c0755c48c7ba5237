import { spawn } from 'node:child_process';
import path from 'node:path';
import { binaries } from './cluster.mjs';
import { sleep } from './wait.mjs';

// Runs one of our programs to its end, as an operator does at a terminal: { code, signal, stdout, stderr, millis }.
// After `limit` it is ended with SIGTERM.
export async function runProgram(program, args, { limit = 5_000, env = {} } = {}) {
  const { RUST_BACKTRACE, RUST_LOG, ...surroundings } = process.env;
  const child = spawn(path.join(binaries(), program), args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...surroundings, ...env } });
  const at = Date.now();
  const told = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) child[name].on('data', (text) => { told[name] += text; });
  const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
  const timer = setTimeout(() => child.kill('SIGTERM'), limit);
  const end = await Promise.race([ended, sleep(limit + 5_000).then(() => { child.kill('SIGKILL'); return { code: null, signal: 'SIGKILL' }; })]);
  clearTimeout(timer);
  return { ...end, ...told, millis: Date.now() - at };
}
