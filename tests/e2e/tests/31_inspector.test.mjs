// The inspector as operators use it, and what their clicks and keys cause on the cluster.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { paperParticipant } from '../lib/paper.mjs';
import { sleep, until } from '../lib/wait.mjs';

let browser, cluster, page, inspector;
before(async () => {
  [browser, page] = await Promise.all([launchChromium(), servePage()]);
  cluster = await startCluster({ nodes: 2, workers: 1, proxied: true, master: { load_interval: '1s', load_stale_after: 2, load_excluded_after: 4, wrong_secrets_per_address_rate: 1 } });
});
after(async () => { await cluster?.stop(); await browser?.close(); page?.close(); });

// The inspector in a page of its own; `asked` are the requests that it makes.
async function open() {
  const made = await browser.newPage();
  made.asked = [];
  made.on('request', (request) => made.asked.push({ path: new URL(request.url()).pathname + new URL(request.url()).search, url: request.url(), method: request.method() }));
  await made.goto(`${cluster.url}/inspector`);
  return made;
}

async function signedIn() {
  const made = await open();
  await made.fill('#secret', cluster.secret);
  await made.click('#enter');
  await until('it is live', () => made.$eval('#live-text', (one) => one.textContent === 'Live'), { timeout: 5_000 });
  return made;
}

const text = (where, selector) => where.$eval(selector, (one) => one.textContent);
const has = (what, where, selector, part, timeout = 5_000) => until(what, async () => (await where.$$eval(selector, (all) => all.map((one) => one.textContent))).some((one) => one.includes(part)), { timeout });
const told = (part) => has(`the log says "${part}"`, inspector, '#log li p', part);
const node = async (id) => (await cluster.rest('GET', `/media-nodes/${id}`)).body;
const focused = (where) => where.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.id ?? document.activeElement.tagName);
const focusIs = (where, wanted) => until(`the focus is at ${wanted}`, async () => (await focused(where)) === wanted, { timeout: 5_000 });
const statistics = () => inspector.asked.filter((one) => one.path.includes('webRtcStats'));
const disconnected = (who) => until(`${who.name} is told`, async () => (await who.call('eventsOf', 'sessionDisconnected'))[0], { timeout: 5_000 });

test('the page tells nothing without the secret, says what is wrong with another, and forgets on signing out', async () => {
  const stranger = await open();
  await stranger.fill('#secret', 'wrong');
  await stranger.click('#enter');
  await until('it is refused', async () => (await text(stranger, '#door-error')) === 'This secret is wrong.', { timeout: 5_000 });
  assert.equal(stranger.asked.filter((one) => one.path.startsWith('/openvidu')).length, 1, 'a wrong secret is tried once');
  assert.equal(await stranger.evaluate(() => sessionStorage.length), 0);
  assert.ok(!(await stranger.content()).includes('media_1'));
  for (const _ of Array(12)) await cluster.rest('GET', '/sessions', undefined, 'guess');
  await stranger.click('#enter');
  await until('it is told to wait', async () => (await text(stranger, '#door-error')).startsWith('Too many wrong secrets'), { timeout: 5_000 });
  const before = stranger.asked.length;
  await stranger.keyboard.press('Enter');
  await sleep(300);
  assert.equal(stranger.asked.length, before, 'and asks nothing meanwhile');
  await stranger.reload();
  await stranger.fill('#secret', cluster.secret);
  await stranger.keyboard.press('Enter');
  await has('it is let in', stranger, '#node-list h3', 'media_1');
  assert.ok(stranger.asked.every((one) => one.url.startsWith(cluster.url) || one.url.startsWith('data:')), 'nothing from elsewhere');
  await stranger.reload();
  await has('it is still in', stranger, '#node-list h3', 'media_2');
  await stranger.click('#sign-out');
  assert.ok(!(await stranger.content()).includes('media_1'), 'nothing stays behind');
  assert.equal(await stranger.evaluate(() => sessionStorage.length), 0);
  const policy = (await fetch(`${cluster.url}/inspector`)).headers.get('content-security-policy');
  assert.match(policy, /default-src 'none'.*frame-ancestors 'none'/);
  await stranger.close();
});

const people = {};
test('nodes, sessions and streams are shown with their figures, which are asked for only while they are', async () => {
  inspector = await signedIn();
  assert.equal(await text(inspector, '#nodes-count'), '2 of 2 connected');
  await has('nothing is there', inspector, '#no-sessions', 'There are no sessions now.');
  people.a = await enter({ cluster, browser, page, sessionId: 'seen', name: 'Anna', color: [200, 30, 30] });
  people.b = await enter({ cluster, browser, page, sessionId: 'seen', name: 'Ben', publish: false });
  await seen(people.b, people.a.streamId, { frames: 10 });
  await inspector.bringToFront(); // pages behind others are drawn once a second
  const cells = () => inspector.$$eval('#session-rows tr', (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  const { mediaNodeId } = (await cluster.rest('GET', '/sessions/seen')).body;
  const row = await until('the session is counted', async () => (await cells()).find((one) => one[2] === '2' && one[4] === '1'), { timeout: 5_000 });
  assert.deepEqual(row.slice(0, 5), ['seen', mediaNodeId, '2', '1', '1']);
  await has('its node carries it', inspector, '#node-list .node', 'Sessions1');
  assert.equal(statistics().length, 0, 'nobody looks at streams yet');
  await inspector.click('#session-rows a');
  await focusIs(inspector, 'one-title');
  await inspector.click('#people summary:visible');
  const lines = () => inspector.$$eval('#people tbody tr', (rows) => rows.map((one) => [...one.cells].map((cell) => cell.textContent)));
  const figures = await until('figures are there', async () => {
    const all = await lines();
    const rate = (title) => all.find((one) => one[0] === title && /^[1-9]\d* kbit\/s|^\d+\.\d Mbit\/s/.test(one[2]) && /^\d+ ms$/.test(one[4]));
    return rate('Sends video') && rate('Sends sound') && rate('Anna, video') && all;
  }, { timeout: 8_000 });
  assert.ok(figures.every((one) => /^\d+(\.\d)? %$/.test(one[3])), JSON.stringify(figures));
  assert.ok(statistics().length > 0 && statistics().every((one) => one.path === '/openvidu/api/sessions/seen?webRtcStats=true'), JSON.stringify(statistics()));
  await inspector.click('#one a[href="#sessions"]');
  await focusIs(inspector, 'sessions');
  await sleep(300); // one may be on its way
  const asked = statistics().length;
  await sleep(2_500);
  assert.equal(statistics().length, asked, 'nobody looks at streams any more');
});

test('a node that is full, and one whose load is not known, are shown with the reason, and that it is over', async () => {
  const [one, other] = cluster.nodes;
  const card = async ({ id }) => {
    const all = await inspector.$$eval('#node-list .node', (cards) => cards.map((each) => ({
      title: each.querySelector('h3').textContent.trim(), badge: each.querySelector('.badge').textContent, load: each.querySelector('.figure').textContent, spoken: each.querySelector('[role="meter"]').getAttribute('aria-valuetext'),
      why: each.querySelector('.why').textContent, facts: Object.fromEntries([...each.querySelectorAll('.facts div')].map((fact) => [fact.children[0].textContent, fact.children[1].textContent])),
    })));
    return all.find(({ title }) => title === id);
  };
  const becomes = (what, node, so) => until(what, async () => { const now = await card(node); return so(now) && now; }, { timeout: 10_000 });
  const idle = (now) => now.badge === 'running' && now.why === '' && /^\d %$|^[1-5]\d %$/.test(now.load);
  for (const node of cluster.nodes) await becomes(`${node.id} runs with room`, node, idle);
  const { body: { ringcastInfo: info } } = await cluster.rest('GET', `/media-nodes/${one.id}?extra-info=true`);
  await becomes('its transports are counted', one, ({ facts }) => new RegExp(`^\\d+ of ${info.transportsMax}$`).test(facts.Transports));
  const memory = (await one.metrics()).sum('ringcast_node_capacity_memory_bytes');
  one.proxy.alter('ringcast_node_resident_memory_bytes', 1.5 * memory);
  const full = await becomes('it is full', one, ({ badge }) => badge === 'full');
  assert.deepEqual([full.load, full.spoken, full.why, full.facts['Nearest limit']], ['150 %', '150 %', 'It uses all memory that it may. It gets no new sessions until there is room.', 'memory']);
  assert.ok(idle(await card(other)), 'the other has room');
  one.proxy.alter('ringcast_node_resident_memory_bytes', undefined);
  await becomes('it has room', one, idle);
  other.proxy.block(true);
  await becomes('nobody can read it', other, ({ badge }) => badge === 'load not known');
  other.proxy.block(false);
  await becomes('it can be read', other, idle);
});

test('a node is drained and taken back, the button keeps the focus, and the log tells of it', async () => {
  const { mediaNodeId: id } = (await cluster.rest('GET', '/sessions/seen')).body; // an empty one would leave
  const drain = inspector.getByRole('button', { name: `Drain ${id}`, exact: true });
  await drain.focus();
  await inspector.keyboard.press('Enter');
  await inspector.click('#ask-yes');
  await until('it is drained', async () => (await node(id)).status === 'waiting-idle-to-terminate', { timeout: 5_000 });
  await has('it is shown', inspector, '#node-list .badge', 'draining');
  await told(`Node ${id} is waiting-idle-to-terminate, was running`);
  const looks = () => inspector.asked.filter((one) => one.path.startsWith('/openvidu/api/media-nodes?')).length;
  for (let more = 2, before = looks(); more > 0; more--, before = looks()) {
    await cluster.rest('POST', '/sessions', {}); // what happens is looked at
    await until('it looked again', () => looks() > before, { timeout: 5_000 });
  }
  assert.equal(await focused(inspector), `Undrain ${id}`);
  await inspector.keyboard.press('Enter');
  await until('it takes sessions', async () => (await node(id)).status === 'running', { timeout: 5_000 });
  await has('it is said', inspector, '#said', 'takes sessions again');
});

test('a node is added and removed', async () => {
  const third = await cluster.anotherNode();
  await inspector.fill('#add-uri', 'quic://127.0.0.1:1');
  await inspector.click('#add-node button');
  await has('what is wrong is said', inspector, '#said.failed', '127.0.0.1:1', 15_000);
  await inspector.fill('#add-uri', third.uri);
  await inspector.fill('#add-label', 'rack <7>');
  await inspector.click('#add-node button');
  await has('it is shown', inspector, '#node-list h3', `${third.id} rack <7>`, 8_000);
  await until('it runs', async () => (await node(third.id)).status === 'running', { timeout: 5_000 });
  for (const what of ['Drain', 'Remove']) { // it is empty, so it would leave either way
    await inspector.click(`button[aria-label="${what} ${third.id}"]`);
    await inspector.click('#ask-no');
  }
  assert.equal((await node(third.id)).status, 'running', 'only if it is meant');
  await inspector.click(`button[aria-label="Remove ${third.id}"]`);
  await inspector.click('#ask-yes');
  await until('it is gone', async () => (await cluster.rest('GET', `/media-nodes/${third.id}`)).status === 404, { timeout: 8_000 });
  await told(`Node ${third.id} (rack <7>) is terminated`);
  await until('it is not shown', async () => (await inspector.$$('#node-list li')).length === 2, { timeout: 5_000 });
});

test('what strangers are called is text', async () => {
  const name = '<img src=x onerror="window.ran=1"><script>window.ran=1</script>';
  const who = await paperParticipant(cluster, 'strange', { name, token: await cluster.token('strange', { data: name }) });
  await cluster.rest('POST', '/signal', { session: 'strange', type: name, data: name });
  await told(`A signal “${name}” in strange`);
  await told(`${name} joined strange`);
  await inspector.click('#session-rows a[href="#/session/strange"]');
  await until('it is shown', async () => (await inspector.$$eval('#people h3', (all) => all.map((one) => one.textContent)))[0] === name, { timeout: 5_000 });
  await has('and what the application said', inspector, '#people dd', name);
  await inspector.click(`#people button[aria-label^="Evict"]`);
  assert.equal(await text(inspector, '#ask-title'), `Evict ${name}?`);
  await inspector.keyboard.press('Escape');
  assert.equal(await inspector.evaluate(() => window.ran), undefined);
  assert.equal((await inspector.$$('#inside img, #ask img, #inside script')).length, 0);
  // The control: taken as HTML it would run.
  const careless = await browser.newPage();
  await careless.goto(page.url);
  await careless.evaluate((html) => { document.body.innerHTML = html; }, name);
  await until('it runs', () => careless.evaluate(() => window.ran === 1), { timeout: 5_000 });
  await careless.close();
  await inspector.bringToFront();
  who.close();
});

test('a participant is evicted once that is confirmed, and told why', async () => {
  await inspector.click('.views a[href="#sessions"]');
  await inspector.click('#session-rows a[href="#/session/seen"]');
  const evict = 'button[aria-label="Evict Ben"]';
  await inspector.click(evict);
  await inspector.click('#ask-no');
  await focusIs(inspector, 'Evict Ben'); // where it was
  await sleep(300);
  assert.deepEqual(await people.b.call('eventsOf', 'sessionDisconnected'), [], 'only if it is meant');
  await inspector.click(evict);
  await inspector.click('#ask-yes');
  assert.equal((await disconnected(people.b)).reason, 'forceDisconnectByServer');
  await told('Ben left seen: forceDisconnectByServer');
  await until('it is not shown', async () => (await inspector.$$('#people > li')).length === 1, { timeout: 5_000 });
  await focusIs(inspector, 'one-title'); // not lost with the row
  const shown = await inspector.$$eval('#log li:not([hidden])', (all) => all.map((one) => one.dataset.session));
  assert.ok(shown.length > 0 && shown.every((one) => one === 'seen'), 'only what is about this session');
});

test('with the keyboard alone: signing in, finding a session, closing it', async () => {
  const keyboard = await open();
  assert.equal(await focused(keyboard), 'secret');
  await keyboard.keyboard.type(cluster.secret);
  await keyboard.keyboard.press('Enter');
  await has('the session is there', keyboard, '#session-rows', 'seen');
  await focusIs(keyboard, 'nodes');
  const tabTo = async (wanted) => {
    for (let left = 40; left > 0; left--) {
      if (await focused(keyboard) === wanted) return;
      await keyboard.keyboard.press('Tab');
    }
    assert.fail(`no way to ${wanted}; at ${await focused(keyboard)}`);
  };
  await tabTo('find');
  await keyboard.keyboard.type('seen');
  await tabTo('Close session seen');
  assert.deepEqual(await keyboard.$$eval('#session-rows th', (all) => all.map((one) => one.textContent)), ['seen']);
  await keyboard.keyboard.press('Enter');
  assert.deepEqual([await focused(keyboard), await text(keyboard, '#ask-text')], ['ask-no', '1 person will be disconnected.']);
  await keyboard.keyboard.press('Tab');
  await keyboard.keyboard.press('Enter');
  assert.equal((await disconnected(people.a)).reason, 'sessionClosedByServer');
  assert.equal((await cluster.rest('GET', '/sessions/seen')).status, 404);
  await focusIs(keyboard, 'sessions'); // its row is gone
  await told('Session seen is over: sessionClosedByServer');
  await has('who looked at it is told', inspector, '#one-gone:not([hidden])', 'This session is over.');
  await keyboard.close();
  await inspector.bringToFront();
});

test('a dead node and a dead master are shown, and their return', async () => {
  await inspector.click('.views a[href="#sessions"]');
  const [first] = cluster.nodes;
  await first.kill();
  await has('it is shown', inspector, '#node-list .badge.bad', 'dead', 8_000);
  await told(`Node ${first.id} is dead`);
  await first.launch();
  await told(`Node ${first.id} is back`);
  await cluster.killMaster();
  await has('what is shown is old', inspector, '#trouble', 'The master does not answer. What is shown is as it was at', 8_000);
  await cluster.launchMaster();
  await until('it is live again', async () => (await text(inspector, '#live-text')) === 'Live' && (await text(inspector, '#trouble')) === '', { timeout: 10_000 });
  await told('Events go on');
  await cluster.token('after');
  await told('Session after is made');
});

test('on a narrow screen nothing is wider than it', async () => {
  await inspector.setViewportSize({ width: 360, height: 700 });
  await has('a session is there', inspector, '#session-rows', 'after');
  const wide = await inspector.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `${wide} pixels`);
  assert.deepEqual(inspector.lines.filter((line) => /page error|Content Security|TypeError/.test(line)), []);
});
