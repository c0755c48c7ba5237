// The page at `/`: two people can talk at once. It speaks to the master only through openvidu-browser and one token request.
'use strict';

const $ = (id) => document.getElementById(id);
const tiles = new Map(); // connection id → tile
let openvidu = null;
let session = null;
let publisher = null;
let preview = Promise.resolve(null); // the preview's MediaStream, or null without a camera and microphone

start();

function start() {
  const wanted = new URLSearchParams(location.search).get('session');
  $('session').value = wanted || 'demo';
  $('name').value = localStorage.getItem('ringcast-name') || `Guest ${Math.floor(100 + Math.random() * 900)}`;
  $('join').addEventListener('submit', (event) => {
    event.preventDefault();
    join($('session').value.trim(), $('name').value.trim());
  });
  $('mic').addEventListener('click', () => toggle('mic'));
  $('cam').addEventListener('click', () => toggle('cam'));
  $('leave').addEventListener('click', leave);
  $('invite').addEventListener('click', copyInvite);
  window.addEventListener('pagehide', () => session?.disconnect());
  window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); }); // the session did not survive in the cache
  new ResizeObserver(layOut).observe($('grid'));
  if (typeof OpenVidu === 'undefined') {
    fail('The client package openvidu-browser is not installed on this server. Run scripts/run again on a machine with npm.');
    $('join-button').disabled = true;
    return;
  }
  preview = showPreview();
}

async function showPreview() {
  if (!navigator.mediaDevices?.getUserMedia) {
    note('The browser gives camera and microphone only to pages opened as https:// or on localhost. You can still join and watch.');
    return null;
  }
  const video = { width: 640, height: 480 };
  let failure = null;
  // Whoever lacks one of the two still has the other.
  for (const wanted of [{ video, audio: true }, { audio: true }, { video }]) {
    try {
      const stream = await navigator.mediaDevices.getUserMedia(wanted);
      if (session || $('lobby').hidden) return stream; // joined meanwhile: `publish` takes it from here
      $('preview').srcObject = stream;
      note(wanted.video ? '' : 'No camera was found. The others will hear you.');
      return stream;
    } catch (error) {
      failure ??= error;
      if (error.name === 'NotAllowedError') break; // asking again would only annoy
    }
  }
  note(`${troubles[failure.name] || `Camera and microphone can't be used: ${failure.message}.`} You can still join and watch.`);
  return null;
}

const troubles = {
  NotAllowedError: 'Camera and microphone are blocked for this page. Allow them in the address bar and reload.',
  NotFoundError: 'No camera or microphone was found.',
  NotReadableError: 'Camera or microphone is used by another program.',
};

async function join(name, who) {
  busy(true);
  fail('');
  try {
    localStorage.setItem('ringcast-name', who);
    const token = await requestToken(name);
    openvidu = new OpenVidu();
    openvidu.enableProdMode();
    session = openvidu.initSession();
    listen(session);
    await session.connect(token, { clientData: who });
    enterCall(name, who);
    await publish();
  } catch (error) {
    const joined = session;
    showLobby(); // first: what `disconnect()` tells must find no call
    joined?.disconnect();
    fail(refusals[error.code] || error.message || String(error));
  } finally {
    busy(false);
  }
}

const refusals = {
  204: 'No media node can take the session now. Try again in a moment.',
};

async function requestToken(name) {
  let answer;
  try {
    answer = await fetch('/demo/token', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ sessionId: name }),
    });
  } catch {
    throw new Error('The server does not answer. Is it still running?');
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.message ? `${body.message}.` : `The server lets nobody in now (HTTP ${answer.status}).`);
  return body.token;
}

function listen(session) {
  session.on('connectionCreated', ({ connection }) => {
    if (connection.connectionId !== session.connection?.connectionId) addTile(connection.connectionId, nameOf(connection), false);
  });
  session.on('connectionDestroyed', ({ connection }) => removeTile(connection.connectionId));
  session.on('streamCreated', ({ stream }) => {
    const id = stream.connection.connectionId;
    const tile = tiles.get(id) ?? addTile(id, nameOf(stream.connection), false);
    const subscriber = session.subscribe(stream, undefined, (error) => { if (error) toast(`${nameOf(stream.connection)} can't be shown: ${error.message}`, 6000); });
    subscriber.addVideoElement(tile.querySelector('video'));
    mark(stream);
  });
  session.on('streamDestroyed', ({ stream }) => {
    const tile = tiles.get(stream.connection.connectionId);
    if (!tile) return;
    tile.querySelector('video').srcObject = null;
    decorate(tile, { audio: true, video: false });
  });
  session.on('streamPropertyChanged', ({ stream }) => mark(stream));
  session.on('publisherStartSpeaking', ({ connection }) => speaking(connection.connectionId, true));
  session.on('publisherStopSpeaking', ({ connection }) => speaking(connection.connectionId, false));
  session.on('reconnecting', () => toast('Connection lost. Trying again…', 0));
  session.on('reconnected', () => toast('Connected again.'));
  session.on('exception', (event) => console.warn(event.name, event.message));
  session.on('sessionDisconnected', (event) => {
    if (event.reason === 'disconnect') return;
    showLobby();
    fail(endings[event.reason] || `The session ended (${event.reason}).`);
  });
}

const endings = {
  networkDisconnect: 'The connection was lost for too long. Join again to go on.',
  nodeCrashed: 'The server of this session went away or was started anew. Join again to go on.',
  sessionClosedByServer: 'The session was closed.',
  forceDisconnectByUser: 'A moderator removed you from the session.',
  forceDisconnectByServer: 'You were removed from the session.',
};

async function publish() {
  const shown = await preview;
  const [audio, video] = [shown?.getAudioTracks().length > 0, shown?.getVideoTracks().length > 0];
  available(audio, video);
  if (!shown || !session) return; // no camera, no microphone: watch only; or gone meanwhile
  endPreview(shown);
  try {
    publisher = await openvidu.initPublisherAsync(undefined, {
      audioSource: audio ? undefined : false,
      videoSource: video ? undefined : false,
      resolution: '640x480',
      frameRate: 30,
      mirror: false,
    });
  } catch (error) { // taken by another program since the preview
    available(false, false);
    toast(`You are watching only: ${error.message}`, 6000);
    return;
  }
  await session.publish(publisher);
  publisher.addVideoElement(tiles.get(session.connection.connectionId).querySelector('video'));
  mark(publisher.stream);
}

// What is not there can't be switched.
function available(audio, video) {
  for (const [what, there] of [['mic', audio], ['cam', video]]) {
    $(what).disabled = !there;
    $(what).title = there ? '' : what === 'mic' ? 'No microphone' : 'No camera';
    pressed(what, there);
    if (!there) $(what).querySelector('.text').textContent = what === 'mic' ? 'No mic' : 'No camera';
  }
}

function endPreview(stream) {
  for (const track of stream.getTracks()) track.stop();
  $('preview').srcObject = null;
}

function toggle(what) {
  if (!publisher || !session) return;
  const button = $(what);
  const on = button.getAttribute('aria-pressed') !== 'true';
  if (what === 'mic') publisher.publishAudio(on);
  else publisher.publishVideo(on);
  pressed(what, on);
  decorate(tiles.get(session.connection.connectionId), what === 'mic' ? { audio: on } : { video: on });
}

function pressed(what, on) {
  const button = $(what);
  button.setAttribute('aria-pressed', String(on));
  const words = what === 'mic' ? ['Mute', 'Unmute'] : ['Stop video', 'Start video'];
  button.querySelector('.text').textContent = words[on ? 0 : 1];
}

function leave() {
  session?.disconnect();
  showLobby();
}

function enterCall(name, who) {
  $('lobby').hidden = true;
  $('call').hidden = false;
  $('call-info').hidden = false;
  $('call-name').textContent = name;
  history.replaceState(null, '', `?session=${encodeURIComponent(name)}`);
  document.title = `${name} · Ringcast`;
  pressed('mic', true);
  pressed('cam', true);
  addTile(session.connection.connectionId, `${who} (you)`, true);
}

function showLobby() {
  for (const id of [...tiles.keys()]) removeTile(id);
  session = null;
  publisher = null;
  $('call').hidden = true;
  $('call-info').hidden = true;
  $('lobby').hidden = false;
  $('toast').hidden = true;
  document.title = 'Ringcast';
  if (!$('preview').srcObject) preview = showPreview();
}

// Everybody has a tile, with or without a picture.
function addTile(id, who, own) {
  removeTile(id);
  const tile = document.createElement('article');
  tile.className = own ? 'tile own' : 'tile';
  const initial = Object.assign(document.createElement('div'), { className: 'initial', textContent: who.charAt(0).toUpperCase() });
  const video = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true, muted: own });
  const plate = Object.assign(document.createElement('div'), { className: 'plate' });
  plate.append(
    Object.assign(document.createElement('span'), { className: 'who', textContent: who }),
    Object.assign(document.createElement('span'), { className: 'silent', textContent: 'muted', hidden: true }),
  );
  tile.append(initial, video, plate);
  $('grid').append(tile);
  tiles.set(id, tile);
  decorate(tile, { audio: true, video: false });
  countPeople();
  layOut();
  return tile;
}

function removeTile(id) {
  tiles.get(id)?.remove();
  tiles.delete(id);
  countPeople();
  layOut();
}

// As many columns as make the tiles largest, at the ratio of the pictures.
function layOut() {
  const [ratio, gap, margin, smallest] = [4 / 3, 12, 14, 140];
  const grid = $('grid');
  const [width, height] = [grid.clientWidth - 2 * margin, grid.clientHeight - 2 * margin];
  if (width < smallest) return; // not on the screen
  let best = { columns: Math.max(1, Math.floor((width + gap) / (smallest + gap))), tile: smallest }; // then it scrolls
  for (let columns = 1; columns <= tiles.size; columns++) {
    const rows = Math.ceil(tiles.size / columns);
    const tile = Math.floor(Math.min((width - gap * (columns - 1)) / columns, ((height - gap * (rows - 1)) / rows) * ratio));
    if (tile > best.tile) best = { columns, tile };
  }
  const used = best.columns * best.tile + (best.columns - 1) * gap;
  grid.style.setProperty('--tile-width', `${best.tile}px`);
  grid.style.setProperty('--side', `${Math.max(margin, Math.floor((grid.clientWidth - used) / 2) - 1)}px`);
}

function mark(stream) {
  const tile = tiles.get(stream.connection.connectionId);
  if (tile) decorate(tile, { audio: stream.hasAudio && stream.audioActive, video: stream.hasVideo && stream.videoActive });
}

function decorate(tile, { audio, video }) {
  if (audio !== undefined) tile.querySelector('.silent').hidden = audio;
  if (video !== undefined) tile.classList.toggle('dark', !video);
}

function speaking(id, on) {
  tiles.get(id)?.classList.toggle('speaking', on);
}

function countPeople() {
  $('call-count').textContent = tiles.size <= 1 ? 'Only you so far' : `${tiles.size} people`;
}

function nameOf(connection) {
  try {
    return JSON.parse(connection.data.split('%/%')[0]).clientData || 'Somebody';
  } catch {
    return 'Somebody';
  }
}

async function copyInvite() {
  try {
    await navigator.clipboard.writeText(location.href);
    toast('Invite link copied.');
  } catch {
    toast(location.href, 8000);
  }
}

function busy(on) {
  $('join-button').disabled = on || typeof OpenVidu === 'undefined';
  $('join-button').textContent = on ? 'Joining…' : 'Join';
}

function fail(message) {
  $('join-error').hidden = !message;
  $('join-error').textContent = message;
  if (message) $('join-error').scrollIntoView({ block: 'nearest' });
}

function note(message) {
  $('preview-note').hidden = !message;
  $('preview-note').textContent = message;
}

let toastTimer = 0;
function toast(message, millis = 2500) {
  clearTimeout(toastTimer);
  $('toast').textContent = message;
  $('toast').hidden = false;
  if (millis) toastTimer = setTimeout(() => { $('toast').hidden = true; }, millis);
}
