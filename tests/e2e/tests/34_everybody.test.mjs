// The inspector and the call page for everybody: who uses a keyboard alone, a screen reader, a phone, the dark, and who wants nothing to move.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { axe } from '../lib/axe.mjs';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { paperParticipant } from '../lib/paper.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { onlyWhole } from '../lib/whole.mjs';

const CLIENT = path.join(path.dirname(new URL(import.meta.url).pathname), '../node_modules/openvidu-browser/static/js/openvidu-browser-2.32.2.min.js');
const [WIDE, PHONE] = [{ width: 1280, height: 800 }, { width: 360, height: 700 }];

let browser, cluster, page, inspector;
before(async () => {
  [browser, page] = await Promise.all([launchChromium(), servePage()]);
  cluster = await startCluster({ nodes: 3, workers: 1, master: { demo_page: true, client_package: CLIENT, load_strategy: 'sessions' } });
});
after(async () => { await browser?.close(); await cluster?.stop(); page?.close(); });

// Everybody must be able to use what a page shows now: wide and on a phone, where it is to be no wider than that, in the light and in the dark.
// RINGCAST_PICTURES is a folder for a picture of each.
async function fits(shown, state) {
  for (const [form, size, colorScheme] of [['wide', WIDE, 'light'], ['wide', WIDE, 'dark'], ['phone', PHONE, 'dark']]) {
    await shown.setViewportSize(size);
    await shown.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const { grave } = await axe(shown);
    assert.deepEqual(grave, [], `${state}, ${form}, ${colorScheme}`);
    const width = await shown.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= size.width, `${state}, ${form}: ${width} pixels wide`);
    const folder = process.env.RINGCAST_PICTURES;
    if (folder) await shown.screenshot({ path: path.join(folder, `${state.replaceAll(' ', '-')}-${form}-${colorScheme}.png`), fullPage: form === 'phone' });
  }
  await shown.setViewportSize(WIDE);
}

const text = (where, selector) => where.$eval(selector, (one) => one.textContent);
const has = (what, where, selector, part, timeout = 5_000) => until(what, async () => (await where.$$eval(selector, (all) => all.map((one) => one.textContent))).some((one) => one.includes(part)), { timeout });
const node = async (id) => (await cluster.rest('GET', `/media-nodes/${id}`)).body;
const press = (name) => inspector.getByRole('button', { name, exact: true }).click();
const cancel = () => inspector.click('#ask-no');

test('the door, and a cluster without sessions', async () => {
  inspector = await browser.newPage();
  await inspector.goto(`${cluster.url}/inspector`);
  await fits(inspector, 'door');
  await inspector.fill('#secret', 'wrong');
  await inspector.click('#enter');
  await has('it is refused', inspector, '#door-error', 'wrong');
  await fits(inspector, 'door refused');
  await inspector.fill('#secret', cluster.secret);
  await inspector.click('#enter');
  await has('it is in', inspector, '#node-list h3', 'media_3');
  await has('nothing is there', inspector, '#no-sessions', 'There are no sessions now.');
  await fits(inspector, 'empty');
});

test('fifty sessions, three nodes, a drain with a deadline, every question', async () => {
  for (let n = 1; n <= 50; n += 1) await cluster.token(`course-${String(n).padStart(2, '0')}`);
  for (let n = 1; n <= 6; n += 1) await paperParticipant(cluster, `course-${String(n).padStart(2, '0')}`, { name: 'guest' });
  await has('all are there', inspector, '#sessions-count', '50 with 6 people');
  assert.equal((await inspector.$$('#session-rows tr')).length, 50);
  await press('Drain media_1');
  await fits(inspector, 'drain asked');
  await inspector.fill('#ask-minutes', '0');
  await inspector.click('#ask-yes');
  assert.equal((await node('media_1')).status, 'running', 'no minutes are no deadline');
  await inspector.fill('#ask-minutes', '90');
  await inspector.click('#ask-yes');
  const drained = await until('it is drained', async () => { const one = await node('media_1'); return one.status === 'waiting-idle-to-terminate' && one; }, { timeout: 5_000 });
  assert.ok(Math.abs(drained.deadline - Date.now() - 90 * 60_000) < 20_000, `it ends at ${drained.deadline}`);
  await has('it is shown', inspector, '#node-list .node', 'in 1 h');
  await press('Deadline media_1');
  assert.equal(await inspector.inputValue('#ask-minutes'), '90');
  await inspector.fill('#ask-minutes', '');
  await inspector.click('#ask-yes');
  await until('it has no end', async () => (await node('media_1')).deadline === undefined, { timeout: 5_000 });
  await press('Remove media_2');
  await fits(inspector, 'remove asked');
  await inspector.check('#choice-now');
  assert.ok(await inspector.isHidden('#ask-minutes'), 'now is now');
  await cancel();
  await press('Remove media_2');
  await inspector.fill('#ask-minutes', '600');
  await inspector.click('#ask-yes');
  const removed = await until('it is drained as well', async () => { const one = await node('media_2'); return one.deadline && one; }, { timeout: 5_000 });
  assert.ok(Math.abs(removed.deadline - Date.now() - 600 * 60_000) < 20_000);
  await fits(inspector, 'draining with fifty sessions');
  for (const id of ['media_1', 'media_2']) await press(`Undrain ${id}`);
  await until('both take sessions', async () => (await Promise.all(['media_1', 'media_2'].map(node))).every(({ status, deadline }) => status === 'running' && deadline === undefined), { timeout: 5_000 });
  await inspector.fill('#find', 'nothing is called so');
  await fits(inspector, 'nothing found');
  await inspector.fill('#find', '');
});

test('what is said aloud is short, whatever happens', async () => {
  await (await paperParticipant(cluster, 'silent', { name: 'Paula' })).publish(); // for later: it takes a while until somebody misses its packets
  // Everything that a screen reader is told of by itself, as it changes.
  await inspector.evaluate(() => {
    window.told = [];
    const live = [...document.querySelectorAll('[role="status"], [role="alert"], [aria-live]')].filter((one) => one.getAttribute('aria-live') !== 'off');
    for (const one of live) new MutationObserver(() => one.textContent && window.told.push(`${one.id}: ${one.textContent}`)).observe(one, { childList: true, subtree: true, characterData: true });
  });
  const told = () => inspector.evaluate(() => window.told);
  const happen = async (count) => {
    for (let n = 0; n < count; n += 1) await cluster.rest('POST', '/signal', { session: 'course-01', type: 'hand', data: 'up' });
    await until('all is in the log', async () => (await inspector.$$('#log li')).length >= before + count, { timeout: 5_000 });
  };
  let before = (await inspector.$$('#log li')).length;
  await happen(20);
  await sleep(1_000);
  assert.deepEqual(await told(), [], 'nobody asked');
  await inspector.check('#aloud');
  before = (await inspector.$$('#log li')).length;
  await happen(20);
  await until('the others are told in one sentence', async () => (await told()).length >= 2, { timeout: 8_000 });
  await sleep(1_000);
  const [first, second, ...more] = await told();
  assert.match(first, /^spoken: A signal “hand” in course-01/);
  assert.match(second, /^spoken: 19 events\. The last: A signal “hand” in course-01/);
  assert.deepEqual(more, []);
  await inspector.uncheck('#aloud');
  assert.equal(await text(inspector, '#spoken'), '');
  await inspector.click('#pause');
  await happen(0);
  await fits(inspector, 'events paused');
  await inspector.click('#pause');
});

test('with the keyboard alone: a drain with a deadline, an eviction, the end of a session', async () => {
  const [ann, bob] = [await paperParticipant(cluster, 'keys', { name: 'Ann' }), await paperParticipant(cluster, 'keys', { name: 'Bob' })];
  const { mediaNodeId: id } = (await cluster.rest('GET', '/sessions/keys')).body;
  await inspector.reload();
  await has('the session is there', inspector, '#session-rows', 'keys');
  const focused = () => inspector.evaluate(() => document.activeElement.getAttribute('aria-label') ?? (document.activeElement.id || document.activeElement.textContent));
  // Goes on by Tab until that has the focus; whoever is there sees where.
  const tabTo = async (wanted, most = 60) => {
    for (let left = most; left > 0; left -= 1) {
      if (await focused() === wanted) {
        const outline = await inspector.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
        return assert.notEqual(outline, 'none', `${wanted} shows that it has the focus`);
      }
      await inspector.keyboard.press('Tab');
    }
    return assert.fail(`no way to ${wanted}; at ${await focused()}`);
  };
  const key = (name) => inspector.keyboard.press(name);
  // A button does nothing while it is still at what it was pressed for.
  const pressEnter = async () => {
    await until('it can be pressed', () => inspector.evaluate(() => !document.activeElement.hasAttribute('aria-disabled')), { timeout: 5_000 });
    await key('Enter');
  };

  await tabTo(`Drain ${id}`);
  await pressEnter();
  assert.equal(await focused(), 'ask-no', 'what does no harm comes first');
  await inspector.keyboard.press('Shift+Tab');
  assert.equal(await focused(), 'ask-minutes');
  await inspector.keyboard.type('45');
  await pressEnter(); // as in any form
  const drained = await until('it is drained', async () => { const one = await node(id); return one.status === 'waiting-idle-to-terminate' && one; }, { timeout: 5_000 });
  assert.ok(Math.abs(drained.deadline - Date.now() - 45 * 60_000) < 20_000);
  await until('the focus is where it was', async () => await focused() === `Undrain ${id}`, { timeout: 5_000 });
  await pressEnter();
  await until('it takes sessions', async () => (await node(id)).status === 'running', { timeout: 5_000 });

  await tabTo('find');
  await inspector.keyboard.type('keys');
  await tabTo('keys');
  await pressEnter();
  await has('who is there', inspector, '#people h3', 'Bob');
  await tabTo('Evict Bob');
  await pressEnter();
  await key('Escape');
  assert.equal(await focused(), 'Evict Bob');
  await pressEnter();
  await tabTo('ask-yes', 3);
  await pressEnter();
  await until('he is gone', async () => (await inspector.$$('#people > li')).length === 1, { timeout: 5_000 });
  await until('the focus is not lost', async () => await focused() === 'one-title', { timeout: 5_000 });
  await tabTo('close-one');
  await pressEnter();
  await tabTo('ask-yes', 3);
  await pressEnter();
  await until('it is over', async () => (await cluster.rest('GET', '/sessions/keys')).status === 404, { timeout: 5_000 });
  await has('it is said', inspector, '#one-gone:not([hidden])', 'This session is over.');
  await fits(inspector, 'session over');
  for (const who of [ann, bob]) who.close();
});

// What pictures of 960 by 540 have in each layer.
const WIDTHS = { rdiv4: 240, rdiv2: 480, rdiv1: 960 };

test('the layer that is shown of a stream is the one that its viewer gets', async () => {
  const teacher = await enter({ cluster, browser, page, sessionId: 'lecture', name: 'Teacher', color: COLORS.blue, options: { width: 960, height: 540, fps: 15, simulcast: true } });
  const viewer = await enter({ cluster, browser, page, sessionId: 'lecture', name: 'Viewer', publish: false });
  await seen(viewer, teacher.streamId);
  await inspector.bringToFront();
  await inspector.goto(`${cluster.url}/inspector#/session/lecture`);
  await has('the viewer is there', inspector, '#people h3', 'Viewer');
  await inspector.click('#people summary:visible');
  const rows = () => inspector.$$eval('#people tbody tr', (all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
  const layerIs = (rid) => until(`the layer is ${rid}`, async () => {
    const [, layer = ''] = (await rows()).find(([title]) => title === 'Teacher, video') ?? [];
    return layer.split(' ')[0] === rid && (await viewer.call('received', teacher.streamId)).width === WIDTHS[rid];
  }, { timeout: 15_000 });
  await layerIs('rdiv1');
  const sent = (await rows()).filter(([title]) => title === 'Sends camera' || title === 'Sends video').map(([, layer]) => layer.split(' ')[0]);
  assert.deepEqual(sent.sort(), ['rdiv1', 'rdiv2', 'rdiv4']);
  await teacher.call('activate', [true, false, false]);
  await layerIs('rdiv4');
  await teacher.call('activate', [true, true, false]);
  await layerIs('rdiv2');
  await fits(inspector, 'session with streams');
  await assert.rejects(async () => {
    const [, layer] = (await rows()).find(([title]) => title === 'Teacher, video');
    assert.equal(layer.split(' ')[0], 'rdiv1');
  }, 'the control: what is not shown is not found');
  await press('Evict Viewer');
  await fits(inspector, 'evict asked');
  await cancel();
  for (const who of [teacher, viewer]) await who.close();
  await inspector.click('.views a[href="#sessions"]');
});

test('who may be sent less is shown with a lower layer than who may have everything', onlyWhole, async (t) => {
  // Noise, so that the encodings differ in what they take.
  const teacher = await enter({ cluster, browser, page, sessionId: 'seminar', name: 'Teacher', color: COLORS.red, options: { width: 960, height: 540, fps: 15, simulcast: true, grain: true } });
  const limited = await cluster.token('seminar', { kurentoOptions: { videoMaxSendBandwidth: 300 } });
  const viewers = [
    await enter({ cluster, browser, page, sessionId: 'seminar', name: 'Wide', publish: false }),
    await enter({ cluster, browser, page, sessionId: 'seminar', name: 'Narrow', publish: false, token: limited }),
  ];
  for (const viewer of viewers) await seen(viewer, teacher.streamId);
  await inspector.bringToFront();
  await inspector.goto(`${cluster.url}/inspector#/session/seminar`);
  await has('both are there', inspector, '#people h3', 'Narrow');
  for (const summary of await inspector.$$('#people summary:visible')) await summary.click();
  // What the inspector says of each viewer, beside what that one decodes.
  const shown = async () => {
    const layers = await inspector.$$eval('#people > li', (people) => people.map((one) => [one.querySelector('h3').textContent, [...one.querySelectorAll('tbody tr')].find((row) => row.cells[0].textContent === 'Teacher, video')?.cells[1].textContent.split(' ')[0]]));
    const widths = await Promise.all(viewers.map(async (viewer) => [viewer.name, (await viewer.call('received', teacher.streamId)).width]));
    return { layers: Object.fromEntries(layers), widths: Object.fromEntries(widths) };
  };
  const agreed = ({ layers, widths }) => layers.Wide === 'rdiv1' && layers.Narrow !== 'rdiv1' && ['Wide', 'Narrow'].every((name) => WIDTHS[layers[name]] === widths[name]);
  const last = await until('each has its own layer', async () => { const now = await shown(); return agreed(now) && now; }, { timeout: 30_000, every: 500 });
  t.diagnostic(JSON.stringify(last));
  await Promise.all([teacher, ...viewers].map((who) => who.close()));
  await inspector.click('.views a[href="#sessions"]');
});

test('a stream on which nothing flows, and why', async () => {
  await inspector.bringToFront();
  await inspector.goto(`${cluster.url}/inspector#/session/silent`);
  await has('it is told why', inspector, '#one li p.why', 'No connectivity check', 40_000);
  await fits(inspector, 'session in trouble');
  await inspector.click('.views a[href="#sessions"]');
});

test('nothing moves for who wants that', async () => {
  const moves = async (reducedMotion) => {
    await inspector.emulateMedia({ reducedMotion });
    return inspector.evaluate(() => [...document.querySelectorAll('*')].some((one) => { const style = getComputedStyle(one); return style.transitionDuration !== '0s' || style.animationName !== 'none' || style.scrollBehavior === 'smooth'; }));
  };
  assert.equal(await moves('reduce'), false);
  assert.equal(await moves('no-preference'), true, 'the control: else something does');
});

test('the call page: the lobby, a refusal, a call', async () => {
  const guests = [];
  for (const name of ['Mara', 'Jon']) {
    const guest = await browser.newPage();
    await guest.goto(`${cluster.url}/?session=afternoon`);
    await guest.fill('#name', name);
    guests.push(guest);
  }
  const [guest] = guests;
  await fits(guest, 'call page, lobby');
  await guest.$eval('#session', (one) => { one.value = 'no such name'; one.pattern = '.*'; });
  await guest.click('#join-button');
  await has('it is refused', guest, '#join-error:not([hidden])', 'letters, digits');
  await fits(guest, 'call page, refused');
  await guest.fill('#session', 'afternoon');
  for (const one of guests) {
    await one.click('#join-button');
    await one.waitForSelector('#call:not([hidden])');
  }
  await until('they see each other', async () => (await guest.$$('.tile')).length === 2);
  await guest.click('#mic');
  await guest.click('#cam');
  await guest.click('#invite');
  await fits(guest, 'call page, call');
  for (const one of guests) await one.close();
});

test('a dead node, and a dead master', async () => {
  await inspector.bringToFront();
  await cluster.nodes[2].kill();
  await has('it is shown', inspector, '#node-list .badge.bad', 'dead', 8_000);
  await fits(inspector, 'dead node');
  await cluster.killMaster();
  await has('what is shown is old', inspector, '#trouble', 'The master does not answer.', 8_000);
  await fits(inspector, 'dead master');
  assert.deepEqual(inspector.lines.filter((line) => /page error|Content Security|TypeError/.test(line)), []);
});

test('the control: a page that not everybody can use is found out', async () => {
  const careless = await browser.newPage();
  await careless.setContent('<title>x</title><main style="width:900px"><img src="data:,"><p style="color:#aaa;background:#fff">hardly there</p><button></button></main>');
  const { grave } = await axe(careless);
  for (const rule of ['button-name', 'color-contrast', 'image-alt', 'html-has-lang']) assert.ok(grave.some((one) => one.startsWith(`${rule}:`)), `${rule} in ${grave.join('; ')}`);
  await careless.setContent('<html lang="en"><title>x</title><main style="width:900px"><h1>Fine</h1></main></html>');
  await assert.rejects(fits(careless, 'too wide'), /too wide, phone: 9\d\d pixels wide/);
  await careless.close();
});
