// Where a subscriber's line has not room for everything, a shared screen keeps its picture and cameras get smaller.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, enter } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { onlyWhole } from '../lib/whole.mjs';

// The smallest picture that has three encodings; with grain they take all that encoders may use: 200, 450 and 1200 kbit/s.
const OPTIONS = { width: 960, height: 540, fps: 15, simulcast: true, grain: true };
// The highest of both and sound take more than 2.5 Mbit/s, and of one with the middle of the other less than 1.8.
const RATE = 2_250_000;

let browser, page, cluster;
before(async () => {
  browser = await launchChromium();
  page = await servePage();
  // Everybody is on another worker than the one before.
  cluster = await startCluster({ impaired: true, workers: 2, media: { session_worker_transports: 1 } });
});
after(async () => { await cluster?.stop(); await browser?.close(); page?.close(); });

const widthsOf = (watcher, all) => Promise.all(all.map(async (one) => (await watcher.call('received', one.streamId))?.width ?? 0));

// How wide two publishers are shown to somebody behind `RATE`, over ten seconds: `screens` says who of them shares a screen.
async function shownOf(sessionId, screens) {
  const publishers = [];
  for (const [nth, color] of [COLORS.red, COLORS.green].entries()) {
    const options = { ...OPTIONS, screen: screens[nth] };
    publishers.push(await enter({ cluster, browser, page, sessionId, name: screens[nth] ? 'screen' : 'camera', color, options }));
  }
  for (const one of publishers) {
    assert.equal(one.typeOfVideo, one.name === 'screen' ? 'SCREEN' : 'CUSTOM');
    await until(`three encodings of the ${one.name} are on their way`, async () => {
      const encodings = await one.call('encodings');
      return encodings.length === 3 && encodings.every((e) => e.frames > 20);
    }, { timeout: 40_000 });
  }
  const mark = cluster.impairer.mark();
  const watcher = await enter({ cluster, browser, page, sessionId, name: 'watcher', publish: false });
  await until('both ways are there', async () => cluster.impairer.since(mark).length >= 2, { timeout: 10_000 });
  cluster.impairer.share(cluster.impairer.since(mark), { rate: RATE });
  await until('one is shown as it is', async () => (await widthsOf(watcher, publishers)).includes(960), { timeout: 60_000 });
  await sleep(15_000);
  const shown = [[], []];
  for (let n = 0; n < 40; n += 1) {
    (await widthsOf(watcher, publishers)).forEach((width, nth) => shown[nth].push(width));
    await sleep(250);
  }
  for (const one of [...publishers, watcher]) await one.close();
  return shown;
}

const percentAt = (widths, width) => 100 * widths.filter((one) => one === width).length / widths.length;

for (const [name, screens] of [['published after the camera', [false, true]], ['published before it: the control', [true, false]]]) {
  test(`a screen keeps its picture, ${name}`, { timeout: 180_000, ...onlyWhole }, async (t) => {
    const shown = await shownOf(`priority-${screens.indexOf(true)}`, screens);
    const [screen, camera] = [shown[screens.indexOf(true)], shown[screens.indexOf(false)]];
    const [whole, wholeOfCamera] = [screen, camera].map((widths) => percentAt(widths, 960));
    t.diagnostic(`shown at 960 pixels: the screen ${whole} % of the time, the camera ${wholeOfCamera} %, and ${percentAt(camera, 480)} % at 480`);
    assert.ok(whole >= 80, `the screen: ${screen}`);
    assert.ok(wholeOfCamera <= 20, `the camera: ${camera}`);
  });
}
