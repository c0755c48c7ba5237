// The page at `/` as its users see it when not all is well.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launchChromium } from '../lib/browser.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { until } from '../lib/wait.mjs';

const here = path.dirname(new URL(import.meta.url).pathname);
const CLIENT = path.join(here, '../node_modules/openvidu-browser/static/js/openvidu-browser-2.32.2.min.js');

let browser, cluster;
before(async () => { [browser, cluster] = await Promise.all([launchChromium(), startCluster({ master: { demo_page: true, client_package: CLIENT } })]); });
after(async () => { await browser?.close(); await cluster?.stop(); });

// A user's page; `lacks` names the devices that its machine does not have.
async function open(name, { session = 'page', lacks = [] } = {}) {
  const page = await browser.newPage();
  await page.addInitScript((lacks) => {
    const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = (wanted) => (lacks.some((kind) => wanted[kind])
      ? Promise.reject(new DOMException('Requested device not found', 'NotFoundError')) : real(wanted));
  }, lacks);
  await page.goto(`${cluster.url}/?session=${session}`);
  await page.fill('#name', name);
  return page;
}

async function join(page) {
  await page.click('#join-button');
  await page.waitForSelector('#call:not([hidden])');
}

const names = (page) => page.$$eval('.tile .who', (all) => all.map((one) => one.textContent).sort());
const error = (page) => page.$eval('#join-error', (one) => (one.hidden ? '' : one.textContent));
const shown = (page) => page.$$eval('.tile:not(.dark) video', (all) => all.filter((video) => video.videoWidth > 0).length);

test('who has neither camera nor microphone watches, and is seen to be there', async () => {
  const watcher = await open('Watcher', { session: 'watch', lacks: ['audio', 'video'] });
  await until('it is told', () => watcher.$eval('#preview-note', (note) => note.textContent.includes('No camera or microphone was found')));
  await join(watcher);
  const talker = await open('Talker', { session: 'watch' });
  await join(talker);
  await until('the talker is seen', async () => (await shown(watcher)) === 1);
  assert.deepEqual(await names(watcher), ['Talker', 'Watcher (you)']);
  assert.deepEqual(await names(talker), ['Talker (you)', 'Watcher']);
  assert.deepEqual(await watcher.$$eval('#mic, #cam', (all) => all.map((one) => one.disabled)), [true, true]);
  assert.equal(await talker.$eval('#call-count', (one) => one.textContent), '2 people');
  await talker.click('#cam');
  await until('its picture is hidden', async () => (await shown(watcher)) === 0);
  await talker.click('#leave');
  await until('it is gone', async () => (await names(watcher)).length === 1);
  for (const page of [watcher, talker]) await page.close();
});

test('who lacks a camera is heard', async () => {
  const page = await open('Voice', { session: 'voice', lacks: ['video'] });
  await until('it is told', () => page.$eval('#preview-note', (note) => note.textContent.includes('The others will hear you')));
  await join(page);
  await until('it publishes sound alone', async () => {
    const { body } = await cluster.rest('GET', '/sessions/voice');
    const media = body.connections.content[0]?.publishers[0]?.mediaOptions;
    return media?.hasAudio === true && media.hasVideo === false;
  });
  assert.deepEqual(await page.$$eval('#mic, #cam', (all) => all.map((one) => one.disabled)), [false, true]);
  await page.close();
});

test('four tiles stand in two rows, as large as the window lets them', async () => {
  const pages = [];
  for (const name of ['A', 'B', 'C', 'D']) pages.push(await open(name, { session: 'four', lacks: ['audio', 'video'] }));
  await pages[0].setViewportSize({ width: 1280, height: 720 });
  for (const page of pages) await join(page);
  await until('all are there', async () => (await names(pages[0])).length === 4);
  const boxes = await pages[0].$$eval('.tile', (all) => all.map((one) => one.getBoundingClientRect()).map(({ x, y, width, height }) => ({ x, y, width, height })));
  assert.equal(new Set(boxes.map((box) => Math.round(box.x))).size, 2, JSON.stringify(boxes));
  assert.equal(new Set(boxes.map((box) => Math.round(box.y))).size, 2, JSON.stringify(boxes));
  for (const box of boxes) assert.ok(Math.abs(box.width / box.height - 4 / 3) < 0.02 && box.width > 250, JSON.stringify(box));
  for (const page of pages) await page.close();
});

test('after a restart of the master the call is as it was; after one that has lost its state users are asked to join again, and can', async () => {
  const [a, b] = [await open('A', { session: 'again' }), await open('B', { session: 'again' })];
  for (const page of [a, b]) await join(page);
  await until('they see each other', async () => (await shown(a)) === 2 && (await shown(b)) === 2);
  await cluster.killMaster();
  await until('it is told', () => a.$eval('#toast', (one) => !one.hidden && one.textContent.includes('Trying again')), { timeout: 10_000 });
  const time = () => a.$eval('.tile:not(.own) video', (video) => video.currentTime);
  const before = await time();
  await until('the call goes on', async () => (await time()) > before + 1);
  await cluster.launchMaster();
  for (const page of [a, b]) await until('it is connected again', () => page.$eval('#toast', (one) => one.hidden || one.textContent.includes('Connected again')), { timeout: 15_000 });
  const c = await open('C', { session: 'again' });
  await join(c);
  await until('the third sees two, and is seen', async () => (await shown(c)) === 3 && (await shown(a)) === 3 && (await shown(b)) === 3);
  assert.equal(await error(a), '', 'nobody is asked anything');
  await c.close();
  await cluster.killMaster();
  fs.rmSync(path.join(cluster.dir, 'master'), { recursive: true });
  await cluster.launchMaster();
  for (const page of [a, b]) await until('it is asked to join again', async () => (await error(page)).includes('Join again'), { timeout: 15_000 });
  for (const page of [a, b]) await join(page);
  await until('they see each other again', async () => (await shown(a)) === 2 && (await shown(b)) === 2);
  for (const page of [a, b]) await page.close();
});

test('refusals are told in words', async () => {
  const page = await open('Eager');
  await page.$eval('#session', (one) => { one.value = 'no such name'; one.pattern = '.*'; });
  await page.click('#join-button');
  await until('the name is refused', async () => (await error(page)).includes('letters, digits'));
  // The browser has a few connections: who joins waits behind all who asked before, and nobody has time to be let in again.
  const answers = page.evaluate(async (body) => {
    const asked = Array.from({ length: 100 }, () => fetch('/demo/token', { method: 'POST', body }));
    document.querySelector('#session').value = 'page';
    document.querySelector('#join-button').click();
    return (await Promise.all(asked)).map(({ status }) => status);
  }, JSON.stringify({ sessionId: 'page' }));
  await until('it is asked to wait', async () => (await error(page)).includes('Try again in a moment'));
  const statuses = await answers;
  assert.ok(statuses.includes(200) && statuses.includes(429), 'tokens are limited');
  await page.close();
});
