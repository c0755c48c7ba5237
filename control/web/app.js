// The page at `/`: two people can talk at once. It speaks to the master only through openvidu-browser and one token request.
'use strict';

const $ = (id) => document.getElementById(id);
const tiles = new Map(); // stream id → tile
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
  if (typeof OpenVidu === 'undefined') {
    fail('The client package openvidu-browser is not installed on this server. Run scripts/run again on a machine with npm.');
    $('join-button').disabled = true;
    return;
  }
  preview = showPreview();
}

async function showPreview() {
  if (!navigator.mediaDevices?.getUserMedia) {
    note('The browser gives camera and microphone only to pages opened as https:// or on localhost.');
    return null;
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: true });
    $('preview').srcObject = stream;
    note('');
    return stream;
  } catch (error) {
    note(`No camera or microphone: ${error.message}. You can still join and watch.`);
    return null;
  }
}

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
    enterCall(name);
    await publish(who);
  } catch (error) {
    session?.disconnect();
    session = null;
    showLobby();
    fail(error.message || String(error));
  } finally {
    busy(false);
  }
}

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
  if (!answer.ok) throw new Error(body.message || `The server refused to issue a token (HTTP ${answer.status}).`);
  return body.token;
}

function listen(session) {
  session.on('streamCreated', (event) => {
    const tile = addTile(event.stream, nameOf(event.stream.connection), false);
    const subscriber = session.subscribe(event.stream, undefined);
    subscriber.addVideoElement(tile.querySelector('video'));
  });
  session.on('streamDestroyed', (event) => removeTile(event.stream.streamId));
  session.on('streamPropertyChanged', (event) => mark(event.stream));
  session.on('publisherStartSpeaking', (event) => speaking(event.streamId, true));
  session.on('publisherStopSpeaking', (event) => speaking(event.streamId, false));
  session.on('connectionCreated', countPeople);
  session.on('connectionDestroyed', countPeople);
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
  networkDisconnect: 'The connection was lost for too long.',
  nodeCrashed: 'The server that carried this session went away. Join again to go on.',
  sessionClosedByServer: 'The session was closed.',
  forceDisconnectByUser: 'A moderator removed you from the session.',
  forceDisconnectByServer: 'You were removed from the session.',
};

async function publish(who) {
  const shown = await preview;
  if (!shown) return; // no camera, no microphone: watch only
  const [audio, video] = [shown.getAudioTracks().length > 0, shown.getVideoTracks().length > 0];
  endPreview(shown);
  publisher = await openvidu.initPublisherAsync(undefined, {
    audioSource: audio ? undefined : false,
    videoSource: video ? undefined : false,
    resolution: '640x480',
    frameRate: 30,
    mirror: false,
  });
  await session.publish(publisher);
  const tile = addTile(publisher.stream, `${who} (you)`, true);
  publisher.addVideoElement(tile.querySelector('video'));
}

function endPreview(stream) {
  for (const track of stream.getTracks()) track.stop();
  $('preview').srcObject = null;
}

function toggle(what) {
  if (!publisher) return void toast('You are watching only: no camera or microphone was available.');
  const button = $(what);
  const on = button.getAttribute('aria-pressed') !== 'true';
  if (what === 'mic') publisher.publishAudio(on);
  else publisher.publishVideo(on);
  pressed(what, on);
  const tile = tiles.get(publisher.stream.streamId);
  if (tile) decorate(tile, what === 'mic' ? { audio: on } : { video: on });
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

function enterCall(name) {
  $('lobby').hidden = true;
  $('call').hidden = false;
  $('call-info').hidden = false;
  $('call-name').textContent = name;
  history.replaceState(null, '', `?session=${encodeURIComponent(name)}`);
  document.title = `${name} · Ringcast`;
  pressed('mic', true);
  pressed('cam', true);
  countPeople();
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

function addTile(stream, who, own) {
  removeTile(stream.streamId);
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
  tiles.set(stream.streamId, tile);
  decorate(tile, { audio: stream.audioActive, video: stream.videoActive });
  layOut();
  return tile;
}

function removeTile(id) {
  tiles.get(id)?.remove();
  tiles.delete(id);
  layOut();
}

function layOut() {
  const count = tiles.size;
  $('grid').dataset.count = count > 4 ? 'many' : String(Math.max(count, 1));
}

function mark(stream) {
  const tile = tiles.get(stream.streamId);
  if (tile) decorate(tile, { audio: stream.audioActive, video: stream.videoActive });
}

function decorate(tile, { audio, video }) {
  if (audio !== undefined) tile.querySelector('.silent').hidden = audio;
  if (video !== undefined) tile.classList.toggle('dark', !video);
}

function speaking(id, on) {
  tiles.get(id)?.classList.toggle('speaking', on);
}

function countPeople() {
  if (!session) return;
  const people = session.remoteConnections.size + 1;
  $('call-count').textContent = people === 1 ? 'Only you so far' : `${people} people`;
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
