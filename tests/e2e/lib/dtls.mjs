import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { bindUdp, hostAddress } from './net.mjs';
import { REQUEST, check, success, typeOf } from './stun.mjs';
import { sleep } from './wait.mjs';

const run = promisify(execFile);
const [UFRAG, PASSWORD] = ['hand', 'a-password-of-24-letters'];

// A peer whose ICE is ours and whose DTLS is OpenSSL's, so that it offers exactly what we say.
export async function opensslPeer() {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-dtls-'));
  const [key, certificate] = [path.join(dir, 'key.pem'), path.join(dir, 'cert.pem')];
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=peer', '-keyout', key, '-out', certificate]);
  const { stdout } = await run('openssl', ['x509', '-in', certificate, '-noout', '-fingerprint', '-sha256']);
  const outer = await bindUdp(0, hostAddress()); // towards the node
  const inner = await bindUdp(0, '127.0.0.1'); // towards OpenSSL
  const state = { offer: offer(stdout.trim().split('=')[1]), output: '', child: null };
  // Checks, then the handshake, with the profiles as OpenSSL writes them: `SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM`.
  // `words` are more of OpenSSL's options, `certified` is whether it shows its certificate, `change` what happens to its datagrams on their way.
  state.connect = async (answer, profiles, { words = [], certified = true, change = (datagram) => datagram } = {}) => {
    const field = (name) => new RegExp(`^a=${name}:(\\S+)`, 'm').exec(answer)[1];
    const [, address, port] = /^a=candidate:\S+ 1 udp \d+ (\S+) (\d+)/im.exec(answer);
    const theirs = { username: `${field('ice-ufrag')}:${UFRAG}`, password: field('ice-pwd') };
    let openssl = null;
    inner.on('message', (datagram, from) => { openssl = from; outer.send(change(datagram), Number(port), address); });
    outer.on('message', (datagram, from) => {
      if (typeOf(datagram) === REQUEST) outer.send(success(datagram, { ...from, password: PASSWORD }), from.port, from.address);
      else if (datagram[0] >= 20 && datagram[0] <= 63 && openssl) inner.send(datagram, openssl.port, openssl.address);
    });
    for (let n = 0; n < 3; n += 1) {
      outer.send(check(theirs), Number(port), address);
      await sleep(50);
    }
    const shown = certified ? ['-cert', certificate, '-key', key] : [];
    state.child = spawn('openssl', ['s_client', '-dtls1_2', '-connect', `127.0.0.1:${inner.address().port}`, '-use_srtp', profiles, ...shown, ...words], { stdio: ['pipe', 'pipe', 'pipe'] });
    for (const stream of [state.child.stdout, state.child.stderr]) stream.on('data', (text) => { state.output += text; });
  };
  state.close = () => {
    state.child?.kill('SIGKILL');
    outer.close();
    inner.close();
    fs.rmSync(dir, { recursive: true, force: true });
  };
  return state;
}

// A datagram of DTLS with the last octet of this handshake message flipped, if the message is in it and whole (RFC 6347 §4.1, §4.2.2).
export function withWrongEnd(datagram, type) {
  const changed = Buffer.from(datagram);
  const [HANDSHAKE, RECORD_HEADER] = [22, 13];
  for (let at = 0; at + RECORD_HEADER < changed.length;) {
    const end = at + RECORD_HEADER + changed.readUInt16BE(at + 11);
    const isClear = changed.readUInt16BE(at + 3) === 0; // of epoch 0
    if (isClear && changed[at] === HANDSHAKE && changed[at + RECORD_HEADER] === type) changed[end - 1] ^= 1;
    at = end;
  }
  return changed;
}

// One audio that is sent; what matters is who we are.
function offer(fingerprint) {
  return ['v=0', 'o=- 1 1 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=group:BUNDLE 0', 'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'c=IN IP4 0.0.0.0',
    `a=ice-ufrag:${UFRAG}`, `a=ice-pwd:${PASSWORD}`, `a=fingerprint:sha-256 ${fingerprint}`, 'a=setup:actpass', 'a=mid:0', 'a=sendonly', 'a=rtcp-mux',
    'a=rtpmap:111 opus/48000/2', 'a=ssrc:1234 cname:peer', ''].join('\r\n');
}
