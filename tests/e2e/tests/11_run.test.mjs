// `scripts/run` as a new user starts it: the page, two people in it, and everything gone after a signal.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launchChromium } from '../lib/browser.mjs';
import { binaries, children } from '../lib/cluster.mjs';
import { freeTcpPort, freeUdpBlock } from '../lib/net.mjs';
import { sleep, until } from '../lib/wait.mjs';

const root = path.join(path.dirname(new URL(import.meta.url).pathname), '../../..');
let browser;
before(async () => { browser = await launchChromium(); });
after(async () => { await browser?.close(); });

for (const flags of [['--plain-http'], ['--nodes', '2']]) {
  test(`scripts/run ${flags.join(' ')}: two people talk on the page`, { timeout: 180_000 }, async () => {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-run-'));
    const media = await freeUdpBlock(8);
    const run = spawn(path.join(root, 'scripts/run'), [...flags, '--http-port', String(await freeTcpPort()), '--media-port', String(media), '--secret', 'S3CRET', '--data-dir', dir], {
      cwd: os.tmpdir(), env: { ...process.env, RINGCAST_BIN: binaries() }, stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [run.stdout, run.stderr]) stream.on('data', (text) => { output += text; });
    const ended = new Promise((resolve) => run.once('exit', (code, signal) => resolve({ code, signal })));
    try {
      const url = await until('it is ready', () => /^Ringcast is ready: (\S+)$/m.exec(output)?.[1], { timeout: 120_000 }).catch((e) => { throw new Error(`${e.message}\n${output}`); });
      assert.match(output, /metrics.*http:\/\/\S+\/metrics/i, 'each node tells its metrics address');
      const started = await children(run.pid);
      assert.ok(started.length >= (flags.includes('--nodes') ? 3 : 2), `processes: ${started}`);
      const pages = [];
      for (const name of ['Ada', 'Ben']) {
        const page = await browser.newPage();
        await page.goto(url);
        await page.fill('#name', name);
        await page.click('#join-button');
        pages.push(page);
      }
      for (const page of pages) {
        await until('both pictures move', () => page.evaluate(async () => {
          const videos = [...document.querySelectorAll('.tile video')];
          const times = videos.map((v) => v.currentTime);
          await new Promise((r) => setTimeout(r, 600));
          return videos.length === 2 && videos.every((v, i) => v.videoWidth > 0 && v.currentTime > times[i]);
        }), { timeout: 30_000 });
      }
      const told = await (await fetchInsecure(`${new URL(url).origin}/openvidu-browser-2.32.2.min.js`)).text();
      assert.equal(told, fs.readFileSync(path.join(root, 'tests/e2e/node_modules/openvidu-browser/static/js/openvidu-browser-2.32.2.min.js'), 'utf8'), 'the client is the published file');
      if (process.env.RINGCAST_SCREENSHOTS) await pages[0].screenshot({ path: path.join(process.env.RINGCAST_SCREENSHOTS, `call-${flags[0].slice(2)}.png`) });
      for (const page of pages) await page.close();
      run.kill('SIGTERM');
      await Promise.race([ended, sleep(10_000).then(() => { throw new Error('it does not stop'); })]);
      await sleep(300);
      for (const pid of started) assert.ok(!fs.existsSync(`/proc/${pid}`), `process ${pid} is still there`);
    } finally {
      if (run.exitCode === null && run.signalCode === null) {
        // By SIGTERM, so that it ends what it started, also when the test failed half-way.
        run.kill('SIGTERM');
        await Promise.race([ended, sleep(10_000)]);
        run.kill('SIGKILL');
      }
      fs.rmSync(dir, { recursive: true, force: true });
    }
  });
}

async function fetchInsecure(url) {
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'; // self-signed on purpose
  return fetch(url);
}
