// Draws the Grafana boards, and takes the inspector, as they look at a cluster that carries calls. No Grafana is needed: see lib/boards.
//   node pictures.mjs FOLDER [--seconds N]
import fs from 'node:fs';
import path from 'node:path';
import { drawBoard } from './lib/boards/page.mjs';
import { boards } from './lib/boards/read.mjs';
import { needPrometheus } from './lib/prometheus_server.mjs';
import { startScene } from './lib/scene.mjs';
import { sleep, until } from './lib/wait.mjs';

const WIDTH = 1280;
const RATE = '15s';
const WARM_UP = 20; // what is shown begins so many seconds after the first call
// Of the overview so many rows are taken alone as well, and the inspector is so tall: what fits a README.
const [ROWS_SHOWN, TALL, PHONE] = [3, 820, 400];

const args = process.argv.slice(2);
const at = args.indexOf('--seconds');
const seconds = at < 0 ? 90 : Number(args.splice(at, 2)[1]);
const [folder] = args;
if (!folder || !(seconds >= 20)) {
  console.error('node pictures.mjs FOLDER [--seconds N]: N is 20 at least');
  process.exit(2);
}
fs.mkdirSync(folder, { recursive: true });
needPrometheus();
const scene = await startScene();
try {
  console.log(`pictures: the cluster carries calls for ${seconds} s`);
  await sleep(1000 * (WARM_UP + seconds));
  await takeInspector();
  for (const board of boards()) await takeBoard(board);
} finally { await scene.stop(); }

async function takeBoard(board) {
  const end = Math.floor(Date.now() / 1000) - 1;
  const values = { cluster: ['frankfurt'], node: scene.cluster.nodes.map((node) => node.id) };
  const { html, empty } = await drawBoard(scene.prometheus, board, { width: WIDTH, scope: { values, rate: RATE, start: end - seconds, end, step: 1 } });
  const page = await scene.browser.newPage();
  await page.setViewportSize({ width: WIDTH, height: 900 });
  await page.setContent(html);
  await take(page, `${board.uid}.png`, { fullPage: true });
  console.log(`  nothing to show: ${empty.join(', ') || 'no panel'}`);
  if (board.uid === 'ringcast-overview') {
    const bottom = await page.$$eval('h2', (rows, shown) => rows[shown].getBoundingClientRect().top, ROWS_SHOWN);
    await take(page, 'overview.png', { fullPage: true, clip: { x: 0, y: 0, width: WIDTH, height: bottom } });
  }
  await page.close();
}

// The cluster on a desk, and one of its sessions on a phone beside it.
async function takeInspector() {
  const desk = await openInspector({ width: WIDTH, height: TALL }, '');
  await until('there are sessions', () => desk.$$eval('#session-rows tr', (rows) => rows.length > 4), { timeout: 10_000 });
  const phone = await openInspector({ width: PHONE, height: TALL }, '#/session/physics-101');
  await phone.click('#people summary:visible');
  await sleep(5_000);
  await phone.$eval('#one-title', (one) => one.scrollIntoView());
  const shots = [];
  for (const page of [desk, phone]) {
    await page.bringToFront();
    await page.mouse.move(0, 0);
    await sleep(1_500);
    shots.push((await page.screenshot()).toString('base64'));
    await page.close();
  }
  const sheet = await scene.browser.newPage();
  await sheet.setViewportSize({ width: WIDTH + 30 + PHONE, height: TALL });
  await sheet.setContent(`<body style="margin:0;display:flex;gap:30px;background:#fff">${shots.map((shot) => `<img src="data:image/png;base64,${shot}">`).join('')}`);
  await take(sheet, 'inspector.png', {});
  await sheet.close();
}

async function openInspector(size, hash) {
  const page = await scene.browser.newPage();
  await page.setViewportSize(size);
  await page.goto(`${scene.cluster.url}/inspector${hash}`);
  await page.fill('#secret', scene.cluster.secret);
  await page.click('#enter');
  await page.waitForSelector('#inside:not([hidden])');
  return page;
}

async function take(page, name, how) {
  const file = path.join(folder, name);
  await page.screenshot({ path: file, ...how });
  console.log(`pictures: ${name}, ${Math.round(fs.statSync(file).size / 1024)} KiB`);
}
