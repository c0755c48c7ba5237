// Figures and events in words.

// How long since then: `42 s`, `7 min`, `3 h 10 min`, `2 d 4 h`.
export function since(millis, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - millis) / 1000));
  const [minutes, hours, days] = [Math.floor(seconds / 60), Math.floor(seconds / 3600), Math.floor(seconds / 86_400)];
  if (days > 0) return `${days} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  return minutes > 0 ? `${minutes} min` : `${seconds} s`;
}

export const clock = (millis) => new Date(millis).toLocaleTimeString([], { hour12: false });

export const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;

export function bits(perSecond) {
  if (perSecond >= 1e6) return `${(perSecond / 1e6).toFixed(1)} Mbit/s`;
  return `${Math.round(perSecond / 1e3)} kbit/s`;
}

export const percent = (ratio) => `${(100 * ratio).toFixed(ratio > 0 && ratio < 0.1 ? 1 : 0)} %`;

export const millis = (value) => (value === undefined ? '–' : `${Math.round(value)} ms`);

// What somebody is called: what their browser passed on connecting, in the usual form or any other; else their connection.
export function nameOf({ clientData, connectionId }) {
  try {
    const said = JSON.parse(clientData);
    const name = said?.clientData ?? said?.name;
    if (typeof name === 'string' && name) return name;
  } catch { /* any text may be there */ }
  return clientData || connectionId;
}

const node = (event) => `Node ${event.id}${event.environmentId ? ` (${event.environmentId})` : ''}`;

const SENTENCES = {
  sessionCreated: (e) => `Session ${e.sessionId} is made`,
  sessionDestroyed: (e) => `Session ${e.sessionId} is over: ${e.reason}, after ${since(e.startTime, e.timestamp)}`,
  participantJoined: (e) => `${nameOf(e)} joined ${e.sessionId}`,
  participantLeft: (e) => `${nameOf(e)} left ${e.sessionId}: ${e.reason}`,
  webrtcConnectionCreated: (e) => (e.connection === 'OUTBOUND' ? `${e.connectionId} sends ${e.streamId} in ${e.sessionId}` : `${e.connectionId} receives ${e.streamId} in ${e.sessionId}`),
  webrtcConnectionDestroyed: (e) => `${e.connectionId} no longer ${e.connection === 'OUTBOUND' ? 'sends' : 'receives'} ${e.streamId} in ${e.sessionId}: ${e.reason}`,
  signalSent: (e) => `A signal${e.type ? ` “${e.type}”` : ''} in ${e.sessionId}, from ${e.from ?? 'the application'} to ${e.to.length}`,
  mediaNodeStatusChanged: (e) => `${node(e)} is ${e.newStatus}${e.oldStatus ? `, was ${e.oldStatus}` : ''}`,
  nodeCrashed: (e) => `${node(e)} is dead; ${many(e.sessionIds.length, 'session')} ended with it`,
  nodeRecovered: (e) => `${node(e)} is back`,
};

// An event in a sentence; one that this page does not know by its name.
export const sentence = (event) => SENTENCES[event.event]?.(event) ?? event.event;
