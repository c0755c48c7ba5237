// The inspector: what operators see of the cluster, and do with it. It speaks to the master only through the public API, with the secret of
// whoever looks, and hears of changes by one stream of events.

import { connect } from './api.js';
import { dismiss } from './ask.js';
import { $, once, repeat, say } from './dom.js';
import { eventLog } from './log.js';
import { nodesView } from './nodes.js';
import { sessionView } from './session.js';
import { sessionsView } from './sessions.js';
import { clock } from './words.js';

const KEY = 'ringcast-secret'; // in the tab's own storage, so that it lives through a reload and no longer than the tab
const PARTS = ['nodes', 'sessions', 'events'];

let inside = null; // { api, all, one, open }: what is looked at while somebody is signed in
let barred = 0; // before that time no secret is tried again
const log = eventLog();
const views = { nodes: nodesView({ act }), sessions: sessionsView({ act }), one: sessionView({ act }) };

$('sign-in').onsubmit = (event) => {
  event.preventDefault();
  once($('enter'), () => signIn($('secret').value));
};
$('sign-out').onclick = () => signOut('');
window.addEventListener('hashchange', () => inside && follow(true));

if (sessionStorage.getItem(KEY)) signIn(sessionStorage.getItem(KEY));
else $('secret').focus();

async function signIn(secret) {
  say($('door-error'), '');
  const wait = Math.ceil((barred - Date.now()) / 1000);
  if (wait > 0) return refuse(`Too many wrong secrets came from this address. Try again in ${wait} s.`);
  const api = connect(secret);
  try {
    await api.call('GET', '/media-nodes');
  } catch (why) {
    api.end();
    if (why.status === 401) sessionStorage.removeItem(KEY);
    if (why.status === 429) barred = Date.now() + 1000 * Math.max(1, why.retryAfter);
    return refuse(why.status === 401 ? 'This secret is wrong.' : why.status === 429 ? `Too many wrong secrets came from this address. Try again in ${Math.max(1, why.retryAfter)} s.` : why.message);
  }
  sessionStorage.setItem(KEY, secret);
  $('secret').value = '';
  enter(api);
}

function refuse(message) {
  say($('door-error'), message);
  $('secret').focus();
  $('secret').select();
}

function enter(api) {
  inside = { api, all: null, one: null, open: null };
  switchTo(true);
  inside.all = repeat(() => look(api), { rest: 5_000, least: 500 });
  follow(true);
  api.listen({
    told: (id, event) => {
      log.told(id, event);
      inside?.all.nudge();
      if (inside?.open && event.sessionId === inside.open) inside.one?.nudge();
    },
    state: (live, why) => tellOfStream(live, why),
  });
}

let silentBecause = null; // why no events come

function tellOfStream(live, why) {
  if (why?.status === 401) return signOut('The secret is no longer right.');
  if (live && silentBecause) log.remark('Events go on. What happened meanwhile is not here.');
  if (!live && why.message !== silentBecause) log.remark(`No events come: ${why.message}`);
  silentBecause = live ? null : why.message;
  $('live-dot').className = live ? 'dot good' : 'dot warn';
  say($('live-text'), live ? 'Live' : 'Not live');
  inside?.all.nudge();
}

function signOut(message) {
  sessionStorage.removeItem(KEY);
  if (inside) {
    inside.all.end();
    inside.one?.end();
    inside.api.end();
    inside = null;
  }
  // Nothing of the cluster stays behind.
  log.forget();
  views.nodes.show([]);
  views.sessions.show([]);
  views.one.open('');
  dismiss();
  $('add-node').reset();
  $('find').value = '';
  for (const part of ['trouble', 'said']) say($(part), '');
  silentBecause = null;
  $('live-dot').className = 'dot';
  say($('live-text'), '');
  switchTo(false);
  say($('door-error'), message);
  $('secret').focus();
}

function switchTo(isInside) {
  $('door').hidden = isInside;
  for (const part of ['inside', 'parts', 'live', 'sign-out']) $(part).hidden = !isInside;
}

// Shows what the address names. The headline gets the focus, so that keyboards and screen readers go on there.
function follow(byUser) {
  inside.one?.end();
  const id = sessionIn(location.hash);
  Object.assign(inside, { open: id, one: null });
  $('overview').hidden = id !== null;
  $('one').hidden = id === null;
  log.show(id);
  document.title = id === null ? 'Ringcast inspector' : `${id} · Ringcast inspector`;
  const { api } = inside;
  if (id !== null) {
    views.one.open(id);
    inside.one = repeat(() => lookAt(api, id), { rest: 2_000, least: 500 });
  }
  const part = PARTS.find((name) => location.hash === `#${name}`) ?? 'nodes';
  if (byUser) $(id === null ? part : 'one-title').focus();
}

function sessionIn(hash) {
  const named = /^#\/session\/(.+)$/.exec(hash)?.[1];
  try {
    return named ? decodeURIComponent(named) : null;
  } catch {
    return null;
  }
}

async function look(api) {
  await fetching(api, async () => {
    const [nodes, sessions] = await Promise.all([api.call('GET', '/media-nodes?extra-info=true'), api.call('GET', '/sessions')]);
    if (inside?.api !== api) return;
    views.nodes.show(nodes.content);
    views.sessions.show(sessions.content);
  });
}

// Nodes are asked for figures only here: of the session that is looked at, while it is.
async function lookAt(api, id) {
  await fetching(api, async () => {
    const session = await api.call('GET', `/sessions/${encodeURIComponent(id)}?webRtcStats=true`).catch((why) => {
      if (why.status === 404) return null;
      throw why;
    });
    if (inside?.open === id) views.one.show(session);
  });
}

let lastAnswer = 0;

// Says so while the master does not answer: what is shown is old then.
async function fetching(api, task) {
  try {
    await task();
    lastAnswer = Date.now();
    if (inside?.api === api) say($('trouble'), '');
  } catch (why) {
    if (inside?.api !== api) return;
    if (why.status === 401) return signOut('The secret is no longer right.');
    if (why.status === undefined) throw why; // a fault of ours, for the console
    say($('trouble'), lastAnswer ? `${why.message} What is shown is as it was at ${clock(lastAnswer)}.` : why.message);
  }
}

let saidTimer = 0;

// Does something by the API and says what came of it.
async function act(task) {
  if (!inside) return;
  const { api } = inside;
  let [text, kind] = ['', 'said'];
  try {
    text = await task(api);
  } catch (why) {
    if (why.status === 401) return signOut('The secret is no longer right.');
    if (why.status === undefined) throw why;
    [text, kind] = [why.message, 'said failed'];
  }
  if (inside?.api !== api) return;
  clearTimeout(saidTimer);
  $('said').className = kind;
  say($('said'), text);
  saidTimer = setTimeout(() => say($('said'), ''), kind === 'said' ? 5_000 : 12_000);
  inside.all.nudge();
  inside.one?.nudge();
}
